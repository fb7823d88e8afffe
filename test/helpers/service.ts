import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Test } from 'tap'

/** What a service tells. */
export interface Message {
  readonly worker?: number
  readonly address?: string
  readonly pid?: number
  readonly url?: string
  readonly warning?: string
  readonly failure?: string
}

/** A process of its own that runs a fixture and tells what happens to it. It is gone when the test ends. */
export class Service {
  readonly process: ChildProcess
  readonly #messages: Message[] = []

  constructor (t: Test, fixture: string, env: Record<string, string>) {
    this.process = fork(path.join(__dirname, '..', 'fixtures', fixture), {
      env: { ...process.env, ...env }, stdio: ['ignore', 'inherit', 'ignore', 'ipc']
    })
    this.process.on('message', (message: Message) => { this.#messages.push(message) })
    t.teardown(() => { if (this.process.connected) this.process.disconnect() })
  }

  /** Takes the first message about this that has not been taken. */
  async told (about: keyof Message, worker?: number): Promise<string> {
    for (;;) {
      const index = this.#messages.findIndex(message => message[about] !== undefined && message.worker === worker)
      if (index !== -1) return String(this.#messages.splice(index, 1)[0]![about])
      await once(this.process, 'message')
    }
  }

  /** Asks it to close, and resolves to its exit code. */
  async terminate (): Promise<number | null> {
    const exited = once(this.process, 'exit')
    this.process.kill('SIGTERM')
    return (await exited)[0]
  }
}
