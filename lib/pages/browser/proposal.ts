import { addUp, boundsOf, estimateNative, type NativeBuckets, type NativeCounts } from './native'

export interface Proposal {
  readonly upperBounds: readonly number[]
  /** How far quantiles from the median to p99.9 would be off at most, as a share of what was measured. */
  readonly error: number
}

/** The quantiles that bounds are proposed for, from the median to p99.9: the rarer the requests above, the closer. */
const aims = Array.from({ length: 41 }, (_aim, index) => 1 - 0.5 * 0.002 ** (index / 40))

/** Bounds are chosen among so many numbers at the most. */
const mostCandidates = 80

/** Native buckets that are narrower than those of this schema are added up: there may be thousands of them. */
const finestSchema = 4

/**
 * The upper bounds, as many as `size`, with which the quantiles from p50 to p99.9 have the least relative errors, among
 * numbers of two digits: the sum of the fourth powers of the errors is the least, which depends on the greatest most.
 * Bounds in `kept` are among them in any case. There are fewer bounds if no more numbers of two digits are in between,
 * and none if all requests took no time.
 *
 * This is dynamic programming: the best bounds that end with a number are those that end best with one of the numbers
 * before it, and this number.
 */
export function proposeBounds (counts: NativeCounts, size: number, kept: readonly number[]): Proposal {
  const native = addUp([...counts, finestSchema, 0, 0])
  // Nothing is a share of 0, which is what may be measured of waits.
  const measured = aims.map(q => [q, estimateNative(q, native).value] as const).filter(([, value]) => value > 0)
  const candidates = measured.length === 0
    ? []
    : candidatesFor(measured[0]![1], measured.at(-1)![1], native).filter(bound => !kept.includes(bound))
  const shares = new Map([0, ...candidates, ...kept, Infinity].map(bound => [bound, shareUpTo(bound, native)]))
  /** The errors of the quantiles between two bounds: the sum of their fourth powers, and the greatest. */
  const errorsIn = (lower: number, upper: number): readonly [cost: number, most: number] => {
    const [below, upTo] = [shares.get(lower)!, shares.get(upper)!]
    let [cost, most] = [0, 0]
    for (const [q, wanted] of measured) {
      if (q <= below || q > upTo) continue
      const value = upper === Infinity ? lower : lower + (upper - lower) * (q - below) / (upTo - below)
      const error = Math.abs(value / wanted - 1)
      cost += error ** 4
      most = Math.max(most, error)
    }
    return [cost, most]
  }
  const costs = candidates.map((upper, high) => candidates.slice(0, high).map(lower => errorsIn(lower, upper)[0]))
  let best = candidates.map(bound => ({ cost: errorsIn(0, bound)[0], upperBounds: [bound] }))
  for (let count = kept.length + 1; count < size; count++) {
    best = best.map((one, high) => {
      let [cost, from] = [one.cost, -1]
      costs[high]!.forEach((between, low) => {
        if (between + best[low]!.cost < cost) [cost, from] = [between + best[low]!.cost, low]
      })
      return from < 0 ? one : { cost, upperBounds: [...best[from]!.upperBounds, candidates[high]!] }
    })
  }
  const chosen = size > kept.length ? best.at(-1)?.upperBounds ?? [] : []
  const upperBounds = [...chosen, ...kept].sort((a, b) => a - b)
  const errors = [...upperBounds, Infinity].map((bound, index) => errorsIn(upperBounds[index - 1] ?? 0, bound)[1])
  return { upperBounds, error: Math.max(...errors) }
}

/**
 * Numbers of two digits, from one that is not above `least` to one that is not below `most`. Where there are no
 * requests in between, and where there would be too many numbers, some are left out.
 */
function candidatesFor (least: number, most: number, native: NativeBuckets): number[] {
  const digitOf = (value: number): number => 10 ** (Math.floor(Math.log10(value)) - 1)
  const digit = digitOf(least)
  const numbers = [twoDigits(Math.floor(least / digit) * digit)]
  while (numbers.at(-1)! < most) numbers.push(twoDigits(numbers.at(-1)! + digitOf(numbers.at(-1)!)))
  const shares = numbers.map(number => shareUpTo(number, native))
  const useful = numbers.filter((_number, index) => shares[index - 1] !== shares[index + 1])
  const step = Math.ceil(useful.length / mostCandidates)
  return useful.filter((_number, index) => (useful.length - 1 - index) % step === 0)
}

function twoDigits (value: number): number {
  return Number(value.toPrecision(2))
}

/** The share of requests that took no longer than `bound`, if they are spread in a bucket as the buckets grow. */
function shareUpTo (bound: number, { schema, buckets }: NativeBuckets): number {
  let [all, upTo] = [0, 0]
  for (const [index, count] of buckets) {
    const [lower, upper] = boundsOf(index, schema)
    all += count
    if (bound >= upper) upTo += count
    else if (bound > lower) upTo += count * Math.log(bound / lower) / Math.log(upper / lower)
  }
  return upTo / all
}
