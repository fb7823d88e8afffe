import { Duplex } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'

/**
 * How a request ended:
 * - `replied`: the reply was handed to the operating system.
 * - `aborted_before_reply`: the connection went before anything of the reply had been sent.
 * - `aborted_in_reply`: it went before all of the reply had been.
 * - `timed_out`, `malformed`: Node.js gave up on the rest of the request, and answered 408 or 400 in the handler's place.
 * - `long_lived`: it was a stream of events or an upgrade, whose duration is no latency; see `longLivedKind()`.
 */
export type Ending = 'replied' | 'aborted_before_reply' | 'aborted_in_reply' | 'timed_out' | 'malformed' | 'long_lived'

/** Where a connection, or a stream of HTTP/2, has what observers know of it. */
const kConnection = Symbol('fastify-latency.connection')

/** What a request comes on: a connection, or a stream of HTTP/2, which has `aborted`. */
type Transport = Duplex & { aborted?: boolean, [kConnection]?: Connection | undefined }

/** Is told how a request ended. `elapsedMs` is `reply.elapsedTime`, which is read once. */
export type OnEnding = (reply: FastifyReply, ending: Ending, elapsedMs: number) => void

/**
 * Notices the end of every request, whatever ends it, once.
 *
 * Fastify runs `onResponse` when a reply has been handed over, and for nothing else: neither that hook nor `onRequestAbort` sees a client
 * that leaves after its body was read. What always happens is that the connection closes, or in HTTP/2 the stream. One listener for each
 * connection costs less than one for each request, and it misses nothing when requests are pipelined.
 */
export class EndingObserver {
  readonly #onEnding: OnEnding
  readonly #connections = new Set<Connection>()
  /** Replies whose end was noticed before `onResponse`, which may yet come. */
  readonly #ended = new WeakSet<FastifyReply>()
  /** What is to be told of the end of single requests. Undefined while nothing is: to look there takes as long as to record a request. */
  #onEndings: WeakMap<FastifyReply, OnEnding> | undefined
  /** Resolves what `idle()` has promised. */
  readonly #whenIdle: Array<() => void> = []

  /** `onEnding` is told of the end of every request. */
  constructor (onEnding: OnEnding) {
    this.#onEnding = onEnding
  }

  /** To be called when a request begins. `onEnding` is told of the end of this one. */
  begin (request: FastifyRequest, reply: FastifyReply, onEnding?: OnEnding): void {
    const transport = transportOf(request)
    const connection = this.#connection(transport) ?? this.#connect(transport, reply)
    connection.add(reply)
    if (onEnding !== undefined) (this.#onEndings ??= new WeakMap()).set(reply, onEnding)
  }

  /** To be called by an `onResponse` hook. The request may not have begun for this observer, if an earlier hook has replied. */
  replied (request: FastifyRequest, reply: FastifyReply): void {
    const transport = transportOf(request)
    const wasOpen = this.#connection(transport)?.remove(reply) === true
    if (!wasOpen && this.#ended.has(reply)) return
    const { elapsedTime } = reply
    this.#end(reply, endingOfReply(reply, transport, elapsedTime), elapsedTime)
  }

  /** The requests that have begun and not ended. */
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
    if (!this.isIdle) await new Promise<void>(resolve => { this.#whenIdle.push(resolve) })
  }

  /** Whether the rest of an open request is yet to come on a connection of HTTP/1. */
  isReceiving (socket: Duplex): boolean {
    const connection = this.#connection(socket)
    const latest = connection?.pipelined.at(-1) ?? connection?.reply
    return latest?.request.raw.complete === false
  }

  #end (reply: FastifyReply, ending: Ending, elapsedMs: number): void {
    this.#onEnding(reply, ending, elapsedMs)
    if (this.#onEndings !== undefined) this.#onEndings.get(reply)?.(reply, ending, elapsedMs)
    if (this.#whenIdle.length > 0 && this.isIdle) for (const resolve of this.#whenIdle.splice(0)) resolve()
  }

  /**
   * What this observer knows of a connection, which others may watch too. All of them are found through one symbol: with a symbol for each,
   * V8 takes 30 ns longer to read whichever it is.
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
    carrierOf(transport, reply).once('close', () => {
      this.#connections.delete(connection)
      for (let { reply } = connection; reply !== undefined; reply = connection.reply) {
        connection.remove(reply)
        this.#ended.add(reply)
        const { elapsedTime } = reply
        this.#end(reply, endingOfConnection(reply, transport, elapsedTime), elapsedTime)
      }
    })
    return connection
  }
}

/** A connection of HTTP/1, or a stream of HTTP/2, and the requests that are open on it. */
class Connection {
  readonly observer: EndingObserver
  /** The same connection, as another observer knows it. */
  readonly next: Connection | undefined
  /** The open request that came first. HTTP/1 handles one request at a time. */
  reply: FastifyReply | undefined = undefined
  /** The open requests that arrived behind `reply`. */
  readonly pipelined: FastifyReply[] = []

  constructor (observer: EndingObserver, next: Connection | undefined) {
    this.observer = observer
    this.next = next
  }

  add (reply: FastifyReply): void {
    if (this.reply === undefined) this.reply = reply
    else this.pipelined.push(reply)
  }

  /** False if the request is not open. */
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
 * What a request has become that stays open for its own sake: `stream` for server-sent events and for a hijacked reply that its handler goes on
 * writing to, `upgrade` for a WebSocket and the like.
 */
export function longLivedKind (reply: FastifyReply): LongLivedKind | undefined {
  const { request, raw } = reply
  if (reply.sent && !raw.writableEnded) {
    if (raw.headersSent) return 'stream'
    if (request.headers.upgrade !== undefined) return 'upgrade'
  }
  return raw.headersSent && isEventStream(reply) ? 'stream' : undefined
}

/** The parser's word for a client that ended the connection in the middle of a request. */
export const clientEnded = 'HPE_INVALID_EOF_STATE'

/** An event stream that is over sooner is a reply like any other. Looking at every reply's headers would cost as much as recording it. */
const shortestStreamMs = 100

/** Fastify does not know the headers of a hijacked reply. For these the request tells: the HTML standard has EventSource ask for this type. */
function isEventStream (reply: FastifyReply): boolean {
  const type = reply.getHeader('content-type')
  return type === undefined
    ? reply.request.headers.accept === 'text/event-stream'
    : typeof type === 'string' && type.startsWith('text/event-stream')
}

/** Ends the connection that a request came on, or its stream. A reply that waits for those before it cannot do that. */
export function disconnect (request: FastifyRequest, reply: FastifyReply): void {
  carrierOf(transportOf(request), reply).destroy()
}

/** What closes when a request is over at the latest. */
function carrierOf (transport: Transport, reply: FastifyReply): Duplex | FastifyReply['raw'] {
  return isImitation(transport) ? reply.raw : transport
}

/** HTTP/2 has many requests on a socket, each on a stream of its own. */
function transportOf ({ raw }: FastifyRequest): Transport {
  return ((raw as { stream?: Duplex }).stream ?? raw.socket) as Transport
}

/** `inject()` brings something like a socket, which never closes. */
function isImitation (transport: Transport): boolean {
  return !(transport instanceof Duplex)
}

/**
 * `onResponse` also runs when an HTTP/2 stream is reset, and in Node.js 20 and 22 when a connection is destroyed while a reply waits to be sent.
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
  // Somebody's asynchronous `onResponse` hook holds up ours. An injected reply never becomes finished.
  if (raw.writableFinished || (raw.writableEnded && isImitation(transport))) return endingOfReply(reply, transport, elapsedMs)
  if (longLivedKind(reply) !== undefined) return 'long_lived'
  if (hasBegun(reply)) return 'aborted_in_reply'
  // What is wrong with the connection is about this request only if the rest of it was yet to come.
  const code = reply.request.raw.complete ? undefined : (transport.errored as NodeJS.ErrnoException | null)?.code
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'timed_out'
  return code?.startsWith('HPE_') === true && code !== clientEnded ? 'malformed' : 'aborted_before_reply'
}

/** Whether anything of a reply was sent. One to a pipelined request may be ready, and wait for those before it. */
function hasBegun ({ raw }: FastifyReply): boolean {
  return raw.headersSent && raw.socket !== null
}
