/**
 * Points: what crosses from counting to showing. They are plain data without methods, so that they can be cloned to another thread or
 * process. A histogram has the counts of its buckets here, which are not cumulative: only a writer accumulates them.
 */

/** Label name to label value. */
export type Labels = Readonly<Record<string, string>>

/** What the points of every type have. */
interface FamilyPoints {
  readonly name: string
  readonly help: string
  /** What the values are measured in, such as `seconds`; undefined where that is not known. */
  readonly unit: string | undefined
  readonly labelNames: readonly string[]
  /**
   * The label values of each series, in the order of `labelNames`. A value is undefined where the series has no such label. An entry may be
   * the same array in every snapshot of its series.
   */
  readonly labelSets: ReadonlyArray<ReadonlyArray<string | undefined>>
  /** Labels that every series has beside its own. No name of them is in `labelNames`. */
  readonly sharedLabels: Labels
  /** When each series began to count, in seconds since 1970; NaN where that is not known. Undefined: it is known of none. */
  readonly startSeconds: Float64Array | undefined
  /** In the order of `series`, then of `bucket`. */
  readonly exemplars: readonly Exemplar[]
}

/** An observation that stands for others: it usually names a trace. */
export interface Exemplar {
  /** Index of its series in `labelSets`. */
  readonly series: number
  /** Index of its bucket in a histogram; 0 in a counter. */
  readonly bucket: number
  readonly labels: Labels
  readonly value: number
  /** When it was observed, in seconds since 1970; undefined where that is not known. */
  readonly timestampSeconds: number | undefined
}

export interface HistogramPoints extends FamilyPoints {
  readonly type: 'histogram'
  /** In ascending order, without the implied `+Inf`. */
  readonly upperBounds: readonly number[]
  /** `upperBounds.length + 1` counts for each series, the last of them for `+Inf`. They are not cumulative. */
  readonly counts: Float64Array
  /** One for each series. */
  readonly sums: Float64Array
}

export interface SummaryPoints extends FamilyPoints {
  readonly type: 'summary'
  /** Such as 0.5 and 0.99. Empty where several summaries were merged: their quantiles cannot be. */
  readonly quantiles: readonly number[]
  /** `quantiles.length` values for each series. */
  readonly quantileValues: Float64Array
  /** One for each series. */
  readonly counts: Float64Array
  /** One for each series. */
  readonly sums: Float64Array
}

export interface ValuePoints extends FamilyPoints {
  readonly type: 'counter' | 'gauge' | 'unknown'
  /** One for each series. */
  readonly values: Float64Array
}

/** The series of one metric family, as they were at one moment. */
export type Points = HistogramPoints | SummaryPoints | ValuePoints

/** Where points come from. Rejects only if a registry cannot even list its metrics. */
export type Gatherer = (request: GatherRequest) => Promise<Gathered>

export interface GatherRequest {
  /** The families that are wanted. Undefined: all. */
  readonly names: readonly string[] | undefined
  /** What has not been read after this time counts as failed. */
  readonly timeoutMs: number
}

export interface Gathered {
  readonly families: readonly Points[]
  readonly failures: readonly GatherFailure[]
}

/** A metric that could not be read. The reason has been reported where it was found. */
export interface GatherFailure {
  readonly name: string
  readonly message: string
}
