import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance } from 'fastify'
import type { RegistryLike } from '../index'
import { check, isText } from './checks'
import type { Config } from './config'
import {
  causeOf, describe, describeBoth, differences, FST_LATENCY_ERR_HISTOGRAM_CONFLICT,
  FST_LATENCY_ERR_HISTOGRAM_RECORDED, FST_LATENCY_ERR_NAME_TAKEN, FST_LATENCY_ERR_NOT_RECORDED,
  FST_LATENCY_ERR_REGISTRY_FAILED, FST_LATENCY_ERR_UNIT, givenRegistry, isCoded, settled, type Warn, type WarnOnce
} from './errors'
import { namesOf, type NamedMetric } from './exposition/sample-names'
import { hiddenFamilies } from './gather/hidden-families'
import { OwnRegistry, publicRegistry, type AnyRegistry } from './gather/own-registry'
import {
  Lease, RegisteredCounter, RegisteredGauge, RegisteredHistogram, type GaugeDefinition, type OwnMetric
} from './gather/registered-metrics'
import { groupMetrics } from './group/group-metrics'
import type { HistogramDefinition } from './histogram/family'
import type { HistogramConfig } from './histogram/options'
import { SeriesIndex } from './histogram/series-index'
import type { ValueDefinition } from './histogram/values'
import type { Arrivals } from './http/arrivals'
import { createExemplarSource, type ExemplarSource } from './request/exemplars'
import { Instrument } from './request/instrument'
import { labelsThatTell } from './request/label-sources'
import { measures, queueTime, type Measure } from './request/measures'
import type { OpenRequestsFact } from './request/open-requests'
import { ProxiedWaits } from './request/proxied-waits'
import { Recorder } from './request/recorder'
import { watchRouteOptions, type RouteOptionsLog } from './request/route-options'
import { scrapeMetrics } from './scrape/scrape-metrics'

/** One registration: the requests of one context, and how they are recorded. */
interface Registration {
  readonly context: FastifyInstance
  readonly config: Config
  readonly measured: readonly Measured[]
  /** The histogram of how long requests waited, if there is one. */
  readonly waits: readonly Measured[]
}

interface Wanted {
  readonly measure: Measure
  readonly definition: HistogramDefinition
  /** The histogram of this name that is in the registry. */
  readonly existing: RegisteredHistogram | undefined
}

interface Measured {
  readonly measure: Measure
  readonly histogram: RegisteredHistogram
}

/** What a recorder records, and how. */
interface Recorded {
  readonly measured: readonly Measured[]
  readonly config: Config
  readonly exemplarOf: ExemplarSource | undefined
  readonly proxiedWaits?: ProxiedWaits | undefined
}

export interface RegistrationsOptions {
  /** The registry of all metrics, unless a registration names another one. */
  readonly registry: AnyRegistry
  readonly warn: Warn
  readonly warnOnce: WarnOnce
  readonly informOnce: RouteOptionsLog['informOnce']
}

/** The metrics beside histograms, and their names in every registry. */
const metrics = {
  aborted: {
    type: 'counter',
    name: 'http_requests_aborted_total',
    help: 'Requests whose connection was gone before all of the reply had been sent.'
  },
  busyTime: {
    type: 'counter',
    name: 'http_request_busy_seconds_total',
    help: 'Time for which the event loop was busy, with anything, while requests were open, in seconds.'
  },
  longLivedEnded: {
    type: 'counter',
    name: 'http_long_lived_requests_ended_total',
    help: 'Event streams and upgraded connections that have ended. They are not in the latency histogram.'
  },
  rejected: {
    type: 'counter',
    name: 'http_requests_rejected_total',
    help: 'Requests that were answered before any hook of the application could run.'
  },
  queueHeaderRefused: {
    type: 'counter',
    name: 'fastify_latency_queue_header_refused_total',
    help: 'Requests of trusted proxies whose header tells a time that cannot be, or none.'
  },
  overflowed: {
    type: 'counter',
    name: 'fastify_latency_overflowed_total',
    help: 'Observations in a series that stands for all that came after seriesLimit was reached.'
  },
  inFlight: {
    type: 'gauge',
    name: 'http_requests_in_flight',
    help: 'Requests that wait for the rest of their reply.',
    aggregator: 'sum'
  },
  oldest: {
    type: 'gauge',
    name: 'http_request_oldest_seconds',
    help: 'Age of the oldest request that waits for the rest of its reply, in seconds.',
    aggregator: 'max'
  },
  longLived: {
    type: 'gauge',
    name: 'http_long_lived_requests',
    help: 'Open event streams and upgraded connections.',
    aggregator: 'sum'
  }
} as const

/** Every metric of this plugin whose name is not an option. */
const namedMetrics: readonly NamedMetric[] =
  [...Object.values(metrics), ...Object.values(scrapeMetrics), ...Object.values(groupMetrics), hiddenFamilies]

/** No application has bounds from 1 to this one in seconds, but many have them in milliseconds. */
const longestLatency = 100

/** The last word of a name that says another unit of time than seconds. */
const otherUnit = /^(?:[mun]s|[mun]secs?|(?:milli|micro|nano)(?:s|seconds?)|minutes|hours)$/i

/** Keeps which contexts of an application record into which metrics. */
export class Registrations {
  readonly #options: RegistrationsOptions
  readonly #registrations: Registration[] = []
  readonly #instruments = new Map<FastifyInstance, Instrument>()
  /** Instruments whose open requests are counted in the gauges. */
  readonly #shown = new Set<Instrument>()
  /** Functions to call when the application closes. */
  readonly #releases: Array<() => void> = []
  readonly #registries = new Set<AnyRegistry>()
  #arrivals: Arrivals | undefined
  /** What keeps the metrics of the registrations in their registries. */
  readonly leases = new Set<Lease>()

  constructor (options: RegistrationsOptions) {
    this.#options = options
  }

  /** Every registry that holds metrics of a registration. */
  get registries (): Iterable<RegistryLike> {
    return { [Symbol.iterator]: () => Array.from(this.#registries, publicRegistry).values() }
  }

  /** Whether a registration is that of the application itself, and not that of a part of it. */
  get coverApplication (): boolean {
    return this.#registrations.some(({ context }) => isRoot(context))
  }

  /** The latency histogram of the first registration. */
  get histogram (): RegisteredHistogram {
    return this.#registrations[0]!.measured[0]!.histogram
  }

  /** The options of each registration, and the description of its histograms for the pages. */
  describe (): Array<{ config: Config, histograms: Array<ReturnType<typeof showHistogram>> }> {
    return this.#registrations.map(({ config, measured, waits }) => ({
      config,
      histograms: [
        ...measured.filter(isTime).map(one => ({
          ...showHistogram(one, config.labels), ...one === measured[0] && showWaits(config)
        })),
        ...waits.map(one => showHistogram(one, config.queueTime!.labels))
      ]
    }))
  }

  /** Makes the requests of a context be recorded as one registration asks for. Nothing changes if they already are. */
  add (context: FastifyInstance, config: Config): void {
    const registry = this.#registryOf(config)
    const labelNames = [...Object.keys(config.labels), ...Object.keys(config.constLabels)]
    this.#checkNames(config)
    const wanted = findHistograms(registry, config, labelNames)
    const waits = findWaits(registry, config)
    if (this.#isRecorded(context, wanted, config)) return
    for (const { measure, definition } of [...wanted, ...waits].filter(isTime)) this.#checkUnit(measure, definition)
    const measured = this.#registerHistograms(registry, wanted, labelNames)
    const measuredWaits = this.#registerHistograms(registry, waits, waitLabels(config))
    this.#registries.add(registry)
    this.#registrations.push({ context, config, measured, waits: measuredWaits })
    const instrument = this.#instruments.get(context) ?? this.#instrument(context, registry, config)
    const exemplarOf = createExemplarSource(config.exemplars, this.#options.warn)
    instrument.add(this.#createRecorder(registry, { measured, config, exemplarOf }))
    if (config.exemplars === true) instrument.watchSpans()
    if (config.inFlight) this.#showOpen(registry, instrument)
    const busyTime = config.busyTime ? this.#counter(registry, metrics.busyTime) : undefined
    if (busyTime !== undefined) instrument.countBusyTime(busyTime)
    if (config.queueTime !== undefined) {
      const { labels, header, ...histogram } = config.queueTime
      const recorded = { ...config, labels, histogram: { ...histogram, from: 'router' }, ignore: undefined } as const
      const proxiedWaits = header === undefined ? undefined : this.#createProxiedWaits(registry, header)
      instrument.addWaits(
        this.#createRecorder(registry, { measured: measuredWaits, config: recorded, exemplarOf, proxiedWaits }))
      this.#watchArrivals(context, instrument, measuredWaits[0]!.histogram)
    }
    if (config.histogram.from === 'arrival') {
      this.#watchArrivals(context, instrument, measured[0]!.histogram)
      if (busyTime !== undefined) this.#watchArrivals(context, instrument, busyTime)
    }
  }

  /** Removes from all registries what this application has added. A registry may outlive the application. */
  release (): void {
    // Requests whose wait is not known yet are recorded now.
    this.#arrivals?.stop()
    for (const instrument of this.#instruments.values()) instrument.release()
    for (const release of this.#releases) release()
  }

  /** The registry of a registration, for which the user may have given that of the application. */
  #registryOf ({ registry }: Config): AnyRegistry {
    const { registry: first } = this.#options
    return registry === undefined || (first instanceof OwnRegistry && first.is(registry)) ? first : registry
  }

  /** Checks that samples of the histograms have other names than those of all other metrics of this application. */
  #checkNames (config: Config): void {
    const others = [...namedMetrics]
    const registered = Array.from(this.leases, ({ metric }) => metric)
    for (const { option } of [...measures, queueTime]) {
      if (config[option] === undefined) continue
      const { name } = config[option]
      const histogram: NamedMetric = { name, type: 'histogram' }
      const names = namesOf(histogram)
      // Registrations may share a histogram.
      const other = [...others, ...registered.filter(metric => metric.name !== name)]
        .find(other => namesOf(other).some(name => names.includes(name)))
      check(`${option}.name`, other === undefined,
        `a name whose samples have other names than those of "${other?.name}"`, name)
      others.push(histogram)
    }
  }

  /**
   * Warns of bounds that look like milliseconds, and of a name that says so. It is no error, because somebody may mean
   * them.
   */
  #checkUnit ({ option }: Measure, { name, upperBounds }: HistogramDefinition): void {
    const { warn } = this.#options
    if (upperBounds[0]! >= 1 && upperBounds.at(-1)! >= longestLatency) {
      warn(new FST_LATENCY_ERR_UNIT(`${option}.buckets`, describe(upperBounds),
        'if these are milliseconds, divide them by a thousand'))
    }
    if (otherUnit.test(/(?:[A-Z]?[a-z]*|[A-Z]*)$/.exec(name)![0])) {
      warn(new FST_LATENCY_ERR_UNIT(`${option}.name`, describe(name), 'end the name in "_seconds"'))
    }
  }

  /**
   * Makes the instrument that watches the requests of a context. The metrics beside histograms are counted by the
   * instrument of the outermost context only. If this context is inside another watched one, its instrument does not
   * count them; the instruments of contexts inside it stop counting them.
   */
  #instrument (context: FastifyInstance, registry: AnyRegistry, { constLabels }: Config): Instrument {
    // An empty label is none to Prometheus: with it, a series could be the same as one of another registration.
    const present = Object.entries(constLabels).filter(([, value]) => value !== '')
    const instrument = new Instrument(context, {
      constLabels: Object.fromEntries(present),
      aborted: this.#counter(registry, metrics.aborted),
      longLivedEnded: this.#counter(registry, metrics.longLivedEnded),
      onFailure: error => this.#options.warnOnce(
        'instrument', () => new FST_LATENCY_ERR_NOT_RECORDED(describe(error), causeOf(error)))
    })
    for (const [other, otherInstrument] of this.#instruments) {
      if (isInside(context, other)) instrument.leaveCountsToOuter()
      if (isInside(other, context)) otherInstrument.leaveCountsToOuter()
    }
    this.#instruments.set(context, instrument)
    watchRouteOptions(context, this.#options)
    if (isRoot(context)) {
      const rejected = this.#counter(registry, metrics.rejected)
      this.#attach(rejected.updates, instrument.countRejections(rejected))
    }
    return instrument
  }

  /** Shows the open requests of an instrument in the gauges. A second call for the same instrument changes nothing. */
  #showOpen (registry: AnyRegistry, instrument: Instrument): void {
    if (this.#shown.has(instrument)) return
    this.#shown.add(instrument)
    const show = (fact: OpenRequestsFact, definition: GaugeDefinition): void => {
      const gauge = findOrRegister(registry, definition.name, RegisteredGauge, () => new RegisteredGauge(definition))
      this.#hold(registry, gauge)
      this.#attach(gauge.sources, () => instrument.readOpen(fact))
    }
    show('in flight', metrics.inFlight)
    show('oldest', metrics.oldest)
    show('long lived', metrics.longLived)
  }

  /** Registers the histograms that are missing. All of them have the index of the first one. */
  #registerHistograms (
    registry: AnyRegistry, wanted: readonly Wanted[], labelNames: readonly string[]
  ): Measured[] {
    const index = wanted[0]?.existing?.family.index ?? new SeriesIndex(labelNames)
    return wanted.map(({ measure, definition, existing }) => {
      const histogram = existing ?? register(registry, new RegisteredHistogram(definition, index))
      return { measure, histogram: this.#hold(registry, histogram) }
    })
  }

  /** Has an instrument note when requests arrive, since a metric depends on that. */
  #watchArrivals (context: FastifyInstance, instrument: Instrument, metric: OwnMetric): void {
    const { Arrivals } = require('./http/arrivals') as typeof import('./http/arrivals')
    const arrivals = this.#arrivals ??= new Arrivals(rootOf(context))
    instrument.watchArrivals(arrivals)
    this.#attach(metric.updates, arrivals.settle)
  }

  #createRecorder (registry: AnyRegistry, { measured, ...recorded }: Recorded): Recorder {
    const overflowed = this.#counter(registry, metrics.overflowed)
    const { index } = measured[0]!.histogram.family
    const columns = measured.map(({ measure, histogram }) =>
      ({ measure, family: histogram.familyIn(index) }))
    const labels = { histogram: recorded.config.histogram.name }
    const onOverflow = (): void => overflowed.increment(labels)
    const { warn, warnOnce } = this.#options
    return new Recorder({ index, columns, ...recorded, warn, warnOnce, onOverflow })
  }

  #createProxiedWaits (registry: AnyRegistry, header: string): ProxiedWaits {
    const refused = this.#counter(registry, metrics.queueHeaderRefused)
    return new ProxiedWaits({ header, refused, warnOnce: this.#options.warnOnce })
  }

  #counter (registry: AnyRegistry, definition: ValueDefinition): RegisteredCounter {
    const create = (): RegisteredCounter => new RegisteredCounter(definition)
    return this.#hold(registry, findOrRegister(registry, definition.name, RegisteredCounter, create))
  }

  /** Keeps a metric in its registry until this application closes. */
  #hold<M extends OwnMetric> (registry: AnyRegistry, metric: M): M {
    const lease = new Lease(registry, metric)
    this.leases.add(lease)
    // The metrics of the application's own registry can still be read when the application has closed.
    if (!(registry instanceof OwnRegistry)) this.#releases.push(() => this.#release(lease))
    return metric
  }

  #release (lease: Lease): void {
    this.leases.delete(lease)
    try {
      lease.release()
    } catch (error) {
      const { name } = lease.metric
      this.#options.warnOnce('release', () => new FST_LATENCY_ERR_REGISTRY_FAILED(
        givenRegistry, `"${name}" cannot be removed from it: ${describe(error)}`, causeOf(error)))
    }
  }

  /**
   * Adds an object of this application to a metric that other applications may share, until this application closes.
   */
  #attach<T> (shared: Set<T>, own: T): void {
    shared.add(own)
    this.#releases.push(() => shared.delete(own))
  }

  /**
   * Whether the requests of this context are already recorded into these histograms with these options. Throws if they
   * are recorded with other options. The hooks of a context also run for the contexts inside it.
   */
  #isRecorded (context: FastifyInstance, wanted: readonly Wanted[], config: Config): boolean {
    for (const other of this.#registrations) {
      const shared = wanted.find(({ existing }) => other.measured.some(({ histogram }) => histogram === existing))
      if (shared === undefined) continue
      const covers = other.context === context || isInside(context, other.context)
      const differ = recordingDifferences(other.config, config)
      if (covers && differ === '') return true
      if (covers || isInside(other.context, context)) {
        const { measure: { option }, definition: { name } } = shared
        const problem = covers ? differ : 'a context inside this one was registered before this one'
        throw new FST_LATENCY_ERR_HISTOGRAM_RECORDED(name, problem, option)
      }
    }
    return false
  }
}

/**
 * Everything that a registration measures, the latency first, and the histograms that are in the registry already.
 * Throws if a registration with these options is not possible, before anything is changed.
 */
function findHistograms (registry: AnyRegistry, config: Config, labelNames: readonly string[]): Wanted[] {
  return measures.flatMap(measure => findHistogram(registry, measure, config[measure.option], labelNames))
}

/** The histogram of how long requests waited, if there is to be one. It has labels of its own. */
function findWaits (registry: AnyRegistry, config: Config): Wanted[] {
  return findHistogram(registry, queueTime, config.queueTime, waitLabels(config))
}

function waitLabels ({ queueTime, constLabels }: Config): string[] {
  return [...Object.keys(queueTime?.labels ?? {}), ...Object.keys(constLabels)]
}

function findHistogram (
  registry: AnyRegistry, measure: Measure, histogram: HistogramConfig | undefined, labelNames: readonly string[]
): Wanted[] {
  if (histogram === undefined) return []
  const { name, help, upperBounds, native } = histogram
  const definition = { name, help, upperBounds, native, unit: measure.unit }
  const existing = find(registry, name, RegisteredHistogram)
  if (existing !== undefined) checkSame(existing, definition, labelNames, measure.option)
  return [{ measure, definition, existing }]
}

function checkSame (
  existing: RegisteredHistogram,
  { name, help, upperBounds, native }: HistogramDefinition,
  labelNames: readonly string[],
  option: string
): void {
  const parts: ReadonlyArray<[part: string, has: unknown, wanted: unknown]> = [
    ['help', existing.help, help],
    ['buckets', existing.buckets, upperBounds],
    ['labels', existing.labelNames, labelNames],
    ['schema of native buckets', existing.definition.native?.schema, native?.schema],
    ['limit of native buckets', existing.definition.native?.maxBuckets, native?.maxBuckets]
  ]
  for (const [part, has, wanted] of parts) {
    if (!isDeepStrictEqual(has, wanted)) {
      throw new FST_LATENCY_ERR_HISTOGRAM_CONFLICT(name, part, ...describeBoth(has, wanted), option)
    }
  }
}

type Kind<M> = abstract new (...parameters: never[]) => M

/** The metric of this name and kind, or undefined if there is none. Throws if the name belongs to another metric. */
function find<M extends OwnMetric> (registry: AnyRegistry, name: string, Kind: Kind<M>): M | undefined {
  return ask('getSingleMetric', name, () => {
    const existing = settled(registry.getSingleMetric(name)) as NamedMetric | undefined
    if (existing === undefined || existing instanceof Kind) return existing
    if (typeof existing?.name === 'string') throw new FST_LATENCY_ERR_NAME_TAKEN(name)
    throw new TypeError(`it returned ${describe(existing)}, which is no metric`)
  })
}

function findOrRegister<M extends OwnMetric> (registry: AnyRegistry, name: string, Kind: Kind<M>, create: () => M): M {
  return find(registry, name, Kind) ?? register(registry, create())
}

function register<M extends OwnMetric> (registry: AnyRegistry, metric: M): M {
  ask('registerMetric', metric.name, () => settled(registry.registerMetric(metric)))
  return metric
}

/** Calls a method of a registry, which may be the user's own and fail in any way. */
function ask<T> (method: keyof RegistryLike, name: string, call: () => T): T {
  try {
    return call()
  } catch (error) {
    if (isCoded(error)) throw error
    const problem = `${method}() failed for "${name}": ${describe(error)}`
    throw new FST_LATENCY_ERR_REGISTRY_FAILED(givenRegistry, problem, causeOf(error))
  }
}

/** Whether a measure is a time. The live page shows these only. */
function isTime ({ measure }: { readonly measure: Measure }): boolean {
  return measure.unit === 'seconds'
}

function showHistogram ({ measure: { option }, histogram }: Measured, labels: Config['labels']) {
  const { name, buckets, definition: { native } } = histogram
  return {
    name,
    upperBounds: buckets,
    ...labelsThatTell(labels),
    ...native !== undefined && { native: { schema: native.schema, option } }
  }
}

/** What is known of the waits of the requests in a histogram of latency. */
function showWaits ({ queueTime, busyTime: hasBusyTime }: Config) {
  return {
    ...queueTime !== undefined && { waits: { name: queueTime.name, upperBounds: queueTime.upperBounds } },
    ...hasBusyTime && { hasBusyTime }
  }
}

/** In which options two registrations differ that record requests in different ways. Empty if they record alike. */
function recordingDifferences (first: Config, second: Config): string {
  const [before, after] = [recordingOptions(first), recordingOptions(second)]
  return Object.keys(before).map(option => differences(option, before[option], after[option])).filter(isText).join('; ')
}

/** The options that two registrations must have in common to record requests in the same way. */
function recordingOptions (config: Config): Record<string, unknown> {
  const {
    labels, constLabels, routes, ignore, knownMethods, seriesLimit, busyTime, abortedStatus = 'reply', exemplars
  } = config
  const measured = [...measures, queueTime].map(({ option }) => {
    const { upperBounds: buckets, ...histogram } = config[option] ?? { upperBounds: undefined }
    return [option, config[option] && { ...histogram, buckets }] as const
  })
  return {
    labels,
    constLabels,
    routes,
    ignore,
    knownMethods,
    seriesLimit,
    busyTime,
    abortedStatus,
    exemplars,
    ...Object.fromEntries(measured)
  }
}

/**
 * Whether a context is inside another one. The context of a plugin has the context outside it as its prototype. Fastify
 * documents this only as the way in which decorators are inherited. test/registration.test.ts fails with a Fastify that
 * does it in another way.
 */
function isInside (context: FastifyInstance, outer: FastifyInstance): boolean {
  return Object.prototype.isPrototypeOf.call(outer, context)
}

/** The outermost context, which is the application itself. */
export function rootOf (context: FastifyInstance): FastifyInstance {
  const outer: FastifyInstance = Object.getPrototypeOf(context)
  // The prototype of the outermost context is `Object.prototype`, which is another object in another realm.
  return Object.getPrototypeOf(outer) === null ? context : rootOf(outer)
}

function isRoot (context: FastifyInstance): boolean {
  return rootOf(context) === context
}
