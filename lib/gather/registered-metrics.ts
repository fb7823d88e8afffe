import type { Histogram, HistogramValues } from '../../index'
import { canonicalFloat } from '../exposition/float'
import type { HistogramFamily } from '../histogram/family'
import type { HistogramSnapshot, Labels } from '../snapshot'

/** What `prom-client` registries hold, reduced to what they use. The objects of this module are metrics of ours in that shape. */
export interface RegisteredMetric {
  readonly name: string
  readonly help: string
  readonly type: string
  readonly aggregator: 'sum'
  get (): Promise<unknown>
  reset (): void
}

/** A metric of ours. It counts how many hold on to it, and is in its registry for as long as somebody does. */
export class OwnMetric {
  #holders = 0

  retain (): void {
    this.#holders++
  }

  /** Takes one `retain()` back. True when it was the last. */
  release (): boolean {
    return --this.#holders === 0
  }
}

export class RegisteredHistogram extends OwnMetric implements Histogram, RegisteredMetric {
  readonly name: string
  readonly help: string
  readonly type = 'histogram'
  readonly aggregator = 'sum'
  readonly labelNames: readonly string[]
  readonly buckets: readonly number[]
  readonly #family: HistogramFamily

  constructor (family: HistogramFamily) {
    super()
    this.name = family.definition.name
    this.help = family.definition.help
    this.labelNames = family.definition.labelNames
    this.buckets = family.definition.upperBounds
    this.#family = family
  }

  get family (): HistogramFamily {
    return this.#family
  }

  async get (): Promise<HistogramValues> {
    const { values, ...metric } = await this.getForPromString()
    return {
      ...metric,
      values: values.map(({ sharedLabels, labels, ...sample }) => ({ ...sample, labels: { ...labels, ...sharedLabels } }))
    }
  }

  /**
   * What the client libraries call to make text, if it is there. The samples of a series share one object with its labels, which the
   * libraries then render once.
   */
  async getForPromString (): Promise<Omit<HistogramValues, 'values'> & { values: SharedSample[] }> {
    const { name, help, type, aggregator } = this
    return { name, help, type, aggregator, values: sharedSamples(this.#family.snapshot()) }
  }

  reset (): void {
    this.#family.reset()
  }
}

type SharedSample = HistogramValues['values'][number] & { sharedLabels: Record<string, string> }

function sharedSamples ({ name, labelNames, labelSets, upperBounds, counts, sums }: HistogramSnapshot): SharedSample[] {
  const samples: SharedSample[] = []
  const bounds = [...upperBounds, Infinity].map(bound => ({ le: canonicalFloat(bound) }))
  for (let slot = 0; slot < labelSets.length; slot++) {
    const sharedLabels = Object.fromEntries(labelNames.map((label, index) => [label, labelSets[slot]![index]!]))
    let cumulativeCount = 0
    bounds.forEach((labels, index) => {
      cumulativeCount += counts[slot * bounds.length + index]!
      samples.push({ metricName: `${name}_bucket`, labels, sharedLabels, value: cumulativeCount })
    })
    samples.push({ metricName: `${name}_sum`, labels: {}, sharedLabels, value: sums[slot]! })
    samples.push({ metricName: `${name}_count`, labels: {}, sharedLabels, value: cumulativeCount })
  }
  return samples
}

interface Value {
  readonly labels: Labels
  value: number
  /** When it began to count, in seconds since 1970. */
  readonly createdSeconds: number
}

/** Values by label set, for metrics that are written rarely and read once per scrape. */
class LabelledValues {
  readonly #values = new Map<string, Value>()

  add (labels: Labels, amount: number): void {
    const key = JSON.stringify(Object.entries(labels).sort())
    const existing = this.#values.get(key)
    if (existing === undefined) this.#values.set(key, { labels, value: amount, createdSeconds: Date.now() / 1000 })
    else existing.value += amount
  }

  /** Copies: a registry may add its default labels to them. */
  read (): Value[] {
    return Array.from(this.#values.values(), value => ({ ...value }))
  }

  clear (): void {
    this.#values.clear()
  }

  zero (): void {
    for (const value of this.#values.values()) value.value = 0
  }
}

abstract class Labelled extends OwnMetric implements RegisteredMetric {
  abstract readonly type: 'counter' | 'gauge'
  readonly name: string
  readonly help: string
  readonly aggregator = 'sum'
  protected readonly values = new LabelledValues()

  constructor (name: string, help: string) {
    super()
    this.name = name
    this.help = help
  }

  async get (): Promise<object> {
    const { name, help, type, aggregator } = this
    return { name, help, type, aggregator, values: this.values.read() }
  }

  reset (): void {
    this.values.clear()
  }
}

export class RegisteredCounter extends Labelled {
  readonly type = 'counter'
  /** What brings the counter up to date before it is read. */
  readonly updates = new Set<() => void>()

  /** Makes a series with the value 0, so that `rate()` sees its first increment. */
  declare (labels: Labels): void {
    this.values.add(labels, 0)
  }

  increment (labels: Labels): void {
    this.values.add(labels, 1)
  }

  override async get (): Promise<object> {
    for (const update of this.updates) update()
    return super.get()
  }
}

/** Where a gauge takes its values from when it is read; label sets that occur more than once are added up. */
export type GaugeSource = () => Iterable<Labels>

/** Counts, whenever it is read, what there is of something. */
export class RegisteredGauge extends Labelled {
  readonly type = 'gauge'
  readonly sources = new Set<GaugeSource>()

  /** A series that was there stays, at 0: one that vanished would keep its last value for minutes in Prometheus' eyes. */
  override async get (): Promise<object> {
    this.values.zero()
    for (const source of this.sources) for (const labels of source()) this.values.add(labels, 1)
    return super.get()
  }
}
