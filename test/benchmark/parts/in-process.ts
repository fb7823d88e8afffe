import { channel } from 'node:diagnostics_channel'
import { STATUS_CODES } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyServerOptions } from 'fastify'
import { median, type Figures, type Part } from '../part'
import { createApplication, subjects, type Subject } from '../subjects'

const blocks = 60
const requestsPerBlock = 10_000

interface Conditions {
  /** What a request has beside `host`. */
  readonly headers?: Readonly<Record<string, string>>
  readonly server?: FastifyServerOptions
  /** How many requests come in one turn of the event loop. */
  readonly perTurn?: number
}

/** As much of a response as Fastify and the plugins use, without what Node.js does. */
class LightResponse {
  statusCode = 200
  statusMessage: string | undefined
  headersSent = false
  writableEnded = false
  writableFinished = false
  destroyed = false
  readonly socket: Socket
  // Node.js notes these for each reply.
  _header: string | null = null
  _contentLength: number | null = null
  #onFinish: Array<() => void> = []

  constructor (socket: Socket) {
    this.socket = socket
  }

  on (event: string, listener: () => void): this {
    if (event === 'finish') this.#onFinish.push(listener)
    return this
  }

  once (event: string, listener: () => void): this {
    return this.on(event, listener)
  }

  prependOnceListener (event: string, listener: () => void): this {
    if (event === 'finish') this.#onFinish.unshift(listener)
    return this
  }

  removeListener (): this {
    return this
  }

  writeHead (status: number): this {
    this.statusCode = status
    this.statusMessage = STATUS_CODES[status]
    this.headersSent = true
    this._header = 'HTTP/1.1 200 OK\r\n\r\n'
    this._contentLength = 11
    return this
  }

  setHeader (): this {
    return this
  }

  getHeader (): undefined {}

  hasHeader (): boolean {
    return false
  }

  _send (): boolean {
    return true
  }

  end (): this {
    this._send()
    this.writableEnded = this.writableFinished = true
    for (const listener of this.#onFinish) listener.call(this)
    return this
  }
}

export async function route (
  subject: Subject, { headers: more, server: options, perTurn = requestsPerBlock }: Conditions = {}
): Promise<Figures> {
  const app = await createApplication(subject, options)
  // Has it listen, since some of what is done per request depends on that.
  await app.listen({ host: '127.0.0.1', port: 0 })
  const began = channel('http.server.request.start')
  const { server } = app
  const socket = new Socket()
  const headers = { host: 'localhost:8001', ...more }

  function send (): void {
    const request = {
      method: 'GET',
      url: '/',
      headers,
      httpVersion: '1.1',
      httpVersionMajor: 1,
      socket,
      complete: true,
      on () {},
      once () {},
      removeListener () {}
    }
    const response = new LightResponse(socket)
    // As Node.js does for each request.
    if (began.hasSubscribers) began.publish({ request, response, socket, server })
    app.routing(request as never, response as never)
    if (response.statusCode !== 200) throw new Error(`Answered with ${response.statusCode}`)
  }

  const durations: number[] = []
  for (let block = 0; block < blocks; block++) {
    const start = process.hrtime.bigint()
    for (let turn = 0; turn < requestsPerBlock; turn += perTurn) {
      if (turn > 0) await new Promise(resolve => setImmediate(resolve))
      for (let count = 0; count < perTurn; count++) send()
    }
    // What is put off until the turn ends is a part of the cost.
    await new Promise(resolve => setImmediate(resolve))
    durations.push(Number(process.hrtime.bigint() - start) / requestsPerBlock)
  }
  await app.close()
  return { ns: median(durations.slice(blocks >> 1)) }
}

const added = (ns: number | undefined, none: number | undefined): number => ns! - none!

export const inProcess: Part = {
  title: 'Request: in process',
  method: '`app.routing()` with light request and response objects: all that Fastify does for a Hello World, ' +
    'and nothing of what Node.js does.',
  samples: 11,
  scenarios: Object.fromEntries(Object.entries(subjects).map(([name, subject]) => [name, () => route(subject)])),
  columns: [
    { heading: 'ns per request', digits: 0, value: ({ ns }) => ns! },
    { heading: 'over empty hooks', digits: 0, same: 0, value: ({ ns }, round) => added(ns, round['empty hooks']!.ns) },
    {
      heading: 'times what fastify-latency adds',
      digits: 1,
      same: 1,
      value: ({ ns }, { 'empty hooks': none, 'fastify-latency': ours }) =>
        ns === none!.ns ? undefined : added(ns, none!.ns) / added(ours!.ns, none!.ns)
    }
  ]
}
