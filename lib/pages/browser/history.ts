import type { Counts, Reading, Row } from './reader'
import { estimateQuantile } from './quantile'

/** With more seconds than this between two answers, nothing is known about the time between them. */
const gapSeconds = 3

/** A window may be longer than asked for by this much, because answers are only roughly a second apart. */
const toleranceSeconds = 0.5

/**
 * The counts since the history began. They also keep growing when the server starts again and its own counts begin at
 * 0.
 */
interface Snapshot {
  readonly time: number
  readonly rows: ReadonlyMap<string, Counts>
  readonly total: Counts
  readonly rejected: number
}

/** What was counted in a window of time. */
export interface Increase {
  /**
   * The time between the first and the last answer of the window. It is shorter than asked for while the history is
   * shorter.
   */
  readonly seconds: number
  /** The rows, as in one answer of the server, with the counts of the window. */
  readonly rows: Reading['rows']
  readonly total: Counts
  readonly rejected: number
}

/** One point of a chart. Values that are not known are null. */
export interface Point {
  /** The times of the answer of this point and of the previous answer, in seconds. */
  readonly time: number
  readonly from: number
  /** Requests per second since the previous answer. */
  readonly rate: number | null
  readonly errorRate: number | null
  /** Requests since the previous answer, by bucket. */
  readonly bucketCounts: readonly number[] | null
  readonly quantiles: ReadonlyArray<number | null>
}

/** The answers of the last minutes. */
export class History {
  readonly #upperBounds: readonly number[]
  readonly #keepSeconds: number
  readonly #none: Counts
  readonly #snapshots: Snapshot[] = []
  /** Each row as it was when it was last in an answer. */
  readonly #rows = new Map<string, Row>()
  #rejected = 0

  constructor (upperBounds: readonly number[], keepSeconds: number) {
    this.#upperBounds = upperBounds
    this.#keepSeconds = keepSeconds
    this.#none = noCounts(upperBounds)
  }

  /** Adds an answer of the server. `time` is the time of the answer in seconds. */
  add (time: number, reading: Reading): void {
    const before = this.#snapshots.at(-1)
    const rows = new Map(before?.rows)
    let total = before?.total ?? this.#none
    for (const [key, row] of this.#rows) {
      if (!reading.rows.has(key)) this.#rows.set(key, { ...row, counts: this.#none, inFlight: 0 })
    }
    for (const [key, row] of reading.rows) {
      const carried = rows.get(key)
      const increase = increaseOf(this.#rows.get(key)?.counts, row.counts)
      this.#rows.set(key, row)
      // Most rows have no new requests from one second to the next. Their counts stay the same object.
      if (carried !== undefined && isNothing(increase)) continue
      rows.set(key, carried === undefined ? increase : add(carried, increase))
      total = add(total, increase)
    }
    const rejectedBefore = reading.rejected < this.#rejected ? 0 : this.#rejected
    const rejected = (before?.rejected ?? 0) + reading.rejected - rejectedBefore
    this.#rejected = reading.rejected
    this.#snapshots.push({ time, rows, total, rejected })
    while (this.#snapshots[0]!.time < time - this.#keepSeconds - toleranceSeconds) this.#snapshots.shift()
  }

  /** What was counted in the last `seconds`. Undefined before there are two answers. */
  over (seconds: number): Increase | undefined {
    const end = this.#snapshots.length - 1
    const begin = end < 1 ? end : this.#beginOfWindow(end, seconds)
    if (begin === end) return undefined
    const [first, last] = [this.#snapshots[begin]!, this.#snapshots[end]!]
    const rows = Array.from(last.rows, ([key, counts]): [string, Row] =>
      [key, { ...this.#rows.get(key)!, counts: subtract(counts, first.rows.get(key)) }])
    return {
      seconds: last.time - first.time,
      rows: new Map(rows),
      total: subtract(last.total, first.total),
      rejected: last.rejected - first.rejected
    }
  }

  /**
   * A point for each answer but the first: of the row with this key, or of all requests without a key. The quantiles of
   * a point are those of the `quantileSeconds` before it.
   */
  points (quantiles: readonly number[], quantileSeconds: number, key?: string): Point[] {
    const countsOf = ({ rows, total }: Snapshot): Counts => key === undefined ? total : rows.get(key) ?? this.#none
    return this.#snapshots.slice(1).map((snapshot, index) => {
      const { time } = snapshot
      const previous = this.#snapshots[index]!
      const seconds = time - previous.time
      if (seconds > gapSeconds) {
        const unknown = { rate: null, errorRate: null, bucketCounts: null, quantiles: quantiles.map(() => null) }
        return { time, from: previous.time, ...unknown }
      }
      const { buckets, errors } = subtract(countsOf(snapshot), countsOf(previous))
      const first = this.#snapshots[this.#beginOfWindow(index + 1, quantileSeconds)]!
      const recent = subtract(countsOf(snapshot), countsOf(first))
      return {
        time,
        from: previous.time,
        rate: buckets.at(-1)! / seconds,
        errorRate: errors / seconds,
        bucketCounts: buckets.map((count, bucket) => count - (buckets[bucket - 1] ?? 0)),
        quantiles: quantiles.map(q => {
          const { value } = estimateQuantile(q, this.#upperBounds, recent.buckets)
          return Number.isNaN(value) ? null : value
        })
      }
    })
  }

  /** The index of the first answer of the window that ends with the answer at `end`. */
  #beginOfWindow (end: number, seconds: number): number {
    const isInWindow = ({ time }: Snapshot): boolean =>
      time >= this.#snapshots[end]!.time - seconds - toleranceSeconds
    let index = end
    while (index > 0 && isInWindow(this.#snapshots[index - 1]!)) index--
    return index
  }
}

export function noCounts (upperBounds: readonly number[]): Counts {
  return { buckets: [...upperBounds, Infinity].map(() => 0), errors: 0, aborted: 0 }
}

/**
 * The increase from one answer to the next. Counts that have become smaller are those of a server that has started
 * again from 0.
 */
function increaseOf (before: Counts | undefined, now: Counts): Counts {
  const increase = subtract(now, before)
  return [...increase.buckets, increase.errors, increase.aborted].some(count => count < 0) ? now : increase
}

function isNothing ({ buckets, errors, aborted }: Counts): boolean {
  return buckets.at(-1) === 0 && errors === 0 && aborted === 0
}

function add (a: Counts, b: Counts): Counts {
  return {
    buckets: a.buckets.map((count, index) => count + b.buckets[index]!),
    errors: a.errors + b.errors,
    aborted: a.aborted + b.aborted
  }
}

function subtract (a: Counts, b: Counts | undefined): Counts {
  if (b === undefined) return a
  return {
    buckets: a.buckets.map((count, index) => count - b.buckets[index]!),
    errors: a.errors - b.errors,
    aborted: a.aborted - b.aborted
  }
}
