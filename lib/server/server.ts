import { createServer, STATUS_CODES, type RequestListener, type Server } from 'node:http'
import { isIPv6, type AddressInfo } from 'node:net'
import Fastify, {
  type FastifyBaseLogger, type FastifyContextConfig, type FastifyError, type FastifyInstance, type FastifyReply,
  type FastifyRequest, type RouteOptions
} from 'fastify'
import { authenticate } from './authentication'
import { Bindings } from './bindings'
import { createHttpsServer } from './certificates'
import {
  createWarnOnce, describe, FST_LATENCY_ERR_CLUSTER_PORT, FST_LATENCY_ERR_CONNECTION_LIMIT,
  FST_LATENCY_ERR_SERVER_CLOSED, FST_LATENCY_ERR_SERVER_LISTEN, warn, type WarnOnce
} from '../errors'
import { EndingObserver } from '../http/endings'
import type { Facts } from '../pages/facts'
import { contentSecurityPolicy, frontPage } from '../pages/front'
import { declareLivePage } from '../pages/live'
import type { ScrapeHandler } from '../scrape/handler'
import type { ServerConfig } from './options'

const firstRetryMs = 1000
const longestRetryMs = 10_000

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

/** The limit of connections at each address. It leaves file descriptors for the application. */
const maxConnections = 256

/** The paths that need no credentials, because probes have none. Their answers tell nothing but one word. */
const healthPaths: ReadonlyArray<string | undefined> = ['/healthz', '/readyz']

/** The delay before binding is tried again. `attempt` counts the failed attempts from 0. */
export function retryDelayMs (attempt: number): number {
  return Math.min(firstRetryMs * 2 ** attempt, longestRetryMs)
}

export interface MetricsServerOptions {
  readonly config: ServerConfig
  readonly scrapes: ScrapeHandler
  /** Whether the application accepts requests. */
  readonly isReady: () => boolean
  /** The facts that the pages show. */
  readonly facts: () => Facts
  readonly log: FastifyBaseLogger
}

/** The metrics server: a Fastify instance with a port of its own. */
export class MetricsServer {
  readonly app: FastifyInstance
  readonly #options: MetricsServerOptions
  readonly #warnOnce: WarnOnce
  readonly #bindings = new Bindings(handler => this.#createServer(handler))
  readonly #endings = new EndingObserver(() => {})
  #url: string | null = null
  #starting: Promise<string> | undefined
  #retryTimer: NodeJS.Timeout | undefined
  #closed = false

  constructor (options: MetricsServerOptions) {
    const { config, scrapes, log } = options
    this.#options = options
    this.#warnOnce = createWarnOnce(log)
    this.app = Fastify({
      // Prometheus keeps its connection open between scrapes. Closing must not wait for Prometheus to close it.
      forceCloseConnections: true,
      serverFactory: this.#bindings.serverFactory,
      frameworkErrors: (error, _request, reply) => answerError(reply, error.statusCode)
    })
    const { app } = this
    const endings = this.#endings
    app.addHook('onRoute', leaveOutOfTraces)
    app.addHook('onRequest', beginRequest)
    app.addHook('onResponse', endRequest)
    if (config.auth !== undefined) authenticate(app, config.auth, isProbe)
    app.addHook('onRequest', refuseUnmatched)
    app.setErrorHandler<FastifyError>(handleError)
    app.route(scrapes.route(config.path))
    // These routes are declared when the server boots, so that a route of the user can take the place of any of them.
    app.register(async app => declareOwnRoutes(app, options))

    /** Makes a route of this server one that @fastify/otel does not trace, unless the route says otherwise itself. */
    function leaveOutOfTraces (route: RouteOptions): void {
      const untraced: FastifyContextConfig & { otel: boolean } = { otel: false, ...route.config }
      route.config = untraced
    }

    function isProbe ({ routeOptions: { url } }: FastifyRequest): boolean {
      return healthPaths.includes(url) && url !== config.path
    }

    function beginRequest (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      endings.begin(request, reply)
      reply.header('x-content-type-options', 'nosniff').header('cache-control', 'no-store')
      done()
    }

    function endRequest (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      endings.replied(request, reply)
      done()
    }

    /** Answers a request that matches no route, before its body is read. */
    function refuseUnmatched (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      if (!request.is404) return done()
      const url = request.url.split('?', 1)[0]!
      if (app.hasRoute({ method: 'GET', url })) answer(reply.header('allow', 'GET, HEAD'), 405, 'Method not allowed')
      else answer(reply, 404, `Not found. The metrics are at ${config.path}`)
    }

    function handleError (error: FastifyError, _request: FastifyRequest, reply: FastifyReply): void {
      const status = error.statusCode ?? 500
      if (status >= 500) log.error({ err: error }, 'The metrics server failed to answer')
      answerError(reply, status)
    }
  }

  get url (): string | null {
    return this.#url
  }

  /**
   * Binds the port, unless that is done or in progress. If no host is configured, the server listens on `defaultHost`.
   */
  async start (defaultHost: string): Promise<string> {
    if (this.#closed) throw new FST_LATENCY_ERR_SERVER_CLOSED()
    this.#starting ??= this.#listen(this.#options.config.host ?? defaultHost).catch(error => {
      this.#starting = undefined
      throw error
    })
    return this.#starting
  }

  /**
   * Starts the server. Warns of each failure, and tries again until the server has started or is closed. A missing port
   * in a worker of a `node:cluster` is not tried again.
   */
  async keepStarting (defaultHost: string, attempt = 0): Promise<void> {
    try {
      await this.start(defaultHost)
    } catch (error) {
      if (this.#closed) return
      warn(this.#options.log, error as FastifyError)
      if (error instanceof FST_LATENCY_ERR_CLUSTER_PORT) return
      this.#retryTimer = setTimeout(() => this.keepStarting(defaultHost, attempt + 1), retryDelayMs(attempt)).unref()
    }
  }

  /**
   * Closes the server in any state. It first waits for a last scrape, as long as `lastScrapeSeconds` says, and for
   * answers that are being sent. Then it stops listening and drops every connection.
   */
  async close (): Promise<void> {
    this.#closed = true
    clearTimeout(this.#retryTimer)
    await this.#starting?.catch(() => {})
    if (this.#url !== null) await within(1000 * this.#options.config.lastScrapeSeconds, this.#options.scrapes.next())
    if (!this.#endings.isIdle) await within(drainMs, this.#endings.idle())
    await this.app.close()
    this.#url = null
  }

  async #listen (host: string): Promise<string> {
    const { port, path, https } = this.#options.config
    if (port === undefined) throw new FST_LATENCY_ERR_CLUSTER_PORT()
    try {
      // The port is not shared with the other workers of a `node:cluster`, where each scrape would reach another
      // worker.
      await this.app.listen({ host, port, exclusive: true })
    } catch (error) {
      throw new FST_LATENCY_ERR_SERVER_LISTEN(host, port, describe(error), { cause: error })
    }
    const { address, port: boundPort } = this.app.server.address() as AddressInfo
    this.#url = `http${https === undefined ? '' : 's'}://${urlHost(host)}:${boundPort}${path}`
    if (host === 'localhost') {
      for (const error of await this.#bindings.listenToRest(host)) {
        warn(this.#options.log, new FST_LATENCY_ERR_SERVER_LISTEN(host, boundPort, error.message, { cause: error }))
      }
    }
    this.#options.log.info(`Metrics at ${this.#url}`)
    if (!isLoopback(address) && this.#isOpen()) {
      this.#options.log.info(`Everyone who reaches ${address} can read the metrics: ` +
        'neither server.auth nor server.https.clientCaFile is set')
    }
    return this.#url
  }

  #isOpen (): boolean {
    return this.#options.config.auth === undefined && this.#options.config.https?.clientCaFile === undefined
  }

  #createServer (handler: RequestListener): Server {
    const { https } = this.#options.config
    const server = https === undefined
      ? createServer(limits, handler)
      : createHttpsServer(https, limits, handler, error => warn(this.#options.log, error))
    server.maxConnections = maxConnections
    server.on('drop', () => this.#warnOnce('connections', new FST_LATENCY_ERR_CONNECTION_LIMIT(maxConnections)))
    // The application keeps the process alive; its metrics server does not.
    return server.unref()
  }
}

/** Declares those routes of the metrics server that the user has not declared. */
function declareOwnRoutes (app: FastifyInstance, { config, isReady, facts }: MetricsServerOptions): void {
  const hasOwn = (url: string): boolean => app.hasRoute({ method: 'GET', url })
  const pages: Array<[path: string, about: string]> = [
    ['/healthz', 'does the process answer?'], ['/readyz', 'does the application accept requests?']
  ]
  if (!hasOwn('/healthz')) app.get('/healthz', (_request, reply) => { answer(reply, 200, 'OK') })
  if (!hasOwn('/readyz')) {
    app.get('/readyz', (_request, reply) => {
      if (isReady()) answer(reply, 200, 'OK')
      else answer(reply, 503, 'Not ready')
    })
  }
  if (config.live && declareLivePage(app, facts)) pages.unshift(['/live', 'the latency as it is now'])
  if (!hasOwn('/')) {
    app.get('/', (_request, reply) => {
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
  return isIPv6(address) ? address === '::1' || address.startsWith('::ffff:127.') : address.startsWith('127.')
}

/** Waits for a promise, but not longer than `ms`. */
async function within (ms: number, promise: Promise<unknown>): Promise<void> {
  let timer
  const bound = new Promise(resolve => { timer = setTimeout(resolve, ms) })
  await Promise.race([promise, bound])
  clearTimeout(timer)
}

/** The host for the URL of the metrics. A server that listens on all addresses is reached at the loopback address. */
function urlHost (host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') ? `[${host}]` : host
}
