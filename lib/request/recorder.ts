import type { FastifyReply, FastifyRequest } from 'fastify'
import { describe, FST_LATENCY_ERR_CALLBACK, type WarnOnce } from '../errors'
import type { ExemplarLabels } from '../histogram/exemplars'
import type { HistogramFamily } from '../histogram/family'
import type { SeriesIndex } from '../histogram/series-index'
import type { Ending } from '../http/endings'
import { createExemplarSource, type ExemplarSource } from './exemplars'
import { notRecorded, SeriesResolver } from './labels'
import type { Measure } from './measures'
import type { RequestConfig } from './options'
import type { RouteSeries } from './route-series'
import { sentHeadersOf, type SentHeaders } from './sent-headers'

/** A measure, and the histogram that its values are recorded into. */
export interface MeasuredColumn {
  readonly measure: Pick<Measure, 'moment' | 'value'>
  readonly family: HistogramFamily
}

export interface RecorderOptions {
  /** The index of the series of this registration. */
  readonly index: SeriesIndex
  /** Everything that is recorded of each request. All histograms have their columns beside `index`. */
  readonly columns: readonly MeasuredColumn[]
  readonly config:
  Pick<RequestConfig, 'labels' | 'constLabels' | 'seriesLimit' | 'ignore' | 'abortedStatus' | 'exemplars'>
  readonly warnOnce: WarnOnce
  /** Called for each request whose labels found no place in the index. */
  readonly onOverflow: () => void
}

/** What was found for a request before the request ended. The slot is valid as long as the index has this epoch. */
interface EarlySlot {
  readonly slot: number
  readonly epoch: number
  readonly exemplar: ExemplarLabels | undefined
}

/**
 * Records requests as one registration asks for. All values of one request go into the same series, in one histogram
 * for each measure.
 */
export class Recorder {
  /** The status of a request that was aborted before its reply. Undefined: the status of the reply. */
  readonly abortedStatus: number | undefined
  /** Whether there is a measure whose moment is the sending of the headers. */
  readonly measuresHeaders: boolean
  readonly #index: SeriesIndex
  readonly #resolver: SeriesResolver
  /** Whether there is more to do for a request than to find its series and to record its latency. */
  readonly #asksForMore: boolean
  readonly #latency: HistogramFamily
  /** What is recorded when a request ends. The latency comes first. */
  readonly #ofEnd: readonly MeasuredColumn[]
  readonly #ofHeaders: readonly MeasuredColumn[]
  readonly #ignore: RequestConfig['ignore']
  readonly #exemplarOf: ExemplarSource | undefined
  readonly #warnOnce: WarnOnce
  readonly #earlySlots = new WeakMap<SentHeaders, EarlySlot>()

  constructor ({ index, columns, config, warnOnce, onOverflow }: RecorderOptions) {
    this.#index = index
    this.#resolver = new SeriesResolver({ index, config, warnOnce, onOverflow })
    this.#ofEnd = columns.filter(({ measure }) => measure.moment === 'end')
    this.#latency = this.#ofEnd[0]!.family
    this.#ofHeaders = columns.filter(({ measure }) => measure.moment === 'headers')
    this.measuresHeaders = this.#ofHeaders.length > 0
    this.#exemplarOf = config.exemplars === false ? undefined : createExemplarSource(config.exemplars, warnOnce)
    this.#asksForMore = columns.length > 1 || config.ignore !== undefined || this.#exemplarOf !== undefined
    this.#ignore = config.ignore
    this.#warnOnce = warnOnce
    this.abortedStatus = config.abortedStatus
  }

  get needsScheme (): boolean {
    return this.#resolver.needsScheme
  }

  /**
   * Records a request that has ended. Returns false if the request is not to be recorded.
   *
   * Everything that only some registrations ask for is in another method. V8 then inlines this one into the hook, which
   * saves 10 ns.
   */
  record (reply: FastifyReply, status: number, elapsedMs: number, ending: Ending): boolean {
    if (this.#asksForMore) return this.#recordMore(reply, status, elapsedMs, ending)
    const slot = this.#resolver.resolve(reply, status, ending)
    if (slot === notRecorded) return false
    this.#latency.observe(slot, elapsedMs / 1000)
    return true
  }

  /**
   * Records the measures of the headers of a reply that may never end by itself. If the request does end, its other
   * measures go into the same series, and no function of the user is called again.
   */
  recordHeaders (reply: FastifyReply, headers: SentHeaders): void {
    if (this.#earlySlots.has(headers)) return
    const slot = this.#find(reply, reply.statusCode, 'replied')
    const exemplar = slot === notRecorded ? undefined : this.#exemplarOf?.(reply)
    this.#earlySlots.set(headers, { slot, epoch: this.#index.epoch, exemplar })
    if (slot === notRecorded) return
    observe(this.#ofHeaders, slot, { reply, ending: 'replied', elapsedMs: headers.elapsedMs, exemplar })
  }

  /** The route of a request. Metrics without a status have the label of the route too. */
  route (request: FastifyRequest): RouteSeries {
    return this.#resolver.route(request)
  }

  #recordMore (reply: FastifyReply, status: number, elapsedMs: number, ending: Ending): boolean {
    const headers = this.measuresHeaders ? sentHeadersOf(reply.request) : undefined
    const early = headers === undefined ? undefined : this.#earlySlots.get(headers)
    const slot = early?.epoch === this.#index.epoch ? early.slot : this.#find(reply, status, ending)
    if (slot === notRecorded) return false
    const exemplar = early === undefined ? this.#exemplarOf?.(reply) : early.exemplar
    observe(this.#ofEnd, slot, { reply, ending, elapsedMs, exemplar })
    if (headers !== undefined && early === undefined) {
      observe(this.#ofHeaders, slot, { reply, ending, elapsedMs: headers.elapsedMs, exemplar })
    }
    return true
  }

  /** The slot of a request, or `notRecorded`. */
  #find (reply: FastifyReply, status: number, ending: Ending): number {
    if (this.#ignore !== undefined && this.#isIgnored(this.#ignore, reply.request, reply)) return notRecorded
    return this.#resolver.resolve(reply, status, ending)
  }

  #isIgnored (ignore: NonNullable<RequestConfig['ignore']>, request: FastifyRequest, reply: FastifyReply): boolean {
    try {
      const ignored: unknown = ignore(request, reply)
      if (typeof ignored === 'boolean') return ignored
      this.#warnOnce('ignore', new FST_LATENCY_ERR_CALLBACK('ignore', `it returned ${describe(ignored)}`))
    } catch (error) {
      this.#warnOnce('ignore', new FST_LATENCY_ERR_CALLBACK('ignore', describe(error)))
    }
    return false
  }
}

/** A request as it is when its measures are read. */
interface Moment {
  readonly reply: FastifyReply
  readonly ending: Ending
  /** The time since the request came. */
  readonly elapsedMs: number
  /** Undefined: the request is no exemplar. */
  readonly exemplar: ExemplarLabels | undefined
}

function observe (
  columns: readonly MeasuredColumn[], slot: number, { reply, ending, elapsedMs, exemplar }: Moment
): void {
  for (let index = 0; index < columns.length; index++) {
    const { measure, family } = columns[index]!
    const value = measure.value === 'elapsed seconds' ? elapsedMs / 1000 : measure.value(reply, ending)
    if (value === undefined) continue
    family.observe(slot, value)
    if (exemplar !== undefined) family.keepExemplar(slot, value, exemplar)
  }
}
