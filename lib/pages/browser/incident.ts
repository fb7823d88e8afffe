import { causeOf, causeOfHanging, type Cause } from './cause'
import { canCompare, hangsOf, least, shiftOf, sinceWhen, type Shift } from './changes'
import { formatSeconds } from './format'
import type { History, Increase, Point } from './history'
import { requestsOf, type Row } from './rows'

/** That requests hang or take longer than before. */
export interface Incident {
  readonly kind: 'hang' | 'slower'
  /** The row to look at first. */
  readonly key: string
  readonly text: string
  /** Since when, in seconds since 1970. Undefined: nobody knows. */
  readonly since: number | undefined
  /** As many slow requests since the start make that time likely. Undefined: somebody has looked, and seen it. */
  readonly slowSinceStart: number | undefined
  readonly cause: Cause
}

/** What requests were compared with when they became slower, and until when they were as fast. */
interface Calm {
  readonly before: Increase
  /** Undefined: nobody looked then. */
  readonly until: number | undefined
}

/** The windows that are compared with what was before, and how many times as long as then requests have to take. */
const windows: ReadonlyArray<[seconds: number, ratio: number]> = [[10, 2], [60, 1.3], [300, 1.3]]

/** What was before a window is known for this long, and since the start. */
const beforeSeconds = 300

/** Against what was since the start. Latency differs by day and by night, which is no incident. */
const ratioSinceStart = 2

/** With a smaller share of slow requests more than before, it is not told since when. */
const leastShare = 0.05

/** The cause is what at least the first and at most the second number of seconds tell. */
const causeSeconds = [10, 60] as const

/** How busy the event loop is now is what these seconds tell. */
const nowSeconds = 3

/** Watches a history for requests that hang or become slower. */
export class IncidentWatch {
  #calm: Calm | undefined
  /** Since when the requests of a row have been slower. It is computed once, so that it stays the same. */
  #since: { readonly key: string, readonly time: number | undefined } | undefined
  #incident: Incident | undefined

  get incident (): Incident | undefined {
    return this.#incident
  }

  /**
   * What was before requests became slower. It is compared with until they are as fast again: the window before would
   * soon be one in which they were slow too. Undefined: they are not slower.
   */
  get calm (): Calm | undefined {
    return this.#calm
  }

  /** Looks at windows of up to so many seconds, one in each part, and then at what hangs. */
  * look (history: History, mostSeconds: number): Generator<undefined, void> {
    let slower: Slower | undefined
    for (const [seconds, ratio] of windows) {
      if (seconds > mostSeconds || slower !== undefined) break
      yield
      slower = this.#slowerOver(history, seconds, ratio)
    }
    if (slower === undefined) this.#calm = this.#since = undefined
    else this.#calm ??= calmBefore(history, slower)
    yield
    const busyNow = history.over(nowSeconds)?.busy ?? NaN
    this.#incident = hanging(history, busyNow) ?? (slower && this.#describe(history, slower, busyNow))
  }

  #slowerOver (history: History, seconds: number, ratio: number): Slower | undefined {
    const now = history.over(seconds)
    if (now === undefined) return undefined
    if (this.#calm !== undefined) return slowerThan(now, this.#calm.before, ratio)
    return slowerThan(now, history.over(beforeSeconds, seconds), ratio) ??
      slowerThan(now, history.beforeSamples(), Math.max(ratio, ratioSinceStart))
  }

  #describe (history: History, slower: Slower, busyNow: number): Incident {
    const { key, before, text, part } = slower
    if (this.#since?.key !== key) this.#since = { key, time: sinceWhen(pointsOf(history, key), part) }
    const seen = this.#since.time ?? this.#calm!.until
    const guess = seen === undefined ? guessSince(history, key) : undefined
    // The longer it is known, the less a chance decides what is said of the cause.
    const seconds = seen === undefined ? causeSeconds[1] : history.time - seen
    const now = history.over(Math.min(Math.max(seconds, causeSeconds[0]), causeSeconds[1]))!
    return {
      kind: 'slower',
      key,
      text,
      since: seen ?? guess?.since,
      slowSinceStart: guess?.slow,
      cause: causeOf(now, before, key, busyNow)
    }
  }
}

function hanging (history: History, busyNow: number): Incident | undefined {
  const all = history.sinceStart()
  const [first] = all === undefined ? [] : [...hangsOf(all)].sort(([, a], [, b]) => b.weight - a.weight)
  if (first === undefined) return undefined
  const [key, { text }] = first
  const since = history.time - all!.rows.get(key)!.oldest
  return { kind: 'hang', key, text, since, slowSinceStart: undefined, cause: causeOfHanging(busyNow) }
}

/** Requests that take longer than before. */
export interface Slower {
  readonly key: string
  readonly text: string
  readonly now: Increase
  readonly before: Increase
  readonly part: Shift['part']
  /** The row that most surely takes longer. It may be a victim of the other. */
  readonly surest: [key: string, shift: Shift]
}

/**
 * Whether requests take longer than before. The row to look at first is the one whose requests take most time more,
 * all together, not counting what each request of any row takes more: those of the others may wait for them.
 */
export function slowerThan (now: Increase, before: Increase | undefined, ratio: number): Slower | undefined {
  if (!canCompare(now, before)) return undefined
  let surest: [key: string, shift: Shift] | undefined
  const more = new Map<string, number>()
  for (const [key, row] of now.rows) {
    if (requestsOf(row) === 0) continue
    const rowBefore = before.rows.get(key)
    const [mean, meanBefore] = [meanOf(row), meanOf(rowBefore)]
    more.set(key, mean - (Number.isNaN(meanBefore) ? 0 : meanBefore))
    if (!(mean >= ratio * meanBefore)) continue
    const shift = shiftOf(row, rowBefore)
    if (shift !== undefined && shift.weight >= (surest?.[1].weight ?? least)) surest = [key, shift]
  }
  if (surest === undefined) return undefined
  const ofAll = Math.max(Math.min(...more.values()), 0)
  const total = (key: string): number => (more.get(key)! - ofAll) * requestsOf(now.rows.get(key)!)
  const key = [...more.keys()].reduce((most, key) => total(key) > total(most) ? key : most, surest[0])
  const [mean, meanBefore] = [meanOf(now.rows.get(key)), meanOf(before.rows.get(key))]
  const means = [meanBefore, mean].filter(mean => !Number.isNaN(mean)).map(formatSeconds)
  const { part } = shiftOf(now.rows.get(key), before.rows.get(key)) ?? surest[1]
  return { key, text: `mean ${means.join(' → ')}`, now, before, part, surest }
}

function meanOf (row: Row | undefined): number {
  return row === undefined ? NaN : row.counts.sum / requestsOf(row)
}

/** What was before requests became slower. If nobody looked then, it is what they have been compared with. */
function calmBefore (history: History, { now, before, surest: [key, { part }] }: Slower): Calm {
  const until = sinceWhen(pointsOf(history, key), part)
  const seen = until === undefined ? undefined : history.over(beforeSeconds, history.time - until)
  return { before: canCompare(now, seen) ? seen : before, until }
}

function pointsOf (history: History, key: string): Point[] {
  return history.points([], 0, beforeSeconds, key)
}

/**
 * About when a row became slower if nobody looked then: so long ago that all its slow requests since the start have
 * come at the rate of those that somebody has seen. Slow ones are those that there are relatively more of now.
 * Undefined: they may have come at any time.
 */
export function guessSince (history: History, key: string): { since: number, slow: number } | undefined {
  const [all, unseen] = [history.sinceStart()!, history.beforeSamples()!]
  const [{ buckets }, before] = [all.rows.get(key)!.counts, unseen.rows.get(key)!]
  const seen = buckets.map((count, index) => count - before.counts.buckets[index]!)
  const { bucket, more } = shiftOf({ counts: { buckets: seen } }, before) ?? { bucket: 0, more: 0 }
  if (more < leastShare) return undefined
  const [slow, slowSeen] = [buckets, seen].map(counts => counts.at(-1)! - counts[bucket]!) as [number, number]
  const seconds = slow / slowSeen * (history.time - history.seenSince)
  if (seconds >= all.seconds) return undefined
  const step = seconds < 600 ? 10 : 60
  const since = Math.round((history.time - seconds) / step) * step
  return { since: Math.min(since, history.seenSince), slow }
}

/**
 * How many open requests may have been open for longer than an objective allows, and the age of the oldest: those of
 * the rows whose oldest has been. They are in no count yet.
 */
export function lateRequests ({ rows }: Increase, latency: number): { most: number, oldest: number } {
  const late = [...rows.values()].filter(({ oldest }) => oldest > latency)
  return {
    most: late.reduce((sum, { inFlight }) => sum + inFlight, 0),
    oldest: Math.max(0, ...late.map(({ oldest }) => oldest))
  }
}
