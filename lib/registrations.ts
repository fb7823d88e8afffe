import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance } from 'fastify'
import type { RegistryLike } from '../index'
import type { Config } from './config'
import {
  describe, FST_LATENCY_ERR_HISTOGRAM_CONFLICT, FST_LATENCY_ERR_HISTOGRAM_RECORDED, FST_LATENCY_ERR_NAME_TAKEN,
  type WarnOnce
} from './errors'
import {
  Lease, RegisteredCounter, RegisteredGauge, RegisteredHistogram, type OwnMetric
} from './gather/registered-metrics'
import type { HistogramDefinition } from './histogram/family'
import { SeriesIndex } from './histogram/series-index'
import type { ValueDefinition } from './histogram/values'
import { Instrument } from './request/instrument'
import { labelsThatTell } from './request/label-sources'
import { measures, type Measure } from './request/measures'
import type { OpenRequestsOptions } from './request/open-requests'
import { Recorder } from './request/recorder'

/** One registration: the requests of one context, and how they are recorded. */
interface Registration {
  readonly context: FastifyInstance
  readonly config: Config
  readonly measured: readonly Measured[]
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

export interface RegistrationsOptions {
  /** The registry of all metrics, unless a registration names another one. */
  readonly registry: RegistryLike
  /**
   * The registry that belongs to the application itself. Its metrics can still be read when the application has closed.
   */
  readonly ownRegistry: RegistryLike
  readonly warnOnce: WarnOnce
}

/** Keeps which contexts of an application record into which metrics. */
export class Registrations {
  readonly #options: RegistrationsOptions
  readonly #registrations: Registration[] = []
  readonly #instruments = new Map<FastifyInstance, Instrument>()
  /** Instruments whose open requests are counted in the gauges. */
  readonly #shown = new Set<Instrument>()
  /** Functions to call when the application closes. */
  readonly #releases: Array<() => void> = []
  readonly #registries = new Set<RegistryLike>()

  constructor (options: RegistrationsOptions) {
    this.#options = options
  }

  /** Every registry that holds metrics of a registration. */
  get registries (): Iterable<RegistryLike> {
    return this.#registries
  }

  /** The latency histogram of the first registration. */
  get histogram (): RegisteredHistogram {
    return this.#registrations[0]!.measured[0]!.histogram
  }

  /** The options of each registration, and the description of its histograms for the pages. */
  describe (): Array<{ config: Config, histograms: Array<ReturnType<typeof showHistogram>> }> {
    return this.#registrations.map(({ config, measured }) =>
      ({ config, histograms: measured.filter(isShown).map(({ histogram }) => showHistogram(histogram, config)) }))
  }

  /** Makes the requests of a context be recorded as one registration asks for. Nothing changes if they already are. */
  add (context: FastifyInstance, config: Config): void {
    const registry = config.registry ?? this.#options.registry
    const labelNames = [...Object.keys(config.labels), ...Object.keys(config.constLabels)]
    const wanted = findHistograms(registry, config, labelNames)
    if (this.#isRecorded(context, wanted, config)) return
    const measured = registerHistograms(registry, wanted, labelNames)
    this.#registries.add(registry)
    this.#registrations.push({ context, config, measured })
    const instrument = this.#instruments.get(context) ?? this.#instrument(context, registry, config)
    instrument.add(this.#createRecorder(registry, measured, config))
    if (config.inFlight) this.#showOpen(registry, instrument)
  }

  /** Removes from all registries what this application has added. A registry may outlive the application. */
  release (): void {
    for (const release of this.#releases) release()
  }

  /**
   * Makes the instrument that watches the requests of a context. The metrics beside histograms are counted by the
   * instrument of the outermost context only. If this context is inside another watched one, its instrument does not
   * count them; the instruments of contexts inside it stop counting them.
   */
  #instrument (context: FastifyInstance, registry: RegistryLike, { constLabels }: Config): Instrument {
    const instrument = new Instrument(context, {
      constLabels,
      aborted: this.#counter(registry, {
        name: 'http_requests_aborted_total',
        help: 'Requests whose connection was gone before all of the reply had been sent.'
      }),
      longLivedEnded: this.#counter(registry, {
        name: 'http_long_lived_requests_ended_total',
        help: 'Event streams and upgraded connections that have ended. They are not in the latency histogram.'
      })
    })
    for (const [other, otherInstrument] of this.#instruments) {
      if (isInside(context, other)) instrument.leaveCountsToOuter()
      if (isInside(other, context)) otherInstrument.leaveCountsToOuter()
    }
    this.#instruments.set(context, instrument)
    if (isRoot(context)) {
      const rejected = this.#counter(registry, {
        name: 'http_requests_rejected_total',
        help: 'Requests that were answered before any hook of the application could run.'
      })
      this.#attach(rejected.updates, instrument.countRejections(rejected))
    }
    return instrument
  }

  /** Counts the open requests of an instrument in the gauges. A second call for the same instrument changes nothing. */
  #showOpen (registry: RegistryLike, instrument: Instrument): void {
    if (this.#shown.has(instrument)) return
    this.#shown.add(instrument)
    const show = (which: OpenRequestsOptions['which'], definition: ValueDefinition): void => {
      const gauge = findOrRegister(registry, definition.name, RegisteredGauge, () => new RegisteredGauge(definition))
      this.#hold(registry, gauge)
      this.#attach(gauge.sources, () => instrument.countOpen(which))
    }
    show('in flight', { name: 'http_requests_in_flight', help: 'Requests that wait for the rest of their reply.' })
    show('long lived', { name: 'http_long_lived_requests', help: 'Open event streams and upgraded connections.' })
  }

  #createRecorder (registry: RegistryLike, measured: readonly Measured[], config: Config): Recorder {
    const overflowed = this.#counter(registry, {
      name: 'fastify_latency_overflowed_total',
      help: 'Observations in a series that stands for all that came after seriesLimit was reached.'
    })
    const { index } = measured[0]!.histogram.family
    const columns = measured.map(({ measure, histogram }) =>
      ({ measure, family: this.#hold(registry, histogram).familyIn(index) }))
    const labels = { histogram: config.histogram.name }
    const onOverflow = (): void => overflowed.increment(labels)
    return new Recorder({ index, columns, config, warnOnce: this.#options.warnOnce, onOverflow })
  }

  #counter (registry: RegistryLike, definition: ValueDefinition): RegisteredCounter {
    const create = (): RegisteredCounter => new RegisteredCounter(definition)
    return this.#hold(registry, findOrRegister(registry, definition.name, RegisteredCounter, create))
  }

  /** Keeps a metric in its registry until this application closes. */
  #hold<M extends OwnMetric> (registry: RegistryLike, metric: M): M {
    const lease = new Lease(registry, metric)
    if (registry !== this.#options.ownRegistry) this.#releases.push(() => lease.release())
    return metric
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
      if (covers && isDeepStrictEqual(recordingOptions(other.config), recordingOptions(config))) return true
      if (covers || isInside(other.context, context)) {
        throw new FST_LATENCY_ERR_HISTOGRAM_RECORDED(shared.definition.name)
      }
    }
    return false
  }
}

/**
 * Everything that a registration measures, the latency first, and the histograms that are in the registry already.
 * Throws if a registration with these options is not possible, before anything is changed.
 */
function findHistograms (registry: RegistryLike, config: Config, labelNames: readonly string[]): Wanted[] {
  return measures.flatMap((measure): Wanted[] => {
    const histogram = config[measure.option]
    if (histogram === undefined) return []
    const definition = { ...histogram, unit: measure.unit }
    const existing = find(registry, definition.name, RegisteredHistogram)
    if (existing !== undefined) checkSame(existing, definition, labelNames)
    return [{ measure, definition, existing }]
  })
}

/** Registers the histograms that are missing. All of them have the index of the latency histogram. */
function registerHistograms (
  registry: RegistryLike, wanted: readonly Wanted[], labelNames: readonly string[]
): Measured[] {
  const index = wanted[0]!.existing?.family.index ?? new SeriesIndex(labelNames)
  return wanted.map(({ measure, definition, existing }) => {
    const histogram = existing ?? new RegisteredHistogram(definition, index)
    if (existing === undefined) registry.registerMetric(histogram)
    return { measure, histogram }
  })
}

function checkSame (
  existing: RegisteredHistogram, { name, help, upperBounds, native }: HistogramDefinition, labelNames: readonly string[]
): void {
  const parts: ReadonlyArray<[part: string, has: unknown, wanted: unknown]> = [
    ['help', existing.help, help],
    ['buckets', existing.buckets, upperBounds],
    ['labels', existing.labelNames, labelNames],
    ['native buckets', existing.definition.native, native]
  ]
  for (const [part, has, wanted] of parts) {
    if (!isDeepStrictEqual(has, wanted)) {
      throw new FST_LATENCY_ERR_HISTOGRAM_CONFLICT(name, part, describe(has), describe(wanted))
    }
  }
}

type Kind<M> = abstract new (...parameters: never[]) => M

/** The metric of this name and kind, or undefined if there is none. Throws if the name belongs to another metric. */
function find<M extends OwnMetric> (registry: RegistryLike, name: string, Kind: Kind<M>): M | undefined {
  const existing = registry.getSingleMetric(name)
  if (existing === undefined || existing instanceof Kind) return existing
  throw new FST_LATENCY_ERR_NAME_TAKEN(name)
}

function findOrRegister<M extends OwnMetric> (registry: RegistryLike, name: string, Kind: Kind<M>, create: () => M): M {
  const existing = find(registry, name, Kind)
  if (existing !== undefined) return existing
  const metric = create()
  registry.registerMetric(metric)
  return metric
}

/** The live page shows times. */
function isShown ({ measure }: Measured): boolean {
  return measure.unit === 'seconds'
}

function showHistogram ({ name, buckets }: RegisteredHistogram, { labels }: Config) {
  return { name, upperBounds: buckets, ...labelsThatTell(labels) }
}

/** The options that two registrations must have in common to record requests in the same way. */
function recordingOptions (config: Config): unknown {
  const { labels, constLabels, ignore, seriesLimit, abortedStatus, exemplars } = config
  const measured = measures.map(({ option }) => config[option])
  return { labels, constLabels, ignore, seriesLimit, abortedStatus, exemplars, measured }
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
