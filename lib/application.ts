import { errorMonitor } from 'node:events'
import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import type { Histogram, Latency, RegistryLike } from '../index'
import type { Config } from './config'
import {
  causeOf, createInformOnce, createWarnOnce, describe, differences, FST_LATENCY_ERR_DECORATOR_TAKEN,
  FST_LATENCY_ERR_GROUP_FAILED, FST_LATENCY_ERR_OPTION_CONFLICT, FST_LATENCY_ERR_PORT_OF_APPLICATION,
  FST_LATENCY_ERR_SERVER_LISTEN, FST_LATENCY_ERR_SERVER_OFF, guardLog, isCoded, settle, warn, type Log, type WarnOnce
} from './errors'
import { createGathererOnDemand, type GathererOnDemand } from './gather/on-demand'
import { OwnRegistry, publicRegistry, type AnyRegistry } from './gather/own-registry'
import type { Group } from './group/group'
import { Registrations, rootOf } from './registrations'
import type { ScrapeHandler, ScrapeHandlerOptions } from './scrape/handler'
import { defaultScrape, type ScrapeConfig } from './scrape/options'
import { createScrapeMetrics } from './scrape/scrape-metrics'
import { defaultServer, describeAddress, type ServerConfig } from './server/options'
import type { MetricsServer } from './server/server'
import { TimeSlices } from './time-slices'

/**
 * The property of an application that holds its `Application`. All contexts of the application inherit it, and no other
 * application has the same one.
 */
const kApplication = Symbol('fastify-latency.application')

/** What scrapes and the live page read metrics from, and the metrics about scrapes. */
interface Sources extends Pick<ScrapeHandlerOptions, 'gather' | 'slices' | 'metrics'> {
  /** Reads the metrics of this process alone. */
  readonly own: GathererOnDemand
}

/** The line in the log of an application that has registered the plugin in a part of itself only. */
const partOnly = 'fastify-latency records a part of this application only, because it was registered in a context ' +
  'inside the application. Requests outside this context are not recorded, nor are those that match no route or are ' +
  'rejected before any hook runs. To record all, register it on the application itself, or in plugins that are all ' +
  'wrapped with fastify-plugin'

/** The line in the log of an application that names a group where there can be none. */
const aloneOnWindows = 'Groups need Unix sockets, which Windows does not have: "server.group" has no effect, and the ' +
  'metrics are those of this process alone'

/** The line in the log of an application that is in a group with another one of its process. */
const addedUp = 'Another application of this process has the same metrics port, or the same "server.group", so that ' +
  'the counts of both are added up. Give each of them its own unless they are the same application'

/** How many applications of this process are in each group. */
const groups = new Map<string, number>()

/*
 * What is imported above is what recording requests needs. What answers scrapes is loaded by `require()` where it is
 * first needed: a program that does not listen, such as a test that injects requests, does without. The names are
 * literal, so that bundlers see them. What the first scrape loads is loaded in steps.
 */

/**
 * Everything of which an application has only one, however often the plugin is registered and in whichever contexts: a
 * metrics server, one way to answer scrapes, and a registry. It is `app.latency`.
 */
export class Application implements Latency {
  readonly #app: FastifyInstance
  readonly #serverConfig: ServerConfig | false
  readonly #scrapeConfig: ScrapeConfig
  readonly #processMetrics: boolean
  readonly #log: Log
  readonly #warnOnce: WarnOnce
  readonly #registry: AnyRegistry
  readonly #registrations: Registrations
  /** The paths of the application's own routes that answer scrapes. */
  readonly #endpoints = new Set<string>()
  #sources: Sources | undefined
  #scrapes: ScrapeHandler | undefined
  #server: MetricsServer | undefined
  /** What answers for other processes too, from when the metrics server is made. */
  #group: Group | undefined
  /** What all members of the group have in common. */
  #identity: string | undefined
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
    this.#app = app
    this.#serverConfig = config.server ?? defaultServer
    this.#scrapeConfig = config.scrape ?? defaultScrape
    this.#processMetrics = config.processMetrics ?? true
    this.#log = guardLog(app)
    this.#warnOnce = createWarnOnce(this.#log)
    this.#registry = config.registry ?? new OwnRegistry()
    this.#registrations = new Registrations({
      registry: this.#registry,
      warn: error => warn(this.#log, error),
      warnOnce: this.#warnOnce,
      informOnce: createInformOnce(this.#log)
    })
    if (this.#serverConfig === false) return
    // Garbage collections are counted from now on.
    this.#readFrom()
    // Files that cannot be used are an error of the registration.
    if (this.#serverConfig.https !== undefined) this.#loadServer(this.#serverConfig)
  }

  get registry (): Registry | RegistryLike {
    return publicRegistry(this.#registry)
  }

  get histogram (): Histogram {
    return this.#registrations.histogram
  }

  get server (): FastifyInstance | null {
    return this.#serverConfig === false ? null : this.#loadServer(this.#serverConfig).app
  }

  get url (): string | null {
    return this.#server?.url ?? null
  }

  async start (): Promise<string> {
    if (this.#serverConfig === false) throw new FST_LATENCY_ERR_SERVER_OFF()
    return this.#loadServer(this.#serverConfig).start(listeningHost(this.#app))
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
    if (policy === 'ready') {
      this.#app.addHook('onReady', async () => {
        // An application that closes meanwhile needs no metrics server any more.
        await this.start().catch(error => { if (!this.#closing) throw error })
      })
    }
    if (policy === 'listen') {
      // Fastify runs hooks of the application one after another. They do not wait for the metrics server.
      this.#app.addHook('onListen', done => {
        this.#keepStarting(this.#serverConfig as ServerConfig)
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
      this.#closing = true
      server.off(errorMonitor, this.#explainTakenPort)
      await this.#server?.close()
      this.#sources?.own.end()
      if (this.#identity !== undefined) groups.set(this.#identity, groups.get(this.#identity)! - 1)
      this.#registrations.release()
    })
  }

  /** Says why the application cannot listen if its port is that of the metrics server. */
  readonly #explainTakenPort = (error: NodeJS.ErrnoException & { port?: number }): void => {
    if (error.code !== 'EADDRINUSE' || error.port === undefined || error.port !== this.#server?.port) return
    warn(this.#log, new FST_LATENCY_ERR_PORT_OF_APPLICATION(error.port, { cause: error }))
  }

  /** Loads the metrics server at once, since test runners allow no module to be loaded later, and starts it. */
  async #keepStarting (config: ServerConfig): Promise<void> {
    const host = config.host ?? listeningHost(this.#app)
    try {
      await this.#loadServer(config).keepStarting(host)
    } catch (error) {
      warn(this.#log, new FST_LATENCY_ERR_SERVER_LISTEN(describeAddress(config, host), describe(error), causeOf(error)))
    }
  }

  /** The metrics server, which is made when it is first needed. */
  #loadServer (config: ServerConfig): MetricsServer {
    if (this.#server === undefined) {
      this.#server = this.#createServer(config)
      if (this.#closing) this.#server.close()
    }
    return this.#server
  }

  #createServer (config: ServerConfig): MetricsServer {
    const { MetricsServer } = require('./server/server') as typeof import('./server/server')
    this.#group = this.#createGroup(config)
    return new MetricsServer({
      config,
      scrapes: this.#scrapeHandler(),
      ...this.#readFrom(),
      group: this.#group,
      isPortOfApplication: port =>
        this.#app.addresses().some(address => typeof address === 'object' && address.port === port),
      isReady: () => this.#isReady(),
      facts: () => {
        const { collectFacts } = require('./application-facts') as typeof import('./application-facts')
        return collectFacts({
          server: config,
          scrape: this.#scrapeConfig,
          processMetrics: this.#processMetrics,
          isGroup: this.#group !== undefined,
          registrations: this.#registrations.describe()
        })
      },
      log: this.#log
    })
  }

  /**
   * What answers scrapes on the metrics server and on all endpoints. As long as there are none of these, there are no
   * metrics about scrapes either.
   */
  #scrapeHandler (): ScrapeHandler {
    const { ScrapeHandler } = require('./scrape/handler') as typeof import('./scrape/handler')
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
    const scrapeRegistry = new OwnRegistry()
    const { registries, leases } = this.#registrations
    const own = createGathererOnDemand({
      registries,
      leases,
      scrapeRegistry,
      processMetrics: this.#processMetrics,
      slices,
      warnOnce: this.#warnOnce
    })
    return {
      own,
      gather: async request => {
        const config = this.#serverConfig
        // A scrape of an endpoint may come before the hooks that begin to start the metrics server.
        if (config !== false && config.start === 'listen' && this.#app.server.listening) {
          // Whoever starts the server warns of what fails in it.
          if (this.#group === undefined) settle(() => this.#loadServer(config))
          this.#group?.join()
        }
        return (this.#group ?? own).gather(request)
      },
      slices,
      metrics: createScrapeMetrics(scrapeRegistry)
    }
  }

  #createGroup (config: ServerConfig): Group | undefined {
    const { identify } = require('./group/identity') as typeof import('./group/identity')
    const identity = identify(config)
    if (identity === undefined) return undefined
    if (process.platform === 'win32') {
      this.#log.info(aloneOnWindows)
      return undefined
    }
    const others = groups.get(identity) ?? 0
    if (others > 0) this.#log.info(addedUp)
    groups.set(identity, others + 1)
    this.#identity = identity
    const { Group } = require('./group/group') as typeof import('./group/group')
    const { openDirectory } = require('./group/directory') as typeof import('./group/directory')
    const { countNames, countsOf, metricsIn, ownCountNames } =
      require('./gather/counts') as typeof import('./gather/counts')
    const { registries, leases } = this.#registrations
    const { own: { gather, load }, slices, metrics } = this.#readFrom()
    const sources = { registries, leases, scrapeMetrics: Object.values(metrics) }
    return new Group({
      open: async () => openDirectory(identity),
      isReady: () => this.#isReady(),
      gather,
      slices,
      counts: async () => {
        await load()
        return countNames(sources)
      },
      ownCounts: () => ownCountNames(sources),
      countsAtOnce: () => countsOf(sources),
      metrics: () => metricsIn(sources),
      failed: (subject, error) => this.#warnOnce(`group ${subject}`, () =>
        isCoded(error) ? error : new FST_LATENCY_ERR_GROUP_FAILED(subject, describe(error), causeOf(error)))
    })
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
