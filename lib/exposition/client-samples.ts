import { describe, settled } from '../errors'
import type { Aggregator, Exemplar, HistogramPoints, Labels, Points, SummaryPoints, ValuePoints } from '../snapshot'
import { runAtOnce } from '../time-slices'
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
  /** How values of several processes become one. They are added up if it is none that is known. */
  readonly aggregator?: unknown
  /** Undefined: there are no samples. */
  readonly values?: readonly ClientSample[]
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

export const aggregators: readonly Aggregator[] = ['sum', 'min', 'max', 'average', 'first', 'omit']

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

/** The error for a metric that was read, but that readers of an exposition would refuse. */
export class InvalidMetric extends TypeError {}

/** The points of a metric of a client library. Throws an `InvalidMetric` if readers would refuse them. */
export function fromClientMetric (metric: ClientMetric): Points {
  return runAtOnce(fromClientMetricInSteps(metric, metric.name))
}

/**
 * The same in steps of less than a millisecond, between which the caller may let others use the event loop. `name` is
 * the name under which the metric is registered: its own may have been overwritten since.
 */
export function * fromClientMetricInSteps (metric: ClientMetric, name: string): Generator<undefined, Points> {
  try {
    if (!isMetricName(name)) throw new TypeError('its name is not [a-zA-Z_:][a-zA-Z0-9_:]*')
    const points = yield * readPoints(metric)
    return { ...points, name, unit: unitOf(name) }
  } catch (error) {
    // Labels and values of somebody else's metric may be objects that throw.
    throw new InvalidMetric(describe(error), { cause: error })
  }
}

function readPoints (metric: ClientMetric): Generator<undefined, Points> {
  if (!Array.isArray(settled(metric.values) ?? [])) throw new TypeError('its samples are not in an array')
  switch (metric.type) {
    case 'histogram': return readHistogram(metric)
    case 'summary': return readSummary(metric)
    case 'counter':
    case 'gauge': return readValues(metric, metric.type)
    default: return readValues(metric, 'unknown')
  }
}

export function isMetricName (name: string): boolean {
  return /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name)
}

export function isLabelName (name: string): boolean {
  return /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) && name !== '__name__'
}

/** How many samples are read in one step. */
const samplesPerStep = 500

/** The samples of a metric. After every few hundred of them there is a step. */
function * samplesInSteps (
  { name, values = [] }: ClientMetric, read: (sample: ClientSample, metricName: string, index: number) => void
): Generator<undefined, void> {
  for (let index = 0; index < values.length; index++) {
    if (index > 0 && index % samplesPerStep === 0) yield
    const sample = values[index]!
    read(sample, sample.metricName ?? name, index)
  }
}

function * readValues (metric: ClientMetric, type: ValuePoints['type']): Generator<undefined, ValuePoints> {
  const series = new SeriesTable(metric)
  const exemplars: Exemplar[] = []
  const values: number[] = []
  yield * samplesInSteps(metric, ({ labels, value, exemplar }, metricName, index) => {
    if (metricName !== metric.name) throw new TypeError(`the type ${type} has no sample ${metricName}`)
    series.push(labels ?? {})
    addExemplar(exemplars, exemplar, index, 0)
    values.push(type === 'counter' ? countOf(value) : numberOf(value))
  })
  const aggregator = aggregators.find(known => known === metric.aggregator) ?? 'sum'
  return { ...yield * series.common(exemplars), type, aggregator, values: Float64Array.from(values) }
}

/** The value of a sample. */
function numberOf (value: unknown): number {
  const number = typeof value === 'string' && value !== '' ? Number(value) : value
  if (typeof number === 'bigint') return Number(number)
  if (typeof number !== 'number' || (Number.isNaN(number) && !Object.is(value, number))) {
    throw new TypeError(`a value is ${describe(value)}`)
  }
  return number
}

/** The value of a sample that counts something. */
function countOf (value: unknown): number {
  const count = numberOf(value)
  if (!(count >= 0)) throw new TypeError(`a count is ${count}`)
  return count
}

/** The samples of one series of a histogram or a summary. */
interface Distribution {
  /** Maps each bound or quantile to its value. Two series may have theirs in another order. */
  readonly steps: Map<number, number>
  readonly exemplars: Map<number, ClientExemplar>
  sum: number | undefined
  count: number | undefined
}

function * readHistogram (metric: ClientMetric): Generator<undefined, HistogramPoints> {
  const { series, distributions } = yield * readDistributions(metric, '_bucket', 'le')
  const bounds = stepsOf(distributions, 'buckets')
  if (distributions.length > 0 && bounds.at(-1) !== Infinity) throw new TypeError('its last bucket is not +Inf')
  const isIncreasing = bounds.every((bound, index) => index === 0 || bound > bounds[index - 1]!)
  if (!isIncreasing) throw new TypeError('the bounds of its buckets do not increase')
  if (bounds[0] === -Infinity) throw new TypeError('its first bucket is -Inf')
  const exemplars: Exemplar[] = []
  const counts = new Float64Array(distributions.length * bounds.length)
  distributions.forEach(({ steps, exemplars: exemplarOf }, index) => {
    let previous = 0
    bounds.forEach((bound, bucket) => {
      const cumulativeCount = steps.get(bound)!
      addExemplar(exemplars, exemplarOf.get(bound), index, bucket)
      counts[index * bounds.length + bucket] = countOf(cumulativeCount - previous)
      previous = cumulativeCount
    })
  })
  return {
    ...yield * series.common(exemplars),
    type: 'histogram',
    upperBounds: bounds.slice(0, -1),
    counts,
    sums: Float64Array.from(distributions, ({ sum }) => sum!),
    native: undefined
  }
}

function * readSummary (metric: ClientMetric): Generator<undefined, SummaryPoints> {
  const { series, distributions } = yield * readDistributions(metric, '', 'quantile')
  const quantiles = stepsOf(distributions, 'quantiles')
  if (!quantiles.every(quantile => quantile >= 0 && quantile <= 1)) throw new TypeError('a quantile is not in 0 to 1')
  return {
    ...yield * series.common([]),
    type: 'summary',
    quantiles,
    quantileValues: Float64Array.from(distributions.flatMap(({ steps }) => quantiles.map(step => steps.get(step)!))),
    counts: Float64Array.from(distributions, ({ count }) => count!),
    sums: Float64Array.from(distributions, ({ sum }) => sum!)
  }
}

/**
 * Groups the samples of a histogram or a summary by series. The samples of one series differ only in their suffix and
 * in one label, whose value is a number.
 */
function * readDistributions (
  metric: ClientMetric, suffix: string, stepLabel: string
): Generator<undefined, { series: SeriesTable, distributions: Distribution[] }> {
  const series = new SeriesTable(metric, stepLabel)
  const distributions: Distribution[] = []
  yield * samplesInSteps(metric, ({ labels, value, exemplar }, metricName) => {
    const distribution = distributions[series.add(labels ?? {})] ??=
      { steps: new Map(), exemplars: new Map(), sum: undefined, count: undefined }
    const step = labels?.[stepLabel]
    if (step !== undefined && metricName === metric.name + suffix) {
      const bound = Number(String(step).replace('+Inf', 'Infinity'))
      checkFirst(!distribution.steps.has(bound))
      distribution.steps.set(bound, numberOf(value))
      if (exemplar !== undefined && exemplar !== null) distribution.exemplars.set(bound, exemplar)
    } else if (metricName === `${metric.name}_sum`) {
      checkFirst(distribution.sum === undefined)
      distribution.sum = numberOf(value)
    } else if (metricName === `${metric.name}_count`) {
      checkFirst(distribution.count === undefined)
      distribution.count = countOf(value)
    } else {
      throw new TypeError(`the type ${String(metric.type)} has no sample ${metricName} without ${stepLabel}`)
    }
  })
  const isIncomplete = distributions.some(({ sum, count }) => sum === undefined || count === undefined)
  if (isIncomplete) throw new TypeError('a series has no sum or no count')
  return { series, distributions }
}

function checkFirst (isFirst: boolean): void {
  if (!isFirst) throw new TypeError('two samples are the same')
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

type ClientLabels = Readonly<Record<string, unknown>>

/** The label sets of a metric. Each has a place for every label name of the metric. */
class SeriesTable {
  readonly #metric: ClientMetric
  /** The label by which the samples of one series differ. It is not a label of the series. */
  readonly #stepLabel: string | undefined
  readonly #names = new Set<string>()
  readonly #sets: ClientLabels[] = []
  readonly #places = new Map<string, number>()

  constructor (metric: ClientMetric, stepLabel?: string) {
    this.#metric = metric
    this.#stepLabel = stepLabel
  }

  /** Adds a series with these labels. */
  push (labels: ClientLabels): number {
    for (const name in labels) if (name !== this.#stepLabel) this.#names.add(name)
    return this.#sets.push(labels) - 1
  }

  /** The index of the series with these labels. A new series is added. */
  add (labels: ClientLabels): number {
    // Client libraries tell the samples of one series one after the other.
    const last = this.#sets.length - 1
    if (last >= 0 && this.#isSame(labels, this.#sets[last]!)) return last
    const own = Object.entries(labels).filter(([name]) => name !== this.#stepLabel)
    const key = JSON.stringify(own.map(([name, value]) => [name, String(value)]).sort())
    let place = this.#places.get(key)
    if (place === undefined) this.#places.set(key, place = this.push(labels))
    return place
  }

  * common (exemplars: readonly Exemplar[]): Generator<undefined, Omit<Points, 'type'>> {
    const { name, help } = this.#metric
    const labelNames = [...this.#names]
    const wrongName = labelNames.find(name => !isLabelName(name))
    if (wrongName !== undefined) throw new TypeError(`a label is named ${describe(wrongName)}`)
    const labelSets: Array<ReadonlyArray<string | undefined>> = []
    const keys = new Set<string>()
    for (const labels of this.#sets) {
      if (labelSets.length % samplesPerStep === samplesPerStep - 1) yield
      const labelSet = labelNames.map(name => textOf(name, Object.hasOwn(labels, name) ? labels[name] : undefined))
      // To Prometheus, a label with an empty value is a missing label.
      const key = JSON.stringify(labelSet.map(value => value ?? ''))
      if (keys.has(key)) throw new TypeError(`two series have the labels ${describe(labels)}`)
      keys.add(key)
      labelSets.push(labelSet)
    }
    return {
      name,
      help: String(help),
      unit: undefined,
      labelNames,
      labelSets,
      sharedLabels: {},
      startSeconds: undefined,
      exemplars
    }
  }

  /** Whether two samples have the same labels, but for the label by which the samples of a series differ. */
  #isSame (a: ClientLabels, b: ClientLabels): boolean {
    for (const name in a) if (name !== this.#stepLabel && a[name] !== b[name]) return false
    for (const name in b) if (name !== this.#stepLabel && !(name in a)) return false
    return true
  }
}

/** A label value as text. A client library may hold bounds and quantiles as numbers. */
function textOf (name: string, value: unknown): string | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'number' && (name === 'le' || name === 'quantile')) return canonicalFloat(value)
  // On the wire all lone surrogates would become U+FFFD, and two series could become one.
  return String(value).toWellFormed()
}

/** Leaves an exemplar out that is not one. A client library may have stored half of one that it has refused. */
function addExemplar (
  exemplars: Exemplar[], exemplar: ClientExemplar | null | undefined, series: number, bucket: number
): void {
  if (!isExemplar(exemplar)) return
  const { labelSet, value, timestamp } = exemplar
  const labels: Labels = Object.fromEntries(Object.entries(labelSet).map(([name, value]) => [name, String(value)]))
  exemplars.push({ series, bucket, labels, value, timestampSeconds: timestamp })
}

function isExemplar (exemplar: ClientExemplar | null | undefined): exemplar is ClientExemplar {
  if (typeof exemplar?.value !== 'number' || typeof exemplar.labelSet !== 'object' || exemplar.labelSet === null) {
    return false
  }
  const { labelSet, timestamp } = exemplar
  return Object.keys(labelSet).every(isLabelName) &&
    (timestamp === undefined || Number.isFinite(timestamp))
}

/**
 * The unit at the end of a metric's name, if there is one. A name that consists of a unit alone has no unit, by the
 * rules of OpenMetrics.
 */
function unitOf (name: string): string | undefined {
  const unit = /_([a-z]+?)(?:_total)?$/.exec(name)?.[1]
  return unit !== undefined && units.has(unit) ? unit : undefined
}
