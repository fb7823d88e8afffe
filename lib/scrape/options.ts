import type { ScrapeOptions } from '../../index'
import { isBoolean, isPath, isPositiveInteger, isTimeout, optional, pathRule, readObject } from '../checks'

/** The options that say how scrapes are answered. */
export interface ScrapeConfig {
  /** What happens to a scrape when a metric cannot be read. */
  readonly errorHandling: NonNullable<ScrapeOptions['errorHandling']>
  /** How many scrapes may be answered at the same time. */
  readonly concurrency: number
  readonly timeoutSeconds: number
  /** Whether OpenMetrics says when each series began to count. */
  readonly created: boolean
}

export const defaultScrape: ScrapeConfig = Object.freeze({
  errorHandling: 'fail',
  concurrency: 40,
  timeoutSeconds: 10,
  created: false
})

export function parseScrapeOptions (scrape: unknown): ScrapeConfig | undefined {
  if (scrape === undefined) return undefined
  const given = readObject('scrape', scrape, ['errorHandling', 'concurrency', 'timeoutSeconds', 'created'])
  return Object.freeze({
    errorHandling:
      optional('scrape.errorHandling', given.errorHandling, isErrorHandling, "'fail' or 'continue'") ??
        defaultScrape.errorHandling,
    concurrency:
      optional('scrape.concurrency', given.concurrency, isPositiveInteger, 'an integer from 1') ??
        defaultScrape.concurrency,
    timeoutSeconds:
      optional('scrape.timeoutSeconds', given.timeoutSeconds, isTimeout, 'a number above 0 and at most 3600') ??
        defaultScrape.timeoutSeconds,
    created: optional('scrape.created', given.created, isBoolean, 'a boolean') ?? defaultScrape.created
  })
}

/** The path of a route of the application that answers scrapes. Undefined: there is no such route. */
export function parseEndpoint (endpoint: unknown): string | undefined {
  return optional('endpoint', endpoint, isPath, pathRule)
}

function isErrorHandling (value: unknown): value is ScrapeConfig['errorHandling'] {
  return value === 'fail' || value === 'continue'
}
