import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** What is known of a request whose reply has had its headers sent. */
export interface SentHeaders {
  /** When that was, in milliseconds since the request came. */
  readonly elapsedMs: number
}

/** Where a request carries what is known of the headers of its reply. */
const kSentHeaders = Symbol('fastify-latency.sent-headers')

type Request = FastifyRequest & { [kSentHeaders]?: SentHeaders }

/** Has the requests of an application carry when the headers of their replies were sent, once `watchHeaders()` was called for them. */
export function noteSentHeaders (app: FastifyInstance): void {
  // An outer context, or an earlier registration, does it already.
  if (!app.hasRequestDecorator(kSentHeaders)) app.decorateRequest(kSentHeaders, undefined)
}

/** Undefined: no headers were sent. */
export function sentHeadersOf (request: Request): SentHeaders | undefined {
  return request[kSentHeaders]
}

/**
 * Notes when the headers of a reply are sent, and calls `onSent` then. No hook marks that moment, and `onSend` does not run for a hijacked
 * reply: `writeHead()` is what every reply comes through.
 */
export function watchHeaders (request: Request, reply: FastifyReply, onSent: (headers: SentHeaders) => void): void {
  const { raw } = reply
  const { writeHead } = raw
  raw.writeHead = ((...head: Parameters<typeof writeHead>) => {
    raw.writeHead = writeHead
    const result = raw.writeHead(...head)
    const headers = request[kSentHeaders] ??= { elapsedMs: reply.elapsedTime }
    onSent(headers)
    return result
  }) as typeof writeHead
}
