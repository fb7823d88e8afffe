import { sinceWhen, surpriseOf, type Change } from './changes'
import { formatCount, formatCounts, formatShare, formatWindow } from './format'
import { earliestSince, type History, type Increase, type Point } from './history'
import { requestsOf, statusClass, statusesOf, type Row } from './rows'

/** So many requests of a row have failed, of so many. */
type Counted = readonly [failed: number, all: number]

/** Requests of a row fail, or of all rows together, whose key is undefined. */
export interface Failing extends Change {
  readonly kind: 'failing'
  readonly key: string | undefined
  /** Since when. Undefined: since before the history began. */
  since: number | undefined
  /** Since when at the earliest, if they failed as often before. Undefined: nobody knows. */
  earliest: number | undefined
  /** How many had failed before somebody looked, which makes that so. */
  unseen: number | undefined
  readonly failed: number
  /** How improbable it is that this is chance. */
  readonly surprise: number
  /** When it was seen first. */
  readonly seen: number
  /** What was counted before. It is kept, because the time before would soon be one in which they failed too. */
  readonly before: Counted
}

/** The windows that are looked at, in seconds. What was before is known for the last of them, and since the start. */
const windows = [10, 60, 300]

/** With fewer failures than the first number, a row does not begin to fail, and with fewer than the second it ends. */
const leastFailures = [3, 2] as const

/**
 * How improbable it has to be that it is chance: that more fail than are allowed, and than before, which is tried of
 * more rows. Half of that is enough to go on.
 */
const leastSurprises = [4.5, 9] as const

/** More than before stand out if they are so many times as frequent, and from this share of what is allowed on. */
const leastRatio = 2
const leastPart = 0.1

/** How sure it has to be that a row fails since some time. That it fails is known. It is tried for so many seconds. */
const sinceWeight = 3
const sinceSeconds = 30

/** Watches for requests that fail more often than is allowed, or than before. */
export class FailureWatch {
  readonly #allowed: number
  #failing = new Map<string | undefined, Failing>()
  /** Until when rows have failed that do no more. */
  readonly #ended = new Map<string | undefined, number>()

  /** The share of failures that is allowed. */
  constructor (allowed: number) {
    this.#allowed = allowed
  }

  /** The rows that fail, those with most failures first. */
  get failing (): Failing[] {
    return [...this.#failing.values()].sort((a, b) => b.failed - a.failed)
  }

  /** Looks at windows of up to so many seconds, one in each part. */
  * look (history: History, mostSeconds: number): Generator<undefined, void> {
    const failing = new Map<string | undefined, Failing>()
    const unseen = history.beforeSamples()
    for (const seconds of windows) {
      const now = history.over(seconds)
      if (seconds > mostSeconds || now === undefined) break
      const before = [unseen, history.over(windows.at(-1)!, seconds)]
      for (const [key, row] of rowsOf(now)) {
        const counted = countOf(row)
        const [failed, all] = counted
        if (failed < leastFailures[1]) continue
        const known = this.#failing.get(key)
        const base = known?.before ?? addUp(before, key)
        const surprise = this.#surpriseOf(counted, base, known !== undefined)
        // The window that is most surprising tells most of what goes on.
        if (surprise <= (failing.get(key)?.surprise ?? 0)) continue
        const counts = `${formatCounts(statusesOf(row, '5'))} of ${formatCount(all)} in ${formatWindow(now.seconds)}`
        const text = `${formatShare(failed, all)} of requests (${counts})`
        const dates = known ?? { since: undefined, earliest: undefined, unseen: undefined, seen: history.time }
        const { since, earliest, unseen, seen } = dates
        failing.set(key, {
          kind: 'failing',
          key,
          text,
          weight: 1e5 + failed,
          failed,
          surprise,
          since,
          earliest,
          unseen,
          seen,
          before: base
        })
      }
      yield
    }
    // All rows together are of interest if no row stands out.
    if (failing.size > 1) failing.delete(undefined)
    for (const key of this.#failing.keys()) if (!failing.has(key)) this.#ended.set(key, history.time)
    this.#failing = failing
    const [first] = this.failing
    if (first === undefined || first.since !== undefined) return
    if (history.time - first.seen < sinceSeconds) date(history, first, this.#ended.get(first.key))
  }

  /** How improbable so many failures are by chance. 0: they may be. */
  #surpriseOf ([failed, all]: Counted, [failedBefore, allBefore]: Counted, goesOn: boolean): number {
    const ofAllowed = surpriseOf(failed, all, this.#allowed)
    const isMore = failed >= leastPart * this.#allowed * all &&
      failed * allBefore >= leastRatio * failedBefore * all
    const ofBefore = isMore ? surpriseOf(failed, failed + failedBefore, all / (all + allBefore)) : 0
    const part = goesOn ? 0.5 : 1
    if (failed < leastFailures[goesOn ? 1 : 0]) return 0
    const isSure = ofAllowed >= part * leastSurprises[0] || ofBefore >= part * leastSurprises[1]
    return isSure ? Math.max(ofAllowed, ofBefore) : 0
  }
}

/** Finds out since when a row fails that has not before a time. */
function date (history: History, failing: Failing, ended = -Infinity): void {
  const { key } = failing
  const fails = ({ rates }: Point): boolean => rates['5xx'] > 0
  const all = history.points([], 0, Infinity, key)
  const later = all.filter(({ time }) => time > ended)
  // A longer window may show again what has ended.
  const points = later.some(fails) ? later : all
  failing.since = sinceWhen(points, ({ rates }) => rates['5xx'], { weight: sinceWeight, ratio: leastRatio })
  if (failing.since !== undefined) return
  const [unseen] = ended > -Infinity ? [0] : addUp([history.beforeSamples()], key)
  const failed = points.map(({ rates, from, time }) => rates['5xx'] * (time - from))
  const seen = Math.round(failed.reduce((sum, count) => sum + count))
  if (unseen === 0) failing.since = points.find(fails)!.from
  else [failing.earliest, failing.unseen] = [earliestSince(history, unseen, seen), unseen]
}

function rowsOf ({ rows, total }: Increase): Array<[key: string | undefined, row: Row]> {
  return [[undefined, total], ...rows]
}

function countOf (row: Row): Counted {
  return [statusClass(row, '5'), requestsOf(row)]
}

function addUp (increases: ReadonlyArray<Increase | undefined>, key: string | undefined): Counted {
  let [failed, all] = [0, 0]
  for (const increase of increases) {
    const row = key === undefined ? increase?.total : increase?.rows.get(key)
    if (row === undefined) continue
    failed += statusClass(row, '5')
    all += requestsOf(row)
  }
  return [failed, all]
}
