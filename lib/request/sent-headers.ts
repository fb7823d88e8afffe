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

/**
 * Forgets when the headers of a reply were written, and calls a function when they are sent. Node.js holds back what
 * was given to `raw.writeHead()` until a part of the body follows.
 */
export function watchHeldHeaders ({ raw, request }: FastifyReply, onSent: () => void): void {
  (request as Request)[kSentHeaders] = undefined
  const held = raw as typeof raw & { _send?: (...parameters: unknown[]) => unknown }
  const { _send: send } = held
  held._send = (...parameters) => {
    held._send = send!
    const result = send!.apply(raw, parameters)
    onSent()
    return result
  }
}

/**
 * Calls a function when the headers of a reply have been sent. No hook runs at that moment, and `onSend` does not run
 * for a hijacked reply. Every reply calls `writeHead()`. If the call throws, nothing was sent, and another call may
 * follow.
 */
export function watchHeaders ({ raw }: FastifyReply, onSent: () => void): void {
  const { writeHead } = raw
  raw.writeHead = ((...head: Parameters<typeof writeHead>) => {
    const result = writeHead.apply(raw, head)
    onSent()
    return result
  }) as typeof writeHead
}
