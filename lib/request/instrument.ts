import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { Arrivals } from '../http/arrivals'
import { watchBodies } from '../http/body-sizes'
import { EndingObserver, longLivedKind, type Ending } from '../http/endings'
import { hasKnownLength, sentStatus } from '../http/sent-head'
import type { Labels } from '../snapshot'
import { busySecondsOf, noteIdleTime, noteIdleTimes } from './busy-time'
import { noteSpan, noteSpans } from './exemplars'
import { readOpenRequests, type OpenRequestsFact } from './open-requests'
import type { Recorder } from './recorder'
import { RejectionObserver, rejectionReasons } from './rejections'
import { noteReceipt, noteReceipts } from './proxied-waits'
import { handOutRouteConfigs } from './route-config'
import { noteSchemes } from './scheme'
import { noteHeaders, noteSentHeaders, sentHeadersOf, watchHeaders, type SentHeaders } from './sent-headers'
import { TrustedSenders } from './trusted-senders'
import { noteArrival, noteArrivals, whenWaitIsKnown } from './waits'

/** The part of a counter that an instrument uses. */
export interface Counter {
  /** Makes a series with the value 0, so that `rate()` sees its first increment. */
  declare (labels: Labels): void
  increment (labels: Labels, amount?: number): void
}

export interface InstrumentOptions {
  readonly constLabels: Labels
  /** Counts the requests whose connection closed before all of the reply had been sent. */
  readonly aborted: Counter
  /** Counts the event streams and upgraded connections that have ended. */
  readonly longLivedEnded: Counter
  /** Called when a request cannot be recorded, whatever the reason. The request itself goes on. */
  readonly onFailure: (error: unknown) => void
}

type OpenValues = ReturnType<typeof readOpenRequests>

/**
 * Watches the requests of a context and of the contexts inside that one. Everything that this plugin does for each
 * request begins here.
 */
export class Instrument {
  readonly #app: FastifyInstance
  readonly #options: InstrumentOptions
  readonly #recorders: Recorder[] = []
  readonly #endings: EndingObserver
  /** Whether there is more to do when a request begins than to watch its end. */
  #asksForMore = false
  #measuresHeaders = false
  #measuresBodies = false
  #arrivals: Arrivals | undefined
  /** What records how long requests waited. */
  readonly #waitRecorders: Recorder[] = []
  /** Undefined: no recorder has to know whether the sender of a request is trusted. */
  #senders: TrustedSenders | undefined
  #busyTime: Counter | undefined
  #notesSpans = false
  #isOutermost = true
  #rejections: RejectionObserver | undefined

  constructor (app: FastifyInstance, options: InstrumentOptions) {
    this.#app = app
    this.#options = options
    this.#endings = new EndingObserver(
      (reply, ending, elapsedMs) => this.#ended(reply, ending, elapsedMs), options.onFailure)
    const instrument = this
    app.addHook('onRoute', declareRoute)
    app.addHook('onReady', checkDeclared)
    handOutRouteConfigs(app)
    app.addHook('onRequest', beginRequest)
    app.addHook('onResponse', endRequest)

    function declareRoute (route: RouteOptions): void {
      for (const recorder of instrument.#recorders) recorder.declare(route)
    }

    function checkDeclared (done: () => void): void {
      for (const recorder of instrument.#recorders) recorder.checkDeclared()
      done()
    }

    function beginRequest (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      try {
        instrument.#rejections?.seen(request.raw)
        instrument.#endings.begin(request, reply)
        if (instrument.#asksForMore) instrument.#beginMore(request, reply)
      } catch (error) {
        instrument.#options.onFailure(error)
      }
      done()
    }

    // Fastify reads the clock when a request arrives, before any `onRequest` hook, and again when its reply has been
    // handed to the operating system. `reply.elapsedTime` is the difference, or the time until now if there was no
    // reply.
    function endRequest (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      try {
        instrument.#rejections?.answered(request.raw)
        instrument.#endings.replied(request, reply)
      } catch (error) {
        instrument.#options.onFailure(error)
      }
      done()
    }
  }

  /** To be called when the application has closed. */
  release (): void {
    this.#endings.release()
  }

  add (recorder: Recorder): void {
    if (recorder.needsScheme) noteSchemes(this.#app)
    if (recorder.measuresHeaders) {
      noteSentHeaders(this.#app)
      this.#asksForMore = this.#measuresHeaders = true
    }
    if (recorder.measuresBodies) this.#asksForMore = this.#measuresBodies = true
    this.#recorders.push(recorder)
  }

  /** Also records how long requests waited before they began. */
  addWaits (recorder: Recorder): void {
    if (recorder.needsScheme) noteSchemes(this.#app)
    if (recorder.proxiedWaits !== undefined) {
      noteReceipts(this.#app)
      this.#senders ??= new TrustedSenders()
    }
    this.#waitRecorders.push(recorder)
  }

  /** To be called if a recorder has to know when requests arrived. */
  watchArrivals (arrivals: Arrivals): void {
    noteArrivals(this.#app)
    this.#arrivals = arrivals
    this.#asksForMore = true
  }

  /** To be called if a recorder has to know the traces of requests. */
  watchSpans (): void {
    noteSpans(this.#app)
    this.#notesSpans = this.#asksForMore = true
  }

  /** Also counts for how long the event loop was busy while requests were open. */
  countBusyTime (busyTime: Counter): void {
    noteIdleTimes(this.#app)
    this.#busyTime = busyTime
    this.#asksForMore = true
  }

  /**
   * Stops counting what is counted beside histograms, because the instrument of an outer context counts the same
   * requests.
   */
  leaveCountsToOuter (): void {
    this.#isOutermost = false
  }

  /**
   * Also counts the requests for which no hook runs. To be called for a whole application only: in a part of it, such
   * requests could not be told from those of the other parts. Returns a function that brings the counter up to date.
   */
  countRejections (rejected: Counter): () => void {
    const { constLabels } = this.#options
    for (const reason of rejectionReasons) rejected.declare({ ...constLabels, reason })
    this.#rejections = new RejectionObserver(this.#app, {
      isReceiving: socket => this.#endings.isReceiving(socket),
      onConnectionFailure: socket => this.#endings.failed(socket),
      onRejection: reason => rejected.increment({ ...constLabels, reason })
    })
    return this.#rejections.settle
  }

  /** Reads a fact about the requests that are open now, in steps. */
  * readOpen (fact: OpenRequestsFact): OpenValues {
    if (!this.#isOutermost) return []
    const values = yield * readOpenRequests({
      replies: this.#endings.openReplies(), routeOf: request => this.#recorders[0]!.route(request), fact
    })
    return values.map(([labels, value]) => [{ ...this.#options.constLabels, ...labels }, value])
  }

  /** Everything that only some registrations ask for. */
  #beginMore (request: FastifyRequest, reply: FastifyReply): void {
    if (this.#arrivals !== undefined) noteArrival(this.#arrivals, request, reply)
    if (this.#senders !== undefined && !noteReceipt(this.#senders, request, reply)) this.#trustsNobody()
    if (this.#busyTime !== undefined) noteIdleTime(request, reply)
    if (this.#notesSpans) noteSpan(request)
    if (this.#measuresBodies) watchBodies(reply)
    if (this.#measuresHeaders) watchHeaders(reply, this.#headersSent)
  }

  #trustsNobody (): void {
    this.#senders = undefined
    for (const { proxiedWaits } of this.#waitRecorders) proxiedWaits?.warnOfTrust()
  }

  #ended (reply: FastifyReply, ending: Ending, elapsedMs: number): void {
    if (this.#asksForMore) this.#endMore(reply, ending, elapsedMs)
    else this.#record(reply, ending, elapsedMs)
  }

  #endMore (reply: FastifyReply, ending: Ending, elapsedMs: number): void {
    const { request } = reply
    this.#arrivals?.ended(request)
    const busySeconds = this.#busyTime && busySecondsOf(request, elapsedMs)
    if (!this.#record(reply, ending, elapsedMs)) return
    for (const recorder of this.#waitRecorders) recorder.recordWait(reply, statusOf(reply, ending, recorder), ending)
    if (busySeconds !== undefined) this.#countBusyTime(request, busySeconds)
  }

  /** Returns false if the request is not to be recorded, or its duration is no latency. */
  #record (reply: FastifyReply, ending: Ending, elapsedMs: number): boolean {
    if (ending === 'long_lived') {
      const headers = this.#measuresHeaders ? sentHeadersOf(reply.request) : undefined
      if (headers !== undefined) this.#recordHeaders(reply, headers)
      this.#count(this.#options.longLivedEnded, reply.request, { kind: longLivedKind(reply)! })
      return false
    }
    let recorded = false
    for (let index = 0; index < this.#recorders.length; index++) {
      const recorder = this.#recorders[index]!
      const status = statusOf(reply, ending, recorder)
      if (recorder.record(reply, status, elapsedMs, ending)) recorded = true
    }
    if (ending === 'replied' || !recorded) return recorded
    if (ending === 'aborted_before_reply') this.#count(this.#options.aborted, reply.request, { phase: 'before_reply' })
    if (ending === 'aborted_in_reply') this.#count(this.#options.aborted, reply.request, { phase: 'in_reply' })
    return true
  }

  readonly #headersSent = (reply: FastifyReply): void => {
    this.#attempt(() => {
      const headers = noteHeaders(reply)
      // Whoever sends the reply may end it at once. A microtask takes longer than all else that is done here.
      if (!hasKnownLength(reply)) queueMicrotask(() => this.#attempt(() => this.#recordHeadersOfOpen(reply, headers)))
    })
  }

  /** Does something that only some registrations ask for. Hooks catch errors themselves, which costs them nothing. */
  #attempt (action: () => void): void {
    try {
      action()
    } catch (error) {
      this.#options.onFailure(error)
    }
  }

  /**
   * Records the measures of the headers of a reply that may never end by itself. Everything about any other reply is
   * recorded when the request ends.
   */
  #recordHeadersOfOpen (reply: FastifyReply, headers: SentHeaders): void {
    if (!reply.raw.writableEnded && longLivedKind(reply) !== undefined) this.#recordHeaders(reply, headers)
  }

  #recordHeaders (reply: FastifyReply, headers: SentHeaders): void {
    for (const recorder of this.#recorders) if (recorder.measuresHeaders) recorder.recordHeaders(reply, headers)
  }

  /** What a request waited for the event loop is busy time of it, if its latency has that wait. */
  #countBusyTime (request: FastifyRequest, seconds: number): void {
    const labels = this.#labelsOf(request)
    if (labels === undefined) return
    const count = (waitMs = 0): void => this.#busyTime!.increment(labels, seconds + waitMs / 1000)
    if (this.#recorders[0]!.beginsAtArrival) whenWaitIsKnown(request, count)
    else count()
  }

  #count (counter: Counter, request: FastifyRequest, own: Labels): void {
    const labels = this.#labelsOf(request)
    if (labels !== undefined) counter.increment({ ...labels, ...own })
  }

  /** The labels that a counter has for a request. Undefined: it does not count the request. */
  #labelsOf (request: FastifyRequest): Labels | undefined {
    const route = this.#isOutermost ? this.#recorders[0]!.route(request) : undefined
    if (route?.recorded !== true) return undefined
    return { ...this.#options.constLabels, method: route.method(request.method), route: route.label }
  }
}

function statusOf (reply: FastifyReply, ending: Ending, { abortedStatus }: Recorder): number {
  switch (ending) {
    case 'replied': return sentStatus(reply)
    case 'aborted_before_reply': return abortedStatus ?? reply.statusCode
    case 'timed_out': return 408
    case 'malformed': return 400
    default: return sentStatus(reply)
  }
}
