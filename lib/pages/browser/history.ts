import type { Answer, Sample } from './feed'
import { addTo, Generation } from './generation'
import { addUp, countsOf } from './native'
import { estimateQuantiles, type Distribution, type Estimate } from './quantile'
import { addNumbers, noRows, rowKey, type Rows } from './rows'

/** A window may be longer than asked for by this much, because samples are only roughly a second apart. */
const toleranceSeconds = 0.5

/** From this length on, a time in which the event loop did not turn is marked. */
const markedStallSeconds = 0.5

/** From this length on, a time between two samples is one of which nothing is known. */
const unknownSeconds = 1

/** That something has begun at some time within more than this says nothing, and clocks show no days. */
const tellingSeconds = 12 * 3600

/** What was counted in a window of time. */
export interface Increase extends Rows {
  /** The length of the window. It is shorter than asked for while the history is shorter. */
  readonly seconds: number
  /** The share of that time in which the event loop was busy. NaN: nobody knows. */
  readonly busy: number
  /** How long a request may have waited for the event loop in the mean, in seconds. 0: nobody knows. */
  readonly loopWait: number
}

/** The kinds of endings that the charts show. */
export interface Endings {
  readonly all: number
  readonly '4xx': number
  readonly '5xx': number
  readonly aborted: number
  readonly rejected: number
}

/** One point of the charts. It stands for the time from `from` to `time`, in seconds since 1970. */
export interface Point {
  readonly from: number
  readonly time: number
  /** Requests by bucket. */
  readonly bucketCounts: readonly number[]
  /** Requests per second. */
  readonly rates: Endings
  readonly quantiles: readonly Estimate[]
  /** The share of the time in which the event loop was busy. */
  readonly busy: number
  /** The longest time in which the event loop did not turn. It ended at `time`. */
  readonly stall: number
}

/** A time that the charts mark. */
export interface Mark {
  readonly from: number
  readonly time: number
  /** The event loop did not turn; the server started again; or nothing is known for another reason. */
  readonly kind: 'stall' | 'restart' | 'unknown'
}

/** What was counted in one sample, of one row or of all. */
interface Slice {
  readonly bucketCounts: number[]
  readonly native: readonly number[]
  /** What was counted in this and in the samples before it, for the quantiles of its point. It does not change. */
  recent?: Distribution
  readonly endings: { -readonly [K in keyof Endings]: number }
}

interface Kept {
  readonly generation: Generation
  readonly sample: Sample
  /** The slices that were asked for, by the key of the row. Undefined stands for all rows. */
  readonly slices: Map<string | undefined, Slice>
}

/** What a server had counted before its first sample. */
interface Beginning {
  readonly generation: Generation
  readonly sample: Sample
}

/** The samples of the last minutes, and everything that was counted since the server started. */
export class History {
  /** The upper bounds of the buckets, without `+Inf`. */
  readonly upperBounds: readonly number[]
  readonly #keepSeconds: number
  #kept: Kept[] = []
  #generation: Generation | undefined
  #beginning: Beginning | undefined
  #last = -1
  #uptime = 0
  #busy = NaN
  #gauges: number[] = []

  constructor (upperBounds: readonly number[], keepSeconds: number) {
    this.upperBounds = upperBounds
    this.#keepSeconds = keepSeconds
  }

  /** What the server needs to know to send only what is new. */
  get known (): { generation: string, last: number } {
    return { generation: this.#generation?.name ?? '', last: this.#last }
  }

  /** How far the clock of the page is ahead of that of the server. */
  get offset (): number {
    return this.#generation!.offset
  }

  /** The time of the last sample, by the clock of the page. NaN: there is none. */
  get time (): number {
    const last = this.#kept.at(-1)
    return last === undefined ? NaN : last.sample.time + last.generation.offset
  }

  /** Since when the page knows more than what the server had counted in all. */
  get seenSince (): number {
    return this.#beginning!.sample.time + this.offset
  }

  /** Adds an answer. `received` is the time at which it came, in seconds by the clock of the page. */
  add (answer: Answer, received: number): void {
    const last = this.time
    const isNew = answer.generation !== this.#generation?.name
    if (isNew) this.#generation = new Generation(answer.generation, this.upperBounds)
    const generation = this.#generation!
    generation.offset = Math.min(generation.offset, received - answer.now)
    if (answer.all !== undefined) {
      generation.replace(answer.all)
      this.#kept = this.#kept.filter(({ generation: of }) => of !== generation)
      this.#beginning = beginningOf(generation, answer)
      // A server that has started since the last sample has counted everything since then.
      if (isNew && received - answer.uptime > last) {
        this.#kept.push({ ...this.#beginning, slices: new Map() })
      }
    }
    for (const sample of answer.samples) {
      if (answer.all === undefined) generation.add(sample)
      this.#kept.push({ generation, sample, slices: new Map() })
    }
    this.#last = answer.last
    this.#uptime = answer.uptime
    this.#busy = answer.busy
    this.#gauges = []
    addTo(this.#gauges, answer.gauges)
    const begin = this.time - this.#keepSeconds - toleranceSeconds
    this.#kept = this.#kept.filter(({ generation, sample }) => sample.from + generation.offset > begin)
  }

  /**
   * What was counted in a window of `seconds` that ends `ago` seconds before the last sample, without samples that end
   * in `except`. Undefined: no sample is in the window.
   */
  over (seconds: number, ago = 0, except: readonly [from: number, to: number] = [0, 0]): Increase | undefined {
    const end = this.time - ago + toleranceSeconds
    const kept = this.#kept.filter(({ generation: { offset }, sample: { from, time } }) =>
      time + offset < end && from + offset > end - seconds - 2 * toleranceSeconds &&
      !(time + offset >= except[0] && time + offset < except[1]))
    if (kept.length === 0) return undefined
    const numbers = new Map<Generation, number[]>()
    for (const { generation, sample } of kept) {
      if (!numbers.has(generation)) numbers.set(generation, [])
      addTo(numbers.get(generation)!, sample.counts)
    }
    const [first, last] = [kept[0]!, kept.at(-1)!]
    const rows = noRows(this.upperBounds)
    // Every row that the server knows is there, with counts of 0 if it had no requests in the window.
    if (!numbers.has(this.#generation!)) numbers.set(this.#generation!, [])
    for (const [generation, ofGeneration] of numbers) addNumbers(rows, this.upperBounds, generation, ofGeneration)
    this.#addGauges(rows)
    return {
      ...rows,
      seconds: last.sample.time + last.generation.offset - first.sample.from - first.generation.offset,
      ...loopOf(kept.map(({ sample }) => sample))
    }
  }

  /** What the server had counted before its first sample, since it started. Undefined: there is no answer yet. */
  beforeSamples (): Increase | undefined {
    if (this.#beginning === undefined) return undefined
    const { generation, sample: { from, time, busy, counts } } = this.#beginning
    const rows = noRows(this.upperBounds)
    const numbers: number[] = []
    addTo(numbers, counts)
    addNumbers(rows, this.upperBounds, generation, numbers)
    return { ...rows, seconds: time - from, busy, loopWait: 0 }
  }

  /** What was counted since the server started. Undefined: there is no answer yet. */
  sinceStart (): Increase | undefined {
    if (this.#generation === undefined) return undefined
    const rows = noRows(this.upperBounds)
    addNumbers(rows, this.upperBounds, this.#generation, this.#generation.totals)
    this.#addGauges(rows)
    return { ...rows, seconds: this.#uptime, busy: this.#busy, loopWait: 0 }
  }

  /**
   * A point for each sample of the last `seconds`: of the row with this key, or of all requests without a key. The
   * quantiles of a point are those of the `quantileSeconds` before it.
   */
  points (quantiles: readonly number[], quantileSeconds: number, seconds: number, key?: string): Point[] {
    const begin = this.time - seconds - toleranceSeconds
    const points: Point[] = []
    let oldest = 0
    this.#kept.forEach((kept, index) => {
      const { generation: { offset }, sample: { from, time, busy, stall } } = kept
      while (this.#kept[oldest]!.sample.from + this.#kept[oldest]!.generation.offset <
        time + offset - quantileSeconds - toleranceSeconds && oldest < index) oldest++
      if (from + offset <= begin) return
      const slice = this.#slice(kept, key)
      const { bucketCounts, endings } = slice
      if (quantiles.length > 0) slice.recent ??= this.#together(this.#kept.slice(oldest, index + 1), key)
      points.push({
        from: from + offset,
        time: time + offset,
        bucketCounts,
        rates: perSecond(endings, time - from),
        quantiles: slice.recent === undefined ? [] : estimateQuantiles(quantiles, this.upperBounds, slice.recent),
        busy,
        stall
      })
    })
    return points
  }

  /** The times that are to be marked. */
  marks (): Mark[] {
    const marks: Mark[] = []
    this.#kept.forEach(({ generation, sample: { from, time, stall } }, index) => {
      const before = this.#kept[index - 1]
      if (before !== undefined) {
        const last = before.sample.time + before.generation.offset
        const kind = before.generation === generation ? 'unknown' : 'restart'
        const begin = from + generation.offset
        if (begin - last > unknownSeconds) marks.push({ from: last, time: begin, kind })
      }
      if (stall >= markedStallSeconds) {
        marks.push({ from: time - stall + generation.offset, time: time + generation.offset, kind: 'stall' })
      }
    })
    return marks
  }

  #addGauges (rows: Rows): void {
    addNumbers(rows, this.upperBounds, this.#generation!, this.#gauges)
  }

  /** What was counted in some samples together. */
  #together (kept: readonly Kept[], key: string | undefined): Distribution {
    const slices = kept.map(one => this.#slice(one, key))
    let cumulative = 0
    const buckets = [...this.upperBounds, Infinity].map((_bound, bucket) =>
      (cumulative += slices.reduce((sum, { bucketCounts }) => sum + bucketCounts[bucket]!, 0)))
    return { buckets, native: countsOf(addUp(slices.flatMap(({ native }) => native))) }
  }

  #slice ({ generation, sample, slices }: Kept, key: string | undefined): Slice {
    let slice = slices.get(key)
    if (slice === undefined) {
      // Only the slices of all rows and of one row are kept.
      for (const other of slices.keys()) if (other !== undefined) slices.delete(other)
      slices.set(key, slice = this.#sum(generation, sample, key))
    }
    return slice
  }

  #sum ({ rows, places }: Generation, { counts }: Sample, key: string | undefined): Slice {
    const bucketCounts = [...this.upperBounds, Infinity].map(() => 0)
    const native: number[] = []
    const endings = { all: 0, '4xx': 0, '5xx': 0, aborted: 0, rejected: 0 }
    const wanted = key === undefined
      ? undefined
      : rows.findIndex(([method, route]) => rowKey(method ?? undefined, route ?? undefined) === key)
    for (let index = 0; index < counts.length; index += 2) {
      const { row, bucket, cell, native: nativeBucket } = places[counts[index]!]!
      if (wanted !== undefined && row !== wanted) continue
      const count = counts[index + 1]!
      if (nativeBucket !== undefined) {
        native.push(nativeBucket[0], nativeBucket[1], count)
      } else if (cell === undefined) {
        if (bucket === bucketCounts.length) continue
        bucketCounts[bucket]! += count
        endings.all += count
      } else if (cell[2] === 'status') {
        if (cell[3].startsWith('4')) endings['4xx'] += count
        if (cell[3].startsWith('5')) endings['5xx'] += count
      } else if (cell[2] === 'aborted' || cell[2] === 'rejected') {
        endings[cell[2]] += count
      }
    }
    return { bucketCounts, native: countsOf(addUp(native)), endings }
  }
}

/**
 * Since when at the earliest something has been going on that nobody saw beginning: so long ago that all of it that was
 * counted before has come at the rate of what was seen. If some of it is usual, it has begun later. Undefined: it may
 * have begun so long ago that this tells nothing.
 */
export function earliestSince (history: History, unseen: number, seen: number): number | undefined {
  const seconds = (unseen + seen) / seen * (history.time - history.seenSince)
  if (seconds >= Math.min(history.sinceStart()!.seconds, tellingSeconds)) return undefined
  const step = seconds < 600 ? 10 : 60
  return Math.min(Math.floor((history.time - seconds) / step) * step, history.seenSince)
}

/** Where the names of marks begin for which there is room, by their index. Those of longer marks come first. */
export function roomFor (
  marks: ReadonlyArray<{ readonly seconds: number, readonly left: number, readonly width: number }>
): Map<number, number> {
  const placed = new Map<number, number>()
  const longest = [...marks.entries()].sort(([, a], [, b]) => b.seconds - a.seconds)
  for (const [index, { left, width }] of longest) {
    const isFree = [...placed].every(([other, begin]) => left + width < begin || begin + marks[other]!.width < left)
    if (isFree) placed.set(index, left)
  }
  return placed
}

/** What a server had counted before its first sample, as a sample that is as long. */
function beginningOf (generation: Generation, { now, uptime, busy, samples }: Answer): Beginning {
  const numbers = [...generation.totals]
  for (const { counts } of samples) addTo(numbers, counts.map((count, index) => index % 2 === 0 ? count : -count))
  const counts = numbers.flatMap((count, id) => count > 0 ? [id, count] : [])
  const [from, time] = [now - uptime, samples[0]?.from ?? now]
  const busySeconds = samples.reduce((rest, { from, time, busy }) => rest - busy * (time - from), busy * uptime)
  const sample = {
    id: 0, from, time, busy: Math.max(busySeconds, 0) / (time - from), stall: 0, rows: [], cells: [], counts
  }
  return { generation, sample }
}

/** How busy the event loop was, and how long it may have been waited for: while it was busy, for a longest stall. */
function loopOf (samples: readonly Sample[]): { busy: number, loopWait: number } {
  let [all, busy, wait] = [0, 0, 0]
  for (const sample of samples) {
    const seconds = sample.time - sample.from
    all += seconds
    busy += sample.busy * seconds
    wait += sample.busy * seconds * sample.stall
  }
  return { busy: busy / all, loopWait: wait / all }
}

function perSecond ({ all, '4xx': refused, '5xx': failed, aborted, rejected }: Endings, seconds: number): Endings {
  return {
    all: all / seconds,
    '4xx': refused / seconds,
    '5xx': failed / seconds,
    aborted: aborted / seconds,
    rejected: rejected / seconds
  }
}
