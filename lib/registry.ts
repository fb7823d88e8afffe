import { collectDefaultMetrics, register as globalRegistry, Registry } from 'prom-client'
import type { RegistryLike } from '../index'
import { describe, FST_LATENCY_ERR_METRIC_FAILED, FST_LATENCY_ERR_NAME_HIDDEN, type ReportOnce } from './errors'
import { RegisteredHistogram } from './metrics'
import type { Gatherer, Labels, MetricFamily, SampleSnapshot } from './snapshot'

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
 * Reads the given registries, then prom-client's global one, then, with `withProcessMetrics`, those of the process. Of families with the
 * same name the first is served. That is reported, unless it is a metric of the process that the user collects too.
 */
export function createGatherer (registries: Iterable<RegistryLike>, withProcessMetrics: boolean, report: ReportOnce): Gatherer {
  const processRegistries = withProcessMetrics ? [processMetrics()] : []

  return async () => {
    const families = new Map<string, MetricFamily>()
    let hidden = 0
    for (const registry of new Set([...registries, globalRegistry])) {
      for (const family of await readRegistry(registry, registry.getMetricsAsArray())) {
        if (families.has(family.name)) {
          hidden++
          report(`name ${family.name}`, new FST_LATENCY_ERR_NAME_HIDDEN(family.name))
        } else {
          families.set(family.name, family)
        }
      }
    }
    for (const registry of processRegistries) {
      const metrics = registry.getMetricsAsArray().filter(metric => !families.has(metric.name))
      for (const family of await readRegistry(registry, metrics)) families.set(family.name, family)
    }
    return [...families.values(), hiddenFamilies(hidden)]
  }
}

function hiddenFamilies (value: number): SampleSnapshot {
  const name = 'fastify_latency_hidden_families'
  return {
    layout: 'samples',
    type: 'gauge',
    name,
    help: 'Metric families left out of this scrape because an earlier registry holds one of the same name.',
    samples: [{ name, labels: {}, value }]
  }
}

async function readRegistry (registry: RegistryLike, metrics: readonly unknown[]): Promise<MetricFamily[]> {
  const defaultLabels = await readDefaultLabels(registry)
  return Promise.all(metrics.map(metric => metric instanceof RegisteredHistogram
    ? { ...metric.family.snapshot(), defaultLabels }
    : readMetric(registry, metric)))
}

interface MetricJSON {
  readonly name: string
  readonly help: string
  readonly type: SampleSnapshot['type']
  readonly values: ReadonlyArray<{ readonly metricName?: string, readonly labels: Labels, readonly value: number }>
}

async function readMetric (registry: RegistryLike, metric: unknown): Promise<SampleSnapshot> {
  try {
    const { name, help, type, values } = await readJSON(registry, metric)
    return {
      layout: 'samples',
      type,
      name,
      help,
      samples: values.map(({ metricName, labels, value }) => ({ name: metricName ?? name, labels, value }))
    }
  } catch (error) {
    throw new FST_LATENCY_ERR_METRIC_FAILED((metric as MetricJSON).name, describe(error), { cause: error })
  }
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
