import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { Server, Socket } from 'node:net'
import { Server as TlsServer } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance } from 'fastify'
import { clientEnded } from '../http/endings'

/** Why a request was answered before any hook could run. */
export const rejectionReasons = [
  'bad_url', 'closing', 'connection_limit', 'constraint_failed', 'expectation_failed', 'header_timeout', 'header_too_large', 'invalid_method',
  'long_parameter', 'malformed', 'missing_host'
] as const

export type RejectionReason = typeof rejectionReasons[number]

type RawRequest = IncomingMessage | Http2ServerRequest

interface Exchange {
  readonly request: RawRequest
  readonly response: ServerResponse | Http2ServerResponse
}

/**
 * Notices the requests that Node.js or Fastify's router answers without running a hook, on every server of an application: to listen on
 * `localhost` in both address families Fastify makes a second one, and does not show it.
 *
 * The latest request is under suspicion until a hook of ours has seen it, which is nearly always at once. When another one comes before
 * that has happened, it is watched to its end.
 */
export class RejectionObserver {
  readonly #app: FastifyInstance
  readonly #isReceiving: (socket: Socket) => boolean
  readonly #onRejection: (reason: RejectionReason) => void
  readonly #servers: Server[] = []
  #suspect: Exchange | undefined
  readonly #watched = new Set<RawRequest>()
  /** Requests that were answered before all of them had come. */
  readonly #unread = new WeakMap<Socket, WeakRef<RawRequest>>()
  #closing = false

  /** `isReceiving` tells whether the rest of an open request is yet to come on a connection. What goes wrong there is then its end. */
  constructor (app: FastifyInstance, isReceiving: (socket: Socket) => boolean, onRejection: (reason: RejectionReason) => void) {
    this.#app = app
    this.#isReceiving = isReceiving
    this.#onRejection = onRejection
    if (app.server.listening) this.#start()
    else app.server.once('listening', () => this.#start())
    app.addHook('preClose', done => {
      this.#closing = true
      done()
    })
  }

  /** To be called by the hook that sees a request first. */
  seen (request: RawRequest): void {
    if (this.#suspect?.request === request) this.#suspect = undefined
    else if (this.#watched.size > 0) this.#watched.delete(request)
  }

  /** To be called by the hook that sees the reply. An earlier hook may have replied before any other could see the request. */
  answered (request: RawRequest): void {
    this.seen(request)
    if (request.complete === false) this.#unread.set(request.socket, new WeakRef(request))
  }

  /** Brings the counts up to date. */
  readonly settle = (): void => {
    if (this.#suspect === undefined) return
    const { request, response } = this.#suspect
    this.#suspect = undefined
    // It may still wait for a hook before ours, or be answered by one: then ours sees the reply.
    this.#watched.add(request)
    const decide = (): void => {
      if (!this.#watched.delete(request)) return
      this.answered(request)
      const reason = reasonOfReply(request, response.statusCode, this.#closing)
      if (reason !== undefined) this.#onRejection(reason)
    }
    if (response.writableFinished || request.closed) return decide()
    response.once('finish', decide)
    request.once('close', decide)
  }

  #start (): void {
    subscribe('http.server.request.start', this.#onRequest)
    subscribe('net.server.socket', this.#onConnection)
    this.#follow(this.#app.server)
  }

  #follow (server: Server): void {
    this.#servers.push(server)
    server.once('close', () => {
      this.settle()
      this.#servers.splice(this.#servers.indexOf(server), 1)
      if (this.#servers.length > 0) return
      unsubscribe('http.server.request.start', this.#onRequest)
      unsubscribe('net.server.socket', this.#onConnection)
    })
    if (this.#app.initialConfig.http2 === true) {
      // No channel tells of these requests. The first listener hears of them before Fastify has answered.
      server.prependListener('request', (request: RawRequest, response: Http2ServerResponse) => {
        if (request.httpVersionMajor === 2) this.#begin({ request, response })
      })
    }
    if (server.listenerCount('clientError') > 0) {
      server.on('clientError', (error, socket) => this.#failed(error, socket))
    } else {
      // Node.js answers if nobody listens. Ask the connection why it closed.
      server.on(server instanceof TlsServer ? 'secureConnection' : 'connection', (socket: Socket) => this.#followConnection(socket))
    }
  }

  #followConnection (socket: Socket): void {
    socket.once('close', () => { if (socket.errored !== null) this.#failed(socket.errored, socket) })
  }

  /** Servers that the application does not show are known by their address. */
  readonly #onConnection = (message: unknown): void => {
    const { socket } = message as { socket: Socket & { server: Server } }
    const { server } = socket
    if (this.#servers.includes(server) || !this.#app.addresses().some(address => isDeepStrictEqual(address, server.address()))) return
    this.#follow(server)
    if (!(server instanceof TlsServer)) this.#followConnection(socket)
  }

  readonly #onRequest = (message: unknown): void => {
    const exchange = message as Exchange & { server: Server }
    // Nearly always the first: includes() would take as long as all the rest of this.
    if (exchange.server === this.#servers[0] || this.#servers.includes(exchange.server)) this.#begin(exchange)
  }

  #begin (exchange: Exchange): void {
    if (this.#suspect !== undefined) this.settle()
    this.#suspect = exchange
  }

  #failed (error: NodeJS.ErrnoException, socket: Socket): void {
    this.settle()
    const reason = reasonOfError(error, socket)
    if (reason === undefined || this.#isReceiving(socket) || this.#unread.get(socket)?.deref()?.complete === false) return
    this.#onRejection(reason)
  }
}

/** Undefined for a request that a hook would have seen, had its client not gone. */
function reasonOfReply (request: RawRequest, status: number, closing: boolean): RejectionReason | undefined {
  switch (status) {
    case 400: return request.httpVersion === '1.1' && request.headers.host === undefined ? 'missing_host' : 'bad_url'
    case 414: return 'long_parameter'
    case 417: return 'expectation_failed'
    case 500: return 'constraint_failed'
    case 503: return closing ? 'closing' : 'connection_limit'
  }
}

/** Undefined when there was no request: a connection on which nothing was sent times out too, and a client may end it at any point. */
function reasonOfError ({ code }: NodeJS.ErrnoException, socket: Socket): RejectionReason | undefined {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return socket.bytesRead > 0 ? 'header_timeout' : undefined
  if (code === 'HPE_HEADER_OVERFLOW') return 'header_too_large'
  if (code === 'HPE_INVALID_METHOD') return 'invalid_method'
  return code?.startsWith('HPE_') === true && code !== clientEnded ? 'malformed' : undefined
}
