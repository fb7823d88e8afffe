/** The upper bounds users get who set none: those of every Prometheus client library, in seconds. */
export const defaultUpperBounds: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export function isUpperBounds (value: unknown): value is readonly number[] {
  return Array.isArray(value) &&
    value.length > 0 &&
    value.every((bound, index) => Number.isFinite(bound) && (index === 0 || bound > value[index - 1]))
}

/**
 * Index of the bucket that a value is counted in; `upperBounds.length` is the `+Inf` bucket. Bounds are inclusive, as `le` says.
 * A linear scan: up to some 60 bounds it is faster than a binary search, since most requests end in the first few buckets.
 */
export function bucketIndex (upperBounds: Float64Array, value: number): number {
  let index = 0
  while (index < upperBounds.length && value > upperBounds[index]!) index++
  return index
}
