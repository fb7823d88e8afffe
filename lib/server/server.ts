import { createServer, STATUS_CODES, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import Fastify, {
  type FastifyContextConfig, type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest,
  type RouteOptions
} from 'fastify'
import { AuthenticationFailures } from './authentication-failures'
import { Bindings, reasonOf, retryDelayMs } from './bindings'
import type { Certificates } from './certificates'
import { Connections, maxConnections } from './connections'
import {
  createWarnOnce, FST_LATENCY_ERR_CLUSTER_PORT, FST_LATENCY_ERR_CONNECTION_LIMIT,
  FST_LATENCY_ERR_PORT_OF_APPLICATION, FST_LATENCY_ERR_SERVER_CLOSED, FST_LATENCY_ERR_SERVER_LISTEN, warn, type Log
} from '../errors'
import { EndingObserver } from '../http/endings'
import type { Group } from '../group/group'
import type { Facts } from '../pages/facts'
import { isLocalName } from './local-names'
import type { ScrapeHandler } from '../scrape/handler'
import type { Gatherer } from '../snapshot'
import type { TimeSlices } from '../time-slices'
import type { ScrapeMetrics } from '../scrape/scrape-metrics'
import { clearTimeout, setTimeout, type Timer } from '../timers'
import { describeAddress, probePaths, type HttpsConfig, type ServerConfig } from './options'

/** The time for which `close()` waits for answers that are being sent. */
const drainMs = 1000

/**
 * Limits for clients that are slow or send too much. Prometheus sends less than 1 KiB at once, and keeps its connection
 * for the next scrape.
 */
const limits = {
  requestTimeout: 10_000,
  headersTimeout: 10_000,
  connectionsCheckingInterval: 5000,
  keepAliveTimeout: 75_000,
  maxHeaderSize: 8192
}

export interface MetricsServerOptions {
  readonly config: ServerConfig
  readonly scrapes: ScrapeHandler
  /** The group that the server answers for. Undefined: it answers for its own process alone. */
  readonly group: Group | undefined
  /** What the live page reads metrics with. */
  readonly gather: Gatherer
  readonly slices: TimeSlices
  /** The metrics about scrapes. */
  readonly metrics: Pick<ScrapeMetrics, 'unauthorized'>
  /** Whether the application listens on a port. */
  readonly isPortOfApplication: (port: number) => boolean
  /** Whether the application accepts requests. */
  readonly isReady: () => boolean
  /** The facts that the pages show. */
  readonly facts: () => Facts
  readonly log: Log
}

/** The metrics server: a Fastify instance with a port of its own. */
export class MetricsServer {
  readonly app: FastifyInstance
  readonly #options: MetricsServerOptions
  readonly #bindings: Bindings
  readonly #connections: Connections
  readonly #certificates: Certificates | undefined
  readonly #authenticationFailures: AuthenticationFailures
  readonly #endings = new EndingObserver(() => {})
  /** The paths of the routes that answer GET. */
  readonly #paths = new Set<string>()
  #url: string | null = null
  #starting: Promise<string> | undefined
  #retryTimer: Timer | undefined
  /** The messages of the failures to listen that were warned of since the server last listened. */
  readonly #warned = new Set<string>()
  /** Whether names of hosts have to be local, because web pages could reach the server by another name. */
  #isForLocalNames = false
  #isClosed = false
  /** Rejects when the server closes. */
  readonly #closing: Promise<never>
  #rejectClosing!: (error: Error) => void

  constructor (options: MetricsServerOptions) {
    const { config, log } = options
    const warnOnce = createWarnOnce(log)
    this.#options = options
    this.#authenticationFailures = new AuthenticationFailures(error => warn(log, error))
    this.#connections = new Connections(() =>
      warnOnce('connections', () => new FST_LATENCY_ERR_CONNECTION_LIMIT(maxConnections)))
    this.#certificates = config.https && this.#createCertificates(config.https)
    this.#bindings = new Bindings({
      create: handler => this.#createServer(handler),
      failed: (error, port) => this.#warnOf(this.#listenError('localhost', error, port)),
      recovered: address => log.info(`The metrics server now listens on ${address} too`)
    })
    this.#closing = new Promise((_resolve, reject) => { this.#rejectClosing = reject })
    this.#closing.catch(() => {})
    if (!this.#isOpen()) options.metrics.unauthorized.declare({})
    this.app = this.#createApp()
  }

  get url (): string | null {
    return this.#url
  }

  /** The port on which the server listens. */
  get port (): number | undefined {
    return (this.app.server.address() as AddressInfo | null)?.port
  }

  /**
   * Binds the port, unless that is done or in progress. If no host is configured, the server listens on `defaultHost`.
   */
  async start (defaultHost: string): Promise<string> {
    if (this.#isClosed) throw new FST_LATENCY_ERR_SERVER_CLOSED()
    const listening = async (): Promise<string> => this.#listen(this.#options.config.host ?? defaultHost)
    this.#starting ??= Promise.race([listening(), this.#closing]).catch(error => {
      this.#starting = undefined
      throw error
    })
    return this.#starting
  }

  /**
   * Starts the server. If that fails, tries again until the server has started or is closed, and warns of each reason
   * once. A missing port in a worker of a `node:cluster` and the port of the application itself are not tried again.
   */
  async keepStarting (defaultHost: string, attempt = 0): Promise<void> {
    try {
      await this.start(defaultHost)
    } catch (error) {
      if (this.#isClosed || !this.#warnOf(error as FastifyError)) return
      this.#retryTimer = setTimeout(() => this.keepStarting(defaultHost, attempt + 1), retryDelayMs(attempt)).unref()
    }
  }

  /**
   * Closes the server in any state, and waits for nobody longer than it says. It first waits for a last scrape, as long
   * as `lastScrapeSeconds` says. Then it stops listening, waits for answers that are being sent, and drops every
   * connection.
   */
  async close (): Promise<void> {
    const { config: { lastScrapeSeconds }, group, scrapes } = this.#options
    this.#isClosed = true
    this.#rejectClosing(new FST_LATENCY_ERR_SERVER_CLOSED())
    clearTimeout(this.#retryTimer)
    if (this.#url !== null && lastScrapeSeconds > 0 && await group?.hasOthers() !== true) {
      await within(1000 * lastScrapeSeconds, scrapes.next())
    }
    this.#bindings.close()
    group?.withdraw()
    if (!this.#endings.isIdle) await within(drainMs, this.#endings.idle())
    this.#connections.dropAll()
    await this.app.close()
    if (group !== undefined) await within(drainMs, group.leave())
    this.#url = null
  }

  async #listen (host: string): Promise<string> {
    const { config: { port, socket }, group, log } = this.#options
    const place = socket ?? port
    if (place === undefined) throw new FST_LATENCY_ERR_CLUSTER_PORT()
    const bind = async (): Promise<AddressInfo | string> => socket === undefined
      ? this.#bindings.listen(this.app, host, port!)
      : this.#bindings.listenOnSocket(this.app, socket)
    let bound: AddressInfo | string | undefined
    try {
      await this.app.ready()
      await group?.join()
      bound = group === undefined
        ? await bind()
        : await group.serve(place, bind, () => this.#takeOver(host), this.#unbind)
    } catch (error) {
      throw this.#listenError(host, error as NodeJS.ErrnoException)
    }
    this.#warned.clear()
    this.#url = this.#urlAt(host, bound ?? place)
    log.info(`Metrics at ${this.#url}${bound === undefined ? ', where another process of the group answers' : ''}`)
    // No web page, and no other machine, can reach a Unix socket.
    if (typeof bound === 'object') this.#guard(bound)
    return this.#url
  }

  #urlAt (host: string, place: AddressInfo | string | number): string {
    const { path, https } = this.#options.config
    if (typeof place === 'string') return `http+unix://${encodeURIComponent(place)}${path}`
    const port = typeof place === 'number' ? place : place.port
    return `http${https === undefined ? '' : 's'}://${urlHost(host)}:${port}${path}`
  }

  /** Notes who can reach an address on which the server listens. */
  #guard ({ address }: AddressInfo): void {
    const { config: { https }, log } = this.#options
    this.#isForLocalNames = isLoopback(address) && https === undefined && this.#isOpen()
    if (!isLoopback(address) && this.#isOpen()) {
      log.info(`Everyone who reaches ${address} can read the metrics: ` +
        'neither server.auth nor server.https.clientCaFile is set')
    }
  }

  /** Lets another member of the group have the port, for good. */
  readonly #unbind = (): void => {
    this.#bindings.close()
    this.#connections.dropAll()
  }

  /** Binds the port when the member of the group has gone that had bound it. */
  #takeOver (host: string): void {
    this.#starting = undefined
    this.keepStarting(host)
  }

  #listenError (host: string, error: NodeJS.ErrnoException, port = this.#options.config.port): FastifyError {
    const { config, isPortOfApplication } = this.#options
    if (error.code === 'EADDRINUSE' && port !== undefined && isPortOfApplication(port)) {
      return new FST_LATENCY_ERR_PORT_OF_APPLICATION(port, { cause: error })
    }
    const reason = reasonOf(error, config)
    return new FST_LATENCY_ERR_SERVER_LISTEN(describeAddress({ ...config, port }, host), reason, { cause: error })
  }

  /** Warns of a failure to listen, once until the server listens. Returns whether to try again. */
  #warnOf (error: FastifyError): boolean {
    if (!this.#warned.has(error.message)) warn(this.#options.log, error)
    this.#warned.add(error.message)
    return error instanceof FST_LATENCY_ERR_SERVER_LISTEN
  }

  #isOpen (): boolean {
    return this.#options.config.auth === undefined && this.#options.config.https?.clientCaFile === undefined
  }

  #createCertificates (https: HttpsConfig): Certificates {
    const { Certificates } = require('./certificates') as typeof import('./certificates')
    return new Certificates(https, error => warn(this.#options.log, error))
  }

  #createServer (handler: RequestListener): Server {
    const server = this.#certificates === undefined
      ? createServer(limits, handler)
      : this.#certificates.createServer(limits, handler)
    this.#connections.follow(server)
    server.on('tlsClientError', (error, socket) => this.#countUntrusted(error, socket))
    // The application keeps the process alive; its metrics server does not.
    return server.unref()
  }

  /** Counts a client whose certificate is missing, or is not a valid one of the configured authority. */
  #countUntrusted ({ code }: NodeJS.ErrnoException, { authorizationError }: TLSSocket): void {
    const isMissing = code === 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE'
    // Node.js writes null here until it has looked at the certificate.
    const isWrong = (authorizationError as unknown) !== null
    if (isMissing || isWrong) this.#options.metrics.unauthorized.increment({})
    // The address of the client is not known any more.
    if (isWrong) this.#authenticationFailures.add('a client with a certificate that is not trusted')
  }

  #createApp (): FastifyInstance {
    const { config, scrapes, metrics: { unauthorized }, log } = this.#options
    const app = Fastify({
      // Prometheus keeps its connection open between scrapes. Closing must not wait for Prometheus to close it.
      forceCloseConnections: true,
      serverFactory: this.#bindings.serverFactory,
      frameworkErrors: (error, _request, reply) => answerError(dismiss(reply), error.statusCode)
    })
    app.addHook('onRoute', ({ method, url }) => {
      if ([method].flat().includes('GET')) this.#paths.add(url)
    })
    app.addHook('onRoute', leaveOutOfTraces)
    app.addHook('onRequest', this.#beginRequest)
    app.addHook('onResponse', this.#endRequest)
    app.addHook('onSend', dismissRefused)
    app.addHook('onRequest', this.#refuseForeignName)
    if (config.auth !== undefined) {
      const { authenticate } = require('./authentication') as typeof import('./authentication')
      authenticate(app, config.auth, isProbe, request => {
        unauthorized.increment({})
        if (request.headers.authorization === undefined) return
        // A client of a Unix socket has no address.
        this.#authenticationFailures.add((request.ip as string | undefined) ?? 'the Unix socket')
      })
    }
    app.addHook('onRequest', this.#refuseUnmatched)
    app.setErrorHandler<FastifyError>((error, _request, reply) => {
      const status = error.statusCode ?? 500
      if (status >= 500) log.error({ err: error }, 'The metrics server failed to answer')
      answerError(reply, status)
    })
    app.route(scrapes.route(config.path))
    // These routes are declared when the server boots, so that a route of the user can take the place of any of them.
    app.register(async app => declareOwnRoutes(app, this.#options))
    return app
  }

  readonly #beginRequest = (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
    const end = this.#connections.begin(request.raw.socket)
    this.#endings.begin(request, reply, () => {
      const needsNoCredentials = this.#options.config.auth !== undefined && isProbe(request)
      end(reply.statusCode < 400 && !needsNoCredentials)
    })
    reply.header('x-content-type-options', 'nosniff').header('cache-control', 'no-store')
    done()
  }

  readonly #endRequest = (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
    this.#endings.replied(request, reply)
    done()
  }

  /**
   * Answers a request for a host that is not local. The name of a web page may become that of this machine while a
   * browser shows the page (DNS rebinding), which could then read the metrics.
   */
  readonly #refuseForeignName = (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
    if (this.#isForLocalNames && !this.#isKnownName(request.headers.host ?? '')) {
      answer(reply, 421, 'Names of other hosts are not answered here. Use localhost or an IP address')
    } else {
      done()
    }
  }

  #isKnownName (host: string): boolean {
    return isLocalName(host) || host.replace(/:\d*$/, '') === this.#options.config.host
  }

  /** Answers a request that matches no route, before its body is read. */
  readonly #refuseUnmatched = (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
    if (!request.is404) return done()
    if (this.#paths.has(request.url.split('?', 1)[0]!)) {
      answer(reply.header('allow', 'GET, HEAD'), 405, 'Method not allowed')
    } else {
      answer(reply, 404, `Not found. The metrics are at ${this.#options.config.path}`)
    }
  }
}

/** Whether a request needs no credentials, because probes have none. The answer tells nothing but one word. */
function isProbe ({ routeOptions: { url } }: FastifyRequest): boolean {
  return url !== undefined && probePaths.includes(url)
}

/** Disconnects a client whose request was refused, when it has its answer. */
function dismissRefused (_request: FastifyRequest, reply: FastifyReply, _payload: unknown, done: () => void): void {
  if (reply.statusCode >= 400 && reply.statusCode < 500) dismiss(reply)
  done()
}

function dismiss (reply: FastifyReply): FastifyReply {
  return reply.header('connection', 'close')
}

/** Makes @fastify/otel leave a route of the metrics server out of traces, unless the route itself says otherwise. */
function leaveOutOfTraces (route: RouteOptions): void {
  const untraced: FastifyContextConfig & { otel: boolean } = { otel: false, ...route.config }
  route.config = untraced
}

/** Declares those routes of the metrics server that the user has not declared. */
function declareOwnRoutes (app: FastifyInstance, options: MetricsServerOptions): void {
  const { config, group, isReady, facts } = options
  const hasOwn = (url: string): boolean => app.hasRoute({ method: 'GET', url })
  const pages: Array<[path: string, about: string]> = [
    ['/healthz', 'does the process answer?'], ['/readyz', 'does the application accept requests?']
  ]
  if (!hasOwn('/healthz')) app.get('/healthz', (_request, reply) => { answer(reply, 200, 'OK') })
  if (!hasOwn('/readyz')) {
    app.get('/readyz', async (_request, reply) => {
      if (isReady() || await group?.accepts() === true) answer(reply, 200, 'OK')
      else answer(reply, 503, 'Not ready')
      return reply
    })
  }
  if (config.live !== false) {
    const { declareLivePage } = require('../pages/live') as typeof import('../pages/live')
    if (declareLivePage(app, options)) pages.unshift(['/live', 'the latency as it is now'])
  }
  if (!hasOwn('/')) {
    app.get('/', (_request, reply) => {
      const { contentSecurityPolicy, frontPage } = require('../pages/front') as typeof import('../pages/front')
      reply.header('content-security-policy', contentSecurityPolicy).type('text/html; charset=utf-8')
      reply.send(frontPage(facts(), pages))
    })
  }
}

/** Answers with one line of plain text. */
function answer (reply: FastifyReply, status: number, text: string): void {
  reply.code(status).header('x-content-type-options', 'nosniff').type('text/plain; charset=utf-8').send(`${text}\n`)
}

/** Answers with the name of the status, and with no message, stack or version. */
function answerError (reply: FastifyReply, status = 500): void {
  answer(reply, status, STATUS_CODES[status] ?? 'Error')
}

function isLoopback (address: string): boolean {
  return address.startsWith('127.') || address === '::1' || address.startsWith('::ffff:127.')
}

/** Waits for a promise, but not longer than `ms`. */
async function within (ms: number, promise: Promise<unknown>): Promise<void> {
  let timer
  const bound = new Promise<void>(resolve => { timer = setTimeout(resolve, ms) })
  await Promise.race([promise, bound])
  clearTimeout(timer)
}

/** The host for the URL of the metrics. A server that listens on all addresses is reached at the loopback address. */
function urlHost (host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') ? `[${host}]` : host
}
