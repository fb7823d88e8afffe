import type { RegistryLike } from '../../index'
import { settled } from '../errors'
import type { Points } from '../snapshot'
import { runAtOnce } from '../time-slices'
import { named } from './listing'
import { isOwnMetric, type Lease, type OwnMetric } from './registered-metrics'

/** Where there are metrics that count, and are not lost when a process ends. */
export interface CountSources {
  readonly registries: Iterable<RegistryLike>
  readonly leases: Iterable<Lease>
  readonly scrapeMetrics: readonly OwnMetric[]
}

const countingTypes: readonly unknown[] = ['counter', 'histogram', 'summary']

/**
 * The names of the metrics that count, and that can be read as often as one likes. A metric of the user with a function
 * `collect` may ask somebody else for its values, and is not among them.
 */
export function countNames (sources: CountSources): Set<string> {
  const names = ownCountNames(sources)
  for (const [name, { type, collect }] of metricsIn(sources)) {
    if (countingTypes.includes(type) && typeof collect !== 'function') names.add(name)
  }
  return names
}

/** The names of those that are of this plugin. To read them takes little. */
export function ownCountNames (sources: CountSources): Set<string> {
  return new Set(Array.from(ownCounts(sources), ({ name }) => name))
}

/** The metrics in registries, by their names. Of two with one name, the first is served. */
export function metricsIn ({ registries }: Pick<CountSources, 'registries'>): Map<string, ClientMetric> {
  const { register: globalRegistry } = require('prom-client') as typeof import('prom-client')
  const metrics = new Map<string, ClientMetric>()
  for (const registry of [...registries, globalRegistry]) {
    try {
      for (const metric of settled(registry.getMetricsAsArray()) as unknown as Iterable<ClientMetric>) {
        if (typeof metric?.name !== 'string') continue
        const { name } = named(registry, metric, isOwnMetric)
        if (!metrics.has(name)) metrics.set(name, metric)
      }
    } catch {
      // Whoever gathers all metrics of this registry warns of the reason.
    }
  }
  return metrics
}

interface ClientMetric {
  readonly name: string
  readonly type?: unknown
  readonly collect?: unknown
}

/** The points of the metrics of this plugin that count. */
export function countsOf (sources: CountSources): Points[] {
  return Array.from(ownCounts(sources), metric => runAtOnce<Points>(metric.readInSteps()))
}

/** The metrics of this plugin that count. Of two with one name, in registries of their own, the first is served. */
function ownCounts ({ leases, scrapeMetrics }: CountSources): Iterable<OwnMetric> {
  const metrics = new Map<string, OwnMetric>()
  for (const metric of [...Array.from(leases, ({ metric }) => metric), ...scrapeMetrics]) {
    if (metric.type !== 'gauge' && !metrics.has(metric.name)) metrics.set(metric.name, metric)
  }
  return metrics.values()
}
