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

/** The methods that send headers: of an HTTP/2 stream, of an HTTP/1 reply, and of what only imitates a reply. */
const senders = [['respond', 'respondWithFile', 'respondWithFD'], ['_send'], ['writeHead']] as const

type SenderName = typeof senders[number][number]
type Send = (this: Sink, ...parameters: unknown[]) => unknown

/** The property of a `Sink` that holds its `Watch`. */
const kWatch = Symbol('fastify-latency.watch')

/** What sends headers: a reply of Node.js or of anything that imitates one, or in HTTP/2 its stream. */
type Sink = { -readonly [Name in SenderName]?: Send } & {
  readonly headersSent: boolean
  /** Node.js keeps the headers of an HTTP/1 reply until this is true, though `headersSent` is true before. */
  readonly _headerSent?: boolean
  /** Null while an HTTP/1 reply waits for those to earlier requests of the connection. */
  readonly socket?: unknown
  readonly outputData?: readonly unknown[]
  once (event: 'socket', listener: () => void): unknown
  [kWatch]?: Watch
}

/** Who wants to know when headers are sent. */
interface Watch {
  /** What was in the place of what watches now. */
  readonly sends: Partial<Record<SenderName, Send>>
  /** Several replies of Fastify may share one of Node.js. */
  readonly listeners: Array<{ readonly reply: FastifyReply, readonly onSent: OnSent }>
  areSent: boolean
}

type OnSent = (reply: FastifyReply) => void

/**
 * Calls a function when the headers of a reply have been sent. No hook runs at that moment, and `onSend` does not run
 * for a hijacked reply. In HTTP/1, `writeHead()` sends nothing: Node.js keeps the headers until a part of the body
 * follows, or the end, and gives both to `_send()`.
 */
export function watchHeaders (reply: FastifyReply, onSent: OnSent): void {
  const raw = reply.raw as unknown as Sink & { readonly stream?: Sink }
  const sink = raw.stream ?? raw
  if (sink._headerSent ?? sink.headersSent) {
    onSent(reply)
    return
  }
  const watch = sink[kWatch] ??= startWatch(sink)
  watch.listeners.push({ reply, onSent })
}

function startWatch (sink: Sink): Watch {
  const sends: Watch['sends'] = {}
  for (const name of senders.find(([name]) => sink[name] !== undefined)!) {
    sends[name] = sink[name]!
    sink[name] = watchers[name]
  }
  return { sends, listeners: [], areSent: false }
}

/**
 * Take the places of what sends headers, for all replies. A function of its own for each reply, that knows the reply,
 * would keep it: V8 then collects few requests before it collects everything, which costs each request 3 µs.
 */
const watchers = Object.fromEntries(senders.flat().map(name => [name, function (...parameters) {
  const watch = this[kWatch]!
  // If this throws, nothing was sent, and another call may follow.
  const result = watch.sends[name]!.apply(this, parameters)
  if (!watch.areSent) {
    watch.areSent = true
    // Node.js tells of the connection right before it writes to it what has waited.
    if (this.socket === null && Number(this.outputData?.length) > 0) this.once('socket', () => tell(watch))
    else tell(watch)
  }
  return result
} satisfies Send])) as Record<SenderName, Send>

function tell ({ listeners }: Watch): void {
  for (const { reply, onSent } of listeners) onSent(reply)
}
