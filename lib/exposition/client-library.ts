import type { Exemplar, HistogramPoints, Labels, Points, SummaryPoints, ValuePoints } from '../snapshot'
import { canonicalFloat } from './float'

/**
 * Translates between points and the metrics of `prom-client` and similar libraries, which describe a metric sample by
 * sample. Points of this plugin become samples for readers of a registry, and samples of other metrics become points. A
 * sample is one line of an exposition, with its suffix, its `le` and its `quantile`.
 */

/** A metric as its method `get()` describes it, and as `getMetricsAsJSON()` of a registry lists it. */
export interface ClientMetric {
  readonly name: string
  readonly help: unknown
  readonly type: unknown
  readonly values: readonly ClientSample[]
}

export interface ClientSample {
  /** The name of the metric with a suffix. Undefined: the sample has the name of the metric. */
  readonly metricName?: string
  readonly labels?: Readonly<Record<string, unknown>> | null
  readonly value: unknown
  readonly exemplar?: ClientExemplar | null
}

interface ClientExemplar {
  readonly labelSet: Readonly<Record<string, unknown>>
  readonly value: number
  /** The time of the observation, in seconds since 1970. */
  readonly timestamp?: number
}

/**
 * A sample whose own labels are apart from those of its series. All samples of a series share the object
 * `sharedLabels`, so that a library renders the labels of the series once.
 */
export interface SharedSample {
  metricName?: string
  labels: { le?: string }
  sharedLabels: Record<string, string>
  value: number
}

/**
 * The units that "Units and Base Units" in the OpenMetrics specification and Prometheus' own naming advice both list.
 */
const units: ReadonlySet<string> =
  new Set(['seconds', 'bytes', 'joules', 'grams', 'meters', 'ratio', 'volts', 'amperes', 'celsius'])

/** The samples of a metric of this plugin. No such metric is a summary. */
export function toClientSamples (points: HistogramPoints | ValuePoints): SharedSample[] {
  const sharedLabels = points.labelSets.map(labelSet => labelsOf(points, labelSet))
  if (points.type !== 'histogram') {
    return sharedLabels.map((sharedLabels, series) => ({ labels: {}, sharedLabels, value: points.values[series]! }))
  }
  const { name, upperBounds, counts, sums } = points
  const bounds = [...upperBounds, Infinity].map(bound => ({ le: canonicalFloat(bound) }))
  return sharedLabels.flatMap((sharedLabels, series) => {
    let cumulativeCount = 0
    const buckets = bounds.map((labels, index) => {
      cumulativeCount += counts[series * bounds.length + index]!
      return { metricName: `${name}_bucket`, labels, sharedLabels, value: cumulativeCount }
    })
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels: {}, sharedLabels, value: sums[series]! },
      { metricName: `${name}_count`, labels: {}, sharedLabels, value: cumulativeCount }
    ]
  })
}

function labelsOf ({ labelNames }: Points, labelSet: ReadonlyArray<string | undefined>): Record<string, string> {
  const labels: Record<string, string> = {}
  labelNames.forEach((name, index) => {
    const value = labelSet[index]
    if (value !== undefined) labels[name] = value
  })
  return labels
}

/** The points of a metric of a client library. Throws if its samples do not fit its type. */
export function fromClientMetric (metric: ClientMetric): Points {
  switch (metric.type) {
    case 'histogram': return readHistogram(metric)
    case 'summary': return readSummary(metric)
    case 'counter':
    case 'gauge': return readValues(metric, metric.type)
    default: return readValues(metric, 'unknown')
  }
}

function readValues (metric: ClientMetric, type: ValuePoints['type']): ValuePoints {
  const series = new SeriesTable(metric)
  const exemplars: Exemplar[] = []
  const values = metric.values.map(({ metricName = metric.name, labels, value, exemplar }, index) => {
    if (metricName !== metric.name) throw new TypeError(`the type ${type} has no sample ${metricName}`)
    series.add(labels ?? {})
    addExemplar(exemplars, exemplar, index, 0)
    return Number(value)
  })
  return { ...series.common(exemplars), type, values: Float64Array.from(values) }
}

/** The samples of one series of a histogram or a summary. */
interface Distribution {
  /** Maps each bound or quantile to its value, in the order of the samples. */
  readonly steps: Map<number, number>
  readonly exemplars: Map<number, ClientExemplar>
  sum: number | undefined
  count: number | undefined
}

function readHistogram (metric: ClientMetric): HistogramPoints {
  const { series, distributions } = readDistributions(metric, '_bucket', 'le')
  const bounds = stepsOf(distributions, 'buckets')
  if (distributions.length > 0 && bounds.at(-1) !== Infinity) throw new TypeError('its last bucket is not +Inf')
  const exemplars: Exemplar[] = []
  const counts = distributions.flatMap(({ steps, exemplars: exemplarOf }, index) => {
    let previous = 0
    return Array.from(steps, ([bound, cumulativeCount], bucket) => {
      addExemplar(exemplars, exemplarOf.get(bound), index, bucket)
      const count = cumulativeCount - previous
      previous = cumulativeCount
      return count
    })
  })
  return {
    ...series.common(exemplars),
    type: 'histogram',
    upperBounds: bounds.slice(0, -1),
    counts: Float64Array.from(counts),
    sums: Float64Array.from(distributions, ({ sum }) => sum!)
  }
}

function readSummary (metric: ClientMetric): SummaryPoints {
  const { series, distributions } = readDistributions(metric, '', 'quantile')
  return {
    ...series.common([]),
    type: 'summary',
    quantiles: stepsOf(distributions, 'quantiles'),
    quantileValues: Float64Array.from(distributions.flatMap(({ steps }) => [...steps.values()])),
    counts: Float64Array.from(distributions, ({ count }) => count!),
    sums: Float64Array.from(distributions, ({ sum }) => sum!)
  }
}

/**
 * Groups the samples of a histogram or a summary by series. The samples of one series differ only in their suffix and
 * in one label, whose value is a number.
 */
function readDistributions (
  metric: ClientMetric, suffix: string, stepLabel: string
): { series: SeriesTable, distributions: Distribution[] } {
  const series = new SeriesTable(metric)
  const distributions: Distribution[] = []
  for (const { metricName = metric.name, labels, value, exemplar } of metric.values) {
    const { [stepLabel]: step, ...own } = labels ?? {}
    const place = series.add(own)
    const distribution = distributions[place] ??=
      { steps: new Map(), exemplars: new Map(), sum: undefined, count: undefined }
    if (step !== undefined && metricName === metric.name + suffix) {
      const bound = Number(String(step).replace('+Inf', 'Infinity'))
      distribution.steps.set(bound, Number(value))
      if (exemplar !== undefined && exemplar !== null) distribution.exemplars.set(bound, exemplar)
    } else if (metricName === `${metric.name}_sum`) {
      distribution.sum = Number(value)
    } else if (metricName === `${metric.name}_count`) {
      distribution.count = Number(value)
    } else {
      throw new TypeError(`the type ${String(metric.type)} has no sample ${metricName} without ${stepLabel}`)
    }
  }
  const isIncomplete = distributions.some(({ sum, count }) => sum === undefined || count === undefined)
  if (isIncomplete) throw new TypeError('a series has no sum or no count')
  return { series, distributions }
}

/** The bounds or quantiles of a metric. Throws unless all series have the same ones. */
function stepsOf (distributions: readonly Distribution[], what: string): number[] {
  const steps = [...distributions[0]?.steps.keys() ?? []]
  for (const { steps: others } of distributions) {
    const isSame = others.size === steps.length && steps.every(step => others.has(step))
    if (!isSame) throw new TypeError(`its series have different ${what}`)
  }
  return steps
}

/** The label sets of a metric. Each has a place for every label name of the metric. */
class SeriesTable {
  readonly #metric: ClientMetric
  readonly #names: string[] = []
  readonly #sets: Array<Record<string, string>> = []
  readonly #places = new Map<string, number>()

  constructor (metric: ClientMetric) {
    this.#metric = metric
  }

  /** The index of the series with these labels. A new series is added. */
  add (labels: Readonly<Record<string, unknown>>): number {
    const entries = Object.entries(labels).map(([name, value]) => [name, String(value)] as const)
    const key = JSON.stringify([...entries].sort())
    let place = this.#places.get(key)
    if (place === undefined) {
      place = this.#sets.push(Object.fromEntries(entries)) - 1
      this.#places.set(key, place)
      for (const [name] of entries) if (!this.#names.includes(name)) this.#names.push(name)
    }
    return place
  }

  common (exemplars: readonly Exemplar[]): Omit<Points, 'type'> {
    const { name, help } = this.#metric
    return {
      name,
      help: String(help),
      unit: unitOf(name),
      labelNames: this.#names,
      labelSets: this.#sets.map(labels => this.#names.map(name => labels[name])),
      sharedLabels: {},
      startSeconds: undefined,
      exemplars
    }
  }
}

function addExemplar (
  exemplars: Exemplar[], exemplar: ClientExemplar | null | undefined, series: number, bucket: number
): void {
  if (exemplar === undefined || exemplar === null) return
  const { labelSet, value, timestamp } = exemplar
  const labels: Labels = Object.fromEntries(Object.entries(labelSet).map(([name, value]) => [name, String(value)]))
  exemplars.push({ series, bucket, labels, value, timestampSeconds: timestamp })
}

/**
 * The unit at the end of a metric's name, if there is one. A name that consists of a unit alone has no unit, by the
 * rules of OpenMetrics.
 */
function unitOf (name: string): string | undefined {
  const unit = /_([a-z]+?)(?:_total)?$/.exec(name)?.[1]
  return unit !== undefined && units.has(unit) ? unit : undefined
}
