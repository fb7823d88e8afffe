import type { RegistryLike } from '../../index'
import { RegisteredCounter, RegisteredHistogram, type OwnMetric } from '../gather/registered-metrics'
import { defaultUpperBounds } from '../histogram/bounds'
import { SeriesIndex } from '../histogram/series-index'

/** The metrics about scrapes. */
export interface ScrapeMetrics {
  readonly scrapes: RegisteredCounter
  readonly duration: RegisteredHistogram
  readonly size: RegisteredHistogram
  readonly metricErrors: RegisteredCounter
  readonly unauthorized: RegisteredCounter
}

/** What the metrics about scrapes are. */
export const scrapeMetrics = {
  scrapes: {
    type: 'counter',
    name: 'fastify_latency_scrapes_total',
    help: 'Scrapes by the status code of their answer; 499 where the scraper left before its end.'
  },
  duration: {
    type: 'histogram',
    name: 'fastify_latency_scrape_duration_seconds',
    help: 'Time to answer a scrape, until its last byte was sent, in seconds.',
    unit: 'seconds',
    upperBounds: defaultUpperBounds
  },
  size: {
    type: 'histogram',
    name: 'fastify_latency_scrape_size_bytes',
    help: 'Size of the answer to a scrape before compression, in bytes.',
    unit: 'bytes',
    upperBounds: [1e3, 1e4, 1e5, 1e6, 1e7, 1e8]
  },
  metricErrors: {
    type: 'counter',
    name: 'fastify_latency_metric_errors_total',
    help: 'Times that a metric was not in a scrape, because it could not be read or shown.'
  },
  unauthorized: {
    type: 'counter',
    name: 'fastify_latency_unauthorized_total',
    help: 'Requests to the metrics server without valid credentials, and clients without a trusted certificate.'
  }
} as const

/** Makes the metrics about scrapes in a registry that has no metrics of the same names. */
export function createScrapeMetrics (registry: Pick<RegistryLike, 'registerMetric'>): ScrapeMetrics {
  function register<M extends OwnMetric> (metric: M): M {
    registry.registerMetric(metric)
    return metric
  }
  return {
    scrapes: register(new RegisteredCounter(scrapeMetrics.scrapes)),
    duration: register(new RegisteredHistogram(scrapeMetrics.duration, new SeriesIndex([]))),
    size: register(new RegisteredHistogram(scrapeMetrics.size, new SeriesIndex([]))),
    metricErrors: register(new RegisteredCounter(scrapeMetrics.metricErrors)),
    unauthorized: register(new RegisteredCounter(scrapeMetrics.unauthorized))
  }
}
