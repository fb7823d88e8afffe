import { Duplex } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'

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

/** The property of a connection, or of an HTTP/2 stream, that holds what the observers know of it. */
const kConnection = Symbol('fastify-latency.connection')

/** What carries a request: a connection or, in HTTP/2, a stream, which has the property `aborted`. */
type Transport = Duplex & { aborted?: boolean, [kConnection]?: Connection | undefined }

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
  readonly #connections = new Set<Connection>()
  /** Replies whose connection closed first. `onResponse` may still run for them, and must not count them again. */
  readonly #ended = new WeakSet<FastifyReply>()
  /** Functions that are called at the end of one request only. */
  readonly #onEndings = new WeakMap<FastifyReply, OnEnding>()
  /** Resolvers of the promises that `idle()` has returned. */
  readonly #whenIdle: Array<() => void> = []
  /** Whether the two collections above were ever used. To look there takes as long as to record a request. */
  #isFollowed = false

  /** `onEnding` is called at the end of every request. */
  constructor (onEnding: OnEnding) {
    this.#onEnding = onEnding
  }

  /** To be called when a request begins. The `onEnding` given here is called at the end of this request only. */
  begin (request: FastifyRequest, reply: FastifyReply, onEnding?: OnEnding): void {
    const transport = transportOf(request)
    const connection = this.#connection(transport) ?? this.#connect(transport, reply)
    connection.add(reply)
    if (onEnding !== undefined) this.#follow(reply, onEnding)
    // A client may leave while an asynchronous hook holds up the hook that calls this method.
    if (connection.isClosed) this.#closed(connection, transport)
  }

  /**
   * To be called by an `onResponse` hook. If an earlier hook has replied, `begin()` may not have been called for this
   * request.
   */
  replied (request: FastifyRequest, reply: FastifyReply): void {
    const transport = transportOf(request)
    const wasOpen = this.#connection(transport)?.remove(reply) === true
    if (!wasOpen && this.#ended.has(reply)) return
    const { elapsedTime } = reply
    this.#end(reply, endingOfReply(reply, transport, elapsedTime), elapsedTime)
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
    const connection = this.#connection(socket)
    const latest = connection?.pipelined.at(-1) ?? connection?.reply
    return latest?.request.raw.complete === false
  }

  #end (reply: FastifyReply, ending: Ending, elapsedMs: number): void {
    this.#onEnding(reply, ending, elapsedMs)
    if (this.#isFollowed) this.#tellFollowers(reply, ending, elapsedMs)
  }

  #tellFollowers (reply: FastifyReply, ending: Ending, elapsedMs: number): void {
    this.#onEndings.get(reply)?.(reply, ending, elapsedMs)
    if (this.#whenIdle.length > 0 && this.isIdle) for (const resolve of this.#whenIdle.splice(0)) resolve()
  }

  /**
   * What this observer knows of a connection. Other observers may watch the same connection, and all of them keep what
   * they know in a list under one symbol. With a symbol for each observer, V8 would take 30 ns longer to read any of
   * them.
   */
  #connection (transport: Transport): Connection | undefined {
    let connection = transport[kConnection]
    while (connection !== undefined && connection.observer !== this) connection = connection.next
    return connection
  }

  #connect (transport: Transport, reply: FastifyReply): Connection {
    const connection = new Connection(this, transport[kConnection])
    transport[kConnection] = connection
    this.#connections.add(connection)
    const carrier = carrierOf(transport, reply)
    connection.isClosed = carrier.closed
    carrier.once('close', () => this.#closed(connection, transport))
    return connection
  }

  #follow (reply: FastifyReply, onEnding: OnEnding): void {
    this.#isFollowed = true
    this.#onEndings.set(reply, onEnding)
  }

  #closed (connection: Connection, transport: Transport): void {
    connection.isClosed = true
    this.#connections.delete(connection)
    for (let { reply } = connection; reply !== undefined; reply = connection.reply) {
      connection.remove(reply)
      this.#ended.add(reply)
      const { elapsedTime } = reply
      this.#end(reply, endingOfConnection(reply, transport, elapsedTime), elapsedTime)
    }
  }
}

/** An HTTP/1 connection or an HTTP/2 stream, as one observer knows it, with the requests that are open on it. */
class Connection {
  readonly observer: EndingObserver
  /** The same connection as another observer knows it. */
  readonly next: Connection | undefined
  /** The reply of the oldest open request. HTTP/1 handles one request at a time. */
  reply: FastifyReply | undefined = undefined
  /** The replies of the open requests that arrived behind `reply`. */
  readonly pipelined: FastifyReply[] = []

  isClosed = false

  constructor (observer: EndingObserver, next: Connection | undefined) {
    this.observer = observer
    this.next = next
  }

  add (reply: FastifyReply): void {
    if (this.reply === undefined) this.reply = reply
    else this.pipelined.push(reply)
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
 * The kind of a request that is meant to stay open. It is undefined for any other request. `stream` is an event stream
 * (server-sent events), or a hijacked reply that its handler keeps writing to. `upgrade` is a WebSocket or another
 * upgraded connection.
 */
export function longLivedKind (reply: FastifyReply): LongLivedKind | undefined {
  const { request, raw } = reply
  if (reply.sent && !raw.writableEnded) {
    if (raw.headersSent) return 'stream'
    if (request.headers.upgrade !== undefined) return 'upgrade'
  }
  return raw.headersSent && isEventStream(reply) ? 'stream' : undefined
}

/**
 * The error code with which the parser of Node.js says that the client closed the connection in the middle of a
 * request.
 */
export const clientEnded = 'HPE_INVALID_EOF_STATE'

/**
 * An event stream that ends sooner counts as a normal reply. To look at the headers of every reply would cost as much
 * as recording the reply.
 */
const shortestStreamMs = 100

/**
 * Whether a reply is an event stream. Fastify does not know the headers of a hijacked reply. For such a reply the
 * request tells: by the HTML standard, EventSource sends `accept: text/event-stream`.
 */
function isEventStream (reply: FastifyReply): boolean {
  const type = reply.getHeader('content-type')
  return type === undefined
    ? reply.request.headers.accept === 'text/event-stream'
    : typeof type === 'string' && type.startsWith('text/event-stream')
}

/**
 * Destroys the connection, or the HTTP/2 stream, of a request. This also works while the reply waits behind earlier
 * pipelined ones, when the reply itself cannot end the connection.
 */
export function disconnect (request: FastifyRequest, reply: FastifyReply): void {
  carrierOf(transportOf(request), reply).destroy()
}

/** The object that emits `close` at the latest when the request is over. */
function carrierOf (transport: Transport, reply: FastifyReply): Duplex | FastifyReply['raw'] {
  return isImitation(transport) ? reply.raw : transport
}

/** The socket of an HTTP/1 request, or the stream of an HTTP/2 request. Many HTTP/2 requests share a socket. */
function transportOf ({ raw }: FastifyRequest): Transport {
  return ((raw as { stream?: Duplex }).stream ?? raw.socket) as Transport
}

/** Whether the transport is the imitation of a socket that `inject()` makes, which never closes. */
function isImitation (transport: Transport): boolean {
  return !(transport instanceof Duplex)
}

/**
 * The ending of a request for which `onResponse` runs. The hook also runs when an HTTP/2 stream is reset and, in
 * Node.js 20 and 22, when a connection is destroyed while a reply waits to be sent.
 */
function endingOfReply (reply: FastifyReply, transport: Transport, elapsedMs: number): Ending {
  if (transport.destroyed && (!transport.writableFinished || transport.aborted === true)) {
    if (!reply.raw.headersSent) return 'aborted_before_reply'
    return isEventStream(reply) ? 'long_lived' : 'aborted_in_reply'
  }
  return elapsedMs >= shortestStreamMs && isEventStream(reply) ? 'long_lived' : 'replied'
}

function endingOfConnection (reply: FastifyReply, transport: Transport, elapsedMs: number): Ending {
  const { raw } = reply
  // The reply is complete, but an asynchronous `onResponse` hook of the application runs before ours and delays it. The
  // reply to an injected request never becomes finished.
  if (raw.writableFinished || (raw.writableEnded && isImitation(transport))) {
    return endingOfReply(reply, transport, elapsedMs)
  }
  if (longLivedKind(reply) !== undefined) return 'long_lived'
  if (hasBegun(reply)) return 'aborted_in_reply'
  // An error of the connection belongs to this request only if the client has not sent all of the request yet.
  const code = reply.request.raw.complete ? undefined : (transport.errored as NodeJS.ErrnoException | null)?.code
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'timed_out'
  return code?.startsWith('HPE_') === true && code !== clientEnded ? 'malformed' : 'aborted_before_reply'
}

/**
 * Whether anything of a reply was sent. The reply to a pipelined request may have been written and still wait for the
 * earlier replies.
 */
function hasBegun ({ raw }: FastifyReply): boolean {
  return raw.headersSent && raw.socket !== null
}
