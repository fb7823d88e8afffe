import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { parseRouteConfig, type Config } from '../config'
import { EndingObserver, longLivedKind, type Ending } from '../http/endings'
import { describe, FST_LATENCY_ERR_CALLBACK, type ReportOnce } from '../errors'
import type { HistogramFamily } from '../histogram/family'
import { notRecorded, SeriesResolver } from './labels'
import type { RegisteredCounter } from '../gather/registered-metrics'
import { RejectionObserver, rejectionReasons } from './rejections'
import { handOutRouteConfigs } from './route-config'
import { noteSchemes } from './scheme'
import type { Labels } from '../snapshot'

/** Counters about the requests of a context, beside its histograms. */
export interface RequestCounters {
  readonly aborted: RegisteredCounter
  readonly longLivedEnded: RegisteredCounter
}

/** Puts requests into one histogram, as one registration asks for. */
export class Recorder {
  /** Status of a request that was aborted before its reply. Undefined: the one that the reply has. */
  readonly abortedStatus: number | undefined
  readonly #family: HistogramFamily
  readonly #resolver: SeriesResolver
  readonly #ignore: Config['ignore']
  readonly #report: ReportOnce

  constructor (family: HistogramFamily, config: Config, report: ReportOnce, overflowed: RegisteredCounter) {
    const labels = { histogram: family.definition.name }
    this.#family = family
    this.#resolver = new SeriesResolver(family, config, report, () => overflowed.increment(labels))
    this.#ignore = config.ignore
    this.#report = report
    this.abortedStatus = config.abortedStatus
  }

  get needsScheme (): boolean {
    return this.#resolver.needsScheme
  }

  /** Counts a request with this status, time since it came, and ending. False if it is not to be recorded. */
  record (request: FastifyRequest, reply: FastifyReply, status: number, elapsedMs: number, ending: Ending): boolean {
    if (this.#ignore !== undefined && this.#isIgnored(this.#ignore, request, reply)) return false
    const slot = this.#resolver.resolve(request, reply, status, ending)
    if (slot === notRecorded) return false
    this.#family.observe(slot, elapsedMs / 1000)
    return true
  }

  /** Labels of a request in metrics that have no status. Undefined if it is not to be recorded. */
  labels (request: FastifyRequest): { method: string, route: string } | undefined {
    const route = this.#resolver.route(request)
    return route.recorded ? { method: route.method(request.method), route: route.label } : undefined
  }

  #isIgnored (ignore: NonNullable<Config['ignore']>, request: FastifyRequest, reply: FastifyReply): boolean {
    try {
      const ignored: unknown = ignore(request, reply)
      if (typeof ignored === 'boolean') return ignored
      this.#report('ignore', new FST_LATENCY_ERR_CALLBACK('ignore', `it returned ${describe(ignored)}`))
    } catch (error) {
      this.#report('ignore', new FST_LATENCY_ERR_CALLBACK('ignore', describe(error)))
    }
    return false
  }
}

/** Watches the requests of a context, and of the contexts inside it. The only place that runs per request. */
export class Instrument {
  /** Whether this instrument counts what is not in a histogram. One for an outer context counts for those inside it. */
  counts = true
  readonly #recorders: Recorder[] = []
  readonly #headRecorders: Recorder[] = []
  readonly #app: FastifyInstance
  readonly #counters: RequestCounters
  readonly #constLabels: Labels
  readonly #endings = new EndingObserver((reply, ending, elapsedMs) => this.#record(reply, ending, elapsedMs))
  #rejections: RejectionObserver | undefined

  /** `config` is that of the context's first registration. */
  constructor (app: FastifyInstance, config: Config, counters: RequestCounters) {
    this.#app = app
    this.#counters = counters
    this.#constLabels = config.constLabels

    app.addHook('onRoute', route => { parseRouteConfig(route.config) })
    handOutRouteConfigs(app)

    app.addHook('onRequest', (request, reply, done) => {
      this.#rejections?.seen(request.raw)
      this.#endings.begin(request, reply)
      if (this.#headRecorders.length > 0) this.#watchHead(request, reply)
      done()
    })

    // Fastify reads the clock when a request arrives, before any `onRequest` hook, and again when its reply has been handed to the operating
    // system. `reply.elapsedTime` is the difference, or the time until now if there was no reply.
    app.addHook('onResponse', (request, reply, done) => {
      this.#rejections?.answered(request.raw)
      this.#endings.replied(request, reply)
      done()
    })
  }

  add (recorder: Recorder): void {
    if (recorder.needsScheme) noteSchemes(this.#app)
    this.#recorders.push(recorder)
  }

  /** Adds a recorder for the time until the headers of the reply. */
  addForHead (recorder: Recorder): void {
    this.#headRecorders.push(recorder)
  }

  /**
   * Also counts the requests that no hook sees. To be called for a whole application: in a part of it, they could not be told from requests
   * of the other parts. Returns what brings the counter up to date.
   */
  countRejections (app: FastifyInstance, rejected: RegisteredCounter): () => void {
    for (const reason of rejectionReasons) rejected.declare({ ...this.#constLabels, reason })
    this.#rejections = new RejectionObserver(app, socket => this.#endings.isReceiving(socket),
      reason => rejected.increment({ ...this.#constLabels, reason }))
    return this.#rejections.settle
  }

  /** Labels of each request that waits for the rest of its reply. */
  inFlight (): Iterable<Labels> {
    return this.#open(reply => longLivedKind(reply) === undefined ? {} : undefined)
  }

  /** Labels of each open stream and upgraded connection. */
  longLived (): Iterable<Labels> {
    return this.#open(reply => {
      const kind = longLivedKind(reply)
      return kind === undefined ? undefined : { kind }
    })
  }

  * #open (labelsOf: (reply: FastifyReply) => Labels | undefined): Generator<Labels> {
    if (!this.counts) return
    for (const reply of this.#endings.openReplies()) {
      const [common, own] = [this.#recorders[0]!.labels(reply.request), labelsOf(reply)]
      if (common !== undefined && own !== undefined) yield { ...this.#constLabels, ...common, ...own }
    }
  }

  #record (reply: FastifyReply, ending: Ending, elapsedMs: number): void {
    const { request } = reply
    if (ending === 'long_lived') {
      this.#count(this.#counters.longLivedEnded, request, { kind: longLivedKind(reply)! })
      return
    }
    let recorded = false
    for (let index = 0; index < this.#recorders.length; index++) {
      const recorder = this.#recorders[index]!
      const status = ending === 'replied' ? reply.statusCode : statusOf(reply, ending, recorder)
      if (recorder.record(request, reply, status, elapsedMs, ending)) recorded = true
    }
    if (ending === 'replied' || !recorded) return
    if (ending === 'aborted_before_reply') this.#count(this.#counters.aborted, request, { phase: 'before_reply' })
    if (ending === 'aborted_in_reply') this.#count(this.#counters.aborted, request, { phase: 'in_reply' })
  }

  #count (counter: RegisteredCounter, request: FastifyRequest, labels: Labels): void {
    const common = this.counts ? this.#recorders[0]!.labels(request) : undefined
    if (common !== undefined) counter.increment({ ...this.#constLabels, ...common, ...labels })
  }

  /**
   * No hook marks when headers are sent, and `onSend` does not run for a hijacked reply: `writeHead()` is what every reply comes through.
   */
  #watchHead (request: FastifyRequest, reply: FastifyReply): void {
    const { raw } = reply
    const { writeHead } = raw
    raw.writeHead = ((...head: Parameters<typeof writeHead>) => {
      raw.writeHead = writeHead
      const result = raw.writeHead(...head)
      for (const recorder of this.#headRecorders) recorder.record(request, reply, reply.statusCode, reply.elapsedTime, 'replied')
      return result
    }) as typeof writeHead
  }
}

function statusOf (reply: FastifyReply, ending: Ending, { abortedStatus }: Recorder): number {
  switch (ending) {
    case 'aborted_before_reply': return abortedStatus ?? reply.statusCode
    case 'timed_out': return 408
    case 'malformed': return 400
    default: return reply.statusCode
  }
}
