import { performance } from 'node:perf_hooks'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { declareProperty } from './request-property'

/** The property of a request that holds for how long the event loop had waited when the request began. */
const kIdle = Symbol('fastify-latency.idle')

type Request = FastifyRequest & { [kIdle]?: number | undefined }

/** Gives the requests of an application the property that `noteIdleTime()` fills in. */
export function noteIdleTimes (app: FastifyInstance): void {
  declareProperty(app, kIdle)
}

/** To be called when a request begins. */
export function noteIdleTime (request: Request): void {
  request[kIdle] ??= performance.nodeTiming.idleTime
}

/**
 * For how long the event loop was busy, with anybody's work, while a request was open, in seconds. Undefined if an
 * earlier hook has replied, so that the beginning was not seen.
 */
export function busySecondsOf (request: Request, elapsedMs: number): number | undefined {
  const idleMs = request[kIdle]
  if (idleMs === undefined) return undefined
  return Math.max(elapsedMs - (performance.nodeTiming.idleTime - idleMs), 0) / 1000
}
