import type { Estimate } from './quantile'

/**
 * Counts of native buckets, three numbers each: the schema, the index, and by how much the count has grown. The index
 * of the zero bucket is -Infinity.
 */
export type NativeCounts = readonly number[]

/** Native buckets of one schema, in ascending order of their indexes. None of them is empty. */
export interface NativeBuckets {
  readonly schema: number
  readonly buckets: ReadonlyArray<readonly [index: number, count: number]>
}

/**
 * Adds up counts at the coarsest schema that is among them. A bucket of another schema is part of one bucket of that
 * one. So what has moved from a finer schema to a coarser one is counted once.
 */
export function addUp (counts: NativeCounts): NativeBuckets {
  let schema = Infinity
  for (let place = 0; place < counts.length; place += 3) schema = Math.min(schema, counts[place]!)
  const sums = new Map<number, number>()
  for (let place = 0; place < counts.length; place += 3) {
    const index = Math.ceil(counts[place + 1]! / 2 ** (counts[place]! - schema))
    sums.set(index, (sums.get(index) ?? 0) + counts[place + 2]!)
  }
  const buckets = [...sums].filter(([, count]) => count > 0)
  return { schema, buckets: buckets.sort(([a], [b]) => a - b) }
}

/** The same as counts. */
export function countsOf ({ schema, buckets }: NativeBuckets): number[] {
  return buckets.flatMap(([index, count]) => [schema, index, count])
}

/** The bounds of a bucket. */
export function boundsOf (index: number, schema: number): [lower: number, upper: number] {
  return [2 ** ((index - 1) / 2 ** schema), 2 ** (index / 2 ** schema)]
}

/**
 * Computes what `histogram_quantile(q, …)` of Prometheus 3 computes from the same native buckets. Observations are
 * assumed to be spread in a bucket as the buckets grow. From the median on, Prometheus counts from the top.
 */
export function estimateNative (q: number, { schema, buckets }: NativeBuckets): Estimate {
  const all = buckets.reduce((sum, [, count]) => sum + count, 0)
  if (all === 0) return { value: NaN, lower: NaN, upper: NaN }
  const isLow = q < 0.5
  const rank = all * (isLow ? q : 1 - q)
  let [place, seen] = isLow ? [0, 0] : [buckets.length - 1, 0]
  while ((seen += buckets[place]![1]) < rank) place += isLow ? 1 : -1
  const [index, count] = buckets[place]!
  const [lower, upper] = boundsOf(index, schema)
  const part = (isLow ? rank - seen + count : seen - rank) / count
  const value = lower === 0 ? 0 : lower * (upper / lower) ** part
  return { value, lower, upper, error: Math.max(upper - value, value - lower) / (value || 1) }
}
