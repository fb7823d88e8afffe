import { createServer, STATUS_CODES, type RequestListener, type Server } from 'node:http'
import { isIPv6, type AddressInfo } from 'node:net'
import Fastify, { type FastifyBaseLogger, type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { authenticate } from './authentication'
import { Bindings } from './bindings'
import { createHttpsServer } from './certificates'
import {
  createWarnOnce, describe, FST_LATENCY_ERR_CLUSTER_PORT, FST_LATENCY_ERR_CONNECTION_LIMIT, FST_LATENCY_ERR_SERVER_CLOSED,
  FST_LATENCY_ERR_SERVER_LISTEN, warn, type WarnOnce
} from '../errors'
import { EndingObserver } from '../http/endings'
import type { Facts } from '../pages/facts'
import { contentSecurityPolicy, frontPage } from '../pages/front'
import { declareLivePage } from '../pages/live'
import type { ScrapeHandler } from '../scrape/handler'
import type { ServerConfig } from './options'

const firstRetryMs = 1000
const longestRetryMs = 10_000

/** How long a scrape that is being answered may hold up `close()`. */
const drainMs = 1000

/** Against clients who are slow, or say too much. Prometheus sends less than 1 KiB at once, and keeps its connection for the next scrape. */
const limits = {
  requestTimeout: 10_000, headersTimeout: 10_000, connectionsCheckingInterval: 5000, keepAliveTimeout: 75_000, maxHeaderSize: 8192
}

/** At each address. Leaves file descriptors for the application. */
const maxConnections = 256

/** Open to probes, which have no credentials, and tell no more than a word. */
const healthPaths: ReadonlyArray<string | undefined> = ['/healthz', '/readyz']

/** Delay before binding is tried again for the nth time, from 0. */
export function retryDelayMs (attempt: number): number {
  return Math.min(firstRetryMs * 2 ** attempt, longestRetryMs)
}

export interface MetricsServerOptions {
  readonly config: ServerConfig
  readonly scrapes: ScrapeHandler
  /** Whether the application accepts requests. */
  readonly isReady: () => boolean
  /** What the pages tell. */
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
      // Prometheus keeps its connection open between scrapes: closing must not wait for it to go.
      forceCloseConnections: true,
      serverFactory: this.#bindings.serverFactory,
      frameworkErrors: (error, _request, reply) => answerError(reply, error.statusCode)
    })
    const { app } = this
    const endings = this.#endings
    app.addHook('onRequest', beginRequest)
    app.addHook('onResponse', endRequest)
    if (config.auth !== undefined) authenticate(app, config.auth, ({ routeOptions: { url } }) => healthPaths.includes(url) && url !== config.path)
    app.addHook('onRequest', refuseUnmatched)
    app.setErrorHandler<FastifyError>(handleError)
    app.route(scrapes.route(config.path))
    // Declared when the server boots: a route that the user has declared takes the place of one of these.
    app.register(async app => declareOwnRoutes(app, options))

    function beginRequest (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      endings.begin(request, reply)
      reply.header('x-content-type-options', 'nosniff').header('cache-control', 'no-store')
      done()
    }

    function endRequest (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      endings.replied(request, reply)
      done()
    }

    /** Answers before a body is read. */
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

  /** Binds the port, unless that is done or being tried. `defaultHost` stands in for a host that is not configured. */
  async start (defaultHost: string): Promise<string> {
    if (this.#closed) throw new FST_LATENCY_ERR_SERVER_CLOSED()
    this.#starting ??= this.#listen(this.#options.config.host ?? defaultHost).catch(error => {
      this.#starting = undefined
      throw error
    })
    return this.#starting
  }

  /** Starts, reports a failure, and tries again until it succeeds or the server closes. */
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
   * Waits for a last scrape, if it is to, lets the replies being sent finish, for a moment, then stops listening and drops every connection.
   * Harmless in any state.
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
      // Never shared with the other workers of a `node:cluster`, where each scrape would reach another one.
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
      this.#options.log.info(`Whoever reaches ${address} can read the metrics: neither server.auth nor server.https.clientCaFile is set`)
    }
    return this.#url
  }

  #isOpen (): boolean {
    return this.#options.config.auth === undefined && this.#options.config.https?.clientCaFile === undefined
  }

  #createServer (handler: RequestListener): Server {
    const { https } = this.#options.config
    const server = https === undefined ? createServer(limits, handler) : createHttpsServer(https, limits, handler, error => warn(this.#options.log, error))
    server.maxConnections = maxConnections
    server.on('drop', () => this.#warnOnce('connections', new FST_LATENCY_ERR_CONNECTION_LIMIT(maxConnections)))
    // The application keeps the process alive, not its metrics.
    return server.unref()
  }
}

/** Declares the routes of the server that a user has not declared. */
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
      reply.header('content-security-policy', contentSecurityPolicy).type('text/html; charset=utf-8').send(frontPage(facts(), pages))
    })
  }
}

/** Answers with a line of plain text. */
function answer (reply: FastifyReply, status: number, text: string): void {
  reply.code(status).header('x-content-type-options', 'nosniff').type('text/plain; charset=utf-8').send(`${text}\n`)
}

/** Says nothing of an error but its status: no message, stack or version. */
function answerError (reply: FastifyReply, status = 500): void {
  answer(reply, status, STATUS_CODES[status] ?? 'Error')
}

function isLoopback (address: string): boolean {
  return isIPv6(address) ? address === '::1' || address.startsWith('::ffff:127.') : address.startsWith('127.')
}

/** Waits for a promise, but no longer than this. */
async function within (ms: number, promise: Promise<unknown>): Promise<void> {
  let timer
  const bound = new Promise(resolve => { timer = setTimeout(resolve, ms) })
  await Promise.race([promise, bound])
  clearTimeout(timer)
}

/** The host of an address that can be scraped: a server that listens on all addresses is reached at the loopback one. */
function urlHost (host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') ? `[${host}]` : host
}
