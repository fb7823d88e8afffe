import type { FastifyReply } from 'fastify'
import { isAnsweredPastReply } from './sent-head'

/** What has been seen of the bodies of a request and of its reply. */
interface Bodies {
  /** The bytes of the request's body so far. */
  received: number
  isReceived: boolean
  /** The bytes of the reply's body. Undefined: somebody stands between the application and what is sent. */
  sent: number | undefined
}

/** The property of a reply of Node.js that holds what was seen of the bodies. */
const kBodies = Symbol('fastify-latency.bodies')

type Write = (chunk?: unknown, encoding?: unknown, ...others: unknown[]) => unknown

/** A reply of Node.js, or of anything that imitates one. */
type RawReply = Omit<FastifyReply['raw'], 'write' | 'end'> & {
  write: Write
  end: Write
  /** False for an HTTP/1 reply whose status or method allows no body. Node.js then drops what is written. */
  readonly _hasBody?: boolean
  /** Node.js keeps the value of `content-length` here, if it is known. */
  readonly _contentLength?: number | null
  readonly stream?: { readonly endAfterHeaders?: boolean }
  [kBodies]?: Bodies
}

/**
 * Counts the bytes of a request's body and of its reply's body as they go over the connection: compressed, and without
 * the framing of chunks. To be called when the request begins, before anything of its body is read.
 */
export function watchBodies ({ raw: reply, request: { raw: request } }: FastifyReply): void {
  const raw = reply as unknown as RawReply
  if (raw[kBodies] !== undefined) return
  // Others may have replaced these already, and may change what passes through them.
  const isOriginal = !Object.hasOwn(raw, 'write') && !Object.hasOwn(raw, 'end')
  const bodies: Bodies = { received: 0, isReceived: false, sent: isOriginal ? 0 : undefined }
  raw[kBodies] = bodies
  if (isOriginal) countSent(raw, bodies)
  if (mayHaveBody(request.headers)) countReceived(request as unknown as RawRequest, bodies)
}

function countSent (raw: RawReply, bodies: Bodies): void {
  const { write, end } = raw
  raw.write = function (chunk, encoding, ...others) {
    const result = write.call(this, chunk, encoding, ...others)
    bodies.sent! += bytesOf(chunk, encoding)
    return result
  }
  raw.end = function (chunk, encoding, ...others) {
    const { sent } = bodies
    const result = end.call(this, chunk, encoding, ...others)
    // In HTTP/2 the last chunk goes through `write()`, and is counted there.
    if (bodies.sent === sent) bodies.sent! += bytesOf(chunk, encoding)
    return result
  }
}

interface RawRequest {
  push (chunk: unknown, encoding?: unknown): boolean
  readonly stream?: { readonly readableEnded: boolean }
}

function countReceived (raw: RawRequest, bodies: Bodies): void {
  const { push } = raw
  raw.push = function (chunk, encoding) {
    if (chunk === null) bodies.isReceived = raw.stream === undefined || isReceived(raw.stream, bodies)
    else bodies.received += bytesOf(chunk, encoding)
    return push.call(this, chunk, encoding)
  }
}

/** Whether that is the end of an HTTP/2 stream, and not of one that was closed before, or that nobody has read. */
function isReceived ({ readableEnded }: { readonly readableEnded: boolean }, { received }: Bodies): boolean {
  return readableEnded && received > 0
}

function bytesOf (chunk: unknown, encoding: unknown): number {
  if (typeof chunk === 'string') return Buffer.byteLength(chunk, encoding as BufferEncoding | undefined)
  return ArrayBuffer.isView(chunk) ? chunk.byteLength : 0
}

function mayHaveBody (headers: Readonly<Record<string, unknown>>): boolean {
  return headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined ||
    headers[':method'] !== undefined
}

/** The bytes of a request's body. Undefined: the body was not received to its end, or nobody has seen it come. */
export function receivedBytes ({ raw, request }: FastifyReply): number | undefined {
  const { headers, complete } = request.raw
  const { [kBodies]: bodies, stream } = raw as unknown as RawReply
  if (stream === undefined ? !mayHaveBody(headers) : stream.endAfterHeaders === true) return 0
  if (bodies?.isReceived === true) return bodies.received
  if (stream !== undefined || headers['content-length'] === undefined) return undefined
  // Node.js gives nobody what it reads after the reply, but has compared the length in the head with the body.
  const length = Number(headers['content-length'])
  return complete || bodies?.received === length ? length : undefined
}

/**
 * The bytes of a reply's body, if all of it was sent. Undefined: somebody has answered past the reply, or stands
 * between the application and what is sent.
 */
export function sentBytes (reply: FastifyReply): number | undefined {
  const { [kBodies]: bodies, _hasBody, _contentLength, stream } = reply.raw as unknown as RawReply
  if (bodies === undefined || isAnsweredPastReply(reply)) return undefined
  if (stream === undefined ? _hasBody === false : isBodiless(reply)) return 0
  return bodies.sent ?? _contentLength ?? undefined
}

/** Whether Node.js sends no body in HTTP/2, whatever is written. */
function isBodiless ({ raw, request }: FastifyReply): boolean {
  return request.method === 'HEAD' || [204, 205, 304].includes(raw.statusCode)
}
