import type { FastifyReply, FastifyRequest } from 'fastify'
import { longLivedKind, type LongLivedKind } from '../http/endings'
import type { Labels } from '../snapshot'
import type { RouteSeries } from './route-series'

/**
 * The number of requests that are looked at in one step. A step takes a fraction of a millisecond, even if all of them
 * are event streams, whose heads are read, and none was looked at before.
 */
const requestsPerStep = 100

/** What a gauge tells of the open requests with these labels. */
type Value = readonly [labels: Labels, value: number]

/**
 * What is told of open requests: how many wait for the rest of their reply, the age in seconds of the oldest of these,
 * or how many are meant to stay open.
 */
export type OpenRequestsFact = 'in flight' | 'oldest' | 'long lived'

export interface OpenRequestsOptions {
  readonly replies: Iterable<FastifyReply>
  readonly routeOf: (request: FastifyRequest) => RouteSeries
  readonly fact: OpenRequestsFact
}

/**
 * Reads a fact about the open requests by method and route, and about long-lived requests also by kind. Between two
 * steps requests may end, begin, or become long-lived. Each request is taken as what it is when its turn comes.
 */
export function * readOpenRequests ({ replies, routeOf, fact }: OpenRequestsOptions): Generator<undefined, Value[]> {
  const values = new Map<RouteSeries, Map<string, { readonly labels: Labels, value: number }>>()
  let seen = 0
  for (const reply of replies) {
    if (++seen % requestsPerStep === 0) yield
    // The reply was sent, but an earlier `onResponse` hook of the application is at work, or has failed.
    if (reply.raw.writableFinished) continue
    const kind = longLivedKind(reply)
    if ((kind === undefined) === (fact === 'long lived')) continue
    const { request } = reply
    const route = routeOf(request)
    if (!route.recorded) continue
    const method = route.method(request.method)
    let ofRoute = values.get(route)
    if (ofRoute === undefined) values.set(route, ofRoute = new Map())
    const key = kind === undefined ? method : `${kind} ${method}`
    let entry = ofRoute.get(key)
    if (entry === undefined) ofRoute.set(key, entry = { labels: labelsOf(route, method, kind), value: 0 })
    entry.value = fact === 'oldest' ? Math.max(entry.value, reply.elapsedTime / 1000) : entry.value + 1
  }
  const valuesOf = (ofRoute: Iterable<{ readonly labels: Labels, value: number }>): Value[] =>
    Array.from(ofRoute, ({ labels, value }) => [labels, value])
  return [...values.values()].flatMap(ofRoute => valuesOf(ofRoute.values()))
}

function labelsOf ({ label: route }: RouteSeries, method: string, kind: LongLivedKind | undefined): Labels {
  return kind === undefined ? { method, route } : { method, route, kind }
}
