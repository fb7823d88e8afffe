import type { FastifyReply } from 'fastify'
import { isAnsweredPastReply, sentHead, sentStatus } from './sent-head'

/** What has been seen of the bodies of a request and of its reply. */
interface Bodies {
  /** The bytes of the request's body so far. Undefined: some of them came unseen. */
  received: number | undefined
  /** Whether the request's body has come to its end, or there is none. */
  isReceived: boolean
  /** The bytes of the reply's body. Undefined: not all of it can be seen. */
  sent: number | undefined
}

/** The property of a reply of Node.js that holds what was seen of the bodies. */
const kBodies = Symbol('fastify-latency.bodies')

/** A reply of Node.js, or of anything that imitates one. */
type RawReply = Omit<FastifyReply['raw'], 'stream'> & {
  /** False for an HTTP/1 reply whose status or method allows no body. Node.js then drops what is written. */
  readonly _hasBody?: boolean
  /** Node.js keeps the value of `content-length` here, if it is known. */
  readonly _contentLength?: number | null
  readonly stream?: BodySink
  [kBodies]?: Bodies
}

type Send = (this: BodySink, chunk?: unknown, encoding?: unknown, ...others: unknown[]) => unknown

/** What the body of a reply is written to: the reply, or in HTTP/2 its stream, to which the reply writes. */
interface BodySink {
  write: Send
  end: Send
  respondWithFile?: Send
  respondWithFD?: Send
  readonly headersSent: boolean
  readonly writableEnded: boolean
}

/** A request of Node.js, or of anything that imitates one. */
type RawRequest = BodySource & {
  readonly headers: Readonly<Record<string, unknown>>
  /** Whether the parser has seen the end of an HTTP/1 request. Not every imitation has this property. */
  readonly complete?: boolean
  readonly stream?: BodySource & { readonly endAfterHeaders: boolean }
}

/** What the body of a request comes to: the request, or in HTTP/2 its stream, from which the request reads. */
interface BodySource {
  push (chunk: unknown, encoding?: unknown): boolean
  readonly readableLength: number
  readonly readableDidRead: boolean
  readonly readableEncoding: string | null
  /** An HTTP/2 stream is given an end when it is closed, too, though not all of the body may have come. */
  readonly closed: boolean
  /** Whether the end has come, though it may wait behind what nobody has read. */
  readonly _readableState?: { readonly ended: boolean }
  /** Whether Node.js drops what comes from now on, because the reply to an HTTP/1 request was sent. */
  readonly _dumped?: boolean
}

/**
 * Counts the bytes of a request's body and of its reply's body as they go over the connection: compressed, and without
 * the framing of chunks. To be called when the request begins.
 */
export function watchBodies (reply: FastifyReply): void {
  const raw = reply.raw as unknown as RawReply
  if (raw[kBodies] !== undefined) return
  const request = reply.request.raw as unknown as RawRequest
  const bodies: Bodies = { received: 0, isReceived: !announcesBody(request), sent: undefined }
  raw[kBodies] = bodies
  countSent(raw.stream ?? raw as unknown as BodySink, bodies)
  // A request that is injected may have a body which its head does not announce.
  if (!bodies.isReceived || request.complete === undefined) countReceived(request.stream ?? request, bodies)
}

function countSent (sink: BodySink, bodies: Bodies): void {
  // Earlier hooks may have written already, or have replaced these and change what passes through them.
  if (sink.headersSent || Object.hasOwn(sink, 'write') || Object.hasOwn(sink, 'end')) return
  const { write, end, respondWithFile, respondWithFD } = sink
  bodies.sent = 0
  sink.write = function (chunk, encoding, ...others) {
    // Node.js refuses what is written after the end.
    const { writableEnded } = this
    const result = write.call(this, chunk, encoding, ...others)
    if (!writableEnded) add(chunk, encoding)
    return result
  }
  sink.end = function (chunk, encoding, ...others) {
    const { writableEnded } = this
    const { sent } = bodies
    const result = end.call(this, chunk, encoding, ...others)
    // Where an imitation gives the last chunk to `write()`, it is counted there.
    if (!writableEnded && bodies.sent === sent) add(chunk, encoding)
    return result
  }
  if (respondWithFile !== undefined) sink.respondWithFile = unseen(respondWithFile)
  if (respondWithFD !== undefined) sink.respondWithFD = unseen(respondWithFD)

  function add (chunk: unknown, encoding: unknown): void {
    if (bodies.sent !== undefined) bodies.sent += bytesOf(chunk, encoding)
  }

  /** Node.js reads files, and sends them, where nobody sees it. */
  function unseen (respond: Send): Send {
    return function (...parameters) {
      bodies.sent = undefined
      return respond.apply(this, parameters)
    }
  }
}

function countReceived (source: BodySource, bodies: Bodies): void {
  const { push } = source
  bodies.received = waitingBytes(source)
  if (source._readableState?.ended === true) bodies.isReceived = !source.closed
  source.push = function (chunk, encoding) {
    bodies.isReceived = chunk === null && (bodies.isReceived || !this.closed)
    if (this._dumped === true) bodies.received = undefined
    if (bodies.received !== undefined) bodies.received += bytesOf(chunk, encoding)
    return push.call(this, chunk, encoding)
  }
}

/**
 * The bytes that have come, and wait to be read: hooks that ran before ours may have taken time. Undefined: somebody
 * has read some of them, or has them made text.
 */
function waitingBytes ({ readableLength, readableDidRead, readableEncoding }: BodySource): number | undefined {
  return readableDidRead || (readableLength > 0 && readableEncoding !== null) ? undefined : readableLength
}

function bytesOf (chunk: unknown, encoding: unknown): number {
  if (typeof chunk === 'string') return Buffer.byteLength(chunk, encoding as BufferEncoding | undefined)
  return ArrayBuffer.isView(chunk) ? chunk.byteLength : 0
}

/** Whether the head of a request says that a body follows. */
function announcesBody ({ headers, stream }: RawRequest): boolean {
  if (stream !== undefined) return !stream.endAfterHeaders
  return headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined
}

/** The bytes of a request's body. Undefined: the body was not received to its end, or nobody has seen it come. */
export function receivedBytes (reply: FastifyReply): number | undefined {
  const { [kBodies]: bodies } = reply.raw as unknown as RawReply
  const request = reply.request.raw as unknown as RawRequest
  if (bodies?.isReceived === true && bodies.received !== undefined) return bodies.received
  if (bodies === undefined && !announcesBody(request)) return 0
  if (request.headers['content-length'] === undefined) return undefined
  // Node.js compares the length in the head with the body.
  const length = Number(request.headers['content-length'])
  const isWhole = bodies?.isReceived === true || bodies?.received === length
  return isWhole || (request.stream === undefined && request.complete === true) ? length : undefined
}

/**
 * The bytes of a reply's body, if all of it was sent. Undefined: somebody has answered past the reply, or stands
 * between the application and what is sent, or has sent another length than the head says.
 */
export function sentBytes (reply: FastifyReply): number | undefined {
  const { [kBodies]: bodies, _hasBody, stream } = reply.raw as unknown as RawReply
  if (bodies === undefined || isAnsweredPastReply(reply)) return undefined
  if (stream === undefined ? _hasBody === false : isBodiless(reply)) return 0
  const length = sentLength(reply)
  const { sent = length } = bodies
  return length === undefined || length === sent ? sent : undefined
}

/** The length in the head of a reply. */
function sentLength (reply: FastifyReply): number | undefined {
  const { _contentLength, stream } = reply.raw as unknown as RawReply
  if (stream === undefined) return _contentLength ?? undefined
  const length = (sentHead(reply) as Readonly<Record<string, unknown>> | undefined)?.['content-length']
  return length === undefined ? undefined : Number(length)
}

/** Whether Node.js sends no body in HTTP/2, whatever is written. */
function isBodiless (reply: FastifyReply): boolean {
  return reply.request.method === 'HEAD' || [204, 205, 304].includes(sentStatus(reply))
}
