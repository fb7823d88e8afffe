import { constants, PerformanceObserver } from 'node:perf_hooks'
import { SeriesIndex } from '../histogram/series-index'
import { RegisteredHistogram } from './registered-metrics'

/** The name, help text, label and bounds of the histogram are those of `prom-client`. */
const definition = {
  name: 'nodejs_gc_duration_seconds',
  help: 'Garbage collection duration by kind, one of major, minor, incremental or weakcb.',
  unit: 'seconds',
  upperBounds: [0.001, 0.01, 0.1, 1, 2, 5]
}

const kinds: ReadonlyMap<number, string> = new Map([
  [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
  [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weakcb']
])

/** What Node.js tells of a garbage collection. */
interface GarbageCollection {
  /** In milliseconds. */
  readonly duration: number
  readonly detail: { readonly kind: number }
}

let histogram: RegisteredHistogram | undefined

/**
 * The histogram of the garbage collections of the process since the first call. It does not need `prom-client`, whose
 * histogram would have none of the collections before the first scrape.
 */
export function garbageCollections (): RegisteredHistogram {
  histogram ??= watch()
  return histogram
}

function watch (): RegisteredHistogram {
  const histogram = new RegisteredHistogram(definition, new SeriesIndex(['kind']))
  const { family } = histogram
  new PerformanceObserver(list => {
    for (const { duration, detail } of list.getEntries() as unknown as readonly GarbageCollection[]) {
      const kind = kinds.get(detail.kind)
      if (kind !== undefined) family.observe(family.index.slot([kind]), duration / 1000)
    }
  }).observe({ entryTypes: ['gc'] })
  return histogram
}
