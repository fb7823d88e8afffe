import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FST_LATENCY_ERR_QUEUE_HEADER, kindOf, type WarnOnce } from '../errors'
import { readProxyTime } from '../http/proxy-times'
import type { Labels } from '../snapshot'
import { declareProperty } from './request-property'
import type { TrustedSenders } from './trusted-senders'

/** The property of a request from a trusted sender that holds when the router got it, in milliseconds since 1970. */
const kReceived = Symbol('fastify-latency.received')

type Request = FastifyRequest & { [kReceived]?: number | undefined }

/** By how much the clock of a proxy may be ahead of ours, and how long a request may have waited. */
const mostAheadMs = 10
const mostWaitMs = 60_000

/** Why the time in a header is not used. */
const refusals = ['unreadable', 'ahead', 'too_long'] as const

export interface ProxiedWaitsOptions {
  /** The name of the header, in lower case. */
  readonly header: string
  /** Counts the headers whose time is not used. */
  readonly refused: { declare: (labels: Labels) => void, increment: (labels: Labels) => void }
  readonly warnOnce: WarnOnce
}

/** Gives the requests of an application the property that `noteReceipt()` fills in. */
export function noteReceipts (app: FastifyInstance): void {
  declareProperty(app, kReceived)
}

/**
 * To be called when a request begins. Afterwards a closed connection does not tell any more who has sent the request.
 * Returns false if the application trusts no proxies at all.
 */
export function noteReceipt (senders: TrustedSenders, request: Request, reply: FastifyReply): boolean {
  const trusted = senders.trusts(request)
  if (trusted === true) request[kReceived] = Date.now() - reply.elapsedTime
  return trusted !== undefined
}

/** How long requests have waited since a proxy received them, as a header of the proxy says. */
export class ProxiedWaits {
  readonly #options: ProxiedWaitsOptions

  constructor (options: ProxiedWaitsOptions) {
    this.#options = options
    for (const reason of refusals) options.refused.declare({ reason })
  }

  /** To be called if the application trusts no proxies, so that the header cannot be read. */
  warnOfTrust (): void {
    this.#warn('it is read from proxies that the option "trustProxy" of Fastify trusts, and that option is not set')
  }

  /**
   * For how long a request had waited when the router got it, in milliseconds. Undefined if the sender is not trusted,
   * or if there is no header with a time that can be.
   */
  of (request: Request): number | undefined {
    const receivedMs = request[kReceived]
    const value = receivedMs === undefined ? undefined : request.headers[this.#options.header]
    if (receivedMs === undefined || typeof value !== 'string') return undefined
    const time = readProxyTime(value)
    if (time === undefined) return this.#refuse('unreadable', `a trusted proxy has sent ${kindOf(value)}, no time`)
    const waitMs = Math.round(receivedMs - time.ms)
    if (waitMs < -mostAheadMs) {
      return this.#refuse('ahead', `the clock of a trusted proxy is ${-waitMs / 1000} s ahead of this machine's`)
    }
    if (waitMs > mostWaitMs) {
      return this.#refuse('too_long', `by the clock of a trusted proxy, a request came ${waitMs / 1000} s ago, and ` +
        `more than ${mostWaitMs / 1000} s are not believed`)
    }
    return Math.max(receivedMs - time.latestMs, 0)
  }

  #refuse (reason: typeof refusals[number], problem: string): undefined {
    this.#options.refused.increment({ reason })
    this.#warn(problem, reason)
  }

  #warn (problem: string, subject = 'trust'): void {
    const { header, warnOnce } = this.#options
    warnOnce(`${header} ${subject}`, () => new FST_LATENCY_ERR_QUEUE_HEADER(header, problem))
  }
}
