import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { METHODS, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse, IncomingHttpHeaders } from 'node:http2'
import { Socket, type Server } from 'node:net'
import { Server as TlsServer } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { clientEnded } from '../http/endings'
import { sentHead, statusIn, type SentHead } from '../http/sent-head'

/** The reasons for which a request is answered before any hook can run. */
export const rejectionReasons = [
  'bad_url', 'closing', 'connect', 'connection_limit', 'constraint_failed', 'expectation_failed', 'header_timeout',
  'header_too_large', 'invalid_method', 'long_parameter', 'malformed', 'missing_host'
] as const

export type RejectionReason = typeof rejectionReasons[number]

type RawRequest = IncomingMessage | Http2ServerRequest

interface Exchange {
  readonly server: Server
  readonly request: RawRequest
  readonly response: ServerResponse | Http2ServerResponse
}

/** Marks our listeners for `request`, which answer nothing. */
const kObserves = Symbol.for('fastify-latency.observes')

/** Marks our listeners for `connect`. Several applications may share a server, and each has one. */
const kRefusesConnect = Symbol.for('fastify-latency.refuses-connect')

/** Marks a request, a stream or a connection whose rejection has been counted by one of these applications. */
const kCounted = Symbol.for('fastify-latency.rejected')

export interface RejectionObserverOptions {
  /**
   * Whether a connection has an open request of which the client has not sent everything yet. An error of such a
   * connection is the end of that request, and no rejection.
   */
  readonly isReceiving: (socket: Socket) => boolean
  /** Called when a connection fails, before the listeners of others. */
  readonly onConnectionFailure: (socket: Socket) => void
  readonly onRejection: (reason: RejectionReason) => void
}

/**
 * Notices the requests that Node.js or Fastify's router answers without running a hook, on every server of an
 * application. An application that listens on `localhost` in both address families has two servers, and Fastify does
 * not show the second one. Others may answer requests on these servers too, and hooks of ours may see a request late.
 * Only what can be told to be an answer of Node.js or of the router is counted.
 *
 * The latest request is the suspect until one of our hooks has seen it, which nearly always happens at once. If another
 * request comes first, the suspect is watched until it ends.
 */
export class RejectionObserver {
  readonly #app: FastifyInstance
  readonly #options: RejectionObserverOptions
  readonly #servers: Server[] = []
  #suspect: Exchange | undefined
  readonly #watched = new Set<RawRequest>()
  /**
   * The latest request of a connection that was answered, or that an earlier hook still held up, before the client had
   * sent all of it. An error of the connection then belongs to that request.
   */
  readonly #unread = new WeakMap<Socket, WeakRef<RawRequest>>()
  readonly #router: RouterConfig
  /** Functions that take our listeners away. A server may outlive the application. */
  readonly #releases: Array<() => void> = []

  constructor (app: FastifyInstance, options: RejectionObserverOptions) {
    this.#app = app
    this.#options = options
    const config: RouterConfig = app.initialConfig
    this.#router = { ...config, ...config.routerOptions }
    if (app.server.listening) this.#start()
    else app.server.once('listening', () => this.#start())
    app.addHook('onClose', async () => this.#stop())
  }

  /** To be called by the first hook that sees the request. */
  seen (request: RawRequest): void {
    if (this.#suspect?.request === request) this.#suspect = undefined
    else if (this.#watched.size > 0) this.#watched.delete(request)
  }

  /**
   * To be called by the hook that sees the reply. An earlier hook may have replied before the first hook of ours could
   * see the request. There is nearly always nothing to do, which is found out first.
   */
  answered (request: RawRequest): void {
    if (request.complete && this.#suspect === undefined && this.#watched.size === 0) return
    this.seen(request)
    this.#noteUnread(request)
  }

  #noteUnread (request: RawRequest): void {
    // Where requests are imitated there may be no socket.
    if (request.complete === false && request.socket instanceof Socket) {
      this.#unread.set(request.socket, new WeakRef(request))
    }
  }

  /** Brings the counts up to date: the suspect is either counted or watched until it ends. */
  readonly settle = (): void => {
    if (this.#suspect === undefined) return
    const exchange = this.#suspect
    const { request, response } = exchange
    this.#suspect = undefined
    // The request may still wait in a hook before ours, or that hook may reply. In both cases a hook of ours sees the
    // request or its reply later, and takes the request out of `#watched`.
    this.#watched.add(request)
    this.#noteUnread(request)
    const decide = (): void => {
      if (!this.#watched.delete(request)) return
      this.answered(request)
      const reason = this.#reasonOfAnswer(exchange)
      if (reason !== undefined) this.#reject(request, reason)
    }
    if (response.writableFinished || request.closed) return decide()
    response.once('finish', decide)
    request.once('close', decide)
  }

  /** The reason for which a request was answered without a hook. Undefined if somebody else answered it, or nobody. */
  #reasonOfAnswer ({ request, response, server }: Exchange): RejectionReason | undefined {
    const head = sentHead({ raw: response } as FastifyReply)
    if (head === undefined) return undefined
    const status = statusIn(head)
    if (isOfNode(head)) {
      if (status === 417 && isRefusedExpectation(request) && server.listenerCount('checkExpectation') === 0) {
        return 'expectation_failed'
      }
      if (status === 400 && isRefusedWithoutHost(request, server)) return 'missing_host'
    }
    const length = lengthFromRouter(head)
    if (length !== undefined) return this.#reasonOfRouter(request, status, length)
    // Here the application answers in place of the router, as with `frameworkErrors`, or somebody else does.
    if (!this.#isAlone(server)) return undefined
    if (!isDecodable(this.#pathOf(request))) return 'bad_url'
    return status === 404 && !METHODS.includes(request.method!) ? 'invalid_method' : undefined
  }

  #reasonOfRouter (request: RawRequest, status: number, length: number): RejectionReason | undefined {
    switch (status) {
      case 400: return lengthsOfPath(request).includes(length - badUrlLength) ? 'bad_url' : undefined
      // The router names a path that it has decoded.
      case 414: return length > longParameterLength + this.#router.maxParamLength! ? 'long_parameter' : undefined
      case 500: return length === constraintFailedLength ? 'constraint_failed' : undefined
      case 503: return length === closingLength ? 'closing' : undefined
      default: return undefined
    }
  }

  /** Whether nobody but the router of the application answers the requests of a server. */
  #isAlone (server: Server): boolean {
    return server.listeners('request').every(listener => listener === this.#app.routing || kObserves in listener)
  }

  /** The part of a URL that the router decodes. */
  #pathOf (request: RawRequest): string {
    return request.url!.split(this.#router.useSemicolonDelimiter === true ? /[?#;]/ : /[?#]/, 1)[0]!
  }

  /** Counts a rejection, unless another application on the same server has counted it. */
  #reject (rejected: object & { readonly stream?: object }, reason: RejectionReason): void {
    const { stream = rejected } = rejected
    if (kCounted in stream) return
    Object.assign(stream, { [kCounted]: true })
    this.#options.onRejection(reason)
  }

  #start (): void {
    subscribe('http.server.request.start', this.#onRequest)
    subscribe('net.server.socket', this.#onConnection)
    this.#releases.push(() => {
      unsubscribe('http.server.request.start', this.#onRequest)
      unsubscribe('net.server.socket', this.#onConnection)
    })
    this.#follow(this.#app.server)
  }

  #stop (): void {
    this.settle()
    for (const release of this.#releases.splice(0)) release()
  }

  #listen (server: Server, event: string, listener: (...parameters: any[]) => void): void {
    // In front of the listeners of others: they may have answered a request when they return.
    server.prependListener(event, listener)
    this.#releases.push(() => server.removeListener(event, listener))
  }

  #follow (server: Server): void {
    this.#servers.push(server)
    if (this.#app.initialConfig.http2 === true) this.#followHttp2(server)
    this.#listen(server, 'dropRequest', (request: IncomingMessage) => {
      this.answered(request)
      this.#reject(request, 'connection_limit')
    })
    const refuseConnect = (request: RawRequest, response: Socket | Http2ServerResponse): void => {
      if (!server.listeners('connect').every(listener => kRefusesConnect in listener)) return
      // Node.js does the same if nobody listens.
      if (response instanceof Socket) response.destroy()
      else if (response.headersSent) return
      else response.writeHead(405).end()
      this.#reject(request, 'connect')
    }
    this.#listen(server, 'connect', Object.assign(refuseConnect, { [kRefusesConnect]: true }))
    if (server.listenerCount('clientError') > 0) {
      this.#listen(server, 'clientError', (error, socket) => {
        this.#options.onConnectionFailure(socket)
        this.#failed(error, socket)
      })
    } else {
      // Without a listener for `clientError`, Node.js answers the client. The closed connection then has the error.
      const event = server instanceof TlsServer ? 'secureConnection' : 'connection'
      this.#listen(server, event, (socket: Socket) => this.#followConnection(socket))
    }
  }

  /** There is no diagnostics channel for HTTP/2 requests. */
  #followHttp2 (server: Server): void {
    const begin = (request: RawRequest, response: Http2ServerResponse): void => {
      if (request.httpVersionMajor === 2) this.#begin({ server, request, response })
    }
    this.#listen(server, 'request', Object.assign(begin, { [kObserves]: true }))
    this.#listen(server, 'stream', (stream: object, { expect }: IncomingHttpHeaders) => {
      if (expect === undefined || expect === '100-continue' || server.listenerCount('checkExpectation') > 0) return
      this.#reject(stream, 'expectation_failed')
    })
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
    const exchange = message as Exchange
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
    if (reason === undefined || this.#options.isReceiving(socket)) return
    if (this.#unread.get(socket)?.deref()?.complete === false) return
    this.#reject(socket, reason)
  }
}

interface RouterConfig {
  readonly maxParamLength?: number
  readonly useSemicolonDelimiter?: boolean
  /** Older versions of Fastify have no such object. */
  readonly routerOptions?: { readonly maxParamLength?: number }
}

/** Whether a head is that of an answer of Node.js itself, which names no type. */
function isOfNode (head: SentHead): boolean {
  return typeof head === 'string' && !/^content-type:/im.test(head)
}

/**
 * The length that the head of an answer of Fastify's router tells, or undefined for the head of another answer. The
 * router writes these two headers, in this way and one after the other. The answers of hooks and handlers name a
 * character set, and those of others differ too.
 */
function lengthFromRouter (head: SentHead): number | undefined {
  if (typeof head !== 'string') {
    return head['content-type'] === 'application/json' ? Number(head['content-length']) : undefined
  }
  const length = /^Content-Type: application\/json\r\nContent-Length: (\d+)\r$/m.exec(head)?.[1]
  return length === undefined ? undefined : Number(length)
}

/** The lengths of those answers of the router that are always the same. */
const constraintFailedLength = 101
const closingLength = 80

/** The lengths of those answers of the router that name the path, without the path. */
const badUrlLength = 109
const longParameterLength = 123

/**
 * How long the path of a URL may be in an answer. The router takes it out of a URL that begins with a scheme and a
 * host, if these are right. Older versions of Fastify escape nothing in it.
 */
function lengthsOfPath (request: RawRequest): number[] {
  const { url = '' } = request
  return [url, url.replace(/^https?:\/\/[^/]+(?=\/)/i, '')]
    .flatMap(path => [Buffer.byteLength(JSON.stringify(path)) - '""'.length, path.length])
}

function isDecodable (path: string): boolean {
  try {
    decodeURIComponent(path)
    return true
  } catch {
    return false
  }
}

/** Whether Node.js answers a request by itself because of what it expects, if nobody listens for `checkExpectation`. */
function isRefusedExpectation ({ headers: { expect }, httpVersion }: RawRequest): boolean {
  return httpVersion === '1.1' && expect !== undefined && !/(?:^|\W)100-continue(?:$|\W)/i.test(expect)
}

/** Whether Node.js answers a request by itself because its host is missing. */
function isRefusedWithoutHost ({ headers, httpVersion }: RawRequest, server: Server): boolean {
  const { requireHostHeader } = server as { requireHostHeader?: boolean }
  return requireHostHeader !== false && httpVersion === '1.1' && headers.host === undefined
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
