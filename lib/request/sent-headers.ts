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

/** A reply of Node.js, or of anything that imitates one. */
type Sender = Record<'writeHead' | '_send', ((...parameters: unknown[]) => unknown) | undefined>

/**
 * Calls a function when the headers of a reply have been sent. No hook runs at that moment, and `onSend` does not run
 * for a hijacked reply. In HTTP/1, `writeHead()` sends nothing: Node.js keeps the headers until a part of the body
 * follows, or the end, and gives both to `_send()`. In HTTP/2 there is no such method, and `writeHead()` sends the
 * headers. If the call throws, nothing was sent, and another call may follow.
 */
export function watchHeaders ({ raw }: FastifyReply, onSent: () => void): void {
  const sender = raw as unknown as Sender
  const method = sender._send === undefined ? 'writeHead' : '_send'
  const send = sender[method]!
  let areSent = false
  sender[method] = (...parameters) => {
    const result = send.apply(raw, parameters)
    if (!areSent) {
      areSent = true
      onSent()
    }
    return result
  }
}
