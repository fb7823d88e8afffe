import type { Gatherer } from '../snapshot'
import { inSlices } from '../time-slices'
import { watchGarbageCollections } from './garbage-collections'
import { isOwnMetric } from './registered-metrics'
import type { GathererOptions } from './registries'

export interface GathererOnDemandOptions extends Omit<GathererOptions, 'processRegistry' | 'isOwnMetric'> {
  /** Whether the metrics of the process are served. */
  readonly processMetrics: boolean
}

export interface GathererOnDemand {
  readonly gather: Gatherer
  /** Loads `prom-client` and all else that gathering needs. */
  readonly load: () => Promise<unknown>
  /** To be called when nothing is to be gathered any more. */
  readonly end: () => void
}

/**
 * A gatherer whose code, and `prom-client`, are loaded when it is called. An application that nobody scrapes, such as
 * one under test, does without. Only garbage collections are counted from now on, since nobody can tell them later.
 */
export function createGathererOnDemand (options: GathererOnDemandOptions): GathererOnDemand {
  const end = options.processMetrics ? watchGarbageCollections() : (): void => {}
  let loading: Promise<Gatherer> | undefined
  const load = async (): Promise<Gatherer> => {
    // If a file cannot be read now, because too many files are open, the next scrape tries again.
    loading ??= inSlices(loadInSteps(options), options.slices).catch(error => {
      loading = undefined
      throw error
    })
    return loading
  }
  return { gather: async query => (await load())(query), load, end }
}

function * loadInSteps ({ processMetrics, ...options }: GathererOnDemandOptions): Generator<undefined, Gatherer> {
  require('prom-client')
  yield
  const { createGatherer } = require('./registries') as typeof import('./registries')
  yield
  const ofProcess = processMetrics ? require('./process-metrics') as typeof import('./process-metrics') : undefined
  yield
  // A test runner may have reset its modules. Those that are loaded now have other classes than the metrics then.
  return createGatherer({ ...options, processRegistry: ofProcess?.processMetrics(), isOwnMetric })
}
