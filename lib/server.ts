import { STATUS_CODES, type ServerResponse } from 'node:http'
import { isIPv6, type AddressInfo } from 'node:net'
import Fastify, { type FastifyBaseLogger, type FastifyError, type FastifyInstance, type FastifyReply, type FastifyServerFactory } from 'fastify'
import { authenticate } from './authentication'
import { createHttpsServer } from './certificates'
import type { ServerConfig } from './config'
import { describe, FST_LATENCY_ERR_CLUSTER_PORT, FST_LATENCY_ERR_SERVER_CLOSED, FST_LATENCY_ERR_SERVER_LISTEN, report } from './errors'
import { contentSecurityPolicy, frontPage, type Facts } from './front-page'
import type { ScrapeHandler } from './scrape'

const firstRetryMs = 1000
const longestRetryMs = 10_000

/** How long a scrape that is being answered may hold up `close()`. */
const drainMs = 1000

/** Against clients who are slow, or say too much. Prometheus sends less than 1 KiB at once, and keeps its connection for the next scrape. */
const limits = { requestTimeout: 10_000, keepAliveTimeout: 75_000 }
const httpLimits = { ...limits, headersTimeout: 10_000, connectionsCheckingInterval: 5000, maxHeaderSize: 8192 }

/** Leaves file descriptors for the application. */
const maxConnections = 256

/** Open to probes, which have no credentials, and tell no more than a word. */
const healthPaths: ReadonlyArray<string | undefined> = ['/healthz', '/readyz']

/** Delay before binding is tried again for the nth time, from 0. */
export function retryDelayMs (attempt: number): number {
  return Math.min(firstRetryMs * 2 ** attempt, longestRetryMs)
}

/** The metrics server: a Fastify instance with a port of its own. */
export class MetricsServer {
  readonly app: FastifyInstance
  readonly #config: ServerConfig
  readonly #scrapes: ScrapeHandler
  readonly #log: FastifyBaseLogger
  /** Replies that are being sent. */
  readonly #replies = new Set<ServerResponse>()
  #url: string | null = null
  #starting: Promise<string> | undefined
  #retryTimer: NodeJS.Timeout | undefined
  #closed = false

  constructor (config: ServerConfig, scrapes: ScrapeHandler, isReady: () => boolean, facts: () => Facts, log: FastifyBaseLogger) {
    this.#config = config
    this.#scrapes = scrapes
    this.#log = log
    this.app = Fastify({
      // Prometheus keeps its connection open between scrapes: closing must not wait for it to go.
      forceCloseConnections: true,
      ...limits,
      http: httpLimits,
      frameworkErrors: (error, _request, reply) => answerError(reply, error.statusCode),
      ...this.#https()
    })
    this.app.server.maxConnections = maxConnections
    if (config.auth !== undefined) {
      authenticate(this.app, config.auth, ({ routeOptions: { url } }) => healthPaths.includes(url) && url !== config.path)
    }
    this.app.addHook('onRequest', (request, reply, done) => {
      this.#replies.add(reply.raw)
      reply.raw.once('close', () => this.#replies.delete(reply.raw))
      reply.header('x-content-type-options', 'nosniff')
      if (!request.is404) return done()
      // Answered here, before a body is read.
      if (request.url.split('?', 1)[0] !== config.path) answer(reply, 404, `Not found. The metrics are at ${config.path}`)
      else answer(reply.header('allow', 'GET, HEAD'), 405, 'Method not allowed')
    })
    this.app.setErrorHandler<FastifyError>((error, _request, reply) => {
      const status = error.statusCode ?? 500
      if (status >= 500) log.error({ err: error }, 'The metrics server failed to answer')
      answerError(reply, status)
    })
    this.app.route(scrapes.route(config.path))
    // Declared when the server boots: a route that the user has declared takes the place of one of these.
    this.app.register(async app => {
      for (const [url, isFine] of [['/healthz', () => true], ['/readyz', isReady]] as const) {
        if (app.hasRoute({ method: 'GET', url })) continue
        app.get(url, (_request, reply) => {
          reply.header('cache-control', 'no-store')
          if (isFine()) answer(reply, 200, 'OK')
          else answer(reply, 503, 'Not ready')
        })
      }
      if (!app.hasRoute({ method: 'GET', url: '/' })) {
        app.get('/', (_request, reply) => {
          reply.header('content-security-policy', contentSecurityPolicy).header('cache-control', 'no-store')
            .type('text/html; charset=utf-8').send(frontPage(facts()))
        })
      }
    })
  }

  get url (): string | null {
    return this.#url
  }

  /** Binds the port, unless that is done or being tried. `defaultHost` stands in for a host that is not configured. */
  async start (defaultHost: string): Promise<string> {
    if (this.#closed) throw new FST_LATENCY_ERR_SERVER_CLOSED()
    this.#starting ??= this.#listen(this.#config.host ?? defaultHost).catch(error => {
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
      report(this.#log, error as FastifyError)
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
    if (this.#url !== null) await within(1000 * this.#config.lastScrapeSeconds, this.#scrapes.next())
    await this.#drain()
    await this.app.close()
    this.#url = null
  }

  async #listen (host: string): Promise<string> {
    const { port, path, https } = this.#config
    if (port === undefined) throw new FST_LATENCY_ERR_CLUSTER_PORT()
    try {
      // The application keeps the process alive, not its metrics.
      this.app.server.unref()
      // Never shared with the other workers of a `node:cluster`, where each scrape would reach another one.
      await this.app.listen({ host, port, exclusive: true })
    } catch (error) {
      throw new FST_LATENCY_ERR_SERVER_LISTEN(host, port, describe(error), { cause: error })
    }
    const { address, port: boundPort } = this.app.server.address() as AddressInfo
    this.#url = `http${https === undefined ? '' : 's'}://${urlHost(host)}:${boundPort}${path}`
    this.#log.info(`Metrics at ${this.#url}`)
    if (!isLoopback(address) && this.#isOpen()) {
      this.#log.info(`Whoever reaches ${address} can read the metrics: neither server.auth nor server.https.clientCaFile is set`)
    }
    return this.#url
  }

  #isOpen (): boolean {
    return this.#config.auth === undefined && this.#config.https?.clientCaFile === undefined
  }

  /** Not the option `https` of Fastify, whose server for the second address of `localhost` could not be given new certificates. */
  #https (): { serverFactory?: FastifyServerFactory } {
    const { https } = this.#config
    if (https === undefined) return {}
    return { serverFactory: handler => createHttpsServer(https, httpLimits, handler, error => report(this.#log, error)) }
  }

  async #drain (): Promise<void> {
    const replies = [...this.#replies].map(reply => new Promise(resolve => reply.once('close', resolve)))
    await within(drainMs, Promise.all(replies))
  }
}

/** Answers with a line of plain text. */
function answer (reply: FastifyReply, status: number, text: string): void {
  reply.code(status).type('text/plain; charset=utf-8').send(`${text}\n`)
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
