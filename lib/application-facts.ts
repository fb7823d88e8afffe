import type { Config } from './config'
import type { Facts, OptionTable } from './pages/facts'
import { measures, queueTime } from './request/measures'
import type { ScrapeConfig } from './scrape/options'
import type { ServerConfig } from './server/options'

export interface FactSources {
  readonly server: ServerConfig
  readonly scrape: ScrapeConfig
  readonly processMetrics: boolean
  readonly isGroup: boolean
  readonly registrations: ReadonlyArray<{ readonly config: Config, readonly histograms: Facts['histograms'] }>
}

/** What is measured beside the latency. */
const further = [...measures, queueTime].filter(({ isOnByDefault }) => !isOnByDefault)

/**
 * Collects the facts about an application that the pages show. Functions and secrets among the options are mentioned,
 * but their contents are not passed on.
 */
export function collectFacts ({ server, scrape, processMetrics, isGroup, registrations }: FactSources): Facts {
  const histograms = registrations.flatMap(({ histograms }) => histograms)
  return {
    path: server.path,
    // Registrations may share a histogram, which is then listed once.
    histograms: [...new Map(histograms.map(histogram => [histogram.name, histogram])).values()],
    inFlight: registrations.some(({ config }) => config.inFlight),
    processMetrics,
    isGroup,
    timeToFirstByte: registrations.some(({ config }) => config.timeToFirstByte !== undefined),
    queueTime: registrations.some(({ config }) => config.queueTime !== undefined),
    busyTime: registrations.some(({ config }) => config.busyTime),
    exemplars: registrations.some(({ config }) => config.exemplars !== false),
    ...typeof server.live === 'object' ? server.live : { objective: undefined, traceUrl: undefined },
    tables: [
      ...registrations.map(({ config }) => table(`Histogram ${config.histogram.name}`, {
        help: config.histogram.help,
        buckets: config.histogram.upperBounds,
        native: config.histogram.native,
        labels: config.labels,
        constLabels: config.constLabels,
        routes: config.routes,
        ignore: config.ignore,
        knownMethods: config.knownMethods,
        seriesLimit: config.seriesLimit,
        inFlight: config.inFlight,
        abortedStatus: config.abortedStatus ?? 'reply',
        from: config.histogram.from,
        exemplars: config.exemplars,
        ...Object.fromEntries(further.map(({ option }) => [option, config[option]?.name])),
        ...config.queueTime && { 'queueTime.header': config.queueTime.header },
        busyTime: config.busyTime,
        endpoint: config.endpoint
      })),
      table('Metrics server', {
        ...server.socket === undefined
          ? { host: server.host ?? 'where the application listens', port: server.port }
          : { socket: server.socket },
        group: server.group ?? 'workers and threads by themselves',
        path: server.path,
        live: server.live,
        start: server.start,
        lastScrapeSeconds: server.lastScrapeSeconds,
        https: server.https && (server.https.clientCaFile === undefined ? 'TLS' : 'TLS, with client certificates'),
        auth: server.auth && (server.auth.users === undefined ? 'tokens' : 'users')
      }),
      table('Scrapes', { ...scrape, processMetrics })
    ]
  }
}

function table (caption: string, options: Record<string, unknown>): OptionTable {
  return { caption, options: Object.fromEntries(Object.entries(options).map(([name, value]) => [name, show(value)])) }
}

/** The text of an option's value on a page. */
function show (value: unknown): string {
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return value.join(', ')
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value).map(([name, value]) => `${name}: ${show(value)}`).join(', ') || 'none'
  }
  return String(value ?? 'none')
}
