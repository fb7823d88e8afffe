import type { Registry } from 'prom-client'
import { createWarnOnce, guardLog, type WarnOnce } from '../../lib/errors'
import { metricsIn } from '../../lib/gather/counts'
import { OwnRegistry } from '../../lib/gather/own-registry'
import { isOwnMetric } from '../../lib/gather/registered-metrics'
import { createGatherer } from '../../lib/gather/registries'
import { Group, type GroupOptions } from '../../lib/group/group'
import type { Gatherer } from '../../lib/snapshot'
import { TimeSlices } from '../../lib/time-slices'

/** Gathers the metrics of one registry, as an application that has no metrics of its own does. */
export function gathererOf (registry: Registry, slices: TimeSlices, warnOnce: WarnOnce): Gatherer {
  return createGatherer({
    registries: [registry],
    leases: [],
    scrapeRegistry: new OwnRegistry(),
    processRegistry: undefined,
    isOwnMetric,
    slices,
    warnOnce
  })
}

/** A member of a group, which has not joined, with the metrics of a registry. Only `c_total` outlives it. */
export function createMember (registry: Registry, { open, failed }: Pick<GroupOptions, 'open' | 'failed'>): Group {
  const slices = new TimeSlices()
  return new Group({
    open,
    gather: gathererOf(registry, slices, createWarnOnce(guardLog({ log: {} as never }))),
    slices,
    counts: async () => new Set(['c_total']),
    ownCounts: () => new Set(['c_total']),
    countsAtOnce: () => [],
    metrics: () => metricsIn({ registries: [registry] }),
    isReady: () => true,
    failed
  })
}
