import type { FastifyReply, FastifyRequest } from 'fastify'
import { describe, FST_LATENCY_ERR_CALLBACK, type WarnOnce } from '../errors'
import type { HistogramFamily } from '../histogram/family'
import type { SeriesIndex } from '../histogram/series-index'
import type { Ending } from '../http/endings'
import { notRecorded, SeriesResolver } from './labels'
import type { Measure } from './measures'
import type { RequestConfig } from './options'
import type { RouteSeries } from './route-series'
import { sentHeadersOf, type SentHeaders } from './sent-headers'

/** A measure, and the histogram that it is recorded into. */
export interface MeasuredColumn {
  readonly measure: Pick<Measure, 'moment' | 'read'>
  readonly family: HistogramFamily
}

export interface RecorderOptions {
  /** The series of this registration. */
  readonly index: SeriesIndex
  /** What is recorded of each request, all of it beside `index`. */
  readonly columns: readonly MeasuredColumn[]
  readonly config: Pick<RequestConfig, 'labels' | 'constLabels' | 'seriesLimit' | 'ignore' | 'abortedStatus'>
  readonly warnOnce: WarnOnce
  /** Called for each request whose labels found no place in the index. */
  readonly onOverflow: () => void
}

/** The slot of a request that was found before the request ended, and how long it is valid. */
interface EarlySlot {
  readonly slot: number
  readonly epoch: number
}

/** Records requests as one registration asks for: each into one series, whatever is measured of it. */
export class Recorder {
  /** Status of a request that was aborted before its reply. Undefined: the one that the reply has. */
  readonly abortedStatus: number | undefined
  /** Whether anything is measured that is about the headers of a reply. */
  readonly measuresHeaders: boolean
  readonly #index: SeriesIndex
  readonly #resolver: SeriesResolver
  /** Whether there is more to do than to find the series of a request and to record its latency. */
  readonly #asksForMore: boolean
  readonly #latency: HistogramFamily
  /** What is recorded when a request ends, the latency included. */
  readonly #ofEnd: readonly MeasuredColumn[]
  readonly #ofHeaders: readonly MeasuredColumn[]
  readonly #ignore: RequestConfig['ignore']
  readonly #warnOnce: WarnOnce
  readonly #earlySlots = new WeakMap<SentHeaders, EarlySlot>()

  constructor ({ index, columns, config, warnOnce, onOverflow }: RecorderOptions) {
    this.#index = index
    this.#resolver = new SeriesResolver({ index, config, warnOnce, onOverflow })
    this.#ofEnd = columns.filter(({ measure }) => measure.moment === 'end')
    this.#latency = this.#ofEnd[0]!.family
    this.#ofHeaders = columns.filter(({ measure }) => measure.moment === 'headers')
    this.measuresHeaders = this.#ofHeaders.length > 0
    this.#asksForMore = columns.length > 1 || config.ignore !== undefined
    this.#ignore = config.ignore
    this.#warnOnce = warnOnce
    this.abortedStatus = config.abortedStatus
  }

  get needsScheme (): boolean {
    return this.#resolver.needsScheme
  }

  /**
   * Records a request that has ended. False if it is not to be recorded.
   *
   * Whatever only some registrations ask for is in another method, so that V8 inlines all that is left here into the hook: that takes 10 ns
   * less.
   */
  record (reply: FastifyReply, status: number, elapsedMs: number, ending: Ending): boolean {
    if (this.#asksForMore) return this.#recordMore(reply, status, elapsedMs, ending)
    const slot = this.#resolver.resolve(reply, status, ending)
    if (slot === notRecorded) return false
    this.#latency.observe(slot, elapsedMs / 1000)
    return true
  }

  /**
   * Records what there is to measure of the headers of a reply that may never end by itself. If the request does end, the rest goes into the
   * same series: `ignore` and label functions are not called again.
   */
  recordHeaders (reply: FastifyReply, headers: SentHeaders): void {
    const slot = this.#find(reply, reply.statusCode, 'replied')
    this.#earlySlots.set(headers, { slot, epoch: this.#index.epoch })
    if (slot !== notRecorded) observe(this.#ofHeaders, slot, reply, headers.elapsedMs)
  }

  /** The route of a request, whose label metrics without a status have too. */
  route (request: FastifyRequest): RouteSeries {
    return this.#resolver.route(request)
  }

  #recordMore (reply: FastifyReply, status: number, elapsedMs: number, ending: Ending): boolean {
    const headers = this.measuresHeaders ? sentHeadersOf(reply.request) : undefined
    const early = headers === undefined ? undefined : this.#earlySlots.get(headers)
    const isKnown = early !== undefined && early.epoch === this.#index.epoch
    const slot = isKnown ? early.slot : this.#find(reply, status, ending)
    if (slot === notRecorded) return false
    observe(this.#ofEnd, slot, reply, elapsedMs)
    if (headers !== undefined && !isKnown) observe(this.#ofHeaders, slot, reply, headers.elapsedMs)
    return true
  }

  /** The series of a request, or `notRecorded`. */
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

function observe (columns: readonly MeasuredColumn[], slot: number, reply: FastifyReply, elapsedMs: number): void {
  for (let index = 0; index < columns.length; index++) {
    const { measure, family } = columns[index]!
    family.observe(slot, measure.read === undefined ? elapsedMs / 1000 : measure.read(reply))
  }
}
