import type { RegistryLike } from '../../index'
import {
  causeOf, describe, FST_LATENCY_ERR_NAME_HIDDEN, FST_LATENCY_ERR_REGISTRY_FAILED, printable, settled, type WarnOnce
} from '../errors'
import type { NamedMetric } from '../exposition/sample-names'
import type { IsOwnMetric, Lease } from './registered-metrics'

/** A registry, and how messages name it. */
export interface NamedRegistry {
  readonly registry: RegistryLike
  readonly title: string
  /** Whether it is no surprise that metrics of an earlier registry have the names of some in this one. */
  readonly mayBeHidden: boolean
}

/** A metric, and the registry that holds it. */
export interface Entry extends NamedMetric {
  /** The name under which the metric is registered. */
  readonly name: string
  readonly registry: RegistryLike
  readonly metric: unknown
}

export interface Listing {
  readonly served: readonly Entry[]
  /** The number of metrics that are not served because an earlier registry has one of the same name. */
  readonly hidden: number
  /** The titles of registries with metrics that cannot be listed. */
  readonly broken: readonly string[]
}

export interface ListingOptions {
  /** The metrics of this plugin that are to be in the registries. */
  readonly leases: Iterable<Lease>
  readonly isOwnMetric: IsOwnMetric
  readonly warnOnce: WarnOnce
}

/**
 * Lists the metrics of several registries, which may be the user's own and fail in any way. If several metrics have the
 * same name, the first is served, and a warning is given.
 */
export function listMetrics (
  registries: Iterable<NamedRegistry>, { leases, isOwnMetric, warnOnce }: ListingOptions
): Listing {
  const served = new Map<string, Entry & { readonly title: string }>()
  const broken = new Set<string>()
  let hidden = 0
  for (const { registry, title, mayBeHidden } of registries) {
    const fail = (cause: unknown): void => {
      broken.add(title)
      warnOnce(`registry ${title}`, () => new FST_LATENCY_ERR_REGISTRY_FAILED(
        title, `metrics of it are left out of scrapes: ${describe(cause)}`, causeOf(cause)))
    }
    const own = [...leases].filter(lease => lease.registry === registry)
    for (const metric of metricsOf(registry, own, fail)) {
      try {
        const entry = { ...named(registry, metric, isOwnMetric), registry, metric, title }
        const { name } = entry
        const first = served.get(name)
        if (first === undefined) {
          served.set(name, entry)
        } else if (!mayBeHidden) {
          hidden++
          warnOnce(`name ${name}`, () => new FST_LATENCY_ERR_NAME_HIDDEN(printable(name), first.title, title))
        }
      } catch (error) {
        fail(error)
      }
    }
  }
  return { served: [...served.values()], hidden, broken: [...broken] }
}

/** The metrics of a registry. Those of this plugin are among them even if the registry does not list them. */
function metricsOf (registry: RegistryLike, leases: readonly Lease[], fail: (cause: unknown) => void): Set<unknown> {
  const metrics = new Set<unknown>()
  try {
    registerAgain(leases)
    const listed: unknown = settled(registry.getMetricsAsArray())
    if (!Array.isArray(listed)) throw new TypeError(`getMetricsAsArray() returned ${describe(listed)}`)
    for (const metric of listed) metrics.add(metric)
  } catch (error) {
    fail(error)
  }
  for (const lease of leases) if (isRegistered(lease)) metrics.add(lease.metric)
  return metrics
}

/**
 * Registers metrics of this plugin again if none of them is in the registry any more: it was cleared, as tests do
 * between cases. If some are still there, the others were taken away on purpose.
 */
function registerAgain (leases: readonly Lease[]): void {
  if (leases.some(isRegistered)) return
  for (const { registry, metric } of leases) settled(registry.registerMetric(metric))
}

function isRegistered (lease: Lease): boolean {
  try {
    return lease.isRegistered
  } catch {
    // Nobody can tell.
    return true
  }
}

/** The name under which a metric is registered, and its type. Throws if the metric has no name. */
export function named (
  registry: RegistryLike, metric: unknown, isOwnMetric: IsOwnMetric
): { name: string, type: unknown } {
  const { name, type } = metric as NamedMetric
  if (typeof name !== 'string') throw new TypeError(`the name of a metric is ${describe(name)}`)
  // Client libraries overwrite the name of a counter when they render it in OpenMetrics.
  const hasLost = !isOwnMetric(metric) && type === 'counter' &&
    settled(registry.getSingleMetric(`${name}_total`)) === metric
  return { name: hasLost ? `${name}_total` : name, type }
}
