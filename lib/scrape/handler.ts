import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { createGzip } from 'node:zlib'
import type { FastifyReply, FastifyRequest, FastifySchema, RouteOptions } from 'fastify'
import type { RegistryLike } from '../../index'
import type { ScrapeConfig } from '../config'
import { disconnect, EndingObserver, type Ending } from '../http/endings'
import type { ReportOnce } from '../errors'
import { negotiateExposition, negotiateGzip } from '../exposition/formats'
import { defaultUpperBounds } from '../histogram/bounds'
import { HistogramFamily } from '../histogram/family'
import { type OwnMetric, RegisteredCounter, RegisteredHistogram } from '../gather/registered-metrics'
import { SharedPages } from './shared-chunks'
import type { Gathered, Gatherer } from '../snapshot'
import type { TimeSlices } from '../time-slices'

const plainText = 'text/plain; charset=utf-8'

/** Of the time that a scraper gives, the part after which it is answered with what there is. */
const shareOfTimeout = 0.9

/** What a scraper gives at least: a time too short for anything would have every metric fail. */
const shortestTimeoutSeconds = 1

/** What is counted of scrapes. */
export interface ScrapeMetrics {
  readonly scrapes: RegisteredCounter
  readonly duration: RegisteredHistogram
  readonly size: RegisteredHistogram
  readonly metricErrors: RegisteredCounter
}

/** Makes these metrics, in a registry that has none of their names. */
export function createScrapeMetrics (registry: RegistryLike): ScrapeMetrics {
  const register = <M extends OwnMetric>(metric: M): M => {
    registry.registerMetric(metric)
    return metric
  }
  const counter = (name: string, help: string): RegisteredCounter => register(new RegisteredCounter(name, help))
  const histogram = (name: string, help: string, upperBounds: readonly number[]): RegisteredHistogram =>
    register(new RegisteredHistogram(new HistogramFamily({ name, help, labelNames: [], upperBounds })))
  return {
    scrapes: counter('fastify_latency_scrapes_total', 'Scrapes by the status code of their answer; 499 where the scraper left before its end.'),
    duration: histogram('fastify_latency_scrape_duration_seconds', 'Time to answer a scrape, until its last byte was sent, in seconds.',
      defaultUpperBounds),
    size: histogram('fastify_latency_scrape_size_bytes', 'Size of the answer to a scrape before compression, in bytes.',
      [1e3, 1e4, 1e5, 1e6, 1e7, 1e8]),
    metricErrors: counter('fastify_latency_metric_errors_total', 'Times that a metric could not be read for a scrape.')
  }
}

/** What overlapping scrapes have in common: what was read, and its pages by content type. */
interface SharedGathering extends Gathered {
  readonly pages: Map<string, SharedPages>
}

/** Answers scrapes, on whichever server. */
export class ScrapeHandler {
  readonly #config: ScrapeConfig
  readonly #gather: Gatherer
  readonly #slices: TimeSlices
  readonly #metrics: ScrapeMetrics
  readonly #report: ReportOnce
  /** What is being gathered, which scrapes that ask for the same share. */
  readonly #gatherings = new Map<string, Promise<SharedGathering>>()
  readonly #endings = new EndingObserver((reply, ending) => this.#onEnding.get(reply)?.(ending))
  readonly #onEnding = new WeakMap<FastifyReply, (ending: Ending) => void>()
  #active = 0
  /** What waits for a scrape to come and be answered. */
  readonly #waiting: Array<() => void> = []

  constructor (config: ScrapeConfig, gather: Gatherer, slices: TimeSlices, metrics: ScrapeMetrics, report: ReportOnce) {
    this.#config = config
    this.#gather = gather
    this.#slices = slices
    this.#metrics = metrics
    this.#report = report
    for (const code of ['200', '500', '503']) metrics.scrapes.declare({ code })
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
      onRequest: (request, reply, done) => {
        this.#endings.begin(request, reply)
        done()
      },
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
    const { concurrency, errorHandling, created } = this.#config
    const start = performance.now()
    const timeoutMs = this.#timeoutMs(request)
    const timer = setTimeout(() => disconnect(request, reply), 2 * timeoutMs).unref()
    const names = wantedNames(request)
    const waiting = names.length === 0 && request.method === 'GET' ? [...this.#waiting] : []
    const sent: { body?: Readable, bytes: number } = { bytes: 0 }
    this.#active++
    this.#onEnding.set(reply, ending => {
      const isWhole = ending === 'replied'
      this.#active--
      clearTimeout(timer)
      // Nothing else ends it if the reply was waiting for those before it on a connection that closes.
      sent.body?.destroy()
      // 499 as in the application's own metrics: the client was gone before it had everything.
      this.#metrics.scrapes.increment({ code: isWhole ? String(reply.statusCode) : '499' })
      this.#metrics.duration.family.observe(0, (performance.now() - start) / 1000)
      if (isWhole && sent.bytes > 0) this.#metrics.size.family.observe(0, sent.bytes)
      if (isWhole && reply.statusCode === 200) for (const resolve of waiting) resolve()
    })

    reply.header('cache-control', 'no-store').type(plainText)
    if (this.#active > concurrency) return reply.code(503).send(`${concurrency} scrapes are being answered already; try again later\n`)

    const { families, failures, pages } = await this.#share(names, timeoutMs)
    if (failures.length > 0 && errorHandling === 'fail') {
      return reply.code(500).send(failures.map(({ name }) => `Metric "${name}" could not be read\n`).join(''))
    }

    const exposition = negotiateExposition(request.raw, created)
    reply.type(exposition.contentType).header('vary', 'accept, accept-encoding')
    const compressed = negotiateGzip(request.raw)
    if (compressed) reply.header('content-encoding', 'gzip')
    if (request.method === 'HEAD') return reply.send()

    let shared = pages.get(exposition.contentType)
    if (shared === undefined) {
      shared = new SharedPages(allocatePage => exposition.write(families, allocatePage), this.#slices)
      pages.set(exposition.contentType, shared)
    }
    const read = counted(shared.read(compressed ? 'borrowed' : 'kept'), length => { sent.bytes += length })
    sent.body = compressed ? compress(read) : Readable.from(read, { objectMode: false })
    return reply.send(sent.body)
  }

  /** How long this scrape may take to read metrics. It may take twice that in all. */
  #timeoutMs (request: FastifyRequest): number {
    const seconds = Number(request.headers['x-prometheus-scrape-timeout-seconds'])
    return 1000 * Math.min(this.#config.timeoutSeconds, seconds > 0 ? Math.max(seconds, shortestTimeoutSeconds) * shareOfTimeout : Infinity)
  }

  async #share (names: readonly string[], timeoutMs: number): Promise<SharedGathering> {
    const key = JSON.stringify([timeoutMs, ...names])
    let gathering = this.#gatherings.get(key)
    if (gathering === undefined) {
      gathering = this.#gatherOnce(names, timeoutMs).finally(() => this.#gatherings.delete(key))
      this.#gatherings.set(key, gathering)
    }
    return gathering
  }

  async #gatherOnce (names: readonly string[], timeoutMs: number): Promise<SharedGathering> {
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error('it was not there in time')), timeoutMs).unref()
    })
    deadline.catch(() => {}) // Nobody may be waiting for it.
    const gathered = await this.#gather({ names: names.length === 0 ? undefined : new Set(names), deadline }).finally(() => clearTimeout(timer))
    for (const { name, error } of gathered.failures) {
      this.#metrics.metricErrors.increment({ metric: name })
      this.#report(`metric ${name}`, error)
    }
    return { ...gathered, pages: new Map() }
  }
}

async function * counted (pages: AsyncGenerator<Uint8Array>, count: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const page of pages) {
    count(page.length)
    yield page
  }
}

/** Asks for the next page when one has been compressed. */
function compress (pages: AsyncGenerator<Uint8Array>): Readable {
  const gzip = createGzip({ level: 1 })
  const write = promisify((page: Uint8Array, done: (error?: Error | null) => void) => gzip.write(page, done))
  const writeAll = async (): Promise<void> => {
    for await (const page of pages) await write(page)
    gzip.end()
  }
  writeAll().catch(error => gzip.destroy(error))
  // A client who has left may leave a page half written for good.
  return gzip.once('close', () => pages.return(undefined))
}

/** Names of the families a scrape asks for, as `name[]` in its query; empty for all. */
function wantedNames ({ url }: FastifyRequest): string[] {
  const query = url.indexOf('?')
  return query === -1 ? [] : new URLSearchParams(url.slice(query)).getAll('name[]').sort()
}
