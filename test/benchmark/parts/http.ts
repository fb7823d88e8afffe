import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { Client, pin } from '../client'
import { median, type Figures, type Part } from '../part'
import { changesEveryServer, createApplication, httpSubjects } from '../subjects'

const pairs = 4
const base = 'empty hooks'

/** Applications in a process of their own. */
class Servers {
  readonly #process: ChildProcess
  /** In the order of the subjects. */
  readonly urls: readonly string[]

  private constructor (process: ChildProcess, urls: readonly string[]) {
    this.#process = process
    this.urls = urls
  }

  static async start (subjects: readonly string[]): Promise<Servers> {
    const child = fork(__filename, ['serve', ...subjects])
    const [urls] = await once(child, 'message')
    pin(child, 0)
    return new Servers(child, urls)
  }

  /** Microseconds of CPU that they have used. */
  async cpu (): Promise<number> {
    this.#process.send('cpu')
    return (await once(this.#process, 'message'))[0]
  }

  end (): void {
    this.#process.kill()
  }
}

async function serve (subjects: readonly string[]): Promise<void> {
  const urls: string[] = []
  for (const subject of subjects) {
    urls.push(await (await createApplication(httpSubjects[subject]!)).listen({ host: '127.0.0.1', port: 0 }))
  }
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    process.send!(user + system)
  })
  process.send!(urls)
}

/** A server of each, the base first. */
async function startPair (subject: string): Promise<Array<{ servers: Servers, url: string }>> {
  // Which is made first matters to V8.
  const isSwapped = Math.random() < 0.5
  const order = isSwapped ? [subject, base] : [base, subject]
  const processes = changesEveryServer.has(subject) ? order.map(name => [name]) : [order]
  const started = await Promise.all(processes.map(async subjects => Servers.start(subjects)))
  const pair = started.flatMap(servers => servers.urls.map(url => ({ servers, url })))
  return isSwapped ? pair.reverse() : pair
}

/** Asks two servers in turns of a second, since the machine may be another one a minute later. */
async function compare (subject: string): Promise<Figures> {
  const client = new Client()
  client.pin(1)
  const both = await startPair(subject)
  const taken: Array<Array<{ rate: number, cpu: number }>> = [[], []]
  for (let pair = -1; pair < pairs; pair++) {
    for (const index of pair % 2 === 0 ? [0, 1] : [1, 0]) {
      const { servers, url } = both[index]!
      const before = await servers.cpu()
      const rate = await client.do('throughput', url, 1)
      if (pair >= 0) taken[index]!.push({ rate, cpu: (await servers.cpu() - before) / rate })
    }
  }
  client.end()
  for (const { servers } of both) servers.end()
  const [empty, own] = taken as [typeof taken[0], typeof taken[0]]
  return {
    rate: median(own.map(({ rate }) => rate)),
    share: 100 * median(own.map(({ rate }, index) => rate / empty[index]!.rate)),
    cpu: median(own.map(({ cpu }) => cpu)),
    added: median(own.map(({ cpu }, index) => cpu - empty[index]!.cpu))
  }
}

export const http: Part = {
  title: 'Request: over HTTP',
  method: 'Hello World under as much load as it takes, from another process (wrk if there is one, else autocannon; ' +
    '32 connections), and the CPU time that the server used for a request. Each takes turns of a second with an ' +
    `application that has two empty hooks, in medians of ${pairs} pairs. Both are in one process, which is another ` +
    'one for each sample: two processes with the same application differ by up to 30 % for as long as they live, and ' +
    'two applications in one by 4 %. OpenTelemetry changes every server of its process, and has one to itself.',
  samples: 9,
  scenarios: Object.fromEntries(Object.keys(httpSubjects).map(name => [name, () => compare(name)])),
  columns: [
    { heading: 'requests/s', digits: 0, value: ({ rate }) => rate! },
    { heading: '% of empty hooks', digits: 1, same: 100, value: ({ share }) => share! },
    { heading: 'CPU µs per request', digits: 1, value: ({ cpu }) => cpu! },
    { heading: 'over empty hooks', digits: 1, same: 0, value: ({ added }) => added! }
  ]
}

if (process.argv[2] === 'serve') serve(process.argv.slice(3)).catch(error => { throw error })
