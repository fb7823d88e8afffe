import type { Histogram, HistogramValues, RegistryLike } from '../../index'
import { toClientSamples, type SharedSample } from '../exposition/client-library'
import { HistogramFamily, type HistogramDefinition } from '../histogram/family'
import type { SeriesIndex } from '../histogram/series-index'
import { ValueFamily, type ValueDefinition } from '../histogram/values'
import type { HistogramPoints, Labels, Points, ValuePoints } from '../snapshot'
import { merge } from './merge'

/** Reads points in steps, between which the caller may let others use the event loop. */
export type Steps<P> = Generator<undefined, P>

/** A metric of this plugin as the registries of client libraries hold metrics, reduced to what they use of one. */
abstract class RegisteredMetric<P extends HistogramPoints | ValuePoints> {
  readonly name: string
  readonly help: string
  abstract readonly type: P['type']
  readonly aggregator = 'sum'
  /** How many leases keep this metric in its registry. */
  leases = 0

  constructor ({ name, help }: ValueDefinition) {
    this.name = name
    this.help = help
  }

  abstract readInSteps (): Steps<P>

  abstract reset (): void

  async get (): Promise<object> {
    const { values, ...metric } = await this.getForPromString()
    return {
      ...metric,
      values: values.map(({ sharedLabels, labels, ...sample }) => ({ ...sample, labels: { ...labels, ...sharedLabels } }))
    }
  }

  /** What client libraries call to make text, if it is there. */
  async getForPromString (): Promise<{ name: string, help: string, type: P['type'], aggregator: 'sum', values: SharedSample[] }> {
    const { name, help, type, aggregator } = this
    const steps = this.readInSteps()
    let step = steps.next()
    while (step.done !== true) step = steps.next()
    return { name, help, type, aggregator, values: toClientSamples(step.value) }
  }
}

export type OwnMetric = RegisteredHistogram | RegisteredCounter | RegisteredGauge

/** Whether a metric in a registry is one of this plugin. */
export function isOwnMetric (metric: unknown): metric is OwnMetric {
  return metric instanceof RegisteredMetric
}

/** A histogram. Its series are in as many indexes as there are registrations that count into it and do not share one. */
export class RegisteredHistogram extends RegisteredMetric<HistogramPoints> implements Histogram {
  readonly definition: HistogramDefinition
  readonly type = 'histogram'
  readonly labelNames: readonly string[]
  readonly buckets: readonly number[]
  readonly #families: [HistogramFamily, ...HistogramFamily[]]

  constructor (definition: HistogramDefinition, index: SeriesIndex) {
    super(definition)
    this.definition = definition
    this.labelNames = index.labelNames
    this.buckets = definition.upperBounds
    this.#families = [new HistogramFamily(definition, index)]
  }

  /** The columns of this histogram that were there first. */
  get family (): HistogramFamily {
    return this.#families[0]
  }

  /** The columns of this histogram beside an index. */
  familyIn (index: SeriesIndex): HistogramFamily {
    let family = this.#families.find(family => family.index === index)
    if (family === undefined) {
      family = new HistogramFamily(this.definition, index)
      this.#families.push(family)
    }
    return family
  }

  override async get (): Promise<HistogramValues> {
    return super.get() as Promise<HistogramValues>
  }

  * readInSteps (): Steps<HistogramPoints> {
    const parts: HistogramPoints[] = []
    for (const family of this.#families) parts.push(yield * family.snapshotInSteps())
    return mergeAll(parts)
  }

  reset (): void {
    for (const family of this.#families) family.reset()
  }
}

export class RegisteredCounter extends RegisteredMetric<ValuePoints> {
  readonly type = 'counter'
  /** What brings the counter up to date before it is read. */
  readonly updates = new Set<() => void>()
  readonly #values: ValueFamily

  constructor (definition: ValueDefinition) {
    super(definition)
    this.#values = new ValueFamily('counter', definition)
  }

  /** Makes a series with the value 0, so that `rate()` sees its first increment. */
  declare (labels: Labels): void {
    this.#values.add(labels, 0)
  }

  increment (labels: Labels): void {
    this.#values.add(labels, 1)
  }

  * readInSteps (): Steps<ValuePoints> {
    for (const update of this.updates) update()
    return mergeAll(this.#values.snapshot())
  }

  reset (): void {
    this.#values.reset()
  }
}

/** Where a gauge has its values from whenever it is read. */
export type GaugeSource = () => Steps<ReadonlyArray<readonly [labels: Labels, value: number]>>

/** Tells, whenever it is read, how many there are of something. */
export class RegisteredGauge extends RegisteredMetric<ValuePoints> {
  readonly type = 'gauge'
  readonly sources = new Set<GaugeSource>()
  readonly #values: ValueFamily

  constructor (definition: ValueDefinition) {
    super(definition)
    this.#values = new ValueFamily('gauge', definition)
  }

  /** A series that was there stays, at 0. One that vanished would tell nothing, where it is known that there are none. */
  * readInSteps (): Steps<ValuePoints> {
    const counted = []
    for (const source of this.sources) counted.push(...yield * source())
    this.#values.zero()
    for (const [labels, value] of counted) this.#values.add(labels, value)
    return mergeAll(this.#values.snapshot())
  }

  reset (): void {
    this.#values.reset()
  }
}

function mergeAll<P extends Points> (parts: readonly P[]): P {
  return parts.reduce((sum, points) => merge(sum, points) as P)
}

/** Keeps a metric of this plugin in its registry until everybody who needs it there has released it. */
export class Lease {
  readonly #registry: RegistryLike
  readonly #metric: OwnMetric

  constructor (registry: RegistryLike, metric: OwnMetric) {
    this.#registry = registry
    this.#metric = metric
    metric.leases++
  }

  release (): void {
    const metric = this.#metric
    metric.leases--
    if (metric.leases === 0 && this.#registry.getSingleMetric(metric.name) === metric) this.#registry.removeSingleMetric(metric.name)
  }
}
