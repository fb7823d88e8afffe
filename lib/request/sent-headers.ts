import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { declareProperty } from './request-property'

/** What is known of the sent headers of a reply. */
export interface SentHeaders {
  /** When the headers were sent, in milliseconds since the request arrived. */
  readonly elapsedMs: number
}

/** The property of a request that holds its `SentHeaders`. */
const kSentHeaders = Symbol('fastify-latency.sent-headers')

type Request = FastifyRequest & { [kSentHeaders]?: SentHeaders | undefined }

/** Gives the requests of an application the property that `watchHeaders()` fills in. */
export function noteSentHeaders (app: FastifyInstance): void {
  declareProperty(app, kSentHeaders)
}

/** What is known of the sent headers of a request's reply. Undefined if no headers were sent. */
export function sentHeadersOf (request: Request): SentHeaders | undefined {
  return request[kSentHeaders]
}

/** Notes that the headers of a reply have been sent just now, if that is not known yet. */
export function noteHeaders (reply: FastifyReply): SentHeaders {
  const request: Request = reply.request
  request[kSentHeaders] ??= { elapsedMs: reply.elapsedTime }
  return request[kSentHeaders]
}

/** The property of a reply of Node.js that holds its `Watch`. */
const kWatch = Symbol('fastify-latency.watch')

type Send = (this: Sender, ...parameters: unknown[]) => unknown

/** A reply of Node.js, or of anything that imitates one. */
interface Sender {
  writeHead: Send
  _send?: Send
  [kWatch]?: Watch
}

/** Who wants to know when the headers of a reply are sent. */
interface Watch {
  readonly reply: FastifyReply
  /** What sends the headers. */
  readonly send: Send
  readonly listeners: Array<(reply: FastifyReply) => void>
  areSent: boolean
}

/**
 * Calls a function when the headers of a reply have been sent. No hook runs at that moment, and `onSend` does not run
 * for a hijacked reply. In HTTP/1, `writeHead()` sends nothing: Node.js keeps the headers until a part of the body
 * follows, or the end, and gives both to `_send()`. In HTTP/2 there is no such method, and `writeHead()` sends the
 * headers.
 */
export function watchHeaders (reply: FastifyReply, onSent: (reply: FastifyReply) => void): void {
  const sender = reply.raw as unknown as Sender
  if (sender[kWatch] !== undefined) {
    sender[kWatch].listeners.push(onSent)
    return
  }
  const method = sender._send === undefined ? 'writeHead' : '_send'
  sender[kWatch] = { reply, send: sender[method]!, listeners: [onSent], areSent: false }
  sender[method] = sendAndTell
}

/**
 * Takes the place of what sends the headers, for all replies. A function of its own for each reply, that knows the
 * reply, would keep it: V8 then collects few requests before it collects everything, which costs each request 3 µs.
 */
function sendAndTell (this: Sender, ...parameters: unknown[]): unknown {
  const watch = this[kWatch]!
  // If this throws, nothing was sent, and another call may follow.
  const result = watch.send.apply(this, parameters)
  if (!watch.areSent) {
    watch.areSent = true
    for (const onSent of watch.listeners) onSent(watch.reply)
  }
  return result
}
