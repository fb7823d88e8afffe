import { causeOf, causeOfHanging, type Cause } from './cause'
import { canCompare, least, leastRequests, shiftOf, sinceWhen, type Change, type Shift } from './changes'
import { FailureWatch } from './failing'
import { formatCount, formatSeconds } from './format'
import { HangWatch } from './hanging'
import { earliestSince, type History, type Increase, type Point } from './history'
import { requestsOf, type Row } from './rows'

/** That requests hang, fail, or take longer than before. */
export interface Incident {
  /** A stall is one that explains why requests have taken longer. */
  readonly kind: 'hang' | 'failing' | 'slower' | 'stall'
  /** The row to look at first. Undefined: it is all of them. */
  readonly key: string | undefined
  readonly text: string
  /** Since when, in seconds since 1970. Undefined: nobody has looked, and seen it. */
  readonly since?: number | undefined
  /** Since when at the earliest, as so many requests tell that nobody saw. Undefined: nobody knows. */
  readonly earliest?: number | undefined
  readonly unseen?: number | undefined
  /** Undefined: the event loop is not what tells it. */
  readonly cause?: Cause | undefined
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

/** The share of failed requests that is allowed without an objective. */
const allowedShare = 0.01

/** With a smaller share of slow requests more than before, it is not told since when. */
const leastShare = 0.05

/** The cause is what at least the first and at most the second number of seconds tell. */
const causeSeconds = [10, 60] as const

/** How busy the event loop is now is what these seconds tell. */
const nowSeconds = 3

/** A stall that explains why requests take longer is at least so long, in seconds, and they wait a second for it. */
const stallSeconds = 0.1
const afterStallSeconds = 1.5

/** Watches a history for requests that hang, fail or become slower. */
export class IncidentWatch {
  readonly #hangs = new HangWatch()
  readonly #failures: FailureWatch
  #calm: Calm | undefined
  /** Since when the requests of a row have been slower. It is computed once, so that it stays the same. */
  #since: { readonly key: string, readonly time: number | undefined } | undefined
  #incident: Incident | undefined
  #changes: ReadonlyMap<string, Change> = new Map()

  /** The share of failed requests that is allowed. */
  constructor (allowed = allowedShare) {
    this.#failures = new FailureWatch(allowed)
  }

  get incident (): Incident | undefined {
    return this.#incident
  }

  /** What is wrong with each row that hangs or fails. */
  get changes (): ReadonlyMap<string, Change> {
    return this.#changes
  }

  /**
   * What was before requests became slower. It is compared with until they are as fast again: the window before would
   * soon be one in which they were slow too. Undefined: they are not slower.
   */
  get calm (): Calm | undefined {
    return this.#calm
  }

  /** Looks at windows of up to so many seconds, one in each part, and then at what hangs and fails. */
  * look (history: History, mostSeconds: number): Generator<undefined, void> {
    let slower: Slower | undefined
    let stall: Point | undefined
    for (const [seconds, ratio] of windows) {
      if (seconds > mostSeconds || slower !== undefined) break
      yield
      slower = this.#slowerOver(history, seconds, ratio)
      const explaining = slower && this.#explains(history, slower, seconds, ratio)
      if (explaining !== undefined) [slower, stall] = [undefined, explaining]
    }
    if (slower === undefined) this.#calm = this.#since = undefined
    else this.#calm ??= calmBefore(history, slower)
    yield
    yield * this.#failures.look(history, mostSeconds)
    yield
    const { failing } = this.#failures
    const [failure] = failing
    const hangs = this.#hangs.look(history)
    const [hang] = hangs
    this.#changes = new Map([...failing, ...hangs].flatMap(one => one.key === undefined ? [] : [[one.key, one]]))
    const busyNow = history.over(nowSeconds)?.busy ?? NaN
    // Failures that nobody saw beginning may be usual ones.
    this.#incident = (hang && { ...hang, cause: causeOfHanging(busyNow) }) ??
      (failure?.since === undefined ? undefined : failure) ??
      (slower && this.#describe(history, slower, busyNow)) ?? failure ?? (stall && stallIncident(stall))
  }

  #slowerOver (history: History, seconds: number, ratio: number, except?: [number, number]): Slower | undefined {
    const now = history.over(seconds, 0, except)
    if (now === undefined) return undefined
    if (this.#calm !== undefined) return slowerThan(now, this.#calm.before, ratio)
    return slowerThan(now, history.over(beforeSeconds, seconds), ratio) ??
      slowerThan(now, history.beforeSamples(), Math.max(ratio, ratioSinceStart))
  }

  /** The one stall without which requests do not take longer, if it is long enough for what they take more. */
  #explains (history: History, { key, more, now }: Slower, seconds: number, ratio: number): Point | undefined {
    const [point] = history.points([], 0, seconds).sort((a, b) => b.stall - a.stall)
    if (point === undefined || point.stall < stallSeconds) return undefined
    const except: [number, number] = [point.time, point.time + afterStallSeconds]
    const rest = history.over(seconds, 0, except)?.rows.get(key)
    const waited = requestsOf(now.rows.get(key)!) - (rest === undefined ? 0 : requestsOf(rest))
    if (more > point.stall * waited) return undefined
    return this.#slowerOver(history, seconds, ratio, except) === undefined ? point : undefined
  }

  #describe (history: History, slower: Slower, busyNow: number): Incident {
    const { key, before, text, part } = slower
    if (this.#since?.key !== key) this.#since = { key, time: sinceWhen(pointsOf(history, key), part) }
    const since = this.#since.time ?? this.#calm!.until
    // The longer it is known, the less a chance decides what is said of the cause.
    const seconds = since === undefined ? causeSeconds[1] : history.time - since
    const now = history.over(Math.min(Math.max(seconds, causeSeconds[0]), causeSeconds[1]))!
    const guess = since === undefined ? guessSince(history, key) : undefined
    return { kind: 'slower', key, text, since, ...guess, cause: causeOf(now, before, key, busyNow) }
  }
}

/** Requests that take longer than before. */
export interface Slower {
  readonly key: string
  readonly text: string
  readonly now: Increase
  readonly before: Increase
  readonly part: Shift['part']
  /** How much longer its requests took, all together, in seconds. */
  readonly more: number
  /** The row that most surely takes longer. It may be a victim of the other. */
  readonly surest: [key: string, shift: Shift]
}

/**
 * Whether requests take longer than before. The row to look at first is the one whose requests take most time more,
 * all together, not counting what each request of any row takes more: those of the others may wait for them. A few
 * requests name no row.
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
  const tells = (key: string): boolean => [now, before].every(({ rows }, index) => {
    const requests = rows.has(key) ? requestsOf(rows.get(key)!) : 0
    return requests >= leastRequests || (index === 1 && requests === 0)
  })
  const key = [...more.keys()].filter(tells)
    .reduce((most, key) => total(key) > total(most) ? key : most, surest[0])
  const [mean, meanBefore] = [meanOf(now.rows.get(key)), meanOf(before.rows.get(key))]
  const means = [meanBefore, mean].filter(mean => !Number.isNaN(mean)).map(formatSeconds)
  const { part } = shiftOf(now.rows.get(key), before.rows.get(key)) ?? surest[1]
  return {
    key,
    text: `mean ${means.join(' → ')}`,
    now,
    before,
    part,
    more: more.get(key)! * requestsOf(now.rows.get(key)!),
    surest
  }
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
 * Since when at the earliest a row has been slower if nobody looked then: so long ago that all its slow requests since
 * the start have come at the rate of those that somebody has seen. Slow ones are those that there are relatively more
 * of now. Undefined: it may have begun at any time.
 */
export function guessSince (
  history: History, key: string
): Required<Pick<Incident, 'earliest' | 'unseen'>> | undefined {
  const [all, unseen] = [history.sinceStart()!, history.beforeSamples()!]
  const [{ buckets }, before] = [all.rows.get(key)!.counts, unseen.rows.get(key)!]
  const seen = buckets.map((count, index) => count - before.counts.buckets[index]!)
  const { bucket, more } = shiftOf({ counts: { buckets: seen } }, before) ?? { bucket: 0, more: 0 }
  if (more < leastShare) return undefined
  const [slow, slowSeen] = [buckets, seen].map(counts => counts.at(-1)! - counts[bucket]!) as [number, number]
  const slowUnseen = slow - slowSeen
  const earliest = earliestSince(history, slowUnseen, slowSeen)
  return earliest === undefined ? undefined : { earliest, unseen: slowUnseen }
}

function stallIncident ({ time, stall }: Point): Incident {
  return { kind: 'stall', key: undefined, text: `there was one stall of ${formatSeconds(stall)}`, since: time - stall }
}

/** Says what is wrong, since when, and how that is known if nobody looked before a time. */
export function describeIncident (
  { kind, since, earliest, unseen }: Incident, seenSince: number, clock: (time: number) => string
): { what: string, why: string } {
  const what = { hang: 'Requests hang', failing: 'Failing', slower: 'Slower', stall: 'Slower for a moment' }[kind]
  if (since !== undefined) return { what: `${what} ${kind === 'stall' ? 'at' : 'since'} ${clock(since)}`, why: '' }
  const latest = clock(seenSince)
  const nobody = `Nobody looked before ${latest}`
  if (earliest !== undefined) {
    return {
      what: `${what} since some time between ${clock(earliest)} and ${latest}`,
      why: `${nobody}. ${formatCount(unseen!)} requests ${kind === 'slower' ? 'were as slow' : 'failed'} before: ` +
        'at the present rate they take that long to come. If some of them are usual, it began later.'
    }
  }
  return {
    what: kind === 'slower' ? `${what} than since the start` : `${what} since before ${latest}`,
    why: `${nobody}: since when is not known.`
  }
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
