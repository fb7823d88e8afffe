/** A quantile, and the bucket that it was estimated in: the truth is above `lower` and at most `upper`. */
export interface Estimate {
  readonly value: number
  readonly lower: number
  readonly upper: number
}

const none: Estimate = { value: NaN, lower: NaN, upper: NaN }

/**
 * What `histogram_quantile(q, …)` of PromQL makes of the same counts, for `q` from 0 to 1: within a bucket, observations are taken to be
 * spread evenly. In the `+Inf` bucket it is the largest finite bound, and NaN where nothing was counted.
 *
 * `cumulativeCounts` has one count more than there are bounds, that of `+Inf`.
 */
export function estimateQuantile (q: number, upperBounds: readonly number[], cumulativeCounts: ArrayLike<number>): Estimate {
  const infinityIndex = upperBounds.length
  const observations = cumulativeCounts[infinityIndex]!
  if (observations === 0) return none
  const rank = q * observations
  let index = 0
  while (index < infinityIndex && cumulativeCounts[index]! < rank) index++
  if (index === infinityIndex) return { value: upperBounds[index - 1]!, lower: upperBounds[index - 1]!, upper: Infinity }
  const upper = upperBounds[index]!
  if (index === 0 && upper <= 0) return { value: upper, lower: -Infinity, upper }
  const lower = index === 0 ? 0 : upperBounds[index - 1]!
  const before = index === 0 ? 0 : cumulativeCounts[index - 1]!
  return { value: lower + (upper - lower) * ((rank - before) / (cumulativeCounts[index]! - before)), lower, upper }
}
