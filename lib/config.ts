import { check, isBoolean, optional, readable, readObject, required } from './checks'
import { parseRequestOptions, requestOptions, type RequestConfig } from './request/options'
import { parseEndpoint, parseScrapeOptions, type ScrapeConfig } from './scrape/options'
import { parseServerOptions, type ServerConfig } from './server/options'

/**
 * The checked and completed options of one registration. Each room has its own part of them, and nothing else reads
 * options.
 */
export interface Config extends RequestConfig {
  /** The path of a route of the application that answers scrapes too. */
  readonly endpoint: string | undefined
  /** Undefined: the value of the application's first registration, or the default if this is the first one. */
  readonly scrape: ScrapeConfig | undefined
  /** Undefined: the value of the application's first registration, or true if this is the first one. */
  readonly processMetrics: boolean | undefined
  /** Undefined: the value of the application's first registration, or the default server if this is the first one. */
  readonly server: ServerConfig | false | undefined
}

const options = [...requestOptions, 'processMetrics', 'server', 'endpoint', 'scrape']

/** Options that Fastify itself adds to the options of a plugin, or reads from them. */
const registerOptions = ['prefix', 'logLevel', 'logSerializers']

/** Whatever the options are, an error that is thrown has a code. */
export function parseOptions (given: unknown): Config {
  return readable('options', () => parse(given))
}

function parse (given: unknown): Config {
  const parts = readObject('options', given, options, registerOptions)
  check('prefix', !isNamePrefix(parts.prefix), prefixRule, parts.prefix)
  const config = Object.freeze({
    ...parseRequestOptions(parts),
    endpoint: parseEndpoint(parts.endpoint),
    scrape: parseScrapeOptions(parts.scrape),
    processMetrics: optional('processMetrics', parts.processMetrics, isBoolean, 'a boolean'),
    server: parseServerOptions(parts.server)
  })
  checkObjective(config)
  return config
}

/** Checks that the histogram can tell which requests meet the objective: it counts them only at its bounds. */
function checkObjective ({ server, histogram: { upperBounds } }: Config): void {
  const objective = server !== undefined && server !== false && typeof server.live === 'object'
    ? server.live.objective
    : undefined
  if (objective === undefined) return
  const isBound = (value: unknown): value is number => upperBounds.includes(value as number)
  required('server.live.objective.latency', objective.latency, isBound,
    `one of histogram.buckets: ${upperBounds.join(', ')}`)
}

const prefixRule = 'a path that begins with / (it is that of Fastify for routes, and changes nothing here); ' +
  'for a prefix of metrics, write "histogram.name" in full; the other metrics have fixed names'

/** Whether a prefix is probably meant for the names of metrics. */
function isNamePrefix (prefix: unknown): boolean {
  return typeof prefix === 'string' && prefix !== '' && !prefix.startsWith('/')
}
