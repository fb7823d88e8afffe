import type { Registry } from 'prom-client'
import type { RegistryLike } from '../../index'
import type { OwnMetric } from './registered-metrics'

/** What holds metrics: a registry that the user has given, or one of this plugin. */
export type AnyRegistry = RegistryLike | OwnRegistry

/**
 * A registry that this plugin makes. It holds its metrics without `prom-client`, which is loaded when somebody asks for
 * the registry itself: a scrape, or the user.
 */
export class OwnRegistry {
  readonly #metrics = new Map<string, OwnMetric>()
  #registry: Registry | undefined

  /** The registry of `prom-client` with all metrics. From now on it holds them. */
  get registry (): Registry {
    if (this.#registry === undefined) {
      const { Registry } = require('prom-client') as typeof import('prom-client')
      const registry = new Registry()
      for (const metric of this.#metrics.values()) registry.registerMetric(metric as never)
      this.#registry = registry
    }
    return this.#registry
  }

  /** Whether this is what the user knows as the given registry. */
  is (registry: unknown): boolean {
    return registry !== undefined && registry === this.#registry
  }

  getSingleMetric (name: string): unknown {
    return this.#registry === undefined ? this.#metrics.get(name) : this.#registry.getSingleMetric(name)
  }

  registerMetric (metric: OwnMetric): void {
    if (this.#registry === undefined) this.#metrics.set(metric.name, metric)
    else this.#registry.registerMetric(metric as never)
  }
}

/** A registry as the user knows it. */
export function publicRegistry (registry: AnyRegistry): RegistryLike {
  return registry instanceof OwnRegistry ? registry.registry : registry
}
