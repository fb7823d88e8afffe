import { errorMonitor } from 'node:events'
import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import type { Histogram, Latency, RegistryLike } from '../index'
import { collectFacts } from './application-facts'
import type { Config } from './config'
import {
  causeOf, createInformOnce, createWarnOnce, describe, differences, FST_LATENCY_ERR_DECORATOR_TAKEN,
  FST_LATENCY_ERR_GROUP_FAILED, FST_LATENCY_ERR_OPTION_CONFLICT,
  FST_LATENCY_ERR_PORT_OF_APPLICATION, FST_LATENCY_ERR_SERVER_OFF, guardLog, isCoded, warn, type Log, type WarnOnce
} from './errors'
import { countNames, countsOf } from './gather/counts'
import { processMetrics } from './gather/process-metrics'
import { createGatherer, createRegistry } from './gather/registries'
import { openDirectory } from './group/directory'
import { Group } from './group/group'
import { identify } from './group/identity'
import { Registrations, rootOf } from './registrations'
import { ScrapeHandler, type ScrapeHandlerOptions } from './scrape/handler'
import { defaultScrape, type ScrapeConfig } from './scrape/options'
import { createScrapeMetrics } from './scrape/scrape-metrics'
import { defaultServer, type ServerConfig } from './server/options'
import { MetricsServer, type MetricsServerOptions } from './server/server'
import { TimeSlices } from './time-slices'

/**
 * The property of an application that holds its `Application`. All contexts of the application inherit it, and no other
 * application has the same one.
 */
const kApplication = Symbol('fastify-latency.application')

/** What scrapes and the live page read metrics from, and the metrics about scrapes. */
type Sources = Pick<ScrapeHandlerOptions, 'gather' | 'slices' | 'metrics'> & Pick<MetricsServerOptions, 'group'>

/** The line in the log of an application that has registered the plugin in a part of itself only. */
const partOnly = 'fastify-latency records a part of this application only, because it was registered in a context ' +
  'inside the application. Requests outside this context are not recorded, nor are those that match no route or are ' +
  'rejected before any hook runs. To record all, register it on the application itself, or in plugins that are all ' +
  'wrapped with fastify-plugin'

/**
 * Everything of which an application has only one, however often the plugin is registered and in whichever contexts: a
 * metrics server, one way to answer scrapes, and a registry. It is `app.latency`.
 */
export class Application implements Latency {
  readonly registry: Registry | RegistryLike
  readonly #app: FastifyInstance
  readonly #serverConfig: ServerConfig | false
  readonly #scrapeConfig: ScrapeConfig
  readonly #processMetrics: boolean
  readonly #log: Log
  readonly #warnOnce: WarnOnce
  readonly #registrations: Registrations
  readonly #server: MetricsServer | null
  /** The paths of the application's own routes that answer scrapes. */
  readonly #endpoints = new Set<string>()
  #sources: Sources | undefined
  #scrapes: ScrapeHandler | undefined
  #closing = false

  /**
   * The `Application` that a context belongs to. The first registration of an application creates it, with the options
   * in `config`.
   */
  static of (context: FastifyInstance, config: Config): Application {
    checkDecorator(context)
    const root: FastifyInstance & { [kApplication]?: Application } = rootOf(context)
    if (root[kApplication] === undefined) {
      Object.defineProperty(root, kApplication, { value: new Application(context, config) })
      root[kApplication]!.#followLifecycle()
    }
    return root[kApplication]!
  }

  private constructor (app: FastifyInstance, config: Config) {
    const ownRegistry = createRegistry()
    this.#app = app
    this.#serverConfig = config.server ?? defaultServer
    this.#scrapeConfig = config.scrape ?? defaultScrape
    this.#processMetrics = config.processMetrics ?? true
    this.#log = guardLog(app)
    this.#warnOnce = createWarnOnce(this.#log)
    this.registry = config.registry ?? ownRegistry
    this.#registrations = new Registrations({
      registry: this.registry,
      ownRegistry,
      warn: error => warn(this.#log, error),
      warnOnce: this.#warnOnce,
      informOnce: createInformOnce(this.#log)
    })
    this.#server = this.#serverConfig === false ? null : this.#createServer(this.#serverConfig)
  }

  get histogram (): Histogram {
    return this.#registrations.histogram
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

  /**
   * Adds one registration. Throws if its options for the whole application differ from those of the first registration.
   */
  register (context: FastifyInstance, config: Config): void {
    this.#checkShared(config)
    this.#registrations.add(context, config)
    const { endpoint } = config
    if (endpoint === undefined || this.#endpoints.has(context.prefix + endpoint)) return
    this.#endpoints.add(context.prefix + endpoint)
    context.route(this.#scrapeHandler().route(endpoint))
  }

  /** Starts the metrics server when its configuration says so, and closes it with the application. */
  #followLifecycle (): void {
    const policy = this.#serverConfig === false ? 'manual' : this.#serverConfig.start
    if (policy === 'ready') this.#app.addHook('onReady', async () => { await this.start() })
    if (policy === 'listen') {
      // Fastify runs hooks of the application one after another. They do not wait for the metrics server.
      this.#app.addHook('onListen', done => {
        this.#server!.keepStarting(listeningHost(this.#app))
        done()
      })
    }
    const server: NodeJS.EventEmitter = this.#app.server
    server.on(errorMonitor, this.#explainTakenPort)
    this.#app.addHook('onReady', done => {
      if (!this.#registrations.coverApplication) this.#log.info(partOnly)
      done()
    })
    this.#app.addHook('preClose', done => {
      this.#closing = true
      done()
    })
    this.#app.addHook('onClose', async () => {
      server.off(errorMonitor, this.#explainTakenPort)
      await this.#server?.close()
      this.#registrations.release()
    })
  }

  /** Says why the application cannot listen if its port is that of the metrics server. */
  readonly #explainTakenPort = (error: NodeJS.ErrnoException & { port?: number }): void => {
    if (error.code !== 'EADDRINUSE' || error.port === undefined || error.port !== this.#server?.port) return
    warn(this.#log, new FST_LATENCY_ERR_PORT_OF_APPLICATION(error.port, { cause: error }))
  }

  #createServer (config: ServerConfig): MetricsServer {
    return new MetricsServer({
      config,
      scrapes: this.#scrapeHandler(),
      ...this.#readFrom(),
      isPortOfApplication: port =>
        this.#app.addresses().some(address => typeof address === 'object' && address.port === port),
      isReady: () => this.#isReady(),
      facts: () => collectFacts({
        server: config,
        scrape: this.#scrapeConfig,
        processMetrics: this.#processMetrics,
        registrations: this.#registrations.describe()
      }),
      log: this.#log
    })
  }

  /**
   * What answers scrapes on the metrics server and on all endpoints. As long as there are none of these, there are no
   * metrics about scrapes either.
   */
  #scrapeHandler (): ScrapeHandler {
    this.#scrapes ??= new ScrapeHandler({ config: this.#scrapeConfig, ...this.#readFrom() })
    return this.#scrapes
  }

  /** What scrapes and the live page read metrics from. They share the slices of time in which they may do so. */
  #readFrom (): Sources {
    this.#sources ??= this.#createSources()
    return this.#sources
  }

  #createSources (): Sources {
    const slices = new TimeSlices()
    // The metrics about scrapes are not in the user's registry. The user may serve that registry elsewhere too, and
    // these metrics do not count scrapes there.
    const scrapeRegistry = createRegistry()
    const { registries, leases } = this.#registrations
    const gather = createGatherer({
      registries,
      leases,
      scrapeRegistry,
      processRegistry: this.#processMetrics ? processMetrics() : undefined,
      slices,
      warnOnce: this.#warnOnce
    })
    const metrics = createScrapeMetrics(scrapeRegistry)
    const own = { registries, leases, scrapeMetrics: Object.values(metrics) }
    const identity = this.#serverConfig === false ? undefined : identify(this.#serverConfig)
    const group = identity === undefined
      ? undefined
      : new Group({
        open: async () => openDirectory(identity),
        isReady: () => this.#isReady(),
        gather,
        counts: () => countNames(own),
        countsAtOnce: () => countsOf(own),
        failed: (subject, error) => this.#warnOnce(`group ${subject}`, () =>
          isCoded(error) ? error : new FST_LATENCY_ERR_GROUP_FAILED(subject, describe(error), causeOf(error)))
      })
    return { gather: group?.gather ?? gather, slices, metrics, group }
  }

  #isReady (): boolean {
    return this.#app.server.listening && !this.#closing
  }

  #checkShared (config: Config): void {
    const shared: ReadonlyArray<[option: string, existing: unknown, wanted: unknown]> = [
      ['server', this.#serverConfig, config.server],
      ['scrape', this.#scrapeConfig, config.scrape],
      ['processMetrics', this.#processMetrics, config.processMetrics]
    ]
    for (const [option, existing, wanted] of shared) {
      if (wanted !== undefined && !isDeepStrictEqual(wanted, existing)) {
        throw new FST_LATENCY_ERR_OPTION_CONFLICT(differences(option, existing, wanted))
      }
    }
  }
}

/** Throws if `app.latency` belongs to somebody else, before anything is changed. */
function checkDecorator (context: FastifyInstance): void {
  if (!context.hasDecorator('latency') || context.latency instanceof Application) return
  const { histogram, registry } = Object(context.latency) as Partial<Latency>
  throw new FST_LATENCY_ERR_DECORATOR_TAKEN(histogram === undefined || registry === undefined
    ? 'another plugin, or to the application itself'
    : 'another copy of fastify-latency: "npm ls fastify-latency" shows who depends on which')
}

/**
 * The host on which the application listens. It is `localhost` if the application listens on loopback in both address
 * families, if it listens on a Unix socket, and before it listens.
 */
function listeningHost (app: FastifyInstance): string {
  const addresses = app.addresses()
  const only = addresses.length === 1 ? addresses[0] : undefined
  return typeof only === 'object' ? only.address : 'localhost'
}
