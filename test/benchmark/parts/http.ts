import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { Client, pin } from '../client'
import { median, type Figures, type Part } from '../part'
import { createApplication, httpSubjects } from '../subjects'

const pairs = 8
const base = 'empty hooks'

/** An application in a process of its own. */
class Server {
  readonly #process: ChildProcess
  readonly url: string

  private constructor (process: ChildProcess, url: string) {
    this.#process = process
    this.url = url
  }

  static async start (subject: string): Promise<Server> {
    const child = fork(__filename, ['serve', subject])
    const [url] = await once(child, 'message')
    pin(child, 0)
    return new Server(child, url)
  }

  /** Microseconds of CPU that it has used. */
  async cpu (): Promise<number> {
    this.#process.send('cpu')
    return (await once(this.#process, 'message'))[0]
  }

  end (): void {
    this.#process.kill()
  }
}

async function serve (subject: string): Promise<void> {
  const app = await createApplication(httpSubjects[subject]!)
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    process.send!(user + system)
  })
  process.send!(await app.listen({ host: '127.0.0.1', port: 0 }))
}

/** Asks two servers in turns of a second, since the machine may be another one a minute later. */
async function compare (subject: string): Promise<Figures> {
  const client = new Client()
  client.pin(1)
  const servers = [await Server.start(base), await Server.start(subject)] as const
  const taken: Array<Array<{ rate: number, cpu: number }>> = [[], []]
  for (let pair = -1; pair < pairs; pair++) {
    for (const index of pair % 2 === 0 ? [0, 1] : [1, 0]) {
      const server = servers[index]!
      const before = await server.cpu()
      const rate = await client.do('throughput', server.url, 1)
      if (pair >= 0) taken[index]!.push({ rate, cpu: (await server.cpu() - before) / rate })
    }
  }
  client.end()
  for (const server of servers) server.end()
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
  method: 'Hello World under as much load as it takes, from another process (wrk if there is one, else autocannon; 32 connections), ' +
    `and the CPU time that the server used for a request. Each takes turns of a second with a server that has two empty hooks: medians of ${pairs} pairs.`,
  samples: 3,
  scenarios: Object.fromEntries(Object.keys(httpSubjects).map(name => [name, () => compare(name)])),
  columns: [
    { heading: 'requests/s', digits: 0, value: ({ rate }) => rate! },
    { heading: '% of empty hooks', digits: 1, value: ({ share }) => share! },
    { heading: 'CPU µs per request', digits: 1, value: ({ cpu }) => cpu! },
    { heading: 'over empty hooks', digits: 1, value: ({ added }) => added! }
  ]
}

if (process.argv[2] === 'serve') serve(process.argv[3]!).catch(error => { throw error })
