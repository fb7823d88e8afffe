import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import type { ServerConfig } from './config'
import {
  describe, FST_LATENCY_ERR_SERVER_CLOSED, FST_LATENCY_ERR_SERVER_LISTEN, report
} from './errors'
import type { ScrapeHandler } from './scrape'

const firstRetryMs = 1000
const longestRetryMs = 10_000

/** How long a scrape that is being answered may hold up `close()`. */
const drainMs = 1000

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

  constructor (config: ServerConfig, scrapes: ScrapeHandler, isReady: () => boolean, log: FastifyBaseLogger) {
    this.#config = config
    this.#scrapes = scrapes
    this.#log = log
    // Prometheus keeps its connection open between scrapes: closing must not wait for it to go.
    this.app = Fastify({ forceCloseConnections: true })
    this.app.route(scrapes.route(config.path))
    // Declared when the server boots: a route that the user has declared takes the place of one of these.
    this.app.register(async app => {
      for (const [url, isFine] of [['/healthz', () => true], ['/readyz', isReady]] as const) {
        if (app.hasRoute({ method: 'GET', url })) continue
        app.get(url, (_request, reply) => {
          const fine = isFine()
          reply.code(fine ? 200 : 503).header('cache-control', 'no-store').type('text/plain; charset=utf-8').send(fine ? 'OK\n' : 'Not ready\n')
        })
      }
    })
    this.app.addHook('onRequest', (_request, reply, done) => {
      this.#replies.add(reply.raw)
      reply.raw.once('close', () => this.#replies.delete(reply.raw))
      done()
    })
    this.app.setNotFoundHandler((request, reply) => {
      reply.type('text/plain; charset=utf-8')
      if (request.url.split('?', 1)[0] !== config.path) return reply.code(404).send(`Not found. The metrics are at ${config.path}\n`)
      return reply.code(405).header('allow', 'GET, HEAD').send('Method not allowed\n')
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
      report(this.#log, error as InstanceType<typeof FST_LATENCY_ERR_SERVER_LISTEN>)
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
    const { port, path } = this.#config
    try {
      // The application keeps the process alive, not its metrics.
      this.app.server.unref()
      // Never shared with the other workers of a `node:cluster`, where each scrape would reach another one.
      await this.app.listen({ host, port, exclusive: true })
    } catch (error) {
      throw new FST_LATENCY_ERR_SERVER_LISTEN(host, port, describe(error), { cause: error })
    }
    this.#url = `http://${urlHost(host)}:${(this.app.server.address() as AddressInfo).port}${path}`
    this.#log.info(`Metrics at ${this.#url}`)
    return this.#url
  }

  async #drain (): Promise<void> {
    const replies = [...this.#replies].map(reply => new Promise(resolve => reply.once('close', resolve)))
    await within(drainMs, Promise.all(replies))
  }
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
