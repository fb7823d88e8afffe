import { performance } from 'node:perf_hooks'
import type { Gatherer, HistogramPoints } from '../snapshot'
import { pause } from '../timers'
import type { Objective, ObjectiveWindow, ShownHistogram } from './browser/feed'

/** The windows of the alert that somebody is woken by: whether it is so for long, and whether it still is. */
export const windowSeconds = [300, 3600]

/** The counts are read this often, and remembered for the longest window. */
const intervalMs = 10_000
const timeoutMs = 5000

/** The requests that had been counted at some time, in milliseconds, and how many of them had been slow. */
export interface Count {
  readonly time: number
  readonly requests: number
  readonly slow: number
}

export interface BudgetOptions {
  readonly objective: Objective
  readonly histogram: ShownHistogram
  readonly gather: Gatherer
}

/**
 * Remembers for an hour how many requests there were and how many were slow, so that it is known how fast the budget of
 * an objective is being used up. That is 360 times three numbers.
 */
export class Budget {
  readonly #options: BudgetOptions
  readonly #closing = new AbortController()
  /** An application begins with nothing counted. */
  #counts: Count[] = [{ time: performance.now(), requests: 0, slow: 0 }]

  constructor (options: BudgetOptions) {
    this.#options = options
  }

  /** Reads the counts until `close()` is called. Where they cannot be read, the gatherer warns of the reason. */
  async keepReading (): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      await this.#read().then(count => this.add(count), () => {})
      await pause(intervalMs, signal)
    }
  }

  close (): void {
    this.#closing.abort()
  }

  /** What was counted in each window until now. */
  async windows (): Promise<ObjectiveWindow[]> {
    return this.windowsUntil(await this.#read())
  }

  windowsUntil (last: Count): ObjectiveWindow[] {
    return windowSeconds.map(seconds => {
      const first = this.#counts.find(({ time }) => time >= last.time - 1000 * seconds - intervalMs / 2) ?? last
      return {
        seconds,
        observedSeconds: (last.time - first.time) / 1000,
        requests: last.requests - first.requests,
        slow: last.slow - first.slow
      }
    })
  }

  add (count: Count): void {
    const last = this.#counts.at(-1)!
    // Somebody has reset the histogram.
    if (count.requests < last.requests) this.#counts = [{ time: last.time, requests: 0, slow: 0 }]
    this.#counts.push(count)
    const begin = count.time - 1000 * Math.max(...windowSeconds) - intervalMs
    while (this.#counts[0]!.time < begin) this.#counts.shift()
  }

  /** A histogram that cannot be read is warned of by the gatherer, and counts as unchanged. */
  async #read (): Promise<Count> {
    const { gather, histogram } = this.#options
    const { families: [points] } = await gather({ names: new Set([histogram.name]), timeoutMs })
    return points?.type === 'histogram' ? this.#count(points) : { ...this.#counts.at(-1)!, time: performance.now() }
  }

  #count ({ upperBounds, counts }: HistogramPoints): Count {
    const buckets = upperBounds.length + 1
    const firstSlow = upperBounds.indexOf(this.#options.objective.latency) + 1
    let [requests, slow] = [0, 0]
    counts.forEach((count, index) => {
      requests += count
      if (index % buckets >= firstSlow) slow += count
    })
    return { time: performance.now(), requests, slow }
  }
}
