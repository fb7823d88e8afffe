import type { FastifyReply, FastifyRequest } from 'fastify'
import { longLivedKind, type LongLivedKind } from '../http/endings'
import type { Labels } from '../snapshot'
import type { RouteSeries } from './route-series'

/** The number of requests that are counted in one step. A step takes a fraction of a millisecond. */
const requestsPerStep = 1000

/** The number of open requests with these labels. */
type Count = readonly [labels: Labels, count: number]

export interface OpenRequestsOptions {
  readonly replies: Iterable<FastifyReply>
  readonly routeOf: (request: FastifyRequest) => RouteSeries
  /** Which requests to count: those that wait for the rest of their reply, or those that are meant to stay open. */
  readonly which: 'in flight' | 'long lived'
}

/**
 * Counts the open requests by method and route, and long-lived requests also by kind. Between two steps requests may
 * end, begin, or become long-lived. Each request is counted as what it is when its turn comes.
 */
export function * countOpenRequests ({ replies, routeOf, which }: OpenRequestsOptions): Generator<undefined, Count[]> {
  const counts = new Map<RouteSeries, Map<string, { readonly labels: Labels, count: number }>>()
  let seen = 0
  for (const reply of replies) {
    if (++seen % requestsPerStep === 0) yield
    const kind = longLivedKind(reply)
    if ((kind === undefined) !== (which === 'in flight')) continue
    const { request } = reply
    const route = routeOf(request)
    if (!route.recorded) continue
    const method = route.method(request.method)
    let ofRoute = counts.get(route)
    if (ofRoute === undefined) counts.set(route, ofRoute = new Map())
    const key = kind === undefined ? method : `${kind} ${method}`
    const count = ofRoute.get(key)
    if (count === undefined) ofRoute.set(key, { labels: labelsOf(route, method, kind), count: 1 })
    else count.count++
  }
  const countsOf = (ofRoute: Iterable<{ readonly labels: Labels, count: number }>): Count[] =>
    Array.from(ofRoute, ({ labels, count }) => [labels, count])
  return [...counts.values()].flatMap(ofRoute => countsOf(ofRoute.values()))
}

function labelsOf ({ label: route }: RouteSeries, method: string, kind: LongLivedKind | undefined): Labels {
  return kind === undefined ? { method, route } : { method, route, kind }
}
