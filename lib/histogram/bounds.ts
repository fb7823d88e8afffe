/**
 * The default upper bounds of a histogram, in seconds: those of Prometheus' own client library for Go, and of
 * `prom-client`.
 */
export const defaultUpperBounds: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export function isUpperBounds (value: unknown): value is readonly number[] {
  return Array.isArray(value) &&
    value.length > 0 &&
    value.every((bound, index) => Number.isFinite(bound) && (index === 0 || bound > value[index - 1]))
}

/**
 * Up to this many bounds a linear scan is faster than a binary search, because most requests fall into the first few
 * buckets.
 */
const longestScan = 60

/**
 * The index of the bucket that counts a value. `upperBounds.length` is the index of the `+Inf` bucket. A bound is
 * inclusive, like `le`.
 */
export function bucketIndex (upperBounds: Float64Array, value: number): number {
  if (upperBounds.length > longestScan) return searchBucket(upperBounds, value)
  let index = 0
  while (index < upperBounds.length && value > upperBounds[index]!) index++
  return index
}

function searchBucket (upperBounds: Float64Array, value: number): number {
  let [low, high] = [0, upperBounds.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (value > upperBounds[middle]!) low = middle + 1
    else high = middle
  }
  return low
}
