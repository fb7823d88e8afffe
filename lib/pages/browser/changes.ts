import { formatEstimate, formatRate, formatShare } from './format'
import type { Increase } from './history'
import { estimateQuantile } from './quantile'
import { requestsOf, statusClass, sumOf, type Row } from './rows'

/** How a row differs most from the window before. */
export interface Change {
  /** How sure it is that this is no chance, in standard deviations. */
  readonly weight: number
  readonly text: string
}

/** Below this many standard deviations, a difference may well be chance, and is not told. */
const least = 4

/** A difference in share or rate that is smaller than this is of no interest, however sure. */
const leastRatio = 1.3

/** With fewer requests in a window, its quantiles are not compared. */
const leastRequests = 20

/** The change that stands out most between two windows of the same length. Undefined: none does. */
export function changeOf (
  upperBounds: readonly number[], now: Row, before: Row | undefined, ratioOfSeconds: number
): Change | undefined {
  const requests = requestsOf(now)
  const requestsBefore = before === undefined ? 0 : requestsOf(before)
  const changes: Change[] = []
  const shares: ReadonlyArray<[name: string, count: (row: Row) => number]> = [
    ['5xx', row => statusClass(row, '5')],
    ['4xx', row => statusClass(row, '4')],
    ['aborted', row => sumOf(row.counts.aborted)]
  ]
  for (const [name, count] of shares) {
    const [part, partBefore] = [count(now), before === undefined ? 0 : count(before)]
    const weight = differenceOfShares(part, requests, partBefore, requestsBefore)
    if (!isApart(part / requests, partBefore / requestsBefore)) continue
    changes.push({
      weight, text: `${name} ${formatShare(partBefore, requestsBefore)} → ${formatShare(part, requests)}`
    })
  }
  if (before !== undefined && requests >= leastRequests && requestsBefore >= leastRequests) {
    const p99 = [before, now].map(({ counts }) => estimateQuantile(0.99, upperBounds, counts.buckets))
    // The share of requests above the bucket in which the slowest tenth began before.
    const bucket = before.counts.buckets.findIndex(count => count >= 0.9 * requestsBefore)
    const [slow, slowBefore] = [requests - now.counts.buckets[bucket]!, requestsBefore - before.counts.buckets[bucket]!]
    const weight = differenceOfShares(slow, requests, slowBefore, requestsBefore)
    const [valueBefore, value] = p99.map(({ value, upper }) => upper === Infinity ? Infinity : value)
    if (isApart(value!, valueBefore!)) changes.push({ weight, text: `p99 ${p99.map(formatEstimate).join(' → ')}` })
  }
  const expected = requestsBefore * ratioOfSeconds
  if (isApart(requests, expected)) {
    // Traffic changes all the time, and is told only if nothing else stands out as much.
    const weight = Math.abs(requests - expected) / Math.sqrt(requests + expected) / 2
    changes.push({ weight, text: requestsBefore === 0 ? 'new' : trafficText(requests, expected) })
  }
  const [most] = changes.filter(({ weight }) => weight >= least).sort((a, b) => b.weight - a.weight)
  return most
}

/** The changes of all rows that stand out, by key. */
export function changesOf (
  upperBounds: readonly number[], now: Increase, before: Increase | undefined
): Map<string, Change> {
  const changes = new Map<string, Change>()
  // Half a window says nothing about the whole one.
  if (before === undefined || before.seconds < now.seconds / 2) return changes
  for (const [key, row] of now.rows) {
    const change = changeOf(upperBounds, row, before.rows.get(key), now.seconds / before.seconds)
    if (change !== undefined) changes.set(key, change)
  }
  return changes
}

/** How many standard deviations two shares are apart, if they were of the same kind of requests. */
function differenceOfShares (part: number, whole: number, partBefore: number, wholeBefore: number): number {
  if (whole === 0 || wholeBefore === 0) return 0
  const share = (part + partBefore) / (whole + wholeBefore)
  const deviation = Math.sqrt(share * (1 - share) * (1 / whole + 1 / wholeBefore))
  return deviation === 0 ? 0 : Math.abs(part / whole - partBefore / wholeBefore) / deviation
}

function isApart (a: number, b: number): boolean {
  return Math.max(a, b) >= leastRatio * Math.min(a, b) && a !== b
}

function trafficText (requests: number, expected: number): string {
  if (requests === 0) return 'no more requests'
  if (requests < expected) return `${formatShare(requests, expected)} of the requests`
  return `${formatRate(requests / expected).replace('.0', '')} × the requests`
}
