import { register as globalRegistry, Registry } from 'prom-client'
import type { RegistryLike } from '../../index'
import { describe, FST_LATENCY_ERR_METRIC_FAILED, FST_LATENCY_ERR_NAME_HIDDEN, type WarnOnce } from '../errors'
import { fromClientMetric, type ClientMetric } from '../exposition/client-library'
import type { Gatherer, GatherFailure, Labels, Points } from '../snapshot'
import type { TimeSlices } from '../time-slices'
import { isOwnMetric, type OwnMetric } from './registered-metrics'

export function createRegistry (): Registry {
  return new Registry()
}

export interface GathererOptions {
  /** Read first, in this order. More may be added later. */
  readonly registries: Iterable<RegistryLike>
  /** The metrics of scrapes themselves. They come after those of prom-client's global registry. */
  readonly scrapeRegistry: Registry
  /** The metrics of the process, if they are served. They come last. */
  readonly processRegistry: Registry | undefined
  readonly slices: TimeSlices
  readonly warnOnce: WarnOnce
}

/** A metric, and the registry that it is in. */
interface Entry {
  readonly registry: RegistryLike
  readonly metric: NamedMetric
}

interface NamedMetric {
  readonly name: string
}

/**
 * Reads metrics from all registries. Of metrics with the same name the first is served. That is warned of, unless it is a metric of the
 * process that the user collects too.
 */
export function createGatherer ({ registries, scrapeRegistry, processRegistry, slices, warnOnce }: GathererOptions): Gatherer {
  /** The metrics that are served, by name, and how many are not. */
  function list (): { served: Map<string, Entry>, hidden: number } {
    const served = new Map<string, Entry>()
    let hidden = 0
    for (const registry of new Set([...registries, globalRegistry, scrapeRegistry, ...processRegistry === undefined ? [] : [processRegistry]])) {
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

  return async ({ names, timeoutMs }) => {
    const { served, hidden } = list()
    const wanted = [...served.values()].filter(({ metric: { name } }) => names === undefined || names.includes(name))
    const read = new Map<string, Points>()
    const failures: GatherFailure[] = []
    const deadline = createDeadline(timeoutMs)

    async function readInto (name: string, points: Promise<Points>): Promise<void> {
      try {
        read.set(name, await points)
      } catch (cause) {
        const error = new FST_LATENCY_ERR_METRIC_FAILED(name, describe(cause), { cause })
        failures.push({ name, message: error.message })
        warnOnce(`metric ${name}`, error)
      }
    }

    const reading: Array<Promise<void>> = []
    const own: Array<Promise<void>> = []
    try {
      for (const { registry, metric } of wanted) {
        if (isOwnMetric(metric)) continue
        reading.push(readInto(metric.name, Promise.race([readMetric(registry, metric), deadline.passed()])))
        await slices.next()
      }
      await Promise.all(reading)
    } finally {
      deadline.cancel()
    }
    // Those of this plugin come last. Up to some 10,000 series they are read within one turn of the event loop: then they are all of the
    // same moment, and hold what was counted until then.
    for (const { registry, metric } of wanted) if (isOwnMetric(metric)) own.push(readInto(metric.name, readOwnMetric(registry, metric, slices)))
    await Promise.all(own)

    const families = wanted.flatMap(({ metric: { name } }) => read.get(name) ?? [])
    if (names === undefined || names.includes(hiddenFamiliesName)) families.push(hiddenFamilies(hidden))
    return { families, failures }
  }
}

interface Deadline {
  /** Rejects when the time is up, though never before the event loop has turned: what needs no more time than that is always in time. */
  readonly passed: () => Promise<never>
  readonly cancel: () => void
}

function createDeadline (timeoutMs: number): Deadline {
  let timer: NodeJS.Timeout | undefined
  const timedOut = new Promise<void>(resolve => { timer = setTimeout(resolve, timeoutMs).unref() })
  return {
    passed: async () => {
      await timedOut
      await new Promise(resolve => setImmediate(resolve))
      throw new Error('it was not there in time')
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

async function readMetric (registry: RegistryLike, metric: NamedMetric): Promise<Points> {
  return fromClientMetric(await readJSON(registry, metric))
}

async function readOwnMetric (registry: RegistryLike, metric: OwnMetric, slices: TimeSlices): Promise<Points> {
  const defaultLabels = await readDefaultLabels(registry)
  const steps = metric.readInSteps()
  let step = steps.next()
  for (; step.done !== true; step = steps.next()) await slices.next()
  const { labelNames } = step.value
  const sharedLabels = Object.fromEntries(Object.entries(defaultLabels).filter(([name]) => !labelNames.includes(name)))
  return { ...step.value, sharedLabels }
}

/** `setDefaultLabels()` has no counterpart that reads them: look at what the registry adds to a sample that has no label. */
async function readDefaultLabels (registry: RegistryLike): Promise<Labels> {
  const { values } = await readJSON(registry, { get: () => ({ values: [{ labels: {} }] }) })
  return Object.fromEntries(Object.entries(values[0]!.labels!).map(([name, value]) => [name, String(value)]))
}

/**
 * What the registry's own `getMetricsAsJSON()` makes of one metric. All of its metrics at once would hide which of them fails, and would
 * have it render those of this plugin.
 *
 * The registry is asked through an object that inherits from it and lists one metric only. That holds as long as `getMetricsAsJSON()` calls
 * `getMetricsAsArray()` on `this` and has no private fields; test/registry.test.ts fails for a library with which it does not.
 */
async function readJSON (registry: RegistryLike, metric: unknown): Promise<ClientMetric> {
  const view = Object.create(registry, { getMetricsAsArray: { value: () => [metric] } }) as RegistryLike
  const [json] = await view.getMetricsAsJSON() as [ClientMetric]
  return json
}
