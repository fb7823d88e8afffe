/** What sends requests, in a process of its own, so that it does not share an event loop with what it measures. */
import { type ChildProcess, execFile, fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { connect } from 'node:http2'
import { Agent as TlsAgent, get as getTls } from 'node:https'
import os from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import autocannon from 'autocannon'

const connections = 32

/**
 * Keeps a process on one core, where the system has a command for that: else servers
 * change places with what loads them.
 */
export function pin (process: ChildProcess, core: number): void {
  if (os.availableParallelism() > 1) spawnSync('taskset', ['-acp', String(core), String(process.pid)])
}

const hasWrk = spawnSync('wrk', ['--version']).error === undefined

/** Resolves to how many bytes came, head included. */
async function ask (
  url: string, { agent, headers = {} }: { agent?: Agent, headers?: Record<string, string> } = {}
): Promise<number> {
  const [response] = await once(get(url, { agent: agent ?? false, headers }), 'response') as [IncomingMessage]
  const { socket } = response
  await once(response.resume(), 'end')
  if (response.statusCode !== 200) throw new Error(`${response.statusCode} from ${url}`)
  return socket.bytesRead
}

/** Sends requests over connections that are kept, and calls back when each is answered. */
interface Sender {
  readonly send: (onAnswer: () => void) => void
  readonly end: () => void
}

const keptConnections = 900
const keptSessions = 10

/** HTTP/1 or, where the server prefers that, HTTP/2. */
async function createSender (url: string): Promise<Sender> {
  const isTls = url.startsWith('https:')
  const trust = { rejectUnauthorized: false }
  if (isTls) {
    const sessions = Array.from({ length: keptSessions }, () => connect(url, trust).on('error', () => {}))
    const isHttp2 = await once(sessions[0]!, 'connect').then(() => true, () => false)
    if (isHttp2) {
      let next = 0
      return {
        send: onAnswer => { sessions[next++ % keptSessions]!.request({ ':path': '/' }).on('end', onAnswer).resume() },
        end: () => { for (const session of sessions) session.destroy() }
      }
    }
    for (const session of sessions) session.destroy()
  }
  const settings = { keepAlive: true, maxSockets: keptConnections, maxFreeSockets: keptConnections, ...trust }
  const agent = isTls ? new TlsAgent(settings) : new Agent(settings)
  const ask = isTls ? getTls : get
  return {
    send: onAnswer => { ask(url, { agent, ...trust }, response => response.on('end', onAnswer).resume()) },
    end: () => agent.destroy()
  }
}

const tasks = {
  /** Requests per second that are answered, when each connection asks again as soon as it has its answer. */
  async throughput (url: string, seconds: number): Promise<number> {
    if (hasWrk) {
      const { stdout } = await promisify(execFile)('wrk', ['-t1', `-c${connections}`, `-d${seconds}`, url])
      return Number(/Requests\/sec:\s*([\d.]+)/.exec(stdout)![1])
    }
    const { '2xx': answers, errors, non2xx } = await autocannon({ url, connections, duration: seconds })
    if (errors + non2xx > 0) throw new Error(`${errors + non2xx} requests failed`)
    return answers / seconds
  },

  /** Milliseconds that each answer took, under as much load as the server takes. */
  async latenciesUnderLoad (url: string, seconds: number): Promise<number[]> {
    const latencies: number[] = []
    await new Promise((resolve, reject) => {
      const instance = autocannon({ url, connections, duration: seconds }, (error, result) =>
        error === null ? resolve(result) : reject(error))
      instance.on('response', (_client, _status, _bytes, time) => { latencies.push(time) })
    })
    // Whoever got no answer at all waits still.
    return latencies.length > 0 ? latencies : [1000 * seconds]
  },

  /**
   * Milliseconds from when each request was due, so many per second whatever becomes of those
   * before, until it was answered.
   */
  async latenciesAtRate (url: string, seconds: number, rate: number): Promise<number[]> {
    const agent = new Agent({ keepAlive: true })
    const latencies: number[] = []
    const pending: Array<Promise<unknown>> = []
    const start = performance.now()
    while (pending.length < seconds * rate) {
      const due = start + 1000 * pending.length / rate
      if (due > performance.now()) await sleep(1)
      else pending.push(ask(url, { agent }).then(() => latencies.push(performance.now() - due)))
    }
    await Promise.all(pending)
    agent.destroy()
    return latencies
  },

  /** Requests per second that are answered, when as many are open all the time. */
  async capacity (url: string, seconds: number): Promise<number> {
    const { send, end } = await createSender(url)
    let answers = 0
    const start = performance.now()
    await Promise.all(Array.from({ length: connections }, async () => {
      while (performance.now() - start < 1000 * seconds) {
        await new Promise<void>(resolve => send(resolve))
        answers++
      }
    }))
    end()
    return answers / (performance.now() - start) * 1000
  },

  /**
   * Milliseconds from when each request was sent until it was answered, and by how much each was sent too late. They
   * are sent at random moments, so many per second, whatever becomes of those before. `began` is when the first was,
   * in milliseconds since 1970.
   */
  async latenciesAtRandom (
    url: string, seconds: number, rate: number
  ): Promise<{ latencies: number[], lateness: number[], began: number }> {
    const { send, end } = await createSender(url)
    // Opens the connections.
    await Promise.all(Array.from({ length: keptConnections }, async () => new Promise<void>(resolve => send(resolve))))
    await sleep(500)
    const latencies: number[] = []
    const lateness: number[] = []
    const start = performance.now()
    let due = start
    while (performance.now() - start < 1000 * seconds) {
      for (let now = performance.now(); due <= now; now = performance.now()) {
        const sent = performance.now()
        lateness.push(sent - due)
        send(() => latencies.push(performance.now() - sent))
        due += -Math.log(1 - Math.random()) * 1000 / rate
      }
      await new Promise(resolve => setImmediate(resolve))
    }
    while (latencies.length < lateness.length) await sleep(10)
    end()
    return { latencies, lateness, began: performance.timeOrigin + start }
  },

  /** Milliseconds and bytes of one scrape with these headers. */
  async scrape (url: string, headers: Record<string, string>): Promise<[ms: number, bytes: number]> {
    const start = performance.now()
    const bytes = await ask(url, { headers })
    return [performance.now() - start, bytes]
  },

  /** Asks for what is new at the live page once a second, as so many pages do. */
  async look (url: string, seconds: number, pages: number): Promise<void> {
    await Promise.all(Array.from({ length: pages }, async () => {
      let known = ''
      for (let second = 0; second < seconds; second++) {
        const due = performance.now() + 1000
        const { generation, last } = await (await fetch(url + known)).json() as { generation: string, last: number }
        known = `&generation=${generation}&last=${last}`
        await sleep(Math.max(0, due - performance.now()))
      }
    }))
  },

  /** How many scrapes were answered, by so many scrapers that each scrape once a second. */
  async scrapeEverySecond (url: string, seconds: number, scrapers: number): Promise<number> {
    let scrapes = 0
    const end = performance.now() + 1000 * seconds
    await Promise.all(Array.from({ length: scrapers }, async () => {
      while (performance.now() < end) {
        const due = performance.now() + 1000
        await ask(url)
        scrapes++
        await sleep(Math.max(0, due - performance.now()))
      }
    }))
    return scrapes
  }
}

type Tasks = typeof tasks

export class Client {
  readonly #process: ChildProcess = fork(__filename, ['client'])

  /** See `pin()`. */
  pin (core: number): void {
    pin(this.#process, core)
  }

  async do<T extends keyof Tasks> (task: T, ...args: Parameters<Tasks[T]>): Promise<Awaited<ReturnType<Tasks[T]>>> {
    this.#process.send([task, ...args])
    const [answer] = await once(this.#process, 'message')
    if (answer.error !== undefined) throw new Error(answer.error)
    return answer.result
  }

  end (): void {
    this.#process.kill()
  }
}

if (process.argv[2] === 'client') {
  process.on('message', async ([task, ...args]: [keyof Tasks, ...unknown[]]) => {
    try {
      process.send!({ result: await (tasks[task] as (...args: unknown[]) => Promise<unknown>)(...args) })
    } catch (error) {
      process.send!({ error: String(error) })
    }
  })
}
