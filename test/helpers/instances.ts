import { type ChildProcess, fork } from 'node:child_process'
import cluster from 'node:cluster'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Test } from 'tap'

const fixture = path.join(__dirname, '..', 'fixtures', 'instance.js')

/** What the instances of an application are. */
export type Kind = 'workers of a node:cluster' | 'threads' | 'processes that name a group'

interface Started {
  readonly name: string
  readonly address: string
  readonly url: string
}

/** One of the processes or threads that an application is. */
export class Instance {
  readonly #runner: ChildProcess | Worker
  readonly #ended: Promise<unknown>
  name = ''
  address = ''
  url = ''

  static async start (t: Test, kind: Kind, options: object): Promise<Instance> {
    const env = { ...process.env, OPTIONS: JSON.stringify(options) }
    const runner = kind === 'threads'
      ? new Worker(fixture, { env })
      : kind === 'workers of a node:cluster' ? forkWorker(env) : fork(fixture, { env })
    const instance = new Instance(runner)
    t.teardown(async () => instance.kill())
    const [started] = await once(runner, 'message', { signal: AbortSignal.timeout(60_000) }) as [Started]
    return Object.assign(instance, started)
  }

  private constructor (runner: ChildProcess | Worker) {
    this.#runner = runner
    this.#ended = once(runner, 'exit')
  }

  async kill (): Promise<void> {
    if (this.#runner instanceof Worker) await this.#runner.terminate()
    else this.#runner.kill('SIGKILL')
    await this.#ended
  }

  /** Ends it in an orderly way: it closes, or it exits by itself. */
  async end (how: 'close' | 'exit'): Promise<void> {
    this.#tell(how)
    await this.#ended
  }

  /** Holds it up until `act` is done, or for two seconds in a thread, which cannot be stopped. */
  async hang (act: () => Promise<void>): Promise<void> {
    if (this.#runner instanceof Worker) {
      this.#tell('hang')
      await act()
    } else {
      this.#runner.kill('SIGSTOP')
      try {
        await act()
      } finally {
        this.#runner.kill('SIGCONT')
      }
    }
  }

  #tell (order: string): void {
    if (this.#runner instanceof Worker) this.#runner.postMessage(order)
    else this.#runner.send(order)
  }
}

function forkWorker (env: NodeJS.ProcessEnv): ChildProcess {
  cluster.setupPrimary({ exec: fixture })
  return cluster.fork(env).process
}

/** A port that is free, though not kept so. */
export async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await once(server.close(), 'close')
  return port
}
