import type { Exemplar, HistogramPoints, NativePoints } from '../snapshot'
import { runAtOnce } from '../time-slices'
import { bucketIndex } from './bounds'
import { nowSeconds } from './clock'
import { type Column, placeMask, segmentBits, unfilled } from './columns'
import { KeptExemplars, type ExemplarLabels } from './exemplars'
import { joinInSteps, NativeBuckets, type NativeConfig } from './native'
import type { SeriesIndex } from './series-index'

export interface HistogramDefinition {
  readonly name: string
  readonly help: string
  /** The unit of the values, such as `seconds`. */
  readonly unit: string
  readonly upperBounds: readonly number[]
  /** How native buckets are kept beside the classic ones. Undefined: there are none. */
  readonly native?: NativeConfig | undefined
}

/** How many series are copied in one step, and how many that have native buckets or exemplars. */
const seriesPerStep = 10_000
const richSeriesPerStep = 500

/**
 * A histogram: a column of sums and bucket counts beside an index of series. Other histograms may have their columns
 * beside the same index.
 */
export class HistogramFamily {
  readonly definition: HistogramDefinition
  readonly index: SeriesIndex
  readonly #upperBounds: Float64Array
  /** The numbers of each series: the sum, a count for each bucket, of which the last is `+Inf`, and native buckets. */
  readonly #rows: Column
  /** `#rows.segments` and `#rows.width`. They are kept here too because they are read faster from here. */
  readonly #segments: readonly Float64Array[]
  readonly #width: number
  /** How many numbers come before the native buckets. */
  readonly #classicWidth: number
  readonly #native: NativeBuckets | undefined
  readonly #exemplars = new KeptExemplars()
  /**
   * When this histogram was last reset, in seconds since 1970; 0 if it never was. A series that was added earlier began
   * to count at this time.
   */
  #startSeconds = 0

  constructor (definition: HistogramDefinition, index: SeriesIndex) {
    this.definition = definition
    this.index = index
    this.#upperBounds = Float64Array.from(definition.upperBounds)
    this.#native = definition.native && new NativeBuckets(definition.native)
    this.#classicWidth = definition.upperBounds.length + 2
    this.#width = this.#classicWidth + (this.#native?.width ?? 0)
    this.#rows = index.addColumn(this.#width)
    this.#segments = this.#rows.segments
  }

  /**
   * Counts one value. A finite negative value counts as 0. A value that is not finite counts in the `+Inf` bucket, and
   * is not added to the sum.
   */
  observe (slot: number, value: number): void {
    const segment = this.#segments[slot >> segmentBits] ?? this.#grow(slot)
    const row = (slot & placeMask) * this.#width
    if (!Number.isFinite(value)) {
      segment[row + this.#classicWidth - 1]!++
      if (this.#native !== undefined) this.#native.observe(segment, row + this.#classicWidth, Infinity)
      return
    }
    const counted = value > 0 ? value : 0
    segment[row]! += counted
    segment[row + 1 + bucketIndex(this.#upperBounds, counted)]!++
    if (this.#native !== undefined) this.#native.observe(segment, row + this.#classicWidth, counted)
  }

  /** Keeps a value that has been observed as the exemplar of its bucket. */
  keepExemplar (slot: number, value: number, labels: ExemplarLabels): void {
    if (!Number.isFinite(value)) return
    const counted = Math.max(value, 0)
    this.#exemplars.keep(slot, bucketIndex(this.#upperBounds, counted), labels, counted)
  }

  /** The points at this moment. Later observations do not change them. */
  snapshot (): HistogramPoints {
    return runAtOnce(this.snapshotInSteps())
  }

  /**
   * Makes the same points in steps of less than a millisecond. There may be observations between two steps; the numbers
   * of one series are always from the same moment. A series with no observation in this histogram is left out, unless
   * the histogram has no labels.
   */
  * snapshotInSteps (): Generator<undefined, HistogramPoints> {
    const { index } = this
    const { clears, size } = index
    const buckets = this.#classicWidth - 1
    const labelSets: (readonly string[])[] = []
    const [counts, sums, starts] = [unfilled(size * buckets), unfilled(size), unfilled(size)]
    const native: NativePoints[] = []
    const exemplars: Exemplar[] = []
    const perStep = this.#native === undefined && this.#exemplars.isEmpty ? seriesPerStep : richSeriesPerStep
    for (let first = 0; first < size; first += perStep) {
      if (first > 0) yield
      if (index.clears !== clears) return yield * this.snapshotInSteps()
      const end = Math.min(first + perStep, size)
      const nativeSegments: Float64Array[] = []
      const nativeRows: number[] = []
      for (let slot = first; slot < end; slot++) {
        if (index.labelNames.length > 0 && this.#rows.isZero(slot)) continue
        const series = labelSets.push(index.labelSet(slot)) - 1
        const segment = this.#segments[slot >> segmentBits]!
        const row = (slot & placeMask) * this.#width
        sums[series] = segment[row]!
        for (let bucket = 0; bucket < buckets; bucket++) counts[series * buckets + bucket] = segment[row + 1 + bucket]!
        starts[series] = Math.max(index.startSeconds(slot), this.#startSeconds)
        if (this.#native !== undefined) {
          nativeSegments.push(segment)
          nativeRows.push(row + this.#classicWidth)
        }
        if (!this.#exemplars.isEmpty) exemplars.push(...this.#exemplars.of(slot, series))
      }
      if (this.#native !== undefined) native.push(this.#native.snapshot(nativeSegments, nativeRows))
    }
    const series = labelSets.length
    return {
      type: 'histogram',
      ...this.definition,
      labelNames: index.labelNames,
      labelSets,
      sharedLabels: {},
      startSeconds: starts.subarray(0, series),
      exemplars,
      counts: counts.subarray(0, series * buckets),
      sums: sums.subarray(0, series),
      native: this.#native && (yield * joinInSteps(native))
    }
  }

  /** Forgets everything that was counted. */
  reset (): void {
    this.#startSeconds = nowSeconds()
    this.#exemplars.clear()
    this.index.clear([this.#rows])
  }

  /** Leaves the index. Requests that are still open then may be counted nevertheless. */
  dispose (): void {
    this.index.removeColumn(this.#rows)
  }

  /** Makes room for a series that was added when this histogram had left the index. */
  #grow (slot: number): Float64Array {
    this.#rows.reserve(slot + 1)
    return this.#segments[slot >> segmentBits]!
  }
}
