import { collectDefaultMetrics, register as globalRegistry, Registry } from 'prom-client'
import type { RegistryLike } from '../../index'
import { describe, FST_LATENCY_ERR_METRIC_FAILED, FST_LATENCY_ERR_NAME_HIDDEN, type ReportOnce } from '../errors'
import { OwnMetric, RegisteredHistogram } from './registered-metrics'
import type { Gatherer, GatherFailure, Labels, MetricFamily, Sample, SampleSnapshot } from '../snapshot'
import type { TimeSlices } from '../time-slices'

export function createRegistry (): Registry {
  return new Registry()
}

let processRegistry: Registry | undefined

/** The default metrics of the process. The module keeps them, since a process has one set of them whatever runs in it. */
export function processMetrics (): Registry {
  if (processRegistry === undefined) {
    processRegistry = new Registry()
    collectDefaultMetrics({ register: processRegistry })
    // Gauges whose names end like a counter's. `promtool check metrics` objects, and each is the sum of one that stays.
    for (const name of ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']) {
      processRegistry.removeSingleMetric(name)
    }
  }
  return processRegistry
}

/**
 * Reads the given registries, then prom-client's global one, that about scrapes and, with `withProcessMetrics`, that of the process. Of
 * families with the same name the first is served. That is reported, unless it is a metric of the process that the user collects too.
 */
export function createGatherer (
  registries: Iterable<RegistryLike>, scrapeRegistry: Registry, withProcessMetrics: boolean, report: ReportOnce, slices: TimeSlices
): Gatherer {
  const processRegistries = withProcessMetrics ? [processMetrics()] : []

  /** The metrics that are served, by name. */
  function list (): { served: Map<string, RegistryEntry>, hidden: number } {
    const served = new Map<string, RegistryEntry>()
    let hidden = 0
    for (const registry of new Set([...registries, globalRegistry, scrapeRegistry, ...processRegistries])) {
      for (const metric of registry.getMetricsAsArray() as NamedMetric[]) {
        if (!served.has(metric.name)) {
          served.set(metric.name, [registry, metric])
        } else if (!processRegistries.includes(registry as Registry)) {
          hidden++
          report(`name ${metric.name}`, new FST_LATENCY_ERR_NAME_HIDDEN(metric.name))
        }
      }
    }
    return { served, hidden }
  }

  return async ({ names, deadline }) => {
    const { served, hidden } = list()
    const wanted = [...served.values()].filter(([, { name }]) => names === undefined || names.has(name))
    const read = new Map<string, MetricFamily>()
    const failures: GatherFailure[] = []

    async function readInto ([registry, metric]: RegistryEntry, promise = readMetric(registry, metric, slices)): Promise<void> {
      try {
        read.set(metric.name, await promise)
      } catch (error) {
        failures.push({ name: metric.name, error: new FST_LATENCY_ERR_METRIC_FAILED(metric.name, describe(error), { cause: error }) })
      }
    }

    const reading: Array<Promise<void>> = []
    for (const entry of wanted) {
      if (entry[1] instanceof OwnMetric) continue
      reading.push(readInto(entry, Promise.race([readMetric(...entry, slices), deadline])))
      await slices.next()
    }
    await Promise.all(reading)
    // Ours come last and, up to some 10,000 series, within one turn of the event loop: they are all of the same moment, and hold what was counted until then.
    await Promise.all(wanted.filter(([, metric]) => metric instanceof OwnMetric).map(entry => readInto(entry)))

    const families = wanted.flatMap(([, { name }]) => read.get(name) ?? [])
    if (names === undefined || names.has(hiddenFamiliesName)) families.push(hiddenFamilies(hidden))
    return { families, failures }
  }
}

const hiddenFamiliesName = 'fastify_latency_hidden_families'

function hiddenFamilies (value: number): SampleSnapshot {
  return {
    layout: 'samples',
    type: 'gauge',
    name: hiddenFamiliesName,
    help: 'Metric families left out of this scrape because an earlier registry holds one of the same name.',
    samples: [{ name: hiddenFamiliesName, labels: {}, value }]
  }
}

interface NamedMetric {
  readonly name: string
}

type RegistryEntry = readonly [registry: RegistryLike, metric: NamedMetric]

interface MetricJSON extends NamedMetric {
  readonly help: string
  readonly type: SampleSnapshot['type']
  readonly values: ReadonlyArray<Omit<Sample, 'name'> & { readonly metricName?: string }>
}

async function readMetric (registry: RegistryLike, metric: NamedMetric, slices: TimeSlices): Promise<MetricFamily> {
  if (metric instanceof RegisteredHistogram) {
    const defaultLabels = await readDefaultLabels(registry)
    const steps = metric.family.snapshotInSteps()
    let step = steps.next()
    for (; step.done !== true; step = steps.next()) await slices.next()
    return { ...step.value, defaultLabels }
  }
  const { name, help, type, values } = await readJSON(registry, metric)
  const samples = values.map(({ metricName, labels = {}, value, createdSeconds }) => ({ name: metricName ?? name, labels, value, createdSeconds }))
  // A client library takes a help text of any type.
  return { layout: 'samples', type, name, help: String(help), samples }
}

/** `setDefaultLabels()` has no counterpart that reads them: look what the registry adds to a sample that has no label. */
async function readDefaultLabels (registry: RegistryLike): Promise<Labels> {
  const { values } = await readJSON(registry, { get: () => ({ values: [{ labels: {} }] }) })
  return values[0]!.labels
}

/** What the registry's own `getMetricsAsJSON()` makes of one metric. All of its metrics at once would hide which of them fails, and render ours. */
async function readJSON (registry: RegistryLike, metric: unknown): Promise<MetricJSON> {
  const view = Object.create(registry, { getMetricsAsArray: { value: () => [metric] } }) as RegistryLike
  const [json] = await view.getMetricsAsJSON() as [MetricJSON]
  return json
}
