import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { performance, type EventLoopUtilization } from 'node:perf_hooks'
import type { Gatherer, HistogramPoints, Points } from '../snapshot'
import type { TimeSlices } from '../time-slices'
import { clearTimeout, pause, setTimeout, type Timer } from '../timers'
import type { Answer, ObjectiveWindow, Sample, ShownHistogram, SlowRequest } from './browser/feed'
import { RecentSamples } from './recent-samples'
import { slowestOf } from './slowest'
import { familyNames, Tally, type Reading } from './tally'

const intervalMs = 1000

/** Sampling goes on for this long after the last question, and samples are remembered for this long. */
export const keepMs = 300_000

/** The most that remembered samples take. In an application that changes more, the oldest are forgotten earlier. */
const mostBytes = 8 * 1024 * 1024

/** A metric that has not been read after this time counts as failed. */
const timeoutMs = 10_000

/** A timer fires this often while somebody looks. How late it is tells for how long the event loop did not turn. */
const beatMs = 50

/** How many items of an array are written in one step. */
const itemsPerStep = 5000

export interface WatchOptions {
  readonly histogram: ShownHistogram
  readonly traceUrl: string | undefined
  readonly gather: Gatherer
  readonly slices: TimeSlices
}

/** What a page has had already. */
export interface Known {
  readonly generation: string
  /** The id of the last sample. */
  readonly last: number
}

/**
 * Samples one histogram once a second while somebody looks at it, and remembers the last minutes. All who look share
 * the samples. When nobody has looked for some minutes, sampling stops and all samples are forgotten.
 */
export class Watch {
  readonly #options: WatchOptions
  readonly #closing = new AbortController()
  #beat: Timer | undefined
  #beatenMs = 0
  /** The longest time since the last sample in which the event loop did not turn. */
  #stallMs = 0
  /** Samples of one generation can be added up. A new one begins with sampling, and when counts have been reset. */
  #generation = ''
  #tally: Tally
  #reading: Reading | undefined
  /** The time of the last sample. */
  #time = 0
  /** How many rows, cells and native buckets of the tally have been told in samples. */
  #told = { rows: 0, cells: 0, natives: 0 }
  /** The slowest requests, and the id of the sample in which they became others. */
  #slowest: readonly SlowRequest[] = []
  #slowestSince = 0
  readonly #recent = new RecentSamples({ keepSeconds: keepMs / 1000, mostBytes })
  #last = 0
  #utilization: EventLoopUtilization | undefined
  #lookedMs = 0
  #dueMs = 0
  /** Resolves when there is a first sample. Undefined: nobody looks. */
  #first: Promise<void> | undefined
  /** Why the last sample could not be taken. */
  #failure: unknown
  /** All counts as of the last sample, once somebody has asked for them. */
  #all: Promise<Buffer> | undefined

  constructor (options: WatchOptions) {
    this.#options = options
    this.#tally = new Tally(options.histogram, options.slices)
  }

  /** The pieces of an answer for a page. Throws if the histogram could not be read. */
  async answer (known: Known, objective: readonly ObjectiveWindow[] | undefined): Promise<Buffer[]> {
    this.#lookedMs = performance.now()
    this.#first ??= this.#begin()
    await this.#first
    if (this.#failure !== undefined) throw this.#failure
    const continues = this.#continues(known)
    const head: Omit<Answer, 'all' | 'samples'> = {
      generation: this.#generation,
      now: clockSeconds(),
      nextMs: Math.max(Math.round(this.#dueMs - performance.now()), 0),
      uptime: process.uptime(),
      busy: round(performance.eventLoopUtilization().utilization),
      last: this.#last,
      gauges: this.#reading!.gauges,
      ...objective !== undefined && { objective },
      ...(!continues || known.last < this.#slowestSince) && { slowest: this.#slowest }
    }
    const samples = this.#recent.after(continues ? known.last : -1)
    if (!continues) this.#all ??= this.#writeAll(this.#reading!)
    const all = continues ? [] : [Buffer.from(',"all":'), await this.#all!]
    return [
      Buffer.from(JSON.stringify(head).slice(0, -1)),
      ...all,
      Buffer.from(',"samples":['),
      ...samples.flatMap((json, index) => index === 0 ? [json] : [Buffer.from(','), json]),
      Buffer.from(']}')
    ]
  }

  /** Stops for good. */
  close (): void {
    this.#closing.abort()
    clearTimeout(this.#beat)
  }

  /** Whether the remembered samples continue what a page knows. */
  #continues ({ generation, last }: Known): boolean {
    const next = this.#recent.first ?? this.#last + 1
    return generation === this.#generation && last >= next - 1 && last <= this.#last
  }

  #begin (): Promise<void> {
    this.#beatenMs = performance.now()
    this.#beat = setTimeout(() => this.#measureStall(), beatMs).unref()
    this.#utilization = performance.eventLoopUtilization()
    const first = this.#sample()
    first.then(() => this.#keepSampling())
    return first
  }

  #beginGeneration (tally: Tally): void {
    this.#generation = randomUUID()
    this.#tally = tally
    this.#told = { rows: 0, cells: 0, natives: 0 }
    this.#recent.clear()
  }

  async #keepSampling (): Promise<void> {
    const { signal } = this.#closing
    const isWatched = (): boolean => !signal.aborted && performance.now() - this.#lookedMs < keepMs
    while (isWatched()) {
      // After a stall, the next sample is not due at once.
      this.#dueMs = Math.max(this.#dueMs + intervalMs, performance.now() + intervalMs / 2)
      await pause(this.#dueMs - performance.now(), signal)
      if (isWatched()) await this.#sample()
    }
    this.#first = undefined
    clearTimeout(this.#beat)
    this.#reading = undefined
    this.#recent.clear()
  }

  #measureStall (): void {
    const now = performance.now()
    this.#stallMs = Math.max(this.#stallMs, now - this.#beatenMs - beatMs)
    this.#beatenMs = now
    this.#beat = setTimeout(() => this.#measureStall(), beatMs).unref()
  }

  async #sample (): Promise<void> {
    const { gather, histogram } = this.#options
    try {
      const { families } = await gather({ names: new Set(familyNames(histogram)), timeoutMs })
      const points = families.find(({ name }) => name === histogram.name)
      if (points === undefined) throw new Error(`${histogram.name} is not there`)
      await this.#take(families, points as HistogramPoints)
      this.#failure = undefined
    } catch (error) {
      this.#failure = error
    }
  }

  async #take (families: readonly Points[], points: HistogramPoints): Promise<void> {
    const time = clockSeconds()
    const utilization = performance.eventLoopUtilization()
    const { utilization: busy } = performance.eventLoopUtilization(utilization, this.#utilization)
    this.#measureStall()
    const stall = this.#stallMs / 1000
    this.#utilization = utilization
    this.#stallMs = 0

    let tally = this.#tally
    let reading = await tally.read(families)
    const counts = this.#reading === undefined ? undefined : await tally.changes(this.#reading.counts, reading.counts)
    if (counts === undefined) {
      tally = new Tally(this.#options.histogram, this.#options.slices)
      reading = await tally.read(families)
      this.#beginGeneration(tally)
    }
    const slowest = await slowestOf(points, Date.now() / 1000, this.#options)
    // From here on nothing is waited for, so that every answer finds one sample or the next.
    this.#last++
    const { rows, cells, natives } = this.#tally
    if (counts !== undefined) {
      const newNatives = natives.slice(this.#told.natives)
      const news = {
        rows: rows.slice(this.#told.rows),
        cells: cells.slice(this.#told.cells),
        ...newNatives.length > 0 && { natives: newNatives }
      }
      const sample: Sample = {
        id: this.#last, from: this.#time, time, busy: round(busy), stall: round(stall), ...news, counts
      }
      this.#recent.add({ id: this.#last, time, json: Buffer.from(JSON.stringify(sample)) })
    }
    this.#told = { rows: rows.length, cells: cells.length, natives: natives.length }
    if (!isDeepStrictEqual(slowest, this.#slowest)) this.#slowestSince = this.#last
    this.#slowest = slowest
    this.#reading = reading
    this.#time = time
    this.#all = undefined
  }

  async #writeAll ({ counts }: Reading): Promise<Buffer> {
    const { slices } = this.#options
    // A sample that is being taken may add rows, which are told with that sample.
    const rows = this.#tally.rows.slice(0, this.#told.rows)
    const cells = this.#tally.cells.slice(0, this.#told.cells)
    const natives = this.#tally.natives.slice(0, this.#told.natives)
    const grown = await this.#tally.changes(new Float64Array(0), counts)
    const parts: string[] = []
    for (const [name, items] of Object.entries({ rows, cells, natives, counts: grown! })) {
      parts.push(`"${name}":[${await writeInSteps(items, slices)}]`)
    }
    return Buffer.from(`{${parts.join()}}`)
  }
}

async function writeInSteps (items: readonly unknown[], slices: TimeSlices): Promise<string> {
  const parts: string[] = []
  for (let first = 0; first < items.length; first += itemsPerStep) {
    await slices.next()
    parts.push(JSON.stringify(items.slice(first, first + itemsPerStep)).slice(1, -1))
  }
  return parts.join()
}

/** The time in seconds since 1970, by a clock that does not jump when the clock of the machine is set. */
export function clockSeconds (): number {
  return (performance.timeOrigin + performance.now()) / 1000
}

function round (value: number): number {
  return Math.round(value * 1000) / 1000
}
