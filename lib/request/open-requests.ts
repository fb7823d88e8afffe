import type { FastifyReply, FastifyRequest } from 'fastify'
import { longLivedKind, type LongLivedKind } from '../http/endings'
import type { Labels } from '../snapshot'
import type { RouteSeries } from './route-series'

/** How many requests are looked at in one step, which takes a fraction of a millisecond. */
const requestsPerStep = 1000

/** How many open requests there are with these labels. */
type Count = readonly [labels: Labels, count: number]

export interface OpenRequestsOptions {
  readonly replies: Iterable<FastifyReply>
  readonly routeOf: (request: FastifyRequest) => RouteSeries
  /** Which ones to count: those that wait for the rest of their reply, or those that stay open for their own sake. */
  readonly which: 'in flight' | 'long lived'
}

/**
 * Counts the open requests by method and route, and long-lived ones by kind. They are counted in steps, between which some may end and others
 * begin, and each is counted as what it is at that moment.
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
  return [...counts.values()].flatMap(ofRoute => Array.from(ofRoute.values(), ({ labels, count }): Count => [labels, count]))
}

function labelsOf ({ label: route }: RouteSeries, method: string, kind: LongLivedKind | undefined): Labels {
  return kind === undefined ? { method, route } : { method, route, kind }
}
