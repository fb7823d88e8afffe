import type { Change } from './changes'
import { formatCount, formatTotal } from './format'
import type { History, Increase } from './history'
import { requestsOf, sumOf, type Row } from './rows'

/** A request that has been open for longer than this, and for this many times what its route usually takes, hangs. */
const hangingSeconds = 10
const hangingTimes = 10

/** One that hangs within this many seconds after another one belongs to the same trouble. */
const recurringSeconds = 120

/** From which age on a request of a row hangs. Half of the requests, or all in the mean, take less than a tenth. */
function hangingAge (row: Row, upperBounds: readonly number[]): number {
  const requests = requestsOf(row)
  const half = upperBounds[row.counts.buckets.findIndex(count => count >= requests / 2)] ?? Infinity
  return Math.max(hangingSeconds, hangingTimes * Math.min(row.counts.sum / Math.max(requests, 1), half))
}

/**
 * The rows with requests that hang, by key, of what was counted since the start. Such a request is never counted, and
 * stands out more than anything that is.
 */
export function hangsOf ({ rows }: Increase, upperBounds: readonly number[]): Map<string, Change> {
  const hangs = new Map<string, Change>()
  for (const [key, row] of rows) {
    const { inFlight, oldest } = row
    if (oldest < hangingAge(row, upperBounds)) continue
    const text = `${formatCount(inFlight)} open, the oldest for ${formatTotal(oldest)}`
    hangs.set(key, { weight: 1e6 + oldest, text })
  }
  return hangs
}

/** Hanging requests of a row. */
export interface Hang extends Change {
  readonly kind: 'hang'
  readonly key: string
  readonly since: number
}

/** Since when requests of a row have hung, and when the last of them did. */
interface Known {
  readonly since: number
  readonly last: number
}

/** Remembers since when requests of a row hang, as long as others follow those that have ended. */
export class HangWatch {
  #known = new Map<string, Known>()

  /** What hangs, or has hung until its client left, the oldest first. */
  look (history: History): Hang[] {
    const recent = history.over(recurringSeconds)
    if (recent === undefined) return []
    const all = history.sinceStart()!
    const { time, upperBounds } = history
    const hangs = hangsOf(all, upperBounds)
    const found: Hang[] = []
    const known = new Map<string, Known>()
    for (const [key, row] of all.rows) {
      const [hang, old, { counts }] = [hangs.get(key), this.#known.get(key), recent.rows.get(key)!]
      const age = hangingAge(row, upperBounds)
      // Above this bucket all have hung. It is not known which of them were aborted.
      const bucket = upperBounds.findIndex(bound => bound >= age)
      const slow = bucket === -1 ? 0 : requestsOf({ counts }) - counts.buckets[bucket]!
      const left = Math.min(sumOf(counts.aborted), slow)
      const before = old !== undefined && (left > 0 || time - old.last <= recurringSeconds) ? old : undefined
      if (hang === undefined && left === 0) {
        if (before !== undefined) known.set(key, before)
        continue
      }
      let { since, last } = before ??
        (left > 0 ? leftSince(history, key, bucket, age) : { since: time, last: time })
      if (hang !== undefined) [since, last] = [Math.min(since, time - row.oldest), time]
      known.set(key, { since, last })
      const gone = `given up after ${formatTotal(age)} or more: ${formatCount(left)}`
      const text = [hang?.text ?? 'none open now', ...left > 0 ? [gone] : []].join('; ')
      found.push({ kind: 'hang', key, since, weight: hang?.weight ?? 1e6, text })
    }
    this.#known = known
    return found.sort((a, b) => b.weight - a.weight)
  }
}

/** Since when, and until when, requests of a row have hung that clients left in the end. */
function leftSince (history: History, key: string, bucket: number, age: number): Known {
  let [since, last] = [history.time, NaN]
  for (const { time, rates, bucketCounts } of history.points([], 0, Infinity, key).reverse()) {
    if (rates.aborted === 0 || bucketCounts.slice(bucket + 1).every(count => count === 0)) continue
    if (since - time > recurringSeconds) break
    if (Number.isNaN(last)) last = time
    since = time - age
  }
  return { since, last }
}
