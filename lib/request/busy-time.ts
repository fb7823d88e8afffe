import { performance } from 'node:perf_hooks'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { declareProperty } from './request-property'

/** What is noted of a request. */
interface Noted {
  /** For how long the request was there when it was noted: an earlier hook may have held it up. */
  readonly heldMs: number
  /** For how long the event loop had waited until then. */
  readonly idleMs: number
  /** The same, when the reply had been sent. Undefined: it was not. */
  endIdleMs: number | undefined
}

/** The property of a request that holds what is noted of it. */
const kIdle = Symbol('fastify-latency.idle')

type Request = FastifyRequest & { [kIdle]?: Noted | undefined }

/** Gives the requests of an application the property that `noteIdleTime()` fills in. */
export function noteIdleTimes (app: FastifyInstance): void {
  declareProperty(app, kIdle)
}

/** To be called when a request begins. */
export function noteIdleTime (request: Request, { raw, elapsedTime }: FastifyReply): void {
  if (request[kIdle] !== undefined) return
  const noted: Noted = { heldMs: elapsedTime, idleMs: performance.nodeTiming.idleTime, endIdleMs: undefined }
  request[kIdle] = noted
  // Earlier `onResponse` hooks may take time, which is not that of the request.
  raw.once('finish', () => { noted.endIdleMs = performance.nodeTiming.idleTime })
}

/**
 * For how long the event loop was busy, with anybody's work, while a request was open, in seconds. What earlier hooks
 * held it up for is not in it, because nobody has seen what the event loop did meanwhile. Undefined if an earlier hook
 * has replied, so that the beginning was not seen.
 */
export function busySecondsOf (request: Request, elapsedMs: number): number | undefined {
  const noted = request[kIdle]
  if (noted === undefined) return undefined
  const { heldMs, idleMs, endIdleMs = performance.nodeTiming.idleTime } = noted
  return Math.max(elapsedMs - heldMs - (endIdleMs - idleMs), 0) / 1000
}
