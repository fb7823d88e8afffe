import { addUp, estimateNative, type NativeCounts } from './native'

/** An estimated quantile, and the bounds of its bucket. The true value is above `lower` and at most `upper`. */
export interface Estimate {
  readonly value: number
  readonly lower: number
  readonly upper: number
  /** How far the true value may be from this one, as a share of this one. Undefined: the bucket is a classic one. */
  readonly error?: number
}

/** Requests by how long they took. */
export interface Distribution {
  /** The cumulative counts of the classic buckets. */
  readonly buckets: readonly number[]
  /** Empty: there are no native buckets, or no requests. */
  readonly native: NativeCounts
}

/** Estimates quantiles by the native buckets, or by the classic ones if there are no others. */
export function estimateQuantiles (
  qs: readonly number[], upperBounds: readonly number[], { buckets, native }: Distribution
): Estimate[] {
  if (native.length === 0) return qs.map(q => estimateQuantile(q, upperBounds, buckets))
  const added = addUp(native)
  return qs.map(q => estimateNative(q, added))
}

const none: Estimate = { value: NaN, lower: NaN, upper: NaN }

/**
 * Computes what `histogram_quantile(q, …)` of PromQL computes from the same counts, for `q` from 0 to 1. Observations
 * are assumed to be spread evenly within a bucket. The result in the `+Inf` bucket is the largest finite bound, and
 * without any observation it is NaN.
 *
 * `cumulativeCounts` has one more element than `upperBounds`, the count of `+Inf`.
 */
export function estimateQuantile (
  q: number, upperBounds: readonly number[], cumulativeCounts: ArrayLike<number>
): Estimate {
  const infinityIndex = upperBounds.length
  const observations = cumulativeCounts[infinityIndex]!
  if (observations === 0) return none
  const rank = q * observations
  let index = 0
  while (index < infinityIndex && cumulativeCounts[index]! < rank) index++
  if (index === infinityIndex) {
    const lower = upperBounds[index - 1]!
    return { value: lower, lower, upper: Infinity }
  }
  const upper = upperBounds[index]!
  if (index === 0 && upper <= 0) return { value: upper, lower: -Infinity, upper }
  const lower = index === 0 ? 0 : upperBounds[index - 1]!
  const before = index === 0 ? 0 : cumulativeCounts[index - 1]!
  return { value: lower + (upper - lower) * ((rank - before) / (cumulativeCounts[index]! - before)), lower, upper }
}
