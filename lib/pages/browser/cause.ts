// Where the time of requests goes: into computing, or into waiting for something outside of the process.
import { formatCount, formatPercentage, formatSeconds, formatTotal } from './format'
import type { Increase } from './history'
import { busyShareOf, requestsOf, type Row } from './rows'

/** What requests that are slow wait for: the computing of this process, something outside of it, or both. */
export type Cause = 'computes' | 'waits' | 'either'

/** From this share on, the event loop is so busy that every request waits for it. */
const busyShare = 0.8

/**
 * The time for which the event loop is busy more than it would be for as many requests as before, as a share of the
 * time that the requests of a row take more. They cannot have computed for longer than that. Below the first, they wait
 * for something else; from the second on, it may be most of what they take more.
 */
const explainedShares = [1 / 3, 1 / 2] as const

/** Why the requests of a row take longer than before. */
export function causeOf (now: Increase, before: Increase, key: string, busyNow: number): Cause {
  const row = now.rows.get(key)!
  if (busyNow >= busyShare || busyShareOf(row) >= busyShare) return 'computes'
  const rowBefore = before.rows.get(key)
  const isNew = rowBefore === undefined || requestsOf(rowBefore) === 0
  const expected = isNew ? 0 : requestsOf(row) * rowBefore.counts.sum / requestsOf(rowBefore)
  const busyExpected = before.busy * before.seconds * requestsOf(now.total) / requestsOf(before.total)
  const more = row.counts.sum - expected
  const computed = now.busy * now.seconds - busyExpected
  if (computed >= explainedShares[1] * more) return 'computes'
  // What somebody else computes is waited for by each request.
  const waited = Math.max(now.loopWait - before.loopWait, 0) * requestsOf(row)
  return Math.max(computed, waited) < explainedShares[0] * more ? 'waits' : 'either'
}

/** Why requests hang. One that computes keeps the event loop busy. */
export function causeOfHanging (busyNow: number): Cause {
  return busyNow >= busyShare ? 'computes' : 'waits'
}

/** What is told of the event loop, with the names of the window and of the row, and with how long it was waited for. */
export interface LoopFacts {
  readonly increase: Increase
  readonly window: string
  readonly wait: string
  readonly row: Row
  /** Undefined: it is what all requests are together. */
  readonly name: string | undefined
  /** How busy it was before requests became slower. Undefined: they are not slower. */
  readonly busyBefore: number | undefined
}

/** Says how busy the event loop was, how long it was waited for, and how much of a row's time that explains. */
export function describeLoop ({ increase, window, wait, row, name, busyBefore }: LoopFacts): string {
  const { busy, seconds } = increase
  const before = busyBefore === undefined ? '' : ` (${formatPercentage(busyBefore)} before)`
  const loop = `The event loop was busy ${formatPercentage(busy)} of ${window}${before}, ` +
    `${formatTotal(busy * seconds)}; ${wait}.`
  const { sum } = row.counts
  if (Number.isNaN(busy) || sum === 0) return loop
  const share = busy * seconds / sum
  const computing = share < 1
    ? `computing was at most ${formatPercentage(share)} of that, the rest waiting, for the event loop or something else`
    : 'computing may have been all of that'
  const requests = `${formatCount(requestsOf(row))} requests${name === undefined ? '' : ` of ${name}`}`
  return `${loop} ${requests} took ${formatTotal(sum)} together: ${computing}.`
}

/** What one row explains of a busy event loop stands out if it is so many times what any other one explains. */
const clearLead = 2

/**
 * The row that computes most, as far as `busyTime` tells: for whose requests the event loop was busy for longer than it
 * is anyway, and than it was for every request of any row. Undefined: there is none that clearly does.
 */
export function busiestOf ({ rows, busy }: Increase): [key: string, row: Row] | undefined {
  const counted = [...rows].filter(([, row]) => requestsOf(row) > 0)
  const own = ([, { counts }]: [string, Row]): number => (counts.busy - busy * counts.sum) / counts.buckets.at(-1)!
  const ofAll = Math.max(Math.min(...counted.map(own)), 0)
  const total = (entry: [string, Row]): number => (own(entry) - ofAll) * requestsOf(entry[1])
  const [first, second] = counted.sort((a, b) => total(b) - total(a))
  const isClear = first !== undefined && (second === undefined || total(first) > clearLead * Math.max(total(second), 0))
  return isClear ? first : undefined
}

export function describeBusiest (name: string, row: Row): string {
  return `${name} stands out: while one of its requests was open, the event loop was busy for ` +
    `${formatSeconds(row.counts.busy / requestsOf(row))}, ${formatPercentage(busyShareOf(row))} of that time.`
}
