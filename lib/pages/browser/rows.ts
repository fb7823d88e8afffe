import type { Generation } from './generation'
import { addUp, countsOf } from './native'

/** Requests that were counted. */
export interface Counts {
  /** The cumulative counts of the buckets. The last one is that of `+Inf`, and counts all requests. */
  readonly buckets: number[]
  /** The counts of the native buckets. Empty: there are none, or no requests. */
  native: number[]
  /** The seconds that the requests took together. */
  sum: number
  /** Requests by status, as the label of the histogram says it. */
  readonly statuses: Record<string, number>
  /** Requests by the phase in which the client left. */
  readonly aborted: Record<string, number>
  /** For how many seconds the event loop was busy while these requests were open. 0 if that is not counted. */
  busy: number
}

/** The requests of a method and route, as far as the histogram distinguishes them. */
export interface Row {
  readonly method: string | undefined
  readonly route: string | undefined
  readonly counts: Counts
  /** The requests that wait for the rest of their reply. */
  inFlight: number
  /** The age of the oldest of these in seconds. */
  oldest: number
  /** Event streams and upgraded connections that are open, by kind. */
  readonly longLived: Record<string, number>
}

/** Numbers of the server, by row. */
export interface Rows {
  readonly rows: Map<string, Row>
  /** All rows together. */
  readonly total: Row
  /** Requests that were answered before any hook could run, by reason. They are in no row. */
  readonly rejected: Record<string, number>
  /** How many requests waited how long before they began, by the index of the bucket, and `sum` in seconds. */
  readonly waited: Record<string, number>
}

export function noRows (upperBounds: readonly number[]): Rows {
  return { rows: new Map(), total: emptyRow(upperBounds), rejected: {}, waited: {} }
}

/** The key of a row. Undefined stands for a label that the histogram does not have. */
export function rowKey (method: string | undefined, route: string | undefined): string {
  return JSON.stringify({ method, route })
}

/** The method and the route that a key was made of. Without a key there are none. */
export function labelsOf (key = '{}'): Partial<Record<'method' | 'route', string>> {
  return JSON.parse(key)
}

/** Adds numbers of one generation to rows. A row that only other generations had stays as it is. */
export function addNumbers (
  into: Rows, upperBounds: readonly number[], { rows: definitions, places }: Generation, numbers: readonly number[]
): void {
  const { rows, total, rejected, waited } = into
  const found = definitions.map(([method, route]) => {
    const key = rowKey(method ?? undefined, route ?? undefined)
    let row = rows.get(key)
    if (row === undefined) rows.set(key, row = emptyRow(upperBounds, method ?? undefined, route ?? undefined))
    return row
  })
  const buckets = upperBounds.length + 1
  for (const [index, [,, first]] of definitions.entries()) {
    let cumulative = 0
    for (const counts of [found[index]!.counts, total.counts]) {
      cumulative = 0
      for (let bucket = 0; bucket < buckets; bucket++) {
        cumulative += numbers[first + bucket] ?? 0
        counts.buckets[bucket]! += cumulative
      }
      counts.sum += numbers[first + buckets] ?? 0
    }
  }
  places.forEach(({ row, cell, native }, id) => {
    const number = numbers[id] ?? 0
    if (native !== undefined && number !== 0) {
      for (const { counts } of [found[row]!, total]) counts.native.push(native[0], native[1], number)
    }
    if (cell === undefined || number === 0) return
    const [,, kind, name] = cell
    if (kind === 'rejected') return addCount(rejected, name, number)
    if (kind === 'waited') return addCount(waited, name, number)
    for (const one of [found[row]!, total]) {
      if (kind === 'status') addCount(one.counts.statuses, name, number)
      else if (kind === 'aborted') addCount(one.counts.aborted, name, number)
      else if (kind === 'long lived') addCount(one.longLived, name, number)
      else if (kind === 'in flight') one.inFlight += number
      else if (kind === 'busy') one.counts.busy += number
      else one.oldest = Math.max(one.oldest, number)
    }
  })
  total.counts.native = countsOf(addUp(total.counts.native))
}

export function emptyRow (upperBounds: readonly number[], method?: string, route?: string): Row {
  const buckets = [...upperBounds, Infinity].map(() => 0)
  const counts = { buckets, native: [], sum: 0, statuses: {}, aborted: {}, busy: 0 }
  return { method, route, counts, inFlight: 0, oldest: 0, longLived: {} }
}

export function requestsOf ({ counts }: Pick<Row, 'counts'>): number {
  return counts.buckets.at(-1)!
}

export function sumOf (counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}

/** The requests whose status begins with this digit. */
export function statusesOf ({ counts }: Row, digit: string): Record<string, number> {
  return Object.fromEntries(Object.entries(counts.statuses).filter(([status]) => status.startsWith(digit)))
}

/** The share of the time of a row's requests in which the event loop was busy. NaN: there were none. */
export function busyShareOf ({ counts: { busy, sum } }: Row): number {
  return busy / sum
}

/** The mean of how long requests waited before they began, and the cumulative counts of the buckets. */
export function waitsOf (
  upperBounds: readonly number[], { sum = 0, ...counts }: Readonly<Record<string, number>>
): { mean: number, buckets: number[] } {
  let requests = 0
  const buckets = [...upperBounds, Infinity].map((_bound, bucket) => {
    requests += counts[bucket] ?? 0
    return requests
  })
  return { mean: sum / requests, buckets }
}

export function statusClass (row: Row, digit: string): number {
  return sumOf(statusesOf(row, digit))
}

function addCount (counts: Record<string, number>, name: string, number: number): void {
  counts[name] = (counts[name] ?? 0) + number
}
