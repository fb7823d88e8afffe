/**
 * Points are the data that pass from counting to showing. They have no methods, so that they can be cloned to another
 * thread or process. The bucket counts of a histogram are not cumulative here; only a writer adds them up.
 */

/** Maps label names to label values. */
export type Labels = Readonly<Record<string, string>>

/** The properties that points of every type have. */
interface FamilyPoints {
  readonly name: string
  readonly help: string
  /** The unit of the values, such as `seconds`. Undefined: the unit is not known. */
  readonly unit: string | undefined
  readonly labelNames: readonly string[]
  /**
   * The label values of each series, in the order of `labelNames`. A value is undefined if the series has no such
   * label. Every snapshot of a series may contain the same array.
   */
  readonly labelSets: ReadonlyArray<ReadonlyArray<string | undefined>>
  /** Labels that every series has beside its own. None of their names is in `labelNames`. */
  readonly sharedLabels: Labels
  /**
   * When each series began to count, in seconds since 1970. NaN: the time is not known for this series. Undefined: it
   * is not known for any series.
   */
  readonly startSeconds: Float64Array | undefined
  /** The exemplars, in the order of `series`, then of `bucket`. */
  readonly exemplars: readonly Exemplar[]
}

/** An observation that is an example of others. Its labels usually name a trace. */
export interface Exemplar {
  /** The index of the exemplar's series in `labelSets`. */
  readonly series: number
  /** The index of the exemplar's bucket in a histogram; 0 in a counter. */
  readonly bucket: number
  readonly labels: Labels
  readonly value: number
  /** The time of the observation, in seconds since 1970. Undefined: the time is not known. */
  readonly timestampSeconds: number | undefined
}

/** In every native histogram, the zero bucket counts the values up to this one. It is the default of Prometheus. */
export const nativeZeroThreshold = 2 ** -128

/** The native buckets of a histogram's series. The counts of a series have the same sum as those of classic buckets. */
export interface NativePoints {
  /** The resolution of each series: `2^schema` buckets between one power of two and the next. */
  readonly schemas: Int8Array
  /** The count of the zero bucket of each series. */
  readonly zeroCounts: Float64Array
  /** For each series, the place in `indexes` and `counts` where its buckets end, and those of the next series begin. */
  readonly ends: Uint32Array
  /** The index of each bucket, in ascending order. The bucket `i` has the upper bound `2^(i / 2^schema)`. */
  readonly indexes: Int32Array
  /** The count of each bucket. They are not cumulative. */
  readonly counts: Float64Array
}

export interface HistogramPoints extends FamilyPoints {
  readonly type: 'histogram'
  /** The upper bounds in ascending order, without the implied `+Inf`. */
  readonly upperBounds: readonly number[]
  /**
   * The bucket counts: `upperBounds.length + 1` for each series, the last of which is that of `+Inf`. They are not
   * cumulative.
   */
  readonly counts: Float64Array
  /** The sum of each series. */
  readonly sums: Float64Array
  /** The native buckets. Undefined: there are none. */
  readonly native: NativePoints | undefined
}

export interface SummaryPoints extends FamilyPoints {
  readonly type: 'summary'
  /**
   * The quantiles, such as 0.5 and 0.99. Empty if several summaries were merged, because quantiles cannot be merged.
   */
  readonly quantiles: readonly number[]
  /** The values of the quantiles: `quantiles.length` for each series. */
  readonly quantileValues: Float64Array
  /** The number of observations of each series. */
  readonly counts: Float64Array
  /** The sum of each series. */
  readonly sums: Float64Array
}

/** How values of the same labels become one, where they come from several applications or processes. */
export type Aggregator = 'sum' | 'min' | 'max' | 'average' | 'first' | 'omit'

export interface ValuePoints extends FamilyPoints {
  readonly type: 'counter' | 'gauge' | 'unknown'
  readonly aggregator: Aggregator
  /** The value of each series. */
  readonly values: Float64Array
}

/** The series of one metric family, as they were at one moment. */
export type Points = HistogramPoints | SummaryPoints | ValuePoints

/** A source of points. The promise is rejected where to tell a part of them would be worse than to tell none. */
export type Gatherer = (request: GatherRequest) => Promise<Gathered>

export interface GatherRequest {
  /** The names of the families to gather, or of samples of them. Undefined stands for all families. */
  readonly names: ReadonlySet<string> | undefined
  /** A metric that has not been read after this time counts as failed. */
  readonly timeoutMs: number
}

export interface Gathered {
  /** Gatherings that share what was read, and have the same families, have the same array. */
  readonly families: readonly Points[]
  readonly failures: readonly GatherFailure[]
  /** The names of metrics that were read, and cannot be shown: readers would refuse the whole page. */
  readonly leftOut: readonly string[]
}

/** A metric that could not be read. The gatherer has already warned of the reason. */
export interface GatherFailure {
  readonly name: string
  readonly message: string
}
