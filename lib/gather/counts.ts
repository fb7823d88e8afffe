import type { RegistryLike } from '../../index'
import { settled } from '../errors'
import type { Points } from '../snapshot'
import { runAtOnce } from '../time-slices'
import type { Lease, OwnMetric } from './registered-metrics'

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
  const { register: globalRegistry } = require('prom-client') as typeof import('prom-client')
  const names = new Set(ownCounts(sources).map(({ name }) => name))
  for (const registry of [...sources.registries, globalRegistry]) {
    try {
      for (const metric of settled(registry.getMetricsAsArray()) as unknown as Iterable<ClientMetric>) {
        if (countingTypes.includes(metric.type) && typeof metric.collect !== 'function') names.add(metric.name)
      }
    } catch {
      // Whoever gathers all metrics of this registry warns of the reason.
    }
  }
  return names
}

interface ClientMetric {
  readonly name: string
  readonly type?: unknown
  readonly collect?: unknown
}

/** The points of the metrics of this plugin that count. */
export function countsOf (sources: CountSources): Points[] {
  return ownCounts(sources).map(metric => runAtOnce<Points>(metric.readInSteps()))
}

function ownCounts ({ leases, scrapeMetrics }: CountSources): OwnMetric[] {
  return [...Array.from(leases, ({ metric }) => metric), ...scrapeMetrics].filter(({ type }) => type !== 'gauge')
}
