import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { Server, Socket } from 'node:net'
import { Server as TlsServer } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance } from 'fastify'
import { clientEnded } from '../http/endings'

/** The reasons for which a request is answered before any hook can run. */
export const rejectionReasons = [
  'bad_url', 'closing', 'connection_limit', 'constraint_failed', 'expectation_failed', 'header_timeout',
  'header_too_large', 'invalid_method', 'long_parameter', 'malformed', 'missing_host'
] as const

export type RejectionReason = typeof rejectionReasons[number]

type RawRequest = IncomingMessage | Http2ServerRequest

interface Exchange {
  readonly request: RawRequest
  readonly response: ServerResponse | Http2ServerResponse
}

/**
 * Notices the requests that Node.js or Fastify's router answers without running a hook, on every server of an
 * application. An application that listens on `localhost` in both address families has two servers, and Fastify does
 * not show the second one.
 *
 * The latest request is the suspect until one of our hooks has seen it, which nearly always happens at once. If another
 * request comes first, the suspect is watched until it ends.
 */
export class RejectionObserver {
  readonly #app: FastifyInstance
  readonly #isReceiving: (socket: Socket) => boolean
  readonly #onRejection: (reason: RejectionReason) => void
  readonly #servers: Server[] = []
  #suspect: Exchange | undefined
  readonly #watched = new Set<RawRequest>()
  /** The latest request of a connection that was answered before the client had sent all of it. */
  readonly #unread = new WeakMap<Socket, WeakRef<RawRequest>>()
  #phase: 'open' | 'closing' = 'open'

  /**
   * `isReceiving` says whether a connection has an open request of which the client has not sent everything yet. An
   * error of such a connection is the end of that request, and no rejection.
   */
  constructor (
    app: FastifyInstance, isReceiving: (socket: Socket) => boolean, onRejection: (reason: RejectionReason) => void
  ) {
    this.#app = app
    this.#isReceiving = isReceiving
    this.#onRejection = onRejection
    if (app.server.listening) this.#start()
    else app.server.once('listening', () => this.#start())
    app.addHook('preClose', done => {
      this.#phase = 'closing'
      done()
    })
  }

  /** To be called by the first hook that sees the request. */
  seen (request: RawRequest): void {
    if (this.#suspect?.request === request) this.#suspect = undefined
    else if (this.#watched.size > 0) this.#watched.delete(request)
  }

  /**
   * To be called by the hook that sees the reply. An earlier hook may have replied before the first hook of ours could
   * see the request.
   */
  answered (request: RawRequest): void {
    this.seen(request)
    if (request.complete === false) this.#unread.set(request.socket, new WeakRef(request))
  }

  /** Brings the counts up to date: the suspect is either counted or watched until it ends. */
  readonly settle = (): void => {
    if (this.#suspect === undefined) return
    const { request, response } = this.#suspect
    this.#suspect = undefined
    // The request may still wait in a hook before ours, or that hook may reply. In both cases a hook of ours sees the
    // request or its reply later, and takes the request out of `#watched`.
    this.#watched.add(request)
    const decide = (): void => {
      if (!this.#watched.delete(request)) return
      this.answered(request)
      const reason = reasonOfReply(request, response.statusCode, this.#phase)
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
      // There is no diagnostics channel for HTTP/2 requests. The first listener is called before Fastify has answered.
      server.prependListener('request', (request: RawRequest, response: Http2ServerResponse) => {
        if (request.httpVersionMajor === 2) this.#begin({ request, response })
      })
    }
    if (server.listenerCount('clientError') > 0) {
      server.on('clientError', (error, socket) => this.#failed(error, socket))
    } else {
      // Without a listener for `clientError`, Node.js answers the client. The closed connection then has the error.
      const event = server instanceof TlsServer ? 'secureConnection' : 'connection'
      server.on(event, (socket: Socket) => this.#followConnection(socket))
    }
  }

  #followConnection (socket: Socket): void {
    socket.once('close', () => { if (socket.errored !== null) this.#failed(socket.errored, socket) })
  }

  /** Finds the servers that Fastify does not show: they listen on an address of the application. */
  readonly #onConnection = (message: unknown): void => {
    const { socket } = message as { socket: Socket & { server: Server } }
    const { server } = socket
    if (this.#servers.includes(server)) return
    if (!this.#app.addresses().some(address => isDeepStrictEqual(address, server.address()))) return
    this.#follow(server)
    if (!(server instanceof TlsServer)) this.#followConnection(socket)
  }

  readonly #onRequest = (message: unknown): void => {
    const exchange = message as Exchange & { server: Server }
    // The server is nearly always the first one. `includes()` would take as long as the rest of this function.
    if (exchange.server === this.#servers[0] || this.#servers.includes(exchange.server)) this.#begin(exchange)
  }

  #begin (exchange: Exchange): void {
    if (this.#suspect !== undefined) this.settle()
    this.#suspect = exchange
  }

  #failed (error: NodeJS.ErrnoException, socket: Socket): void {
    this.settle()
    const reason = reasonOfError(error, socket)
    if (reason === undefined || this.#isReceiving(socket)) return
    if (this.#unread.get(socket)?.deref()?.complete === false) return
    this.#onRejection(reason)
  }
}

/**
 * The reason for which a request without a hook was answered with this status. Undefined for a request whose client
 * left before a hook could run.
 */
function reasonOfReply (request: RawRequest, status: number, phase: 'open' | 'closing'): RejectionReason | undefined {
  switch (status) {
    case 400: return request.httpVersion === '1.1' && request.headers.host === undefined ? 'missing_host' : 'bad_url'
    case 414: return 'long_parameter'
    case 417: return 'expectation_failed'
    case 500: return 'constraint_failed'
    case 503: return phase === 'closing' ? 'closing' : 'connection_limit'
  }
}

/**
 * The reason for which a connection failed. Undefined if there was no request to reject: a connection on which nothing
 * was sent times out too, and a client may close its connection at any point.
 */
function reasonOfError ({ code }: NodeJS.ErrnoException, socket: Socket): RejectionReason | undefined {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return socket.bytesRead > 0 ? 'header_timeout' : undefined
  if (code === 'HPE_HEADER_OVERFLOW') return 'header_too_large'
  if (code === 'HPE_INVALID_METHOD') return 'invalid_method'
  return code?.startsWith('HPE_') === true && code !== clientEnded ? 'malformed' : undefined
}
