import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { performance } from 'node:perf_hooks'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { afterReading } from '../timers'
import { connectionOf } from './endings'

/**
 * How long a request waited between the moment at which it could be read from its connection and the router, in
 * milliseconds: an estimate, and what it lies between.
 */
export interface Wait {
  readonly leastMs: number
  readonly estimateMs: number
  readonly mostMs: number
}

/** The span of time in which those connections became readable that are read in one turn of the event loop. */
interface Span {
  /** It certainly did not begin before. */
  readonly earliestMs: number
  readonly fromMs: number
  readonly toMs: number
}

/** When the event loop was told which connections can be read. */
interface Answer {
  readonly earliestMs: number
  readonly likelyMs: number
}

/** The arrival of a request. */
export interface Arrival {
  /** Requests that are read from it at once arrived at once. */
  readonly connection: Connection
  /** When the router got the request. */
  readonly startMs: number
  /** When the reply before on the same connection had been handed over, or 0. Its client may have waited for that. */
  readonly repliedMs: number
  /** Undefined until the turn is over in which the request was read. */
  wait: Wait | undefined
  /** Functions that are called when that is known. There is one for each context that records the request. */
  readonly onWait: Array<(wait: Wait) => void>
}

const kAccepted = Symbol('fastify-latency.accepted')
const kReplied = Symbol('fastify-latency.replied')

/**
 * A connection or an HTTP/2 session, and what is known of it: times of the clock of the process, so that it does not
 * matter which application has noted them.
 */
interface Connection {
  /**
   * When it was accepted, or 0 if nobody has seen that. A connection with TLS is another object than the one that was
   * accepted, and has its first request later, after the handshake.
   */
  [kAccepted]?: number
  /** When the latest reply had been handed over. */
  [kReplied]?: number
  /** Whether the connection, or that of a session, has TLS. */
  readonly encrypted?: boolean
  /** The connection of a session. No stream has a session that is destroyed, whose connection could not be had. */
  readonly socket?: Connection
}

/** If the event loop has waited for less than this, it has only asked, and connections could be read before. */
const leastIdleMs = 0.05

/**
 * Estimates when requests arrived, from what Node.js tells of its event loop.
 *
 * The event loop asks the operating system which connections can be read, and then reads them one after the other. If
 * it had to wait for the answer, the requests have arrived at that moment. If not, they arrived while the loop was busy
 * since it asked before. The system names connections in the order in which they could be read. So of n requests the
 * i-th arrived at about i / (n + 1) of that time. How many they are is known when all have been read. The first request
 * of a connection arrived before that was accepted. How long the connection has waited behind others for that, nobody
 * tells.
 *
 * Node.js does not tell when the loop gets its answer. That is not before the last immediates have run and the loop has
 * waited, for which time there is a counter. It is not after the first request has come to the router, or the first
 * connection was accepted, and nearly always just before that.
 */
export class Arrivals {
  /**
   * The requests that were read in this turn, and whose wait is not known: those that came with a new connection, and
   * the others.
   */
  #first: Arrival[] = []
  #others: Arrival[] = []
  /** When the router got the first request of this turn, or the first connection was accepted. */
  #firstMs: number | undefined
  /** When the immediates of the turn before had run, and for how long the loop had waited for answers until then. */
  #checkMs: number
  #idleMs = 0
  /** When those of the turn before that one had run. */
  #checkBeforeMs: number
  /** The answer in the turn before, and the span that it was about. */
  #answer: Answer
  #spanBefore: Span
  #isRunning = false

  /** Begins when the server of an application listens. Until then nothing can arrive. */
  constructor ({ server }: FastifyInstance) {
    const nowMs = performance.now()
    this.#checkMs = this.#checkBeforeMs = nowMs
    this.#answer = { earliestMs: nowMs, likelyMs: nowMs }
    this.#spanBefore = { earliestMs: nowMs, fromMs: nowMs, toMs: nowMs }
    if (server.listening) this.#start()
    else server.once('listening', () => this.#start())
  }

  /** To be called when the application has closed. */
  stop (): void {
    if (!this.#isRunning) return
    this.#isRunning = false
    unsubscribe('net.server.socket', this.#onConnection)
    this.#endTurn()
  }

  /** To be called when a request begins. Returns undefined if nothing can be told of its arrival. */
  begin (request: FastifyRequest, reply: FastifyReply): Arrival | undefined {
    const connection = connectionToNote(request)
    if (connection === undefined || !this.#isRunning) return undefined
    // In this order: if the process is held up between the two clocks, the request seems too young, and not so old that
    // its turn seems to be over.
    const { elapsedTime } = reply
    const startMs = performance.now() - elapsedTime
    // A hook before ours has held up the request, and its turn is over.
    if (startMs < this.#checkMs) return undefined
    const repliedMs = Math.min(connection[kReplied] ?? 0, startMs)
    if (isLateToEnd(request, connection)) reply.raw.once('prefinish', () => this.#noteReply(connection))
    const arrival: Arrival = { connection, startMs, repliedMs, wait: undefined, onWait: [] }
    this.#noteFirst(startMs)
    // A connection is accepted in one turn, and its first request is read in the next one. It arrived with it.
    const acceptedMs = acceptedMsOf(connection)
    if (acceptedMs >= this.#checkBeforeMs && acceptedMs < this.#checkMs) this.#first.push(arrival)
    else this.#others.push(arrival)
    return arrival
  }

  /** To be called when a request has ended. */
  ended (request: FastifyRequest): void {
    const connection = connectionToNote(request)
    if (connection !== undefined && !isLateToEnd(request, connection)) this.#noteReply(connection)
  }

  #noteReply (connection: Connection): void {
    connection[kReplied] = performance.now()
  }

  /**
   * Estimates the waits of the requests that have ended, although others may still be read in this turn. To be called
   * before anybody reads what was recorded: these requests have ended for their clients too.
   */
  readonly settle = (): void => {
    const hasEnded = ({ onWait }: Arrival): boolean => onWait.length > 0
    if (this.#first.some(hasEnded) || this.#others.some(hasEnded)) this.#estimate(this.#spanOf(this.#answerOf()))
  }

  #start (): void {
    // With fake timers there are no turns to be seen.
    if (!afterReading(this.#onTurn)) return
    this.#isRunning = true
    this.#noteTurn(performance.now(), performance.nodeTiming.idleTime)
    subscribe('net.server.socket', this.#onConnection)
  }

  readonly #onTurn = (): void => {
    if (!this.#isRunning) return
    this.#endTurn()
    afterReading(this.#onTurn)
  }

  #endTurn (): void {
    const nowMs = performance.now()
    const answer = this.#answerOf()
    const span = this.#spanOf(answer)
    this.#estimate(span)
    this.#answer = answer
    this.#spanBefore = span
    this.#noteTurn(nowMs, performance.nodeTiming.idleTime)
  }

  /** When the event loop was told in this turn which connections can be read. */
  #answerOf (): Answer {
    const earliestMs = this.#checkMs + this.#waitedMs()
    return { earliestMs, likelyMs: this.#firstMs ?? earliestMs }
  }

  #spanOf (answer: Answer): Span {
    const since = this.#waitedMs() > leastIdleMs ? answer : this.#answer
    return { earliestMs: since.earliestMs, fromMs: since.likelyMs, toMs: answer.likelyMs }
  }

  /** For how long the event loop has waited in this turn. */
  #waitedMs (): number {
    return performance.nodeTiming.idleTime - this.#idleMs
  }

  #noteTurn (checkMs: number, idleMs: number): void {
    this.#checkBeforeMs = this.#checkMs
    this.#checkMs = checkMs
    this.#idleMs = idleMs
    this.#firstMs = undefined
  }

  /** Hooks before ours may let a later request pass an earlier one. */
  #noteFirst (ms: number): void {
    if (this.#firstMs === undefined || ms < this.#firstMs) this.#firstMs = ms
  }

  #estimate (span: Span): void {
    const first = this.#first
    const others = this.#others
    if (first.length > 0) {
      this.#first = []
      spread(first, this.#spanBefore, span.toMs)
    }
    if (others.length > 0) {
      this.#others = []
      spread(others, span, span.toMs)
    }
  }

  /** Called for the connections of all servers of the process. */
  readonly #onConnection = (message: unknown): void => {
    const { socket } = message as { socket: Connection }
    const nowMs = performance.now()
    socket[kAccepted] ??= nowMs
    this.#noteFirst(nowMs)
  }
}

/** The connection of a request, or undefined if nothing can be noted of it. */
function connectionToNote (request: FastifyRequest): Connection | undefined {
  const connection = connectionOf(request)
  return connection !== undefined && Object.isExtensible(connection) ? connection : undefined
}

/**
 * Whether Node.js says only in a later turn that a reply was handed over, when its client may have read it long since.
 * It does so over TLS. The event `prefinish` of an HTTP/1 reply comes at once.
 */
function isLateToEnd ({ raw }: FastifyRequest, { encrypted }: Connection): boolean {
  return encrypted === true && raw.httpVersionMajor === 1
}

/** When a connection was accepted, or that of a session. */
function acceptedMsOf (connection: Connection): number {
  connection[kAccepted] ??= connection.socket?.[kAccepted] ?? 0
  return connection[kAccepted]
}

/** Spreads arrivals over a span. `answerMs` is when the loop was told of them. */
function spread (arrivals: readonly Arrival[], { earliestMs, fromMs, toMs }: Span, answerMs: number): void {
  let connections = 0
  for (let index = 0; index < arrivals.length; index++) if (isOther(arrivals, index)) connections++
  let order = 0
  for (let index = 0; index < arrivals.length; index++) {
    if (isOther(arrivals, index)) order++
    const arrival = arrivals[index]!
    const { startMs, repliedMs } = arrival
    const arrivalMs = Math.max(fromMs + (toMs - fromMs) * order / (connections + 1), repliedMs)
    arrival.wait = {
      leastMs: startMs - answerMs,
      estimateMs: startMs - arrivalMs,
      mostMs: startMs - Math.max(earliestMs, repliedMs)
    }
    for (const onWait of arrival.onWait) onWait(arrival.wait)
  }
}

function isOther (arrivals: readonly Arrival[], index: number): boolean {
  return index === 0 || arrivals[index]!.connection !== arrivals[index - 1]!.connection
}
