import type { FastifyContextConfig, FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { LabelFunction, LabelSource } from '../../index'
import { describe, FST_LATENCY_ERR_CALLBACK, type WarnOnce } from '../errors'
import type { SeriesIndex } from '../histogram/series-index'
import type { Ending } from '../http/endings'
import { labelSources, outcomeOf, type RecordedRequest } from './label-sources'
import { parseRouteConfig, type RequestConfig } from './options'
import { routeConfigOf, routePatternOf } from './route-config'
import { RouteSeries, unmatchedRoute, type RouteDescription } from './route-series'
import { schemeOf } from './scheme'

/** The value of a label whose function failed. */
const invalid = '_INVALID'

/** The label values of the series that counts requests once `seriesLimit` is reached. */
const overflow = '_OVERFLOW'

/** The greatest length of a value that a label function returns, in UTF-16 code units. */
const longestValue = 1024

/**
 * The property of a route's `config` that holds what the resolvers know of the route. To look it up in a WeakMap, with
 * the `config` as the key, takes 15 ns longer.
 */
const kRoute = Symbol('fastify-latency.route')

/**
 * The share of `seriesLimit` that label sets with values of label functions may fill. The rest is kept for series that
 * the routes determine.
 */
const functionShare = 0.5

/** The result of `resolve()` for a request of a route with `config: { latency: false }`. */
export const notRecorded = -1

export interface ResolverOptions {
  readonly index: SeriesIndex
  readonly config: Pick<RequestConfig, 'labels' | 'constLabels' | 'seriesLimit'>
  readonly warnOnce: WarnOnce
  /** Called for each request whose labels found no place in the index. */
  readonly onOverflow: () => void
}

/**
 * Finds the series of a request. The labels are worked out when a combination of route, method, status and whatever
 * else the labels depend on occurs for the first time. From then on the slot is remembered in the route's `config`, an
 * object that Fastify makes once for each route and keeps. If there are label functions, they are called for each
 * request, and the slot is looked up in the index.
 */
export class SeriesResolver {
  readonly #index: SeriesIndex
  readonly #labelNames: readonly string[]
  readonly #sources: readonly LabelSource[]
  /** The indexes of the labels whose values come from functions. */
  readonly #functions: readonly number[]
  /**
   * Whether requests of the same route, method and status may have different labels, apart from the labels that come
   * from functions.
   */
  readonly #varies: boolean
  /**
   * Whether a label holds the scheme of a request. The scheme has to be noted when the request begins: see
   * `noteSchemes()`.
   */
  readonly needsScheme: boolean
  readonly #seriesLimit: number
  readonly #functionLimit: number
  /**
   * One value for each label name. The values are filled in anew for each request; those of the constant labels come
   * last and stay.
   */
  readonly #values: string[]
  readonly #warnOnce: WarnOnce
  readonly #onOverflow: () => void

  constructor ({ index, config, warnOnce, onOverflow }: ResolverOptions) {
    this.#index = index
    this.#labelNames = Object.keys(config.labels)
    this.#sources = Object.values(config.labels)
    this.#functions = this.#sources.flatMap((source, index) => typeof source === 'function' ? [index] : [])
    this.needsScheme = this.#sources.includes('scheme')
    this.#varies = this.#sources.some(source => typeof source === 'string' && labelSources[source].varies)
    this.#seriesLimit = config.seriesLimit
    this.#functionLimit = Math.floor(config.seriesLimit * functionShare)
    this.#values = [...this.#sources.map(() => ''), ...Object.values(config.constLabels)]
    this.#warnOnce = warnOnce
    this.#onOverflow = onOverflow
  }

  /** The slot of a request with this ending and status, or `notRecorded`. */
  resolve (reply: FastifyReply, status: number, ending: Ending): number {
    const { request } = reply
    const route = this.route(request)
    return route.find(request.method, this.#outcome(request, status, ending)) ??
      this.#resolveAnew(route, reply, status, ending)
  }

  /** What is known of the current route of a request. `callNotFound()` changes the route of a request. */
  route (request: FastifyRequest): RouteSeries {
    const config = routeConfigOf(request) as RouteConfig
    let route = config[kRoute]
    while (route !== undefined && route.resolver !== this) route = route.next
    if (route === undefined) return this.#addRoute(config, routePatternOf(request))
    route.renew(this.#index.epoch)
    return route
  }

  /** Everything but the route and the method that decides about the labels of a request, as one number. */
  #outcome (request: FastifyRequest, status: number, ending: Ending): number {
    if (!this.#varies) return status
    return outcomeOf(request, status, ending, this.needsScheme ? schemeOf(request) : undefined)
  }

  #addRoute (config: RouteConfig, url: string | undefined): RouteSeries {
    const value = new RouteSeries(this, config[kRoute], this.#describe(config, url), this.#index.epoch)
    // The `config` of a handler that was set by `setNotFoundHandler()` is the user's own object and may be frozen. In
    // that case nothing is remembered.
    if (Object.isExtensible(config)) Object.defineProperty(config, kRoute, { value, writable: true })
    return value
  }

  #describe (config: FastifyContextConfig, url: string | undefined): RouteDescription {
    const pattern = url ?? unmatchedRoute
    const matched = url !== undefined
    try {
      const { recorded, route } = parseRouteConfig(config)
      return { label: route ?? pattern, matched, recorded }
    } catch (error) {
      // The route was declared before this plugin was registered, when nothing could refuse its `config`.
      this.#warnOnce(`config of ${pattern}`, error as FastifyError)
      return { label: pattern, matched, recorded: true }
    }
  }

  #resolveAnew (route: RouteSeries, reply: FastifyReply, status: number, ending: Ending): number {
    if (!route.recorded) return notRecorded
    const { request } = reply
    const recorded: RecordedRequest = { request, route, status, ending }
    for (let index = 0; index < this.#sources.length; index++) {
      const source = this.#sources[index]!
      this.#values[index] = typeof source === 'function'
        ? this.#call(this.#labelNames[index]!, source, request, reply)
        : labelSources[source].read(recorded)
    }
    const slot = this.#place()
    if (slot === undefined) return this.#overflow()
    // The slot is not remembered for other methods, because a client can invent any number of them.
    if (this.#functions.length === 0 && route.method(request.method) === request.method) {
      route.add(request.method, this.#outcome(request, status, ending), slot)
    }
    return slot
  }

  /**
   * The slot of the labels in `#values`, or undefined if the index has no room for them. Label sets with values of
   * label functions may fill only a part of the limit.
   */
  #place (): number | undefined {
    const limit = this.#functions.length > 0 ? this.#functionLimit : this.#seriesLimit - 1
    return this.#index.find(this.#values) ?? (this.#index.size < limit ? this.#index.slot(this.#values) : undefined)
  }

  /**
   * The slot for labels that found no place in the index. The values of label functions become `_OVERFLOW` first: a
   * client may control these values, and must not crowd out routes. If there is still no place, the other values become
   * `_OVERFLOW` too. One series of the limit is kept for that case.
   */
  #overflow (): number {
    this.#onOverflow()
    for (const index of this.#functions) this.#values[index] = overflow
    const slot = this.#functions.length > 0 ? this.#index.find(this.#values) : undefined
    if (slot !== undefined) return slot
    if (this.#index.size >= this.#seriesLimit - 1) this.#values.fill(overflow, 0, this.#sources.length)
    return this.#index.slot(this.#values)
  }

  #call (name: string, source: LabelFunction, request: FastifyRequest, reply: FastifyReply): string {
    let value: unknown
    try {
      value = source(request, reply)
    } catch (error) {
      this.#warnOnce(name, new FST_LATENCY_ERR_CALLBACK(`labels.${name}`, describe(error)))
      return invalid
    }
    if (typeof value === 'string' && value.length <= longestValue) {
      // On the wire all lone surrogates would become U+FFFD, and two series could become one.
      return value.toWellFormed()
    }
    if (typeof value === 'number' || typeof value === 'boolean') return String(value)
    if (value === undefined || value === null) return ''
    const returned = typeof value === 'string'
      ? `${value.length} characters, and may return at most ${longestValue}`
      : describe(value)
    this.#warnOnce(name, new FST_LATENCY_ERR_CALLBACK(`labels.${name}`, `it returned ${returned}`))
    return invalid
  }
}

type RouteConfig = FastifyContextConfig & { [kRoute]?: RouteSeries }
