import { formatEstimate, formatRate, formatShare } from './format'
import type { Increase, Point } from './history'
import { estimateQuantiles } from './quantile'
import { requestsOf, statusClass, sumOf, type Row } from './rows'

/** How a row differs most from the window before. */
export interface Change {
  /** How sure it is that this is no chance, in standard deviations. */
  readonly weight: number
  readonly text: string
  /** The requests of a point whose share has changed, per second. Undefined: it is not a share that has changed. */
  readonly part?: (point: Point) => number
  /** Whether that share has become smaller. */
  readonly falls?: boolean
}

/** Below this many standard deviations, a difference may well be chance, and is not told. */
export const least = 4

/** A difference in share or rate that is smaller than this is of no interest, however sure. */
const leastRatio = 1.3

/** With fewer requests in a window, its quantiles are not compared. */
export const leastRequests = 20

/** The change that stands out most between two windows of the same length. Undefined: none does. */
export function changeOf (
  upperBounds: readonly number[], now: Row, before: Row | undefined, ratioOfSeconds: number
): Change | undefined {
  const requests = requestsOf(now)
  const requestsBefore = before === undefined ? 0 : requestsOf(before)
  const changes: Change[] = []
  const shares: ReadonlyArray<[name: '5xx' | '4xx' | 'aborted', count: (row: Row) => number]> = [
    ['5xx', row => statusClass(row, '5')],
    // A client that has left is told as that, and not as the status 499 that stands for it.
    ['aborted', row => sumOf(row.counts.aborted)],
    ['4xx', row => statusClass(row, '4')]
  ]
  for (const [name, count] of shares) {
    const [part, partBefore] = [count(now), before === undefined ? 0 : count(before)]
    const weight = differenceOfShares(part, requests, partBefore, requestsBefore)
    if (!isApart(part / requests, partBefore / requestsBefore)) continue
    changes.push({
      weight: Math.abs(weight),
      text: `${name} ${formatShare(partBefore, requestsBefore)} → ${formatShare(part, requests)}`,
      part: ({ rates }) => rates[name],
      falls: weight < 0
    })
  }
  if (before !== undefined && requests >= leastRequests && requestsBefore >= leastRequests) {
    // The share of requests above the bucket in which the slowest tenth began before.
    const bucket = before.counts.buckets.findIndex(count => count >= 0.9 * requestsBefore)
    const [slow, slowBefore] = [requests - now.counts.buckets[bucket]!, requestsBefore - before.counts.buckets[bucket]!]
    const difference = differenceOfShares(slow, requests, slowBefore, requestsBefore)
    const weight = Math.abs(difference)
    // Quantiles take long to compute, and there may be hundreds of rows.
    const p99 = weight < least
      ? []
      : [before, now].flatMap(({ counts }) => estimateQuantiles([0.99], upperBounds, counts))
    const [valueBefore = 0, value = 0] = p99.map(({ value, upper }) => upper === Infinity ? Infinity : value)
    if (isApart(value, valueBefore)) {
      const text = `p99 ${p99.map(formatEstimate).join(' → ')}`
      changes.push({ weight, text, part: rateAbove(bucket), falls: difference < 0 })
    }
  }
  const expected = requestsBefore * ratioOfSeconds
  if (isApart(requests, expected)) {
    // Traffic changes all the time, and is told only if nothing else stands out as much.
    const weight = Math.abs(requests - expected) / Math.sqrt(requests + expected) / 2
    changes.push({ weight, text: requestsBefore === 0 ? 'new' : trafficText(requests, expected) })
  }
  return changes.filter(({ weight }) => weight >= least).sort((a, b) => b.weight - a.weight)[0]
}

/** The requests of a point above a bucket, per second. */
function rateAbove (bucket: number): NonNullable<Change['part']> {
  return ({ bucketCounts, from, time }) =>
    bucketCounts.slice(bucket + 1).reduce((sum, count) => sum + count, 0) / (time - from)
}

/** That relatively more requests of a row are above a bucket than before. */
export interface Shift {
  readonly bucket: number
  /** By how much the share of the requests above the bucket has grown. */
  readonly more: number
  /** How sure it is that this is no chance, in standard deviations. */
  readonly weight: number
  readonly part: NonNullable<Change['part']>
}

/** A row, as far as it is known how long its requests took. */
interface Buckets {
  readonly counts: { readonly buckets: readonly number[] }
}

/** The greatest shift of a row to longer durations, of all buckets. Undefined: there are too few requests. */
export function shiftOf (rowNow: Buckets | undefined, rowBefore: Buckets | undefined): Shift | undefined {
  const [now, before] = [rowNow, rowBefore].map(row => row?.counts.buckets ?? [0]) as [number[], number[]]
  const [requests, requestsBefore] = [now.at(-1)!, before.at(-1)!]
  if (requests < leastRequests || requestsBefore < leastRequests) return undefined
  const above = (counts: readonly number[], bucket: number): number => counts.at(-1)! - counts[bucket]!
  const more = now.map((_count, bucket) => above(now, bucket) / requests - above(before, bucket) / requestsBefore)
  const bucket = more.indexOf(Math.max(...more))
  const weight = differenceOfShares(above(now, bucket), requests, above(before, bucket), requestsBefore)
  return { bucket, more: more[bucket]!, weight, part: rateAbove(bucket) }
}

/** Whether two windows say the same of a row if nothing has changed: half a window says nothing about the whole one. */
export function canCompare (now: Increase, before: Increase | undefined): before is Increase {
  return before !== undefined && before.seconds >= now.seconds / 2
}

/** The changes of all rows that stand out, by key. */
export function changesOf (
  upperBounds: readonly number[], now: Increase, before: Increase | undefined
): Map<string, Change> {
  const changes = new Map<string, Change>()
  if (!canCompare(now, before)) return changes
  for (const [key, row] of now.rows) {
    const change = changeOf(upperBounds, row, before.rows.get(key), now.seconds / before.seconds)
    if (change !== undefined) changes.set(key, change)
  }
  return changes
}

/** Which of the points that divide others are taken. */
interface Split {
  /** Whether the share has become smaller, and not larger. */
  readonly falls?: boolean | undefined
  /** How sure it is at least, in standard deviations, and how many times as large the share is at least. */
  readonly weight?: number
  readonly ratio?: number
}

/** What is so now is what at most this many of the last points tell. */
const lastPoints = 10

/** Trouble is over that has been away for so many seconds, unless that is chance: the logarithm of its probability. */
const overSeconds = 30
const overLikelihood = -5

/**
 * The time since when the share of a part has been larger. That it is so is told by the point which divides the points
 * into two groups whose shares differ most surely. Since when it is as it is now is what is most likely then: there may
 * have been trouble before that has ended. Undefined: the shares may differ by chance.
 */
export function sinceWhen (
  points: readonly Point[], part: (point: Point) => number, { falls = false, weight = least, ratio = 0 }: Split = {}
): number | undefined {
  const counted = points.map(point => {
    const seconds = point.time - point.from
    return [part(point) * seconds, point.rates.all * seconds] as const
  })
  const sum = (index: 0 | 1): number => counted.reduce((sum, counts) => sum + counts[index], 0)
  const [parts, wholes] = [sum(0), sum(1)]
  let [partBefore, wholeBefore, most] = [0, 0, weight]
  let [split, before] = [-1, 0]
  points.forEach((_point, index) => {
    const [rest, whole] = [parts - partBefore, wholes - wholeBefore]
    const difference = differenceOfShares(rest, whole, partBefore, wholeBefore) * (falls ? -1 : 1)
    if (difference >= most && rest * wholeBefore >= ratio * partBefore * whole) {
      [most, split, before] = [difference, index, shareOf(partBefore, wholeBefore)]
    }
    partBefore += counted[index]![0]
    wholeBefore += counted[index]![1]
  })
  if (split === -1) return undefined
  const now = shareNow(counted.slice(Math.max(split, counted.length - lastPoints)), before)
  let [likelihood, greatest] = [0, 0]
  for (let index = counted.length - 1; index > 0; index--) {
    likelihood += likelihoodOf(counted[index]!, now, before)
    if (likelihood >= greatest) [greatest, split] = [likelihood, index]
    else if (likelihood < greatest + overLikelihood && points[index]!.from < points[split]!.from - overSeconds) break
  }
  return points[split]!.from
}

/** A share of 0 or 1 would make all others impossible. */
function shareOf (part: number, whole: number): number {
  return (part + 0.5) / (whole + 1)
}

/** How much more likely a part of a whole is with a share than with that before: the logarithm of it. */
function likelihoodOf ([part, whole]: readonly [part: number, whole: number], now: number, before: number): number {
  return part * Math.log(now / before) + (whole - part) * Math.log((1 - now) / (1 - before))
}

/** The share of the last counts that differs most from that before. */
function shareNow (counted: ReadonlyArray<readonly [part: number, whole: number]>, before: number): number {
  let [part, whole, most, now] = [0, 0, -Infinity, before]
  for (const [partHere, wholeHere] of [...counted].reverse()) {
    part += partHere
    whole += wholeHere
    const share = shareOf(part, whole)
    const likelihood = likelihoodOf([part, whole], share, before)
    if (likelihood > most) [most, now] = [likelihood, share]
  }
  return now
}

/**
 * How many standard deviations a share is above that before, if they were of the same kind of requests. Of a few of
 * many requests, the normal distribution makes chance look rarer than it is, and Chernoff's bound counts.
 */
function differenceOfShares (part: number, whole: number, partBefore: number, wholeBefore: number): number {
  if (whole === 0 || wholeBefore === 0) return 0
  const [parts, wholes] = [part + partBefore, whole + wholeBefore]
  const share = parts / wholes
  const deviation = Math.sqrt(share * (1 - share) * (1 / whole + 1 / wholeBefore))
  const normal = deviation === 0 ? 0 : (part / whole - partBefore / wholeBefore) / deviation
  const surprise = normal > 0
    ? surpriseOf(part, parts, whole / wholes)
    : surpriseOf(partBefore, parts, wholeBefore / wholes)
  return Math.sign(normal) * Math.min(Math.abs(normal), Math.sqrt(2 * surprise))
}

/**
 * How improbable it is at least that of some trials so many or more succeed by chance, with this probability each: the
 * logarithm of it, without the sign, as Chernoff's bound has it.
 */
export function surpriseOf (successes: number, trials: number, probability: number): number {
  const share = successes / trials
  if (!(share > probability)) return 0
  const others = share === 1 ? 0 : (1 - share) * Math.log((1 - share) / (1 - probability))
  return trials * (share * Math.log(share / probability) + others)
}

function isApart (a: number, b: number): boolean {
  return Math.max(a, b) >= leastRatio * Math.min(a, b) && a !== b
}

function trafficText (requests: number, expected: number): string {
  if (requests === 0) return 'no more requests'
  if (requests < expected) return `${formatShare(requests, expected)} of the requests`
  return `${formatRate(requests / expected).replace('.0', '')} × the requests`
}
