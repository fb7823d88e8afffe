import { STATUS_CODES } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import type { Duplex } from 'node:stream'
import type { FastifyReply } from 'fastify'

/**
 * What a server has sent before the body of a reply: in HTTP/1 the text from the status line to the empty line, in
 * HTTP/2 the headers by their names.
 */
export type SentHead = string | Readonly<Record<string, unknown>>

/** Heads that were written to the connection of a request, past its reply. */
const headsOnConnections = new WeakMap<FastifyReply['raw'], string>()

/** A reply of Node.js, or of anything that imitates one. */
type RawReply = FastifyReply['raw'] & {
  /** Node.js keeps the head of an HTTP/1 reply here. The property is null before the head is written. */
  readonly _header?: string | null | boolean
  /** Whether Node.js has taken up the head. That is only when a part of the body follows, or the end. */
  readonly _headerSent?: boolean
  /** What waits for the replies to earlier requests of the connection. */
  readonly outputData?: ReadonlyArray<{ readonly data: unknown }>
  /** Node.js keeps the value of `content-length` here. The property is null if the length is not known. */
  readonly _contentLength?: number | null
  readonly stream?: Partial<ServerHttp2Stream>
}

/**
 * The head of a reply, or undefined if it was not sent yet.
 *
 * The properties that Fastify and Node.js document for this do not tell the whole truth. `reply.getHeader()` knows
 * nothing of the headers that were given to `raw.writeHead()`, and it knows headers that a hijacked reply has never
 * sent. `raw.headersSent` may be another one: @fastify/express defines it anew. If a future Node.js has no `_header`,
 * what is documented has to do.
 */
export function sentHead (reply: FastifyReply): SentHead | undefined {
  const { raw }: { raw: RawReply } = reply
  if (raw.stream !== undefined) return raw.stream.sentHeaders
  if (raw._header === null) return headsOnConnections.get(raw)
  if (typeof raw._header === 'string') return waits(raw) ? undefined : raw._header
  if (!raw.headersSent) return undefined
  return {
    ':status': raw.statusCode,
    'content-type': reply.getHeader('content-type'),
    'content-length': reply.getHeader('content-length')
  }
}

/**
 * Whether the head of an HTTP/1 reply is known, but has not been written to the connection: it waits for the body, or
 * for the replies to earlier requests.
 */
function waits (raw: RawReply): boolean {
  if (raw._headerSent === false && typeof raw._header === 'string') return true
  const first = raw.outputData?.[0]?.data
  return typeof first === 'string' && typeof raw._header === 'string' && first.startsWith(raw._header)
}

/** How much of what is written to a connection is looked at for a head. */
const longestHead = 65_536

/**
 * Notes the head of an answer that is written to a connection, past the reply. To be called for a request to upgrade
 * the connection: whoever accepts or refuses it, ws for example, writes the answer like that. Interim answers, and what
 * is written behind the head, are passed over.
 */
export function watchConnection (reply: FastifyReply, connection: Duplex): void {
  const { raw }: { raw: RawReply } = reply
  const { write, end } = connection
  let text = ''
  const watching = { write: watch(write), end: watch(end) }
  Object.assign(connection, watching)

  function watch<F extends (...parameters: any[]) => unknown> (send: F): F {
    return function (this: Duplex, ...parameters) {
      if (text.length < longestHead && !headsOnConnections.has(raw)) note(parameters[0], parameters[1])
      return send.apply(this, parameters)
    } as F
  }

  function note (chunk: unknown, encoding: unknown): void {
    text = (text + textOf(chunk, encoding)).replace(/^(?:HTTP\/1\.[01] 1(?!01)\d\d[^]*?\r?\n\r?\n)+/, '')
    const head = /^HTTP\/1\.[01] \d{3}[^]*?\r?\n\r?\n/.exec(text)?.[0]
    if (head === undefined) return
    // What the reply itself sends comes to the connection too.
    if (raw._header === null) headsOnConnections.set(raw, head)
    text = head.padEnd(longestHead)
    // Somebody else may have put functions in the place of these since.
    if (connection.write === watching.write) connection.write = write
    if (connection.end === watching.end) connection.end = end
  }
}

function textOf (chunk: unknown, encoding: unknown): string {
  if (typeof chunk === 'string') return Buffer.from(chunk, encoding as BufferEncoding | undefined).toString('latin1')
  if (!ArrayBuffer.isView(chunk)) return ''
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('latin1')
}

/** Whether an answer was written to the connection of a request, past its reply. */
export function isAnsweredPastReply ({ raw }: FastifyReply): boolean {
  return headsOnConnections.has(raw)
}

/**
 * The status in a head. The status of the reply may have changed since the head was sent: with @fastify/express,
 * Fastify changes it to 500 when the source of a stream fails.
 */
export function statusIn (head: SentHead): number {
  return typeof head === 'string' ? Number.parseInt(head.slice('HTTP/1.1 '.length)) : Number(head[':status'])
}

/**
 * The status that a client was sent, whatever the status of the reply was changed to since. Node.js keeps the message
 * that it sent with the status. The head is read only if the message is not that of the status, which is rare.
 */
export function sentStatus (reply: FastifyReply): number {
  const { raw }: { raw: RawReply } = reply
  if (raw.stream === undefined && raw.statusMessage === STATUS_CODES[raw.statusCode]) return raw.statusCode
  const head = sentHead(reply)
  return head === undefined ? reply.statusCode : statusIn(head)
}

/**
 * Whether the length of the reply is in its head. Only HTTP/1 tells it at once, and for nearly all replies: this takes
 * a nanosecond, and to look into the head takes more than everything else that is done to record a request.
 */
export function hasKnownLength ({ raw }: FastifyReply): boolean {
  return typeof (raw as RawReply)._contentLength === 'number'
}

const eventStreamLine = /^content-type:[ \t]*text\/event-stream[ \t]*[;\r]/im
const eventStreamValue = /^[ \t]*text\/event-stream[ \t]*(?:;|$)/i
const lengthLine = /^content-length:/im

/**
 * Whether a head is that of an event stream (server-sent events): its status is one of success, its type is
 * `text/event-stream`, and its length is not known. Clients take no error for a stream. If the length is known, the
 * server had the whole reply when it began to send it.
 */
export function isHeadOfEventStream (head: SentHead): boolean {
  const status = statusIn(head)
  if (status < 200 || status > 299 || status === 204) return false
  if (typeof head === 'string') return eventStreamLine.test(head) && !lengthLine.test(head)
  return eventStreamValue.test(String(valueIn(head, 'content-type'))) && valueIn(head, 'content-length') === undefined
}

/** Whether a head says that a body follows. */
export function hasBody (head: SentHead): boolean {
  return typeof head === 'string' && /^(?:content-length:[ \t]*[1-9]|transfer-encoding:)/im.test(head)
}

/** The value of a header. Whoever has sent it may have written its name in capitals. */
function valueIn (head: Readonly<Record<string, unknown>>, name: string): unknown {
  return head[name] ?? Object.entries(head).find(([other]) => other.toLowerCase() === name)?.[1]
}
