import { Readable } from 'node:stream'
import type { FastifyContextConfig, FastifyReply, FastifyRequest, FastifySchema, RouteOptions } from 'fastify'
import { negotiateEncoding, negotiateExposition, type Exposition } from '../exposition/formats'
import { disconnect, EndingObserver, type Ending } from '../http/endings'
import type { Gatherer, Points } from '../snapshot'
import type { TimeSlices } from '../time-slices'
import { clearTimeout, setTimeout } from '../timers'
import { compress, encodings } from './compression'
import type { ScrapeConfig } from './options'
import type { ScrapeMetrics } from './scrape-metrics'
import { SharedChunks } from './shared-chunks'

/** Keeps the route out of the latency histogram, and out of the traces of @fastify/otel. */
const unwatched: FastifyContextConfig & { otel: boolean } = { latency: false, otel: false }

const plainText = 'text/plain; charset=utf-8'

/** The share of the scraper's own timeout after which it gets its answer. */
const shareOfTimeout = 0.9

/** The shortest timeout that a scraper can ask for. In less time every metric would fail. */
const shortestTimeoutSeconds = 1

export interface ScrapeHandlerOptions {
  readonly config: ScrapeConfig
  readonly gather: Gatherer
  readonly slices: TimeSlices
  readonly metrics: ScrapeMetrics
}

/** One scrape, from its request until its last byte has been sent. */
interface Scrape {
  readonly startMs: number
  /** The time in which metrics may be read. The whole scrape may take twice as long. */
  readonly timeoutMs: number
  /** The names of the families that the scraper asks for. Undefined stands for all families. */
  readonly names: ReadonlySet<string> | undefined
  body: Readable | undefined
  sentBytes: number
}

/** Answers scrapes, on the metrics server and on routes of the application. */
export class ScrapeHandler {
  readonly #options: ScrapeHandlerOptions
  /** The expositions of families, by content type. Scrapes that were given the same families share them. */
  readonly #written = new WeakMap<readonly Points[], Map<string, SharedChunks>>()
  readonly #endings = new EndingObserver(() => {})
  /** The scrapes that are being answered, without those that were refused. */
  readonly #active = new Set<Scrape>()
  /** Resolvers of the promises that `next()` has returned. */
  readonly #waiting: Array<() => void> = []

  constructor (options: ScrapeHandlerOptions) {
    this.#options = options
    for (const code of ['200', '500', '503']) options.metrics.scrapes.declare({ code })
  }

  route (path: string): RouteOptions {
    const endings = this.#endings
    return {
      method: ['GET', 'HEAD'],
      url: path,
      exposeHeadRoute: false,
      logLevel: 'silent',
      config: unwatched,
      // This option keeps the route out of the documentation that @fastify/swagger makes.
      schema: { hide: true } as FastifySchema,
      onResponse: endScrape,
      handler: (request, reply) => this.#answer(request, reply)
    }

    function endScrape (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      endings.replied(request, reply)
      done()
    }
  }

  /** Resolves when a scrape of all families that began after this call has been answered successfully. */
  async next (): Promise<void> {
    return new Promise(resolve => { this.#waiting.push(resolve) })
  }

  async #answer (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { config: { concurrency, errorHandling }, gather, metrics } = this.#options
    const scrape = this.#begin(request, reply)
    reply.header('cache-control', 'no-store').type(plainText)
    if (!this.#active.has(scrape)) {
      return reply.code(503).send(`${concurrency} scrapes are being answered already; try again later\n`)
    }

    const { families, failures, leftOut } = await gather(scrape)
    const broken = [...failures.map(({ name }) => name), ...leftOut]
    for (const name of broken) metrics.metricErrors.increment({ metric: name })
    if (failures.length > 0 && errorHandling === 'fail') {
      return reply.code(500).send(failures.map(({ name }) => `Metric "${name}" could not be read\n`).join(''))
    }
    return this.#send(scrape, families, request, reply)
  }

  /** Begins a scrape, which is refused if too many are active, and follows it until it has ended in any way. */
  #begin (request: FastifyRequest, reply: FastifyReply): Scrape {
    const timeoutMs = this.#timeoutMs(request)
    const names = wantedNames(request)
    const scrape: Scrape = { startMs: performance.now(), timeoutMs, names, body: undefined, sentBytes: 0 }
    if (this.#active.size < this.#options.config.concurrency) this.#active.add(scrape)
    const timer = setTimeout(() => disconnect(request, reply), 2 * timeoutMs).unref()
    const waiting = names === undefined && request.method === 'GET' ? [...this.#waiting] : []
    this.#endings.begin(request, reply, (reply, ending) => {
      this.#active.delete(scrape)
      clearTimeout(timer)
      this.#count(scrape, reply, ending)
      if (ending === 'replied' && reply.statusCode === 200) for (const resolve of waiting) resolve()
    })
    return scrape
  }

  #count (scrape: Scrape, reply: FastifyReply, ending: Ending): void {
    const { scrapes, duration, size } = this.#options.metrics
    const isWhole = ending === 'replied'
    // The body has to be ended here if the connection closes while the reply waits behind earlier pipelined ones.
    scrape.body?.destroy()
    // The code 499 has the same meaning as in the metrics of the application: the client left before it had received
    // everything.
    scrapes.increment({ code: isWhole ? String(reply.statusCode) : '499' })
    duration.family.observe(0, (performance.now() - scrape.startMs) / 1000)
    if (isWhole && scrape.sentBytes > 0) size.family.observe(0, scrape.sentBytes)
  }

  /** Sends the gathered metrics in the format that the client prefers. */
  #send (scrape: Scrape, families: readonly Points[], request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const { contentType, write } = negotiateExposition(request.raw)
    reply.type(contentType).header('vary', 'accept, accept-encoding')
    const encoding = negotiateEncoding(request.raw, encodings)
    if (encoding !== undefined) reply.header('content-encoding', encoding)
    if (request.method === 'HEAD') return reply.send()

    const shared = this.#write(families, contentType, write)
    const use = encoding === undefined ? 'kept' : 'borrowed'
    const chunks = counted(shared.read(use), length => { scrape.sentBytes += length })
    scrape.body = encoding === undefined
      ? Readable.from(chunks, { objectMode: false })
      : compress(chunks, encoding)
    return reply.send(scrape.body)
  }

  #write (families: readonly Points[], contentType: string, write: Exposition['write']): SharedChunks {
    const { config, slices } = this.#options
    let written = this.#written.get(families)
    if (written === undefined) this.#written.set(families, written = new Map())
    let shared = written.get(contentType)
    if (shared === undefined) {
      shared = new SharedChunks(allocateChunk => write(families, config, allocateChunk), slices)
      written.set(contentType, shared)
    }
    return shared
  }

  #timeoutMs (request: FastifyRequest): number {
    const given = Number(request.headers['x-prometheus-scrape-timeout-seconds'])
    const seconds = given > 0 ? Math.max(given, shortestTimeoutSeconds) * shareOfTimeout : Infinity
    return 1000 * Math.min(this.#options.config.timeoutSeconds, seconds)
  }
}

async function * counted (
  chunks: AsyncGenerator<Uint8Array>, count: (bytes: number) => void
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    count(chunk.length)
    yield chunk
  }
}

/** The names of the families that a scrape asks for with `name[]` in its query. Undefined stands for all families. */
function wantedNames ({ url }: FastifyRequest): ReadonlySet<string> | undefined {
  const query = url.indexOf('?')
  const names = query === -1 ? [] : new URLSearchParams(url.slice(query)).getAll('name[]')
  return names.length === 0 ? undefined : new Set(names)
}
