import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import {
  hasBody, hasKnownLength, isAnsweredPastReply, isHeadOfEventStream, sentHead, statusIn, watchConnection
} from './sent-head'

/**
 * How a request ended:
 * - `replied`: the reply was handed to the operating system.
 * - `aborted_before_reply`: the connection closed before anything of the reply had been sent.
 * - `aborted_in_reply`: the connection closed after a part of the reply had been sent, and before the rest.
 * - `timed_out`, `malformed`: Node.js gave up on the rest of the request, and answered 408 or 400 in place of the
 *   handler.
 * - `long_lived`: the request was an event stream or an upgrade, whose duration is not a latency; see
 *   `longLivedKind()`.
 */
export type Ending = 'replied' | 'aborted_before_reply' | 'aborted_in_reply' | 'timed_out' | 'malformed' | 'long_lived'

/** The property of a carrier that holds what the observers know of it. */
const kConnection = Symbol('fastify-latency.connection')

/** A connection or, in HTTP/2, a stream, which has the property `aborted`. */
type Transport = Duplex & { aborted?: boolean }

/**
 * What carries a request, and emits `close` at the latest when the request is over. It is the connection or the HTTP/2
 * stream. The reply takes the place of a connection that is missing, imitated or frozen: `inject()` and others imitate
 * requests, and their connections never close.
 */
type Carrier = (Transport | FastifyReply['raw']) & { [kConnection]?: Connection | undefined }

/** Called when a request has ended. `elapsedMs` is `reply.elapsedTime`, which is read only once. */
export type OnEnding = (reply: FastifyReply, ending: Ending, elapsedMs: number) => void

/**
 * Notices the end of every request exactly once, whatever ends the request.
 *
 * Fastify runs `onResponse` when a reply has been handed to the operating system, and only then. Neither `onResponse`
 * nor `onRequestAbort` runs for a client that leaves after the body of its request was read. The connection, or the
 * HTTP/2 stream, always closes, so the observer listens to that. One listener for each connection costs less than one
 * listener for each request, and it misses no request when requests are pipelined.
 */
export class EndingObserver {
  readonly #onEnding: OnEnding
  readonly #onFailure: (error: unknown) => void
  readonly #connections = new Set<Connection>()
  /**
   * Replies whose connection closed first, and replies that finished before `begin()` was called for them, as those in
   * HTTP/2 do when their stream closes. `onResponse` may still run for the former, and `begin()` for the latter. They
   * must not be counted again.
   */
  readonly #ended = new WeakSet<FastifyReply>()
  /** Functions that are called at the end of one request only. */
  readonly #onEndings = new WeakMap<FastifyReply, OnEnding>()
  /** Resolvers of the promises that `idle()` has returned. */
  readonly #whenIdle: Array<() => void> = []
  /** Whether the two collections above were ever used. To look there takes as long as to record a request. */
  #isFollowed = false
  /**
   * For how many further requests the end of the reply is watched, because the connection may close before our
   * `onResponse` hook runs: an earlier hook may take time. If one did, all are watched.
   */
  #toWatch = 100

  /**
   * `onEnding` is called at the end of every request, and `onFailure` with what it throws when a connection has closed.
   * Nobody could catch that there.
   */
  constructor (onEnding: OnEnding, onFailure: (error: unknown) => void = () => {}) {
    this.#onEnding = onEnding
    this.#onFailure = onFailure
  }

  /** To be called when a request begins. The `onEnding` given here is called at the end of this request only. */
  begin (request: FastifyRequest, reply: FastifyReply, onEnding?: OnEnding): void {
    const connection = this.#connection(request, reply) ?? this.#connect(request, reply)
    if (onEnding !== undefined) this.#follow(reply, onEnding)
    if (connection === undefined) return
    connection.add(reply)
    const isUpgrade = (request.raw as { upgrade?: boolean }).upgrade === true
    if (isUpgrade) watchConnection(reply, connection.carrier as Transport)
    if (this.#toWatch > 0 || isUpgrade) watchFinish(reply, connection.carrier)
    // A client may leave while an asynchronous hook holds up the hook that calls this method.
    if (connection.isClosed) this.#closed(connection)
  }

  /**
   * To be called by an `onResponse` hook. If an earlier hook has replied, `begin()` may not have been called for this
   * request.
   */
  replied (request: FastifyRequest, reply: FastifyReply): void {
    const wasOpen = this.#connection(request, reply)?.remove(reply) === true
    const ending = endingOfReply(reply)
    // Node.js closes a reply in the turn in which it finishes: if the reply is closed, an earlier hook took time.
    if (reply.raw.closed || ending === 'aborted_in_reply') this.#toWatch = Infinity
    else if (this.#toWatch > 0) this.#toWatch--
    if (!wasOpen) {
      if (this.#ended.has(reply)) return
      this.#ended.add(reply)
    }
    const { elapsedTime } = reply
    this.#end(reply, ending, elapsedTime)
  }

  /** The replies of the requests that have begun and have not ended. */
  * openReplies (): Generator<FastifyReply> {
    for (const { reply, pipelined } of this.#connections) {
      if (reply === undefined) continue
      yield reply
      yield * pipelined
    }
  }

  /** Whether no request is open. */
  get isIdle (): boolean {
    return this.openReplies().next().done === true
  }

  /** Resolves when no request is open. */
  async idle (): Promise<void> {
    this.#isFollowed = true
    if (!this.isIdle) await new Promise<void>(resolve => { this.#whenIdle.push(resolve) })
  }

  /** Whether an HTTP/1 connection has an open request of which the client has not sent everything yet. */
  isReceiving (socket: Duplex): boolean {
    const connection = this.#own((socket as Carrier)[kConnection])
    const latest = connection?.pipelined.at(-1) ?? connection?.reply ?? connection?.cutOff
    return latest?.request.raw.complete === false
  }

  /**
   * To be called when an HTTP/1 connection fails, before anybody acts on that. What is written to it from then on
   * reaches nobody, and Node.js keeps no trace of that.
   */
  failed (socket: Duplex): void {
    const connection = this.#own((socket as Carrier)[kConnection])
    if (connection?.reply === undefined) return
    for (const reply of [connection.reply, ...connection.pipelined]) {
      const { raw } = reply
      if (sent.has(raw)) continue
      if (sentHead(reply) === undefined) sent.set(raw, 'nothing')
      else if (raw.writableEnded && raw.writableLength === 0) sent.set(raw, 'all')
    }
  }

  /**
   * Forgets the connections that carry no request. To be called when the application has closed. Some servers and their
   * connections outlive it, and would keep it in memory.
   */
  release (): void {
    for (const connection of this.#connections) {
      if (connection.reply !== undefined) continue
      this.#connections.delete(connection)
      connection.leave()
      const { carrier } = connection
      if (carrier[kConnection] !== undefined) continue
      carrier.off('aborted', EndingObserver.#onClose).off('close', EndingObserver.#onClose)
    }
  }

  #end (reply: FastifyReply, ending: Ending, elapsedMs: number): void {
    this.#onEnding(reply, ending, elapsedMs)
    if (this.#isFollowed) this.#tellFollowers(reply, ending, elapsedMs)
  }

  #tellFollowers (reply: FastifyReply, ending: Ending, elapsedMs: number): void {
    this.#onEndings.get(reply)?.(reply, ending, elapsedMs)
    if (this.#whenIdle.length > 0 && this.isIdle) for (const resolve of this.#whenIdle.splice(0)) resolve()
  }

  /** What this observer knows of the carrier of a request. */
  #connection (request: FastifyRequest, reply: FastifyReply): Connection | undefined {
    const transport = transportOf(request) as Carrier | undefined
    return this.#own(transport?.[kConnection] ?? (reply.raw as Carrier)[kConnection])
  }

  /**
   * The one of this observer. Other observers may watch the same connection, and all of them keep what they know in a
   * list under one symbol. With a symbol for each observer, V8 would take 30 ns longer to read any of them.
   */
  #own (first: Connection | undefined): Connection | undefined {
    let connection = first
    while (connection !== undefined && connection.observer !== this) connection = connection.next
    return connection
  }

  /** Returns undefined for the imitation of a reply that cannot be observed. Only `replied()` can tell of its end. */
  #connect (request: FastifyRequest, reply: FastifyReply): Connection | undefined {
    const carrier = carrierOf(request, reply)
    if (carrier === undefined) return undefined
    const first = carrier[kConnection]
    const connection = new Connection(this, carrier)
    this.#connections.add(connection)
    connection.isClosed = carrier.closed
    // There is one listener, however many observers there are: Node.js warns of more than ten.
    if (first !== undefined) return connection
    // In HTTP/1 it runs before the listeners of others, which may end a reply that can no longer be sent. In HTTP/2 the
    // reply finishes in a listener of Node.js, and a stream that is reset without an error may never close.
    if (isHttp2(reply)) carrier.once('aborted', EndingObserver.#onClose).once('close', EndingObserver.#onClose)
    else carrier.prependOnceListener('close', EndingObserver.#onClose)
    return connection
  }

  static readonly #onClose = function (this: Carrier): void {
    for (let connection = this[kConnection]; connection !== undefined; connection = connection.next) {
      connection.observer.#closed(connection)
    }
  }

  #follow (reply: FastifyReply, onEnding: OnEnding): void {
    this.#isFollowed = true
    this.#onEndings.set(reply, onEnding)
  }

  #closed (connection: Connection): void {
    connection.isClosed = true
    connection.cutOff = connection.pipelined.at(-1) ?? connection.reply
    this.#connections.delete(connection)
    for (const reply of connection.removeAll()) {
      const isCounted = this.#ended.has(reply)
      this.#ended.add(reply)
      try {
        const { elapsedTime } = reply
        if (isCounted) this.#tellFollowers(reply, endingOfReply(reply), elapsedTime)
        else this.#end(reply, endingOfConnection(reply), elapsedTime)
      } catch (error) {
        this.#onFailure(error)
      }
    }
  }
}

/** An HTTP/1 connection or an HTTP/2 stream, as one observer knows it, with the requests that are open on it. */
class Connection {
  readonly observer: EndingObserver
  readonly carrier: Carrier
  /** The same connection as another observer knows it. */
  next: Connection | undefined
  /** The reply of the oldest open request. HTTP/1 handles one request at a time. */
  reply: FastifyReply | undefined = undefined
  /** The replies of the open requests that arrived behind `reply`. */
  readonly pipelined: FastifyReply[] = []

  /** The reply of the latest request that was open when the connection closed. */
  cutOff: FastifyReply | undefined = undefined

  isClosed = false

  constructor (observer: EndingObserver, carrier: Carrier) {
    this.observer = observer
    this.carrier = carrier
    this.next = carrier[kConnection]
    carrier[kConnection] = this
  }

  /** Takes this object away from its carrier. */
  leave (): void {
    const { carrier } = this
    if (carrier[kConnection] === this) carrier[kConnection] = this.next
    for (let other = carrier[kConnection]; other !== undefined; other = other.next) {
      if (other.next === this) other.next = this.next
    }
  }

  add (reply: FastifyReply): void {
    // An earlier `onResponse` hook may have failed, so that nobody has told of the end.
    while (this.reply?.raw.writableFinished === true) this.reply = this.pipelined.shift()
    if (this.reply === undefined) this.reply = reply
    else this.pipelined.push(reply)
  }

  /** Removes all replies at once, since there may be ten thousands of them. Returns them, the oldest first. */
  removeAll (): FastifyReply[] {
    const { reply } = this
    this.reply = undefined
    return reply === undefined ? [] : [reply, ...this.pipelined.splice(0)]
  }

  /** Removes the reply of a request that has ended. Returns false if the request was not open. */
  remove (reply: FastifyReply): boolean {
    if (this.reply === reply) {
      this.reply = this.pipelined.length === 0 ? undefined : this.pipelined.shift()
      return true
    }
    const index = this.pipelined.indexOf(reply)
    if (index !== -1) this.pipelined.splice(index, 1)
    return index !== -1
  }
}

export type LongLivedKind = 'stream' | 'upgrade'

/**
 * The kind of a request that is meant to stay open. It is undefined for any other request. `stream` is an event stream.
 * `upgrade` is a WebSocket or another upgraded connection. Only what the server has sent decides, and nothing that the
 * client has said.
 */
export function longLivedKind (reply: FastifyReply): LongLivedKind | undefined {
  const head = sentHead(reply)
  if (head === undefined) return isUpgraded(reply) ? 'upgrade' : undefined
  if (statusIn(head) === 101) return 'upgrade'
  return isHeadOfEventStream(head) && reply.request.method !== 'HEAD' ? 'stream' : undefined
}

/**
 * Whether the connection of a request was taken over from HTTP. Node.js stops reading from a connection that it hands
 * to a listener for `upgrade`. From then on somebody reads from it as soon as the upgrade is accepted. An upgrade that
 * is refused is answered by an ordinary reply.
 */
function isUpgraded ({ request, raw }: FastifyReply): boolean {
  // Where requests are imitated, as `injectWS()` of @fastify/websocket does, Node.js has not decided about the upgrade.
  const { upgrade = request.headers.upgrade !== undefined } = request.raw as { upgrade?: boolean | null }
  if (upgrade !== true) return false
  // Before somebody reads from a stream, the property is null. Not every imitation of a socket is a stream.
  return typeof (request.raw.socket ?? raw.socket)?.readableFlowing === 'boolean'
}

/**
 * The error code with which the parser of Node.js says that the client closed the connection in the middle of a
 * request.
 */
export const clientEnded = 'HPE_INVALID_EOF_STATE'

/**
 * Destroys the connection, or the HTTP/2 stream, of a request. This also works while the reply waits behind earlier
 * pipelined ones, when the reply itself cannot end the connection.
 */
export function disconnect (request: FastifyRequest, reply: FastifyReply): void {
  carrierOf(request, reply)?.destroy()
}

function carrierOf (request: FastifyRequest, reply: FastifyReply): Carrier | undefined {
  const transport = transportOf(request)
  if (isReal(transport) && Object.isExtensible(transport)) return transport
  const { raw } = reply
  return typeof raw.once === 'function' && Object.isExtensible(raw) ? raw : undefined
}

/** The connection that carries a request, or undefined if that is imitated. HTTP/2 requests share one. */
export function connectionOf (request: FastifyRequest): object | undefined {
  const transport = transportOf(request) as (Transport & { session?: object }) | undefined
  return isReal(transport) ? transport.session ?? transport : undefined
}

/**
 * The socket of an HTTP/1 request, or the stream of an HTTP/2 request. Many HTTP/2 requests share a socket. Of an
 * imitated request it may be anything.
 */
function transportOf (request: FastifyRequest): Transport | undefined {
  const raw: { stream?: Duplex, socket: Duplex | null, client?: Duplex } = request.raw
  // HTTP clients such as undici take `socket` away from a request that they were given as a body. Node.js keeps another
  // reference to it, which nobody else uses.
  return raw.client ?? raw.stream ?? raw.socket ?? undefined
}

function isHttp2 ({ raw }: FastifyReply): boolean {
  return (raw as { stream?: Duplex }).stream !== undefined
}

function isReal (transport: Transport | undefined): transport is Transport {
  return transport instanceof Duplex
}

/**
 * How much of a reply was handed to the operating system. It is noted only if it could not be told later: in Node.js 20
 * and 22, a reply also finishes when its connection is destroyed while it waits to be sent.
 */
const sent = new WeakMap<FastifyReply['raw'], 'nothing' | 'part' | 'all'>()

/** To be called before earlier `onResponse` hooks run, which may destroy the connection. */
function watchFinish ({ raw }: FastifyReply, carrier: Carrier): void {
  raw.prependOnceListener('finish', () => { if (!sent.has(raw)) sent.set(raw, isBroken(carrier) ? 'part' : 'all') })
}

/**
 * The ending of a request for which `onResponse` runs. The hook also runs when an HTTP/2 stream is reset and, in
 * Node.js 20 and 22, when a connection is destroyed while a reply waits to be sent.
 */
function endingOfReply (reply: FastifyReply): Ending {
  const transport = transportOf(reply.request)
  const isCut = transport !== undefined && isBroken(transport) && isReal(transport) &&
    (!transport.writableFinished || transport.aborted === true)
  if (isCut && sent.get(reply.raw) !== 'all') {
    if (!wasWritten(reply)) return 'aborted_before_reply'
    return longLivedKind(reply) === undefined ? 'aborted_in_reply' : 'long_lived'
  }
  return endingOfSent(reply)
}

function endingOfSent (reply: FastifyReply): Ending {
  return hasKnownLength(reply) || longLivedKind(reply) === undefined ? 'replied' : 'long_lived'
}

function endingOfConnection (reply: FastifyReply): Ending {
  const { raw, request } = reply
  const transport = transportOf(request)
  // The reply is complete, but an asynchronous `onResponse` hook of the application runs before ours and delays it. The
  // reply to an injected request never becomes finished.
  // Node.js takes the connection away from an HTTP/1 reply that it has sent. A reply that is ended without having been
  // sent, because its connection is destroyed, counts as finished too.
  const isFinished = sent.get(raw) === 'all' ||
    (raw.writableFinished && (raw.socket === null || isHttp2(reply) || !isReal(transport)))
  if (isFinished || (raw.writableEnded && !isReal(transport))) {
    return sent.get(raw) === 'part' ? endingOfReply(reply) : endingOfSent(reply)
  }
  const kind = longLivedKind(reply)
  // Where an upgrade is imitated, nothing was written.
  if (kind === 'upgrade' || (kind === 'stream' && wasWritten(reply))) return 'long_lived'
  if (wasWritten(reply)) return wasEnded(reply) ? 'replied' : 'aborted_in_reply'
  // An error of the connection belongs to this request only if the client has not sent all of the request yet.
  const code = request.raw.complete === false ? (transport?.errored as NodeJS.ErrnoException | null)?.code : undefined
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'timed_out'
  return code?.startsWith('HPE_') === true && code !== clientEnded ? 'malformed' : 'aborted_before_reply'
}

/** Whether somebody has answered a request past its reply, and has sent all before the connection closed. */
function wasEnded (reply: FastifyReply): boolean {
  if (!isAnsweredPastReply(reply)) return false
  const transport = transportOf(reply.request)
  return transport?.writableFinished === true || (!transport?.errored && !hasBody(sentHead(reply)!))
}

/** Whether a connection carries no more. If writing has failed, a reply finishes before the connection is destroyed. */
function isBroken ({ destroyed, errored }: Carrier): boolean {
  return destroyed || (errored ?? null) !== null
}

/**
 * Whether anything of a reply was written to its connection. Nothing is, on a connection that has failed or was
 * destroyed, though the reply has its head.
 */
function wasWritten (reply: FastifyReply): boolean {
  const transport = transportOf(reply.request) as Partial<Socket> | undefined
  return sentHead(reply) !== undefined && sent.get(reply.raw) !== 'nothing' && transport?.bytesWritten !== 0
}
