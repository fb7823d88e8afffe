import { register as globalRegistry, type Registry } from 'prom-client'
import type { RegistryLike } from '../../index'
import {
  causeOf, describe, FST_LATENCY_ERR_METRIC_FAILED, FST_LATENCY_ERR_METRIC_INVALID, FST_LATENCY_ERR_REGISTRY_FAILED,
  givenRegistry, printable, type WarnOnce
} from '../errors'
import { fromClientMetricInSteps, InvalidMetric, isLabelName, type ClientMetric } from '../exposition/client-samples'
import { isAskedFor, namesOf } from '../exposition/sample-names'
import type { Gatherer, GatherFailure, Labels, Points } from '../snapshot'
import { inSlices, type TimeSlices } from '../time-slices'
import { clearTimeout, setImmediate, setTimeout, type Timer } from '../timers'
import { hiddenFamilies } from './hidden-families'
import { listMetrics, type Entry, type Listing, type NamedRegistry } from './listing'
import { warnOfOtherLibraries } from './other-libraries'
import type { OwnRegistry } from './own-registry'
import type { IsOwnMetric, Lease, OwnMetric } from './registered-metrics'

export interface GathererOptions {
  /** The registries that are read first, in this order. More may be added later. */
  readonly registries: Iterable<RegistryLike>
  /** The metrics of this plugin that are to be in these registries. */
  readonly leases: Iterable<Lease>
  /** The registry of the metrics about scrapes. It is read after prom-client's global registry. */
  readonly scrapeRegistry: OwnRegistry
  /** The registry of the metrics of the process, or undefined if they are not served. It is read last. */
  readonly processRegistry: Registry | undefined
  readonly isOwnMetric: IsOwnMetric
  readonly slices: TimeSlices
  readonly warnOnce: WarnOnce
}

/**
 * Reads metrics from all registries. One bad metric never takes the others with it: what readers would refuse is left
 * out, and a warning names it.
 */
export function createGatherer (options: GathererOptions): Gatherer {
  const { isOwnMetric, slices, warnOnce } = options
  let hasLooked = false

  function list (): Listing {
    const registries = namedRegistries(options)
    if (!hasLooked) warnOfOtherLibraries(registries, warnOnce)
    hasLooked = true
    return listMetrics(registries, options)
  }

  /** The reading that a gathering may still join. */
  let current: Reading | undefined

  return async ({ names, timeoutMs }) => {
    current ??= { ...list(), metrics: new Map(), families: new Map() }
    const reading = current
    const isWanted = (entry: Entry | typeof hiddenFamilies): boolean => names === undefined || isAskedFor(entry, names)
    const wanted = reading.served.filter(isWanted)
    const read = new Map<unknown, Points>()
    const failures: GatherFailure[] = []
    const leftOut = [...reading.broken]

    function leaveOut (name: string, { message, cause }: Error): void {
      leftOut.push(name)
      warnOnce(`invalid ${name}`, () =>
        new FST_LATENCY_ERR_METRIC_INVALID(printable(name), message, causeOf(cause)))
    }

    async function readInto ({ name, metric }: Entry, points: Promise<Points>): Promise<void> {
      try {
        read.set(metric, await points)
      } catch (cause) {
        if (cause instanceof InvalidMetric) return leaveOut(name, cause)
        // No fault of this plugin is a reason to show none of the metrics.
        if (isOwnMetric(metric)) return leaveOut(name, new Error(describe(cause), { cause }))
        const error = new FST_LATENCY_ERR_METRIC_FAILED(printable(name), describe(cause), causeOf(cause))
        failures.push({ name, message: error.message })
        warnOnce(`metric ${name}`, () => error)
      }
    }

    const others = wanted.filter(({ metric }) => !isOwnMetric(metric))
    for (const entry of others) {
      if (reading.metrics.has(entry.metric)) continue
      reading.metrics.set(entry.metric, readMetric(entry, slices))
      await slices.next()
    }
    // Every metric has the whole time, also one that was begun late because the event loop was busy.
    const deadline = createDeadline(timeoutMs)
    const inTime = async ({ values, points }: MetricReading): Promise<Points> => {
      await Promise.race([values, deadline.passed()])
      return points
    }
    await Promise.all(others.map(async entry => readInto(entry, inTime(reading.metrics.get(entry.metric)!))))
    deadline.cancel()

    // The metrics of this plugin are read last. Up to some 10,000 series are read within one turn of the event loop.
    // They are then all of the same moment, and include everything that was counted until then. A gathering that begins
    // later must not get these points, which may lack what was counted before it began.
    if (current === reading) current = undefined
    await Promise.all(wanted.map(async entry => {
      const { registry, metric } = entry
      if (!isOwnMetric(metric)) return
      if (!reading.metrics.has(metric)) reading.metrics.set(metric, readOwnMetric(registry, metric, slices, warnOnce))
      await readInto(entry, reading.metrics.get(metric)!.points)
    }))

    const taken = new Map(namesOf(hiddenFamilies).map(name => [name, hiddenFamilies.name]))
    const ownFirst = [...wanted].sort((a, b) => Number(isOwnMetric(b.metric)) - Number(isOwnMetric(a.metric)))
    for (const { name, metric } of ownFirst) {
      const points = read.get(metric)
      if (points === undefined) continue
      const other = namesOf(points).map(name => taken.get(name)).find(other => other !== undefined)
      if (other === undefined) {
        for (const sampleName of namesOf(points)) taken.set(sampleName, name)
      } else {
        read.delete(metric)
        leaveOut(name, new Error(`samples of it would have the names of those of "${other}"`))
      }
    }
    const families = wanted.flatMap(({ metric }) => read.get(metric) ?? [])
    if (isWanted(hiddenFamilies)) families.push({ ...hiddenFamilies, values: Float64Array.of(reading.hidden) })
    const key = JSON.stringify(families.map(({ name }) => name))
    if (!reading.families.has(key)) reading.families.set(key, families)
    return { families: reading.families.get(key)!, failures, leftOut }
  }
}

/**
 * What overlapping gatherings share. Each metric is read once for all of them, whichever metrics they are to gather and
 * however long they may take.
 */
interface Reading extends Listing {
  /** By the metrics themselves. */
  readonly metrics: Map<unknown, MetricReading>
  /** What was gathered, by the names of its families. */
  readonly families: Map<string, readonly Points[]>
}

/** One metric that is being read. */
interface MetricReading {
  /** Resolves when the metric has told its values. That depends on the metric; all else takes turns with others. */
  readonly values: Promise<unknown>
  readonly points: Promise<Points>
}

/** Every registry once, in the order in which they are served. */
function namedRegistries ({ registries, scrapeRegistry, processRegistry }: GathererOptions): NamedRegistry[] {
  const titles = new Map<RegistryLike, string>()
  const add = (registry: RegistryLike, title: string): void => {
    if (!titles.has(registry)) titles.set(registry, title)
  }
  for (const registry of registries) {
    add(registry, titles.size === 0 ? 'app.latency.registry' : 'a later "registry"')
  }
  add(globalRegistry, "prom-client's global registry")
  add(scrapeRegistry.registry, 'the metrics about scrapes')
  if (processRegistry !== undefined) add(processRegistry, 'the metrics of the process')
  // Users may collect the metrics of the process themselves.
  return Array.from(titles, ([registry, title]) => ({ registry, title, mayBeHidden: registry === processRegistry }))
}

interface Deadline {
  /**
   * Returns a promise that rejects when the time is up, but not before the event loop has turned once. A metric that
   * can be read within one turn is therefore always in time.
   */
  readonly passed: () => Promise<never>
  readonly cancel: () => void
}

function createDeadline (timeoutMs: number): Deadline {
  let timer: Timer | undefined
  const timedOut = new Promise<void>(resolve => { timer = setTimeout(resolve, timeoutMs).unref() })
  return {
    passed: async () => {
      await timedOut
      await new Promise<void>(resolve => setImmediate(resolve))
      throw new Error('it was not read in time')
    },
    cancel: () => clearTimeout(timer)
  }
}

function readMetric ({ registry, metric, name }: Entry, slices: TimeSlices): MetricReading {
  const values = readJSON(registry, metric)
  const points = values.then(async values => inSlices(fromClientMetricInSteps(values, name), slices))
  // Nobody may wait for the points any more when they fail.
  points.catch(() => {})
  return { values, points }
}

function readOwnMetric (
  registry: RegistryLike, metric: OwnMetric, slices: TimeSlices, warnOnce: WarnOnce
): MetricReading {
  const points = readOwnPoints(registry, metric, slices, warnOnce)
  return { values: points, points }
}

async function readOwnPoints (
  registry: RegistryLike, metric: OwnMetric, slices: TimeSlices, warnOnce: WarnOnce
): Promise<Points> {
  const defaultLabels = Object.entries(await readDefaultLabels(registry, warnOnce))
  const points = await inSlices<Points>(metric.readInSteps(), slices)
  const { labelNames } = points
  const sharedLabels = Object.fromEntries(defaultLabels.filter(([name]) => !labelNames.includes(name)))
  // Other series may have a label of that name.
  const missing = defaultLabels.map(([name, value]) => [labelNames.indexOf(name), value] as const)
    .filter(([index]) => index !== -1 && points.labelSets.some(labelSet => labelSet[index] === undefined))
  if (missing.length === 0) return { ...points, sharedLabels }
  const defaults = new Map(missing)
  const labelSets = points.labelSets.map(labelSet => labelSet.map((value, index) => value ?? defaults.get(index)))
  return { ...points, sharedLabels, labelSets }
}

/**
 * The default labels of a registry. There is no method that reads what `setDefaultLabels()` has set, so this function
 * looks at what the registry adds to a sample without labels. There are none if they cannot be read or shown. `le` is
 * left out, because buckets have such a label of their own.
 */
async function readDefaultLabels (registry: RegistryLike, warnOnce: WarnOnce): Promise<Labels> {
  try {
    const { values } = await readJSON(registry, { get: () => ({ values: [{ labels: {} }] }) })
    const labels = Object.entries(values![0]!.labels!)
      .flatMap(([name, value]) => name === 'le' ? [] : [[name, String(value)] as const])
    const wrong = labels.find(([name]) => !isLabelName(name))
    if (wrong !== undefined) throw new TypeError(`a default label is named ${describe(wrong[0])}`)
    return Object.fromEntries(labels)
  } catch (error) {
    warnOnce('default labels', () =>
      new FST_LATENCY_ERR_REGISTRY_FAILED(givenRegistry, `its default labels: ${describe(error)}`, causeOf(error)))
    return {}
  }
}

/**
 * One metric, as the registry's own `getMetricsAsJSON()` describes it. To ask for all metrics at once would hide which
 * of them fails, and would make the registry render the metrics of this plugin.
 *
 * The registry is asked through an object that inherits from it and lists one metric only. This works as long as
 * `getMetricsAsJSON()` calls `getMetricsAsArray()` on `this` and uses no private fields. test/registry.test.ts fails
 * for a library with which it does not work.
 */
async function readJSON (registry: RegistryLike, metric: unknown): Promise<ClientMetric> {
  const view = Object.create(registry, { getMetricsAsArray: { value: () => [metric] } }) as RegistryLike
  const metrics: unknown = await view.getMetricsAsJSON()
  if (!Array.isArray(metrics)) throw new InvalidMetric(`getMetricsAsJSON() returned ${describe(metrics)}`)
  return metrics[0]
}
