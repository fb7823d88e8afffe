import type { Histogram, HistogramValues, RegistryLike } from '../../index'
import { settled } from '../errors'
import type { SharedSample } from '../exposition/client-samples'
import { HistogramFamily, type HistogramDefinition } from '../histogram/family'
import type { SeriesIndex } from '../histogram/series-index'
import { ValueFamily, type ValueDefinition } from '../histogram/values'
import type { Aggregator, HistogramPoints, Labels, Points, ValuePoints } from '../snapshot'
import { runAtOnce } from '../time-slices'
import { merge } from './merge'
import { publicRegistry, type AnyRegistry } from './own-registry'

/** Reads points in steps. Between two steps the caller may leave the event loop to others. */
export type Steps<P> = Generator<undefined, P>

/** The result of a metric's `getForPromString()`. */
interface PromStringMetric<Type> {
  readonly name: string
  readonly help: string
  readonly type: Type
  readonly aggregator: Aggregator
  readonly values: SharedSample[]
}

/**
 * A metric of this plugin, in the form in which registries of client libraries hold metrics. It has only the properties
 * that those libraries use.
 */
abstract class RegisteredMetric<P extends HistogramPoints | ValuePoints> {
  readonly help: string
  abstract readonly type: P['type']
  abstract readonly aggregator: Aggregator
  /** The number of leases that keep this metric in its registry. */
  leases = 0
  /** Functions that bring the metric up to date before it is read. */
  readonly updates = new Set<() => void>()
  readonly #name: string
  /** The name for the next rendering. Undefined: the metric's own name. */
  #nextName: string | undefined

  constructor ({ name, help }: ValueDefinition) {
    this.#name = name
    this.help = help
  }

  get name (): string {
    return this.#name
  }

  /**
   * Client libraries overwrite the name of a counter immediately before they render it in OpenMetrics, where it has no
   * `_total`. It is used for that rendering only.
   */
  set name (name: string) {
    this.#nextName = name
  }

  /** Brings the metric up to date, and reads it. */
  * readInSteps (): Steps<P> {
    for (const update of this.updates) update()
    return yield * this.snapshotInSteps()
  }

  protected abstract snapshotInSteps (): Steps<P>

  abstract reset (): void

  /** Called when nobody needs the metric any more. */
  dispose (): void {}

  async get (): Promise<object> {
    const { values, ...metric } = await this.getForPromString()
    return {
      ...metric,
      values: values.map(({ sharedLabels, labels, ...sample }) =>
        ({ ...sample, labels: { ...labels, ...sharedLabels } }))
    }
  }

  /** Client libraries call this method, if there is one, to write the metric as text. */
  async getForPromString (): Promise<PromStringMetric<P['type']>> {
    const { toClientSamples } = require('../exposition/client-samples') as typeof import('../exposition/client-samples')
    const { help, type, aggregator } = this
    const name = this.#nextName ?? this.#name
    this.#nextName = undefined
    return { name, help, type, aggregator, values: toClientSamples(runAtOnce<P>(this.readInSteps())) }
  }
}

export type OwnMetric = RegisteredHistogram | RegisteredCounter | RegisteredGauge

export type IsOwnMetric = (metric: unknown) => metric is OwnMetric

/** Whether a metric in a registry belongs to this plugin. */
export function isOwnMetric (metric: unknown): metric is OwnMetric {
  return metric instanceof RegisteredMetric
}

/**
 * A histogram. Its series may be in several indexes: registrations that record into it have an index each, unless they
 * share one.
 */
export class RegisteredHistogram extends RegisteredMetric<HistogramPoints> implements Histogram {
  readonly definition: HistogramDefinition
  readonly type = 'histogram'
  readonly aggregator = 'sum'
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

  /** The columns beside the index that the histogram was made with. */
  get family (): HistogramFamily {
    return this.#families[0]
  }

  /** The columns beside the given index, which are added if they are missing. */
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

  protected * snapshotInSteps (): Steps<HistogramPoints> {
    const parts: HistogramPoints[] = []
    for (const family of this.#families) parts.push(yield * family.snapshotInSteps())
    return mergeAll(parts)
  }

  reset (): void {
    for (const family of this.#families) family.reset()
  }

  override dispose (): void {
    for (const family of this.#families) family.dispose()
  }
}

export class RegisteredCounter extends RegisteredMetric<ValuePoints> {
  readonly type = 'counter'
  readonly aggregator = 'sum'
  readonly #values: ValueFamily
  readonly #declared: Labels[] = []

  constructor (definition: ValueDefinition) {
    super(definition)
    this.#values = new ValueFamily('counter', definition)
  }

  /** Makes a series with the value 0, so that `rate()` sees its first increment. A reset keeps the series. */
  declare (labels: Labels): void {
    this.#declared.push(labels)
    this.#values.add(labels, 0)
  }

  increment (labels: Labels, amount = 1): void {
    this.#values.add(labels, amount)
  }

  protected * snapshotInSteps (): Steps<ValuePoints> {
    return mergeAll(this.#values.snapshot())
  }

  reset (): void {
    this.#values.reset()
    for (const labels of this.#declared) this.#values.add(labels, 0)
  }
}

/** Counts the current values of a gauge, in steps. */
export type GaugeSource = () => Steps<ReadonlyArray<readonly [labels: Labels, value: number]>>

export interface GaugeDefinition extends ValueDefinition {
  readonly aggregator: Aggregator
}

/** A gauge that counts its values whenever it is read. */
export class RegisteredGauge extends RegisteredMetric<ValuePoints> {
  readonly type = 'gauge'
  readonly aggregator: Aggregator
  readonly sources = new Set<GaugeSource>()
  readonly #values: ValueFamily

  constructor (definition: GaugeDefinition) {
    super(definition)
    this.aggregator = definition.aggregator
    this.#values = new ValueFamily('gauge', definition, definition.aggregator)
  }

  /**
   * Reads the gauge. A series that existed before is kept, with the value 0 if nothing is counted for it now. If the
   * series vanished, a reader could not tell whether the value is 0 or unknown.
   */
  protected * snapshotInSteps (): Steps<ValuePoints> {
    const counted = []
    for (const source of this.sources) counted.push(...yield * source())
    this.#values.zero()
    for (const [labels, value] of counted) {
      if (this.aggregator === 'max') this.#values.raise(labels, value)
      else this.#values.add(labels, value)
    }
    return mergeAll(this.#values.snapshot())
  }

  reset (): void {
    this.#values.reset()
  }
}

function mergeAll<P extends Points> (parts: readonly P[]): P {
  return merge(...parts as readonly [P, ...P[]])
}

/** Keeps a metric of this plugin in its registry, until all leases on the metric are released. */
export class Lease {
  readonly metric: OwnMetric
  readonly #registry: AnyRegistry

  constructor (registry: AnyRegistry, metric: OwnMetric) {
    this.#registry = registry
    this.metric = metric
    metric.leases++
  }

  get registry (): RegistryLike {
    return publicRegistry(this.#registry)
  }

  get isRegistered (): boolean {
    return settled(this.registry.getSingleMetric(this.metric.name)) === this.metric
  }

  release (): void {
    this.metric.leases--
    if (this.metric.leases > 0) return
    this.metric.dispose()
    if (this.isRegistered) settled(this.registry.removeSingleMetric(this.metric.name))
  }
}
