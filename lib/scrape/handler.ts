import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { createGzip } from 'node:zlib'
import type { FastifyReply, FastifyRequest, FastifySchema, RouteOptions } from 'fastify'
import { negotiateExposition, negotiateGzip } from '../exposition/formats'
import { disconnect, EndingObserver, type Ending } from '../http/endings'
import type { Gathered, Gatherer } from '../snapshot'
import type { TimeSlices } from '../time-slices'
import type { ScrapeConfig } from './options'
import type { ScrapeMetrics } from './own-metrics'
import { SharedChunks } from './shared-chunks'

const plainText = 'text/plain; charset=utf-8'

/** Of the time that a scraper gives, the share after which it is answered with what there is. */
const shareOfTimeout = 0.9

/** The least that the time a scraper gives is taken for. In less, every metric would fail. */
const shortestTimeoutSeconds = 1

export interface ScrapeHandlerOptions {
  readonly config: ScrapeConfig
  readonly gather: Gatherer
  readonly slices: TimeSlices
  readonly metrics: ScrapeMetrics
}

/** What overlapping scrapes have in common: what was read, and what was written of it, by content type. */
interface SharedGathering extends Gathered {
  readonly written: Map<string, SharedChunks>
}

/** One scrape, from its request until its last byte was sent. */
interface Scrape {
  readonly startMs: number
  /** How long it may take to read metrics. It may take twice that in all. */
  readonly timeoutMs: number
  /** The families that are asked for; empty for all. */
  readonly names: readonly string[]
  body: Readable | undefined
  sentBytes: number
}

/** Answers scrapes, on whichever server. */
export class ScrapeHandler {
  readonly #options: ScrapeHandlerOptions
  /** Gatherings in progress, by what they gather; overlapping scrapes join one. */
  readonly #gatherings = new Map<string, Promise<SharedGathering>>()
  readonly #endings = new EndingObserver(() => {})
  #active = 0
  /** What waits for a scrape to come and be answered. */
  readonly #waiting: Array<() => void> = []

  constructor (options: ScrapeHandlerOptions) {
    this.#options = options
    for (const code of ['200', '500', '503']) options.metrics.scrapes.declare({ code })
  }

  route (path: string): RouteOptions {
    return {
      method: ['GET', 'HEAD'],
      url: path,
      exposeHeadRoute: false,
      logLevel: 'silent',
      config: { latency: false },
      // Keeps the route out of what @fastify/swagger documents.
      schema: { hide: true } as FastifySchema,
      onResponse: (request, reply, done) => {
        this.#endings.replied(request, reply)
        done()
      },
      handler: (request, reply) => this.#answer(request, reply)
    }
  }

  /** Resolves when a scrape that comes after this call has been answered with everything there is. */
  async next (): Promise<void> {
    return new Promise(resolve => { this.#waiting.push(resolve) })
  }

  async #answer (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { concurrency, errorHandling } = this.#options.config
    const scrape = this.#begin(request, reply)
    reply.header('cache-control', 'no-store').type(plainText)
    if (this.#active > concurrency) return reply.code(503).send(`${concurrency} scrapes are being answered already; try again later\n`)

    const gathering = await this.#share(scrape)
    if (gathering.failures.length > 0 && errorHandling === 'fail') {
      return reply.code(500).send(gathering.failures.map(({ name }) => `Metric "${name}" could not be read\n`).join(''))
    }
    return this.#send(scrape, gathering, request, reply)
  }

  /** Counts a scrape as one that is being answered, until it has ended in whichever way. */
  #begin (request: FastifyRequest, reply: FastifyReply): Scrape {
    const timeoutMs = this.#timeoutMs(request)
    const scrape: Scrape = { startMs: performance.now(), timeoutMs, names: wantedNames(request), body: undefined, sentBytes: 0 }
    const timer = setTimeout(() => disconnect(request, reply), 2 * timeoutMs).unref()
    const waiting = scrape.names.length === 0 && request.method === 'GET' ? [...this.#waiting] : []
    this.#active++
    this.#endings.begin(request, reply, (reply, ending) => {
      this.#active--
      clearTimeout(timer)
      this.#count(scrape, reply, ending)
      if (ending === 'replied' && reply.statusCode === 200) for (const resolve of waiting) resolve()
    })
    return scrape
  }

  #count (scrape: Scrape, reply: FastifyReply, ending: Ending): void {
    const { scrapes, duration, size } = this.#options.metrics
    const isWhole = ending === 'replied'
    // Nothing else ends the body if the reply was waiting for those before it on a connection that closes.
    scrape.body?.destroy()
    // The code 499 means what it means in the application's own metrics: the client was gone before it had everything.
    scrapes.increment({ code: isWhole ? String(reply.statusCode) : '499' })
    duration.family.observe(0, (performance.now() - scrape.startMs) / 1000)
    if (isWhole && scrape.sentBytes > 0) size.family.observe(0, scrape.sentBytes)
  }

  /** Sends what was gathered in the format that the client prefers. */
  #send (scrape: Scrape, { families, written }: SharedGathering, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const { contentType, write } = negotiateExposition(request.raw)
    reply.type(contentType).header('vary', 'accept, accept-encoding')
    const compressed = negotiateGzip(request.raw)
    if (compressed) reply.header('content-encoding', 'gzip')
    if (request.method === 'HEAD') return reply.send()

    let shared = written.get(contentType)
    if (shared === undefined) {
      const { config, slices } = this.#options
      shared = new SharedChunks(allocateChunk => write(families, config, allocateChunk), slices)
      written.set(contentType, shared)
    }
    const chunks = counted(shared.read(compressed ? 'borrowed' : 'kept'), length => { scrape.sentBytes += length })
    scrape.body = compressed ? compress(chunks) : Readable.from(chunks, { objectMode: false })
    return reply.send(scrape.body)
  }

  #timeoutMs (request: FastifyRequest): number {
    const given = Number(request.headers['x-prometheus-scrape-timeout-seconds'])
    const seconds = given > 0 ? Math.max(given, shortestTimeoutSeconds) * shareOfTimeout : Infinity
    return 1000 * Math.min(this.#options.config.timeoutSeconds, seconds)
  }

  async #share ({ names, timeoutMs }: Scrape): Promise<SharedGathering> {
    const key = JSON.stringify([timeoutMs, ...names])
    let gathering = this.#gatherings.get(key)
    if (gathering === undefined) {
      gathering = this.#gatherOnce(names, timeoutMs).finally(() => this.#gatherings.delete(key))
      this.#gatherings.set(key, gathering)
    }
    return gathering
  }

  async #gatherOnce (names: readonly string[], timeoutMs: number): Promise<SharedGathering> {
    const { gather, metrics } = this.#options
    const gathered = await gather({ names: names.length === 0 ? undefined : names, timeoutMs })
    for (const { name } of gathered.failures) metrics.metricErrors.increment({ metric: name })
    return { ...gathered, written: new Map() }
  }
}

async function * counted (chunks: AsyncGenerator<Uint8Array>, count: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    count(chunk.length)
    yield chunk
  }
}

/**
 * Asks for the next chunk only when one has been compressed. A pipeline would not do: it passes chunks on before they are compressed, and the
 * memory of a borrowed chunk is written over when the next one is asked for.
 */
function compress (chunks: AsyncGenerator<Uint8Array>): Readable {
  const gzip = createGzip({ level: 1 })
  const write = promisify((chunk: Uint8Array, done: (error?: Error | null) => void) => gzip.write(chunk, done))
  const writeAll = async (): Promise<void> => {
    for await (const chunk of chunks) await write(chunk)
    gzip.end()
  }
  writeAll().catch(error => gzip.destroy(error))
  // A client who has left may leave a chunk half written for good.
  return gzip.once('close', () => chunks.return(undefined))
}

/** Names of the families that a scrape asks for, as `name[]` in its query; empty for all. */
function wantedNames ({ url }: FastifyRequest): string[] {
  const query = url.indexOf('?')
  return query === -1 ? [] : new URLSearchParams(url.slice(query)).getAll('name[]').sort()
}
