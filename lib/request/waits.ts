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

/**
 * How long a request waited for the event loop, in milliseconds. Undefined if that is not known: the request came in no
 * way that could be seen, or its turn of the event loop is not over.
 */
export function waitOf (request: Request): number | undefined {
  return request[kArrival]?.wait?.estimateMs
}

/** Calls a function when the wait of a request is known. Returns false if it is known already, or never will be. */
export function whenWaitIsKnown (request: Request, onWait: () => void): boolean {
  const arrival = request[kArrival]
  if (arrival === undefined || arrival.wait !== undefined) return false
  arrival.onWait.push(onWait)
  return true
}
