import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import type { Histogram, Latency, RegistryLike } from '../index'
import { defaultScrape, defaultServer, type Config, type HistogramConfig, type ScrapeConfig, type ServerConfig } from './config'
import {
  createReportOnce, describe, FST_LATENCY_ERR_HISTOGRAM_CONFLICT, FST_LATENCY_ERR_HISTOGRAM_RECORDED, FST_LATENCY_ERR_NAME_TAKEN,
  FST_LATENCY_ERR_OPTION_CONFLICT, FST_LATENCY_ERR_SERVER_OFF, type ReportOnce
} from './errors'
import { HistogramFamily, type HistogramDefinition } from './histogram/family'
import { Instrument, Recorder } from './request/instrument'
import { RegisteredCounter, RegisteredGauge, RegisteredHistogram, type GaugeSource } from './gather/registered-metrics'
import { createGatherer, createRegistry } from './gather/registries'
import { createScrapeMetrics, ScrapeHandler } from './scrape/handler'
import { MetricsServer } from './server/server'
import { TimeSlices } from './time-slices'

/** Requests of one context going into one histogram. */
interface Recording {
  readonly context: FastifyInstance
  readonly config: Config
  readonly histogram: RegisteredHistogram
}

type Metric = RegisteredHistogram | RegisteredCounter | RegisteredGauge

/**
 * What one application has, however often and in whichever of its contexts the plugin is registered: registries, histograms, one metrics
 * server. It is `app.latency`.
 */
export class ApplicationLatency implements Latency {
  readonly registry: Registry
  readonly #app: FastifyInstance
  readonly #ownRegistry: Registry
  readonly #serverConfig: ServerConfig | false
  readonly #processMetrics: boolean
  readonly #report: ReportOnce
  readonly #scrapeConfig: ScrapeConfig
  readonly #server: MetricsServer | null
  readonly #registries = new Set<RegistryLike>()
  readonly #recordings: Recording[] = []
  readonly #instruments = new Map<FastifyInstance, Instrument>()
  /** Instruments whose open requests are in the gauges. */
  readonly #shown = new Set<Instrument>()
  /** What to take back when the application closes. */
  readonly #releases: Array<() => void> = []
  readonly #routes = new Set<string>()
  #scrapes: ScrapeHandler | undefined
  #closing = false

  /** `config` is that of the application's first registration, which decides about everything that there is one of. */
  constructor (app: FastifyInstance, config: Config) {
    this.#app = app
    this.#serverConfig = config.server ?? defaultServer
    this.#processMetrics = config.processMetrics ?? true
    this.#report = createReportOnce(app.log)
    this.#ownRegistry = createRegistry()
    this.registry = config.registry as Registry | undefined ?? this.#ownRegistry
    this.#scrapeConfig = config.scrape ?? defaultScrape
    this.#server = this.#serverConfig === false ? null : this.#createServer(this.#serverConfig)
  }

  get histogram (): Histogram {
    return this.#recordings[0]!.histogram
  }

  get server (): FastifyInstance | null {
    return this.#server?.app ?? null
  }

  get url (): string | null {
    return this.#server?.url ?? null
  }

  async start (): Promise<string> {
    if (this.#server === null) throw new FST_LATENCY_ERR_SERVER_OFF()
    return this.#server.start(listeningHost(this.#app))
  }

  /** Has the metrics server start by itself, when its configuration says so, and close with the application. */
  followLifecycle (): void {
    const policy = this.#serverConfig === false ? 'manual' : this.#serverConfig.start
    if (policy === 'ready') this.#app.addHook('onReady', async () => { await this.start() })
    if (policy === 'listen') this.#app.addHook('onListen', () => this.#server!.keepStarting(listeningHost(this.#app)))
    this.#app.addHook('preClose', done => {
      this.#closing = true
      done()
    })
    this.#app.addHook('onClose', () => this.#close())
  }

  #createServer (server: ServerConfig): MetricsServer {
    return new MetricsServer(server, this.#scrapeHandler(), () => this.#app.server.listening && !this.#closing, () => ({
      server, scrape: this.#scrapeConfig, processMetrics: this.#processMetrics, registrations: this.#recordings.map(({ config }) => config)
    }), this.#app.log)
  }

  /** Records the requests of a context as one registration asks for. Nothing new is recorded when that is already done. */
  record (context: FastifyInstance, config: Config): void {
    this.#checkShared(config)
    const registry = config.registry ?? this.registry
    const histogram = findOrRegisterHistogram(registry, config, config.histogram)
    if (!this.#isRecorded(context, histogram, config)) {
      this.#registries.add(registry)
      this.#recordings.push({ context, config, histogram })
      const instrument = this.#instruments.get(context) ?? this.#instrument(context, registry, config)
      instrument.add(this.#createRecorder(registry, histogram, config))
      if (config.inFlight) this.#showOpen(registry, instrument)
      if (config.timeToFirstByte !== undefined) {
        const head = findOrRegisterHistogram(registry, config, config.timeToFirstByte)
        instrument.addForHead(this.#createRecorder(registry, head, config))
      }
    }
    if (config.route !== undefined && !this.#routes.has(context.prefix + config.route)) {
      this.#routes.add(context.prefix + config.route)
      context.route(this.#scrapeHandler().route(config.route))
    }
  }

  /** Counts the requests of a context, unless an outer context does, and from now on in place of those inside it. */
  #instrument (context: FastifyInstance, registry: RegistryLike, config: Config): Instrument {
    const instrument = new Instrument(context, config, {
      aborted: this.#hold(registry, findOrRegister(registry, RegisteredCounter, 'http_requests_aborted_total',
        'Requests whose connection was gone before all of the reply had been sent.')),
      longLivedEnded: this.#hold(registry, findOrRegister(registry, RegisteredCounter, 'http_long_lived_requests_ended_total',
        'Event streams and upgraded connections that have ended. They are not in the latency histogram.'))
    })
    for (const [other, otherInstrument] of this.#instruments) {
      if (isInside(context, other)) instrument.counts = false
      if (isInside(other, context)) otherInstrument.counts = false
    }
    this.#instruments.set(context, instrument)
    if (isRoot(context)) {
      const rejected = this.#hold(registry, findOrRegister(registry, RegisteredCounter, 'http_requests_rejected_total',
        'Requests that were answered before any hook of the application could run.'))
      const update = instrument.countRejections(context, rejected)
      rejected.updates.add(update)
      this.#releases.push(() => rejected.updates.delete(update))
    }
    return instrument
  }

  /** Shows how many requests an instrument has open, once. */
  #showOpen (registry: RegistryLike, instrument: Instrument): void {
    if (this.#shown.has(instrument)) return
    this.#shown.add(instrument)
    this.#addSource(registry, () => instrument.inFlight(), 'http_requests_in_flight', 'Requests that wait for the rest of their reply.')
    this.#addSource(registry, () => instrument.longLived(), 'http_long_lived_requests', 'Open event streams and upgraded connections.')
  }

  #addSource (registry: RegistryLike, source: GaugeSource, name: string, help: string): void {
    const gauge = this.#hold(registry, findOrRegister(registry, RegisteredGauge, name, help))
    gauge.sources.add(source)
    this.#releases.push(() => gauge.sources.delete(source))
  }

  #createRecorder (registry: RegistryLike, histogram: RegisteredHistogram, config: Config): Recorder {
    const overflowed = this.#hold(registry, findOrRegister(registry, RegisteredCounter, 'fastify_latency_overflowed_total',
      'Observations in a series that stands for all that came after seriesLimit was reached.'))
    return new Recorder(this.#hold(registry, histogram).family, config, this.#report, overflowed)
  }

  /** What answers scrapes, for the metrics server and all routes together. Without any of these there are no metrics about it. */
  #scrapeHandler (): ScrapeHandler {
    this.#scrapes ??= this.#createScrapeHandler()
    return this.#scrapes
  }

  #createScrapeHandler (): ScrapeHandler {
    const slices = new TimeSlices()
    // Not in a registry of the user, whose other endpoints these are not about.
    const registry = createRegistry()
    const gather = createGatherer(this.#registries, registry, this.#processMetrics, this.#report, slices)
    return new ScrapeHandler(this.#scrapeConfig, gather, slices, createScrapeMetrics(registry), this.#report)
  }

  /** Keeps a metric in its registry until this application closes. One that the application made itself can be read even then. */
  #hold<M extends Metric> (registry: RegistryLike, metric: M): M {
    metric.retain()
    this.#releases.push(() => {
      if (metric.release() && registry !== this.#ownRegistry && registry.getSingleMetric(metric.name) === metric) {
        registry.removeSingleMetric(metric.name)
      }
    })
    return metric
  }

  #checkShared (config: Config): void {
    const shared: ReadonlyArray<[option: string, existing: unknown, wanted: unknown]> = [
      ['server', this.#serverConfig, config.server],
      ['scrape', this.#scrapeConfig, config.scrape],
      ['processMetrics', this.#processMetrics, config.processMetrics]
    ]
    for (const [option, existing, wanted] of shared) {
      if (wanted !== undefined && !isDeepStrictEqual(wanted, existing)) {
        throw new FST_LATENCY_ERR_OPTION_CONFLICT(option, describe(existing), describe(wanted))
      }
    }
  }

  /** Whether requests of this context already go into this histogram. A context's hooks also run for the contexts inside it. */
  #isRecorded (context: FastifyInstance, histogram: RegisteredHistogram, config: Config): boolean {
    for (const existing of this.#recordings) {
      if (existing.histogram !== histogram) continue
      const covers = existing.context === context || isInside(context, existing.context)
      if (covers && isDeepStrictEqual(recordingOptions(existing.config), recordingOptions(config))) return true
      if (covers || isInside(existing.context, context)) throw new FST_LATENCY_ERR_HISTOGRAM_RECORDED(histogram.name)
    }
    return false
  }

  async #close (): Promise<void> {
    await this.#server?.close()
    for (const release of this.#releases) release()
  }
}

function findOrRegisterHistogram (registry: RegistryLike, { labels, constLabels }: Config, { name, help, upperBounds }: HistogramConfig): RegisteredHistogram {
  const definition: HistogramDefinition = { name, help, upperBounds, labelNames: [...Object.keys(labels), ...Object.keys(constLabels)] }
  const existing = registry.getSingleMetric(name)
  if (existing === undefined) {
    const histogram = new RegisteredHistogram(new HistogramFamily(definition))
    registry.registerMetric(histogram)
    return histogram
  }
  if (!(existing instanceof RegisteredHistogram)) throw new FST_LATENCY_ERR_NAME_TAKEN(name)
  const parts = [['help', 'help'], ['buckets', 'upperBounds'], ['labels', 'labelNames']] as const
  for (const [part, key] of parts) {
    const [has, wanted] = [existing.family.definition[key], definition[key]]
    if (!isDeepStrictEqual(has, wanted)) throw new FST_LATENCY_ERR_HISTOGRAM_CONFLICT(name, part, describe(has), describe(wanted))
  }
  return existing
}

function findOrRegister<M extends Metric> (registry: RegistryLike, Kind: new (name: string, help: string) => M, name: string, help: string): M {
  const existing = registry.getSingleMetric(name)
  if (existing instanceof Kind) return existing
  if (existing !== undefined) throw new FST_LATENCY_ERR_NAME_TAKEN(name)
  const metric = new Kind(name, help)
  registry.registerMetric(metric)
  return metric
}

function isInside (context: FastifyInstance, outer: FastifyInstance): boolean {
  return Object.prototype.isPrototypeOf.call(outer, context)
}

function isRoot (context: FastifyInstance): boolean {
  return Object.getPrototypeOf(context) === Object.prototype
}

function recordingOptions ({ labels, constLabels, ignore, seriesLimit, abortedStatus, timeToFirstByte }: Config): unknown {
  return { labels, constLabels, ignore, seriesLimit, abortedStatus, timeToFirstByte }
}

/**
 * Where the application listens, as a host to bind: `localhost` when that is loopback in both address families, when it is a Unix socket, and
 * before the application listens.
 */
function listeningHost (app: FastifyInstance): string {
  const addresses = app.addresses()
  const only = addresses.length === 1 ? addresses[0] : undefined
  return typeof only === 'object' ? only.address : 'localhost'
}
