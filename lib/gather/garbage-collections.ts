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

/**
 * The histogram of the garbage collections of the process, while somebody watches them. It does not need `prom-client`,
 * whose histogram would have none of the collections before the first scrape.
 */
export const garbageCollections = new RegisteredHistogram(definition, new SeriesIndex(['kind']))

const observer = new PerformanceObserver(list => {
  const { family } = garbageCollections
  for (const { duration, detail } of list.getEntries() as unknown as readonly GarbageCollection[]) {
    const kind = kinds.get(detail.kind)
    if (kind !== undefined) family.observe(family.index.slot([kind]), duration / 1000)
  }
})

let watchers = 0

/**
 * Watches the garbage collections of the process, until the function that is returned is called. Node.js keeps an
 * observer, and all that its function can reach, for as long as it observes: with a test runner, that is all modules
 * of a file of tests.
 */
export function watchGarbageCollections (): () => void {
  if (watchers++ === 0) observer.observe({ entryTypes: ['gc'] })
  return () => { if (--watchers === 0) observer.disconnect() }
}
