import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Arrival, Arrivals } from '../http/arrivals'
import { declareProperty } from './request-property'

/** The property of a request that holds its arrival. */
const kArrival = Symbol('fastify-latency.arrival')

type Request = FastifyRequest & { [kArrival]?: Arrival | undefined }

/** Gives the requests of an application the property that `noteArrival()` fills in. */
export function noteArrivals (app: FastifyInstance): void {
  declareProperty(app, kArrival)
}

/** To be called when a request begins. */
export function noteArrival (arrivals: Arrivals, request: Request, reply: FastifyReply): void {
  request[kArrival] ??= arrivals.begin(request, reply)
}

/** Whether it is known how long a request waited, or will be. */
export function hasWait (request: Request): boolean {
  return request[kArrival] !== undefined
}

/**
 * Calls a function with how long a request waited for the event loop, in milliseconds: now, or when the turn is over in
 * which the request was read. It is called with undefined if that will never be known, because the request came in no
 * way that could be seen. The function must not throw.
 */
export function whenWaitIsKnown (request: Request, onWait: (waitMs: number | undefined) => void): void {
  const arrival = request[kArrival]
  if (arrival === undefined || arrival.wait !== undefined) onWait(arrival?.wait?.estimateMs)
  else arrival.onWait.push(({ estimateMs }) => onWait(estimateMs))
}
