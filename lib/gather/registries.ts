import { register as globalRegistry, Registry } from 'prom-client'
import type { RegistryLike } from '../../index'
import { describe, FST_LATENCY_ERR_METRIC_FAILED, FST_LATENCY_ERR_NAME_HIDDEN, type WarnOnce } from '../errors'
import { fromClientMetricInSteps, type ClientMetric } from '../exposition/client-samples'
import type { Gatherer, GatherFailure, Labels, Points } from '../snapshot'
import type { TimeSlices } from '../time-slices'
import { clearTimeout, setImmediate, setTimeout, type Timer } from '../timers'
import { isOwnMetric, type OwnMetric } from './registered-metrics'

export function createRegistry (): Registry {
  return new Registry()
}

export interface GathererOptions {
  /** The registries that are read first, in this order. More may be added later. */
  readonly registries: Iterable<RegistryLike>
  /** The registry of the metrics about scrapes. It is read after prom-client's global registry. */
  readonly scrapeRegistry: Registry
  /** The registry of the metrics of the process, or undefined if they are not served. It is read last. */
  readonly processRegistry: Registry | undefined
  readonly slices: TimeSlices
  readonly warnOnce: WarnOnce
}

/** A metric, and the registry that holds it. */
interface Entry {
  readonly registry: RegistryLike
  readonly metric: NamedMetric
}

interface NamedMetric {
  readonly name: string
}

/**
 * Reads metrics from all registries. If several metrics have the same name, the first is served, and a warning is
 * given. There is no warning if the hidden metric is one of the process, because users may collect these metrics
 * themselves.
 */
export function createGatherer (options: GathererOptions): Gatherer {
  const { registries, scrapeRegistry, processRegistry, slices, warnOnce } = options

  /** The served metrics by name, and the number of hidden ones. */
  function list (): { served: Map<string, Entry>, hidden: number } {
    const served = new Map<string, Entry>()
    let hidden = 0
    const lastRegistries = processRegistry === undefined ? [] : [processRegistry]
    for (const registry of new Set([...registries, globalRegistry, scrapeRegistry, ...lastRegistries])) {
      for (const metric of registry.getMetricsAsArray() as NamedMetric[]) {
        if (!served.has(metric.name)) {
          served.set(metric.name, { registry, metric })
        } else if (registry !== processRegistry) {
          hidden++
          warnOnce(`name ${metric.name}`, new FST_LATENCY_ERR_NAME_HIDDEN(metric.name))
        }
      }
    }
    return { served, hidden }
  }

  /** The reading that a gathering may still join. */
  let current: Reading | undefined

  return async ({ names, timeoutMs }) => {
    current ??= { ...list(), metrics: new Map(), families: new Map() }
    const reading = current
    const isWanted = names === undefined ? () => true : (name: string) => names.has(name)
    const wanted = [...reading.served.values()].filter(({ metric: { name } }) => isWanted(name))
    const read = new Map<string, Points>()
    const failures: GatherFailure[] = []

    async function readInto (name: string, points: Promise<Points>): Promise<void> {
      try {
        read.set(name, await points)
      } catch (cause) {
        const error = new FST_LATENCY_ERR_METRIC_FAILED(name, describe(cause), { cause })
        failures.push({ name, message: error.message })
        warnOnce(`metric ${name}`, error)
      }
    }

    const others = wanted.filter(({ metric }) => !isOwnMetric(metric))
    for (const { registry, metric } of others) {
      if (reading.metrics.has(metric.name)) continue
      reading.metrics.set(metric.name, readMetric(registry, metric, slices))
      await slices.next()
    }
    // Every metric has the whole time, also one that was begun late because the event loop was busy.
    const deadline = createDeadline(timeoutMs)
    const inTime = async ({ values, points }: MetricReading): Promise<Points> => {
      await Promise.race([values, deadline.passed()])
      return points
    }
    await Promise.all(others.map(async ({ metric: { name } }) => readInto(name, inTime(reading.metrics.get(name)!))))
    deadline.cancel()

    // The metrics of this plugin are read last. Up to some 10,000 series are read within one turn of the event loop.
    // They are then all of the same moment, and include everything that was counted until then. A gathering that begins
    // later must not get these points, which may lack what was counted before it began.
    if (current === reading) current = undefined
    await Promise.all(wanted.map(async ({ registry, metric }) => {
      if (!isOwnMetric(metric)) return
      if (!reading.metrics.has(metric.name)) reading.metrics.set(metric.name, readOwnMetric(registry, metric, slices))
      await readInto(metric.name, reading.metrics.get(metric.name)!.points)
    }))

    const families = wanted.flatMap(({ metric: { name } }) => read.get(name) ?? [])
    if (isWanted(hiddenFamiliesName)) families.push(hiddenFamilies(reading.hidden))
    const key = JSON.stringify(families.map(({ name }) => name))
    if (!reading.families.has(key)) reading.families.set(key, families)
    return { families: reading.families.get(key)!, failures }
  }
}

/**
 * What overlapping gatherings share. Each metric is read once for all of them, whichever metrics they are to gather and
 * however long they may take.
 */
interface Reading {
  readonly served: ReadonlyMap<string, Entry>
  /** The number of hidden metrics. */
  readonly hidden: number
  /** By the names of the metrics. */
  readonly metrics: Map<string, MetricReading>
  /** What was gathered, by the names of its families. */
  readonly families: Map<string, readonly Points[]>
}

/** One metric that is being read. */
interface MetricReading {
  /** Resolves when the metric has told its values. That depends on the metric; all else takes turns with others. */
  readonly values: Promise<unknown>
  readonly points: Promise<Points>
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

const hiddenFamiliesName = 'fastify_latency_hidden_families'

function hiddenFamilies (value: number): Points {
  return {
    type: 'gauge',
    name: hiddenFamiliesName,
    help: 'Metric families left out of this scrape because an earlier registry holds one of the same name.',
    unit: undefined,
    labelNames: [],
    labelSets: [[]],
    sharedLabels: {},
    startSeconds: undefined,
    exemplars: [],
    values: Float64Array.of(value)
  }
}

function readMetric (registry: RegistryLike, metric: NamedMetric, slices: TimeSlices): MetricReading {
  const values = readJSON(registry, metric)
  const points = values.then(async values => inSlices(fromClientMetricInSteps(values), slices))
  // Nobody may wait for the points any more when they fail.
  points.catch(() => {})
  return { values, points }
}

function readOwnMetric (registry: RegistryLike, metric: OwnMetric, slices: TimeSlices): MetricReading {
  const points = readOwnPoints(registry, metric, slices)
  return { values: points, points }
}

async function readOwnPoints (registry: RegistryLike, metric: OwnMetric, slices: TimeSlices): Promise<Points> {
  const defaultLabels = Object.entries(await readDefaultLabels(registry))
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

/** Runs steps, between which others may use the event loop. */
async function inSlices<T> (steps: Generator<undefined, T>, slices: TimeSlices): Promise<T> {
  let step = steps.next()
  for (; step.done !== true; step = steps.next()) await slices.next()
  return step.value
}

/**
 * The default labels of a registry. There is no method that reads what `setDefaultLabels()` has set, so this function
 * looks at what the registry adds to a sample without labels.
 */
async function readDefaultLabels (registry: RegistryLike): Promise<Labels> {
  const { values } = await readJSON(registry, { get: () => ({ values: [{ labels: {} }] }) })
  return Object.fromEntries(Object.entries(values[0]!.labels!).map(([name, value]) => [name, String(value)]))
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
  const [json] = await view.getMetricsAsJSON() as [ClientMetric]
  return json
}
