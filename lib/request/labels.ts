import type { FastifyContextConfig, FastifyError, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { DeclaredRoute } from '../../index'
import {
  causeOf, describe, FST_LATENCY_ERR_REQUEST_UNREADABLE, FST_LATENCY_ERR_SERIES_LIMIT, type Warn, type WarnOnce
} from '../errors'
import type { SeriesIndex } from '../histogram/series-index'
import type { Ending } from '../http/endings'
import { Callback, longestValue } from './callback'
import { labelSources, outcomeOf, type NamedSource, type RecordedRequest } from './label-sources'
import { parseRouteConfig, type RequestConfig } from './options'
import { declaredPatternOf, routeConfigOf, routePatternOf } from './route-config'
import { keepName, keptName, nameOf, type RouteName } from './route-names'
import { RouteSeries, unmatchedRoute, type RouteDescription } from './route-series'
import { schemeOf } from './scheme'

/** The value of a label whose function failed. */
const invalid = '_INVALID'

/** The label values of the series that counts requests once `seriesLimit` is reached. */
const overflow = '_OVERFLOW'

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

/** How many series are looked at to find the label with the most values. */
const longestLook = 2000

export interface ResolverOptions {
  readonly index: SeriesIndex
  readonly config: Pick<
    RequestConfig, 'histogram' | 'labels' | 'constLabels' | 'routes' | 'knownMethods' | 'seriesLimit'
  >
  readonly warn: Warn
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
  readonly #sources: ReadonlyArray<NamedSource | Callback<string>>
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
  readonly #knownMethods: ReadonlySet<string>
  readonly #seriesLimit: number
  readonly #functionLimit: number
  /**
   * One value for each label name. The values are filled in anew for each request; those of the constant labels come
   * last and stay.
   */
  readonly #values: string[]
  readonly #config: ResolverOptions['config']
  readonly #warn: Warn
  readonly #warnOnce: WarnOnce
  readonly #onOverflow: () => void
  /** The labels of declared routes, each combination of values once. */
  readonly #declared = new Set<string>()
  #hasOverflowed = false

  constructor ({ index, config, warn, warnOnce, onOverflow }: ResolverOptions) {
    this.#index = index
    this.#config = config
    this.#labelNames = Object.keys(config.labels)
    this.#sources = Object.entries(config.labels).map(([name, source]) => typeof source === 'string'
      ? source
      : new Callback({
        option: `labels.${name}`, function: source, read: readLabel, rule: labelRule, otherwise: invalid, warn
      }))
    this.#functions = this.#sources.flatMap((source, index) => typeof source === 'string' ? [] : [index])
    this.needsScheme = this.#sources.includes('scheme')
    this.#varies = this.#sources.some(source => typeof source === 'string' && labelSources[source].varies)
    this.#knownMethods = new Set(config.knownMethods)
    this.#seriesLimit = config.seriesLimit
    this.#functionLimit = Math.floor(config.seriesLimit * functionShare)
    this.#values = [...this.#sources.map(() => ''), ...Object.values(config.constLabels)]
    this.#warn = warn
    this.#warnOnce = warnOnce
    this.#onOverflow = onOverflow
  }

  /**
   * Decides how a route that is being declared is named, and counts the series that it will need at least. Throws a
   * coded error if that cannot be decided.
   */
  declare (given: RouteOptions): void {
    const { routes } = this.#config
    const route = { ...given, url: declaredPatternOf(given) }
    const { recorded, route: own } = parseRouteConfig(route.config)
    let name: RouteName = recorded && own
    if (routes !== undefined && route.config?.latency === undefined) {
      name = nameOf(routes, route)
      keepName(given, this, name)
    }
    if (name === false) return
    const values = [this.#sources.some(isRouteSource) && (name ?? route.url)]
    for (const method of this.#sources.includes('method') ? [route.method].flat() : [false]) {
      this.#declared.add(JSON.stringify([...values, method]))
    }
  }

  /** Warns if the declared routes need more series than there may be. To be called when all routes are declared. */
  checkDeclared (): void {
    const { size } = this.#declared
    this.#declared.clear()
    // Whatever the labels are, there is one series at least.
    if (size === 1 || size < this.#config.seriesLimit) return
    this.#warnOfLimit(`the declared routes need at least ${size} and one for what comes after the limit. ` +
      'Give routes names in common with the option "routes", or raise the limit')
  }

  /** The slot of a request with this ending and status, or `notRecorded`. */
  resolve (reply: FastifyReply, status: number, ending: Ending): number {
    try {
      const { request } = reply
      const route = this.route(request)
      return route.find(request.method, this.#outcome(request, status, ending)) ??
        this.#resolveAnew(route, reply, status, ending)
    } catch (error) {
      return this.#resolveUnreadable(error)
    }
  }

  /** What is known of the current route of a request. `callNotFound()` changes the route of a request. */
  route (request: FastifyRequest): RouteSeries {
    const config = routeConfigOf(request) as RouteConfig
    let route = config[kRoute]
    while (route !== undefined && route.resolver !== this) route = route.next
    if (route === undefined) {
      return this.#addRoute(config, { ...request.routeOptions, url: routePatternOf(request) })
    }
    route.renew(this.#index.epoch)
    return route
  }

  /** Everything but the route and the method that decides about the labels of a request, as one number. */
  #outcome (request: FastifyRequest, status: number, ending: Ending): number {
    if (!this.#varies) return status
    return outcomeOf(request, status, ending, this.needsScheme ? schemeOf(request) : undefined)
  }

  #addRoute (config: RouteConfig, route: FastifyRequest['routeOptions']): RouteSeries {
    const value = new RouteSeries(this, config[kRoute], this.#describe(config, route), this.#index.epoch)
    // The `config` of a handler that was set by `setNotFoundHandler()` is the user's own object and may be frozen. In
    // that case nothing is remembered.
    if (Object.isExtensible(config)) Object.defineProperty(config, kRoute, { value, writable: true })
    return value
  }

  #describe (config: FastifyContextConfig, route: FastifyRequest['routeOptions']): RouteDescription {
    const { url = unmatchedRoute } = route
    const matched = route.url !== undefined
    const knownMethods = matched ? undefined : this.#knownMethods
    try {
      const { recorded, route: own } = parseRouteConfig(config)
      const name = matched && config.latency === undefined ? this.#name(config, route) : recorded && own
      if (name === false) return { label: url, knownMethods, recorded: false }
      return { label: name ?? url, knownMethods, recorded: true }
    } catch (error) {
      // The route was declared before this plugin was registered, when nothing could refuse its `config`.
      this.#warnOnce(`config of ${url}`, () => error as FastifyError)
      return { label: url, knownMethods, recorded: true }
    }
  }

  /** The name that the option `routes` gives to a route. */
  #name (config: FastifyContextConfig, route: FastifyRequest['routeOptions']): RouteName {
    const { routes } = this.#config
    if (routes === undefined) return undefined
    const kept = keptName(config, this)
    if (kept !== undefined) return kept.name
    try {
      return nameOf(routes, route as DeclaredRoute)
    } catch (error) {
      // The route was declared before this plugin was registered, when nothing could refuse it.
      this.#warnOnce(`routes of ${this.#config.histogram.name}`, () => error as FastifyError)
      return undefined
    }
  }

  /** The slot of a request whose properties throw: an application may define them anew, with getters. */
  #resolveUnreadable (error: unknown): number {
    this.#warnOnce('request', () => new FST_LATENCY_ERR_REQUEST_UNREADABLE(describe(error), causeOf(error)))
    this.#values.fill(invalid, 0, this.#sources.length)
    return this.#place() ?? this.#overflow()
  }

  #resolveAnew (route: RouteSeries, reply: FastifyReply, status: number, ending: Ending): number {
    if (!route.recorded) return notRecorded
    const { request } = reply
    const recorded: RecordedRequest = { request, route, status, ending }
    for (let index = 0; index < this.#sources.length; index++) {
      const source = this.#sources[index]!
      this.#values[index] = typeof source === 'string'
        ? labelSources[source].read(recorded)
        : source.call(request, reply)
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
    if (!this.#hasOverflowed) this.#warnOfOverflow()
    for (const index of this.#functions) this.#values[index] = overflow
    const slot = this.#functions.length > 0 ? this.#index.find(this.#values) : undefined
    if (slot !== undefined) return slot
    if (this.#index.size >= this.#seriesLimit - 1) this.#values.fill(overflow, 0, this.#sources.length)
    return this.#index.slot(this.#values)
  }

  /** Warns of the first overflow, with the label that has most values, since it is what takes the room. */
  #warnOfOverflow (): void {
    this.#hasOverflowed = true
    const looked = Math.min(this.#index.size, longestLook)
    if (looked === 0) return this.#warnOfLimit(`all requests are counted as "${overflow}". Raise the limit`)
    const labelSets = Array.from({ length: looked }, (_, slot) => this.#index.labelSet(slot))
    const counts = this.#sources.map((_, label) => new Set(labelSets.map(values => values[label])).size)
    const most = counts.indexOf(Math.max(...counts))
    const source = this.#sources[most]
    const help = source instanceof Callback
      ? 'Let its function return one of a few values'
      : isRouteSource(source) ? 'Give routes names in common with the option "routes"' : 'Leave labels out'
    this.#warnOfLimit(`further requests are counted as "${overflow}". In ${looked} series the label ` +
      `"${this.#labelNames[most]}" has most values, ${counts[most]}. ${help}, or raise the limit`)
  }

  #warnOfLimit (problem: string): void {
    const { histogram, seriesLimit } = this.#config
    this.#warn(new FST_LATENCY_ERR_SERIES_LIMIT(histogram.name, seriesLimit, problem))
  }
}

/** The value of a label for what a label function has returned. */
const labelRule = `a string of at most ${longestValue} characters, a number, a boolean, null or undefined`

function readLabel (value: unknown): string | undefined {
  // On the wire all lone surrogates would become U+FFFD, and two series could become one.
  if (typeof value === 'string') return value.length <= longestValue ? value.toWellFormed() : undefined
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return value === undefined || value === null ? '' : undefined
}

/** Whether the value of a label is the name of the route. */
function isRouteSource (source: unknown): boolean {
  return source === 'route' || source === 'matched_route'
}

type RouteConfig = FastifyContextConfig & { [kRoute]?: RouteSeries }
