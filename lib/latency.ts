import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import type { Histogram, Latency, RegistryLike } from '../index'
import { defaultServer, type Config, type ServerConfig } from './config'
import {
  createReportOnce, describe, FST_LATENCY_ERR_HISTOGRAM_CONFLICT, FST_LATENCY_ERR_HISTOGRAM_RECORDED, FST_LATENCY_ERR_NAME_TAKEN,
  FST_LATENCY_ERR_OPTION_CONFLICT, FST_LATENCY_ERR_SERVER_OFF, type ReportOnce
} from './errors'
import { textWriter } from './exposition/text'
import { HistogramFamily, type HistogramDefinition } from './histogram/family'
import { instrument } from './instrument'
import { createGatherer, createRegistry, RegisteredHistogram } from './registry'
import { MetricsServer, scrapeRoute } from './server'
import type { Gatherer } from './snapshot'

/** Requests of one context going into one histogram. */
interface Recording {
  readonly context: FastifyInstance
  readonly config: Config
  readonly registry: RegistryLike
  readonly histogram: RegisteredHistogram
}

/**
 * What one application has, however often and in whichever of its contexts the plugin is registered: registries, histograms, one metrics
 * server. It is `app.latency`.
 */
export class ApplicationLatency implements Latency {
  readonly registry: Registry
  readonly #app: FastifyInstance
  readonly #serverConfig: ServerConfig | false
  readonly #processMetrics: boolean
  readonly #report: ReportOnce
  readonly #gather: Gatherer
  readonly #server: MetricsServer | null
  readonly #registries = new Set<RegistryLike>()
  readonly #recordings: Recording[] = []
  readonly #routes = new Set<string>()

  /** `config` is that of the application's first registration, which decides about everything that there is one of. */
  constructor (app: FastifyInstance, config: Config) {
    this.#app = app
    this.#serverConfig = config.server ?? defaultServer
    this.#processMetrics = config.processMetrics ?? true
    this.#report = createReportOnce(app.log)
    this.registry = config.registry as Registry | undefined ?? createRegistry()
    this.#gather = createGatherer(this.#registries, this.#processMetrics, this.#report)
    this.#server = this.#serverConfig === false
      ? null
      : new MetricsServer(this.#serverConfig, this.#gather, textWriter, app.log)
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
    this.#app.addHook('onClose', () => this.#close())
  }

  /** Records the requests of a context as one registration asks for. Nothing new is recorded when that is already done. */
  record (context: FastifyInstance, config: Config): void {
    this.#checkShared(config)
    const registry = config.registry ?? this.registry
    const histogram = findOrRegister(registry, config)
    if (!this.#isRecorded(context, histogram, config)) {
      histogram.retain()
      this.#registries.add(registry)
      this.#recordings.push({ context, config, registry, histogram })
      instrument(context, histogram.family, config, this.#report)
    }
    if (config.route !== undefined && !this.#routes.has(context.prefix + config.route)) {
      this.#routes.add(context.prefix + config.route)
      context.route(scrapeRoute(config.route, this.#gather, textWriter, context.log))
    }
  }

  #checkShared (config: Config): void {
    const shared: ReadonlyArray<[option: string, existing: unknown, wanted: unknown]> = [
      ['server', this.#serverConfig, config.server],
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
      const covers = existing.context === context || Object.prototype.isPrototypeOf.call(existing.context, context)
      if (covers && isDeepStrictEqual(recordingOptions(existing.config), recordingOptions(config))) return true
      if (covers || Object.prototype.isPrototypeOf.call(context, existing.context)) {
        throw new FST_LATENCY_ERR_HISTOGRAM_RECORDED(histogram.name)
      }
    }
    return false
  }

  async #close (): Promise<void> {
    await this.#server?.close()
    for (const { config, registry, histogram } of this.#recordings) {
      const isLast = histogram.release()
      if (isLast && config.registry !== undefined && registry.getSingleMetric(histogram.name) === histogram) {
        registry.removeSingleMetric(histogram.name)
      }
    }
  }
}

function findOrRegister (registry: RegistryLike, { histogram: { name, help, upperBounds }, labels, constLabels }: Config): RegisteredHistogram {
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

function recordingOptions ({ labels, constLabels, ignore }: Config): unknown {
  return { labels, constLabels, ignore }
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
