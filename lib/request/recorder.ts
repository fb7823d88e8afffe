import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { ExemplarLabels } from '../histogram/exemplars'
import type { HistogramFamily } from '../histogram/family'
import type { SeriesIndex } from '../histogram/series-index'
import type { Ending } from '../http/endings'
import { sentStatus } from '../http/sent-head'
import { Callback } from './callback'
import type { ExemplarSource } from './exemplars'
import { notRecorded, SeriesResolver, type ResolverOptions } from './labels'
import type { Measure } from './measures'
import type { RequestConfig } from './options'
import type { ProxiedWaits } from './proxied-waits'
import type { RouteSeries } from './route-series'
import { sentHeadersOf, type SentHeaders } from './sent-headers'
import { hasWait, whenWaitIsKnown } from './waits'

/** A measure, and the histogram that its values are recorded into. */
export interface MeasuredColumn {
  readonly measure: Pick<Measure, 'moment' | 'unit' | 'value'>
  readonly family: HistogramFamily
}

export interface RecorderOptions extends ResolverOptions {
  /** Everything that is recorded of each request. All histograms have their columns beside `index`. */
  readonly columns: readonly MeasuredColumn[]
  readonly config: ResolverOptions['config'] & Pick<RequestConfig, 'ignore' | 'abortedStatus'>
  /** Undefined: no request is an exemplar. */
  readonly exemplarOf?: ExemplarSource | undefined
  /** Undefined: no header is read that tells how long requests waited before they came to this process. */
  readonly proxiedWaits?: ProxiedWaits | undefined
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
  /** Whether there is a measure of the size of a body. */
  readonly measuresBodies: boolean
  readonly #index: SeriesIndex
  readonly #resolver: SeriesResolver
  /** Whether there is more to do for a request than to find its series and to record its latency. */
  readonly #asksForMore: boolean
  /** Whether the latency begins when a request has arrived, and not when the router gets it. */
  readonly beginsAtArrival: boolean
  /** The first of all columns. */
  readonly #latency: HistogramFamily
  /** What else is recorded when a request ends. */
  readonly #othersOfEnd: readonly MeasuredColumn[]
  readonly #ofHeaders: readonly MeasuredColumn[]
  readonly #ignore: Callback<boolean> | undefined
  readonly #exemplarOf: ExemplarSource | undefined
  readonly proxiedWaits: ProxiedWaits | undefined
  /** Headers whose measures are recorded already. */
  readonly #recorded = new WeakSet<SentHeaders>()

  constructor ({ columns, exemplarOf, proxiedWaits, ...options }: RecorderOptions) {
    const { config, index, warn } = options
    this.#index = index
    this.#resolver = new SeriesResolver(options)
    this.#latency = columns[0]!.family
    this.#othersOfEnd = columns.slice(1).filter(({ measure }) => measure.moment === 'end')
    this.#ofHeaders = columns.filter(({ measure }) => measure.moment === 'headers')
    this.measuresHeaders = this.#ofHeaders.length > 0
    this.measuresBodies = columns.some(({ measure }) => measure.unit === 'bytes')
    this.#ignore = config.ignore && new Callback({
      option: 'ignore', function: config.ignore, read: readDecision, rule: 'a boolean', otherwise: false, warn
    })
    this.#exemplarOf = exemplarOf
    this.proxiedWaits = proxiedWaits
    this.beginsAtArrival = config.histogram.from === 'arrival'
    this.#asksForMore = columns.length > 1 || this.beginsAtArrival || this.#ignore !== undefined ||
      exemplarOf !== undefined
    this.abortedStatus = config.abortedStatus
  }

  get needsScheme (): boolean {
    return this.#resolver.needsScheme
  }

  /** To be called for each route while it is declared. Throws a coded error if the route cannot be recorded. */
  declare (route: RouteOptions): void {
    this.#resolver.declare(route)
  }

  /** To be called when all routes are declared. */
  checkDeclared (): void {
    this.#resolver.checkDeclared()
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

  /** Records for how long a request that has ended had waited, in place of how long it took. */
  recordWait (reply: FastifyReply, status: number, ending: Ending): void {
    const { request } = reply
    const proxiedMs = this.proxiedWaits?.of(request)
    if (proxiedMs === undefined && !hasWait(request)) return
    const slot = this.#find(reply, status, ending)
    if (slot === notRecorded) return
    // What has passed since a proxy received the request has the wait for the event loop in it.
    const exemplar = this.#exemplarOf?.(request, reply)
    this.#recordWhenWaitIsKnown(reply, slot, exemplar, waitMs => Math.max(waitMs, proxiedMs ?? 0))
  }

  /**
   * Records the measures of the headers of a long-lived reply, once. Such a reply may never end by itself, and its end
   * is not recorded.
   */
  recordHeaders (reply: FastifyReply, headers: SentHeaders): void {
    if (this.#recorded.has(headers)) return
    this.#recorded.add(headers)
    const slot = this.#find(reply, sentStatus(reply), 'replied')
    if (slot === notRecorded) return
    const exemplar = this.#exemplarOf?.(reply.request, reply)
    observe(this.#ofHeaders, slot, { reply, ending: 'replied', elapsedMs: headers.elapsedMs, exemplar })
  }

  /** The route of a request. Metrics without a status have the label of the route too. */
  route (request: FastifyRequest): RouteSeries {
    return this.#resolver.route(request)
  }

  #recordMore (reply: FastifyReply, status: number, elapsedMs: number, ending: Ending): boolean {
    const slot = this.#find(reply, status, ending)
    if (slot === notRecorded) return false
    const exemplar = this.#exemplarOf?.(reply.request, reply)
    if (this.beginsAtArrival) {
      this.#recordWhenWaitIsKnown(reply, slot, exemplar, waitMs => elapsedMs + waitMs)
    } else {
      this.#latency.observe(slot, elapsedMs / 1000)
      this.#keepExemplar(slot, elapsedMs / 1000, exemplar)
    }
    if (this.#othersOfEnd.length > 0) observe(this.#othersOfEnd, slot, { reply, ending, elapsedMs, exemplar })
    // Headers that were written may have waited for the replies to earlier requests of the connection.
    const wereSent = this.measuresHeaders && ending !== 'aborted_before_reply'
    const headers = wereSent ? sentHeadersOf(reply.request) : undefined
    if (headers !== undefined) {
      observe(this.#ofHeaders, slot, { reply, ending, elapsedMs: headers.elapsedMs, exemplar })
    }
    return true
  }

  /** The slot of a request, or `notRecorded`. */
  #find (reply: FastifyReply, status: number, ending: Ending): number {
    if (this.#ignore?.call(reply.request, reply) === true) return notRecorded
    return this.#resolver.resolve(reply, status, ending)
  }

  /**
   * Records the time that follows from what the request has waited, which is 0 if it has not. Everything but the wait
   * is known already, so that labels and exemplars are those of the request, whatever runs until the wait is known.
   */
  #recordWhenWaitIsKnown (
    reply: FastifyReply, slot: number, exemplar: ExemplarLabels | undefined, timeMs: (waitMs: number) => number
  ): void {
    const { epoch } = this.#index
    whenWaitIsKnown(reply.request, (waitMs = 0) => {
      // The counts of the request's series were reset since, and the slot is that of another series.
      if (epoch !== this.#index.epoch) return
      const seconds = timeMs(waitMs) / 1000
      this.#latency.observe(slot, seconds)
      this.#keepExemplar(slot, seconds, exemplar)
    })
  }

  #keepExemplar (slot: number, seconds: number, exemplar: ExemplarLabels | undefined): void {
    if (exemplar !== undefined) this.#latency.keepExemplar(slot, seconds, exemplar)
  }
}

/** Whether a request is left out. A function that ends without `return` leaves nothing out. */
function readDecision (value: unknown): boolean | undefined {
  return !value ? false : value === true ? true : undefined
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
