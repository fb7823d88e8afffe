import { isBoolean, optional, readObject } from './checks'
import { parseRequestOptions, requestOptions, type RequestConfig } from './request/options'
import { parseEndpoint, parseScrapeOptions, type ScrapeConfig } from './scrape/options'
import { parseServerOptions, type ServerConfig } from './server/options'

/** The options of one registration, checked and complete, of which each room has its own part. Nothing else reads options. */
export interface Config extends RequestConfig {
  /** The path of a route of the application that answers scrapes too. */
  readonly endpoint: string | undefined
  /** Undefined: what the application's first registration said, else the default. */
  readonly scrape: ScrapeConfig | undefined
  /** Undefined: what the application's first registration said, else true. */
  readonly processMetrics: boolean | undefined
  /** Undefined: what the application's first registration said, else the default server. */
  readonly server: ServerConfig | false | undefined
}

const options = [...requestOptions, 'processMetrics', 'server', 'endpoint', 'scrape']

/** Options that Fastify itself puts among those of a plugin, or reads from them. */
const registerOptions = ['prefix', 'logLevel', 'logSerializers']

/** Options under the name that they had before, or have elsewhere. */
const renamed = { route: 'endpoint' }

export function parseOptions (given: unknown): Config {
  const own = typeof given === 'object' && given !== null && !Array.isArray(given) ? withoutRegisterOptions(given) : given
  const parts = readObject('options', own, options, { renamed })
  return Object.freeze({
    ...parseRequestOptions(parts),
    endpoint: parseEndpoint(parts.endpoint),
    scrape: parseScrapeOptions(parts.scrape),
    processMetrics: optional('processMetrics', parts.processMetrics, isBoolean, 'a boolean'),
    server: parseServerOptions(parts.server)
  })
}

function withoutRegisterOptions (given: object): object {
  return Object.fromEntries(Object.entries(given).filter(([name]) => !registerOptions.includes(name)))
}
