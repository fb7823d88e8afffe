import { monitorEventLoopDelay, performance, type IntervalHistogram } from 'node:perf_hooks'
import { Counter, Gauge, type Registry } from 'prom-client'
import { clearTimeout, setImmediate, setTimeout, type Timer } from '../timers'

/** How exact delays are, and how often the process is woken to measure them, in milliseconds. */
const precisionMs = 10

/** For how long delays are measured after somebody has read them. */
const watchedMs = 5 * 60_000

/** For how long the delays that were read are those of the same scrape. */
const scrapeMs = 1000

const nanosecondsPerSecond = 1e9

interface Statistic {
  readonly name: string
  readonly help: string
  readonly aggregator: 'min' | 'max' | 'average'
  readonly read: (delays: IntervalHistogram) => number
}

/** What is told of the delays. The names, help texts and aggregators are those of `prom-client`. */
const statistics: readonly Statistic[] = [
  { name: 'min', help: 'The minimum recorded event loop delay.', aggregator: 'min', read: ({ min }) => min },
  { name: 'max', help: 'The maximum recorded event loop delay.', aggregator: 'max', read: ({ max }) => max },
  {
    name: 'mean',
    help: 'The mean of the recorded event loop delays.',
    aggregator: 'average',
    read: ({ mean }) => mean
  },
  {
    name: 'stddev',
    help: 'The standard deviation of the recorded event loop delays.',
    aggregator: 'average',
    read: ({ stddev }) => stddev
  },
  ...[50, 90, 99].map((percentile): Statistic => ({
    name: `p${percentile}`,
    help: `The ${percentile}th percentile of the recorded event loop delays.`,
    aggregator: 'average',
    read: delays => delays.percentile(percentile)
  }))
]

/**
 * Adds the metrics of the event loop to a registry: for how long it has been active and idle, and its delay.
 *
 * `prom-client` has the delay too, but measures it from the first moment, for which it wakes an idle process a hundred
 * times per second. Here the delay is measured only while somebody reads it.
 */
export function addEventLoopMetrics (registry: Registry): void {
  addTimes(registry)
  addDelays(registry)
}

/** The names of the metrics that `prom-client` would have added for the delay. */
export const eventLoopDelayNames =
  ['nodejs_eventloop_lag_seconds', ...statistics.map(({ name }) => `nodejs_eventloop_lag_${name}_seconds`)]

function addTimes (registry: Registry): void {
  const add = (state: 'active' | 'idle', help: string): Counter => new Counter({
    name: `nodejs_eventloop_${state}_seconds_total`,
    help,
    registers: [registry],
    collect () {
      this.reset()
      // Where a test has put a fake clock in the place of this one, the difference may be negative.
      this.inc(Math.max(performance.eventLoopUtilization()[state], 0) / 1000)
    }
  })
  add('active', 'Time for which the event loop has worked, in seconds.')
  add('idle', 'Time for which the event loop has waited for something to do, in seconds.')
}

function addDelays (registry: Registry): void {
  const registers = [registry]
  const delays = new Delays()
  const add = ({ name, help, aggregator }: Statistic): Gauge => new Gauge({
    name: `nodejs_eventloop_lag_${name}_seconds`,
    help,
    aggregator,
    registers,
    collect () {
      const seconds = delays.read().get(name)
      if (seconds === undefined) this.remove()
      else this.set(seconds)
    }
  })
  new Gauge({ // eslint-disable-line no-new -- the registry holds it
    name: 'nodejs_eventloop_lag_seconds',
    help: 'Lag of event loop in seconds.',
    aggregator: 'average',
    registers,
    async collect () {
      const start = performance.now()
      await new Promise<void>(resolve => setImmediate(resolve))
      this.set((performance.now() - start) / 1000)
    }
  })
  statistics.forEach(add)
}

/** The delays since the scrape before, as long as there are scrapes. */
class Delays {
  readonly #histogram = monitorEventLoopDelay({ resolution: precisionMs })
  #stopping: Timer | undefined
  #readMs = -Infinity
  #seconds = new Map<string, number>()

  /** The statistics by name, in seconds. There are none if the delays have not been measured until now. */
  read (): ReadonlyMap<string, number> {
    const nowMs = performance.now()
    if (nowMs - this.#readMs < scrapeMs) return this.#seconds
    this.#readMs = nowMs
    const isMeasured = this.#histogram.count > 0
    this.#seconds = new Map(statistics.flatMap(({ name, read }) =>
      isMeasured ? [[name, read(this.#histogram) / nanosecondsPerSecond] as const] : []))
    this.#histogram.reset()
    this.#watch()
    return this.#seconds
  }

  #watch (): void {
    if (this.#stopping === undefined) this.#histogram.enable()
    clearTimeout(this.#stopping)
    this.#stopping = setTimeout(() => {
      this.#histogram.disable()
      this.#stopping = undefined
    }, watchedMs).unref()
  }
}
