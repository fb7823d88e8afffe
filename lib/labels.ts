import type { FastifyContextConfig, FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { LabelFunction, LabelSource } from '../index'
import { parseRouteConfig, type Config } from './config'
import { describe, FST_LATENCY_ERR_CALLBACK, type ReportOnce } from './errors'
import type { HistogramFamily } from './histogram/family'

/** `route` of a request that matched none. No declared route can be called so: they begin with `/` or `*`. */
const unmatchedRoute = 'unmatched'

/** What OpenTelemetry's semantic conventions call a method that is not a known one; here also a status code that is none. */
const other = '_OTHER'

/** A label function failed. */
const invalid = '_INVALID'

/** RFC 9110 section 9, PATCH (RFC 5789), and QUERY. */
const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY'])

const statusLabels = Array.from({ length: 600 }, (_, status) => status < 100 ? other : String(status))

const statusClassLabels = Array.from({ length: 600 }, (_, status) => status < 100 ? other : `${Math.floor(status / 100)}xx`)

/** What `resolve()` answers for a request of a route with `config: { latency: false }`. */
export const notRecorded = -1

/**
 * Finds the series of a request. Its labels are worked out the first time that a route, method and status meet; from then on the slot is
 * remembered under the route's `config` object, which Fastify keeps for the life of the route. Only label functions are called each time.
 */
export class SeriesResolver {
  readonly #family: HistogramFamily
  readonly #labelNames: readonly string[]
  readonly #sources: readonly LabelSource[]
  readonly #hasFunctions: boolean
  /** One value per label name, filled anew for each request; those of the constant labels come last and stay. */
  readonly #values: string[]
  readonly #report: ReportOnce
  #routes = new WeakMap<object, RouteSeries>()
  #epoch: number

  constructor (family: HistogramFamily, config: Config, report: ReportOnce) {
    this.#family = family
    this.#labelNames = Object.keys(config.labels)
    this.#sources = Object.values(config.labels)
    this.#hasFunctions = this.#sources.some(source => typeof source === 'function')
    this.#values = [...this.#sources.map(() => ''), ...Object.values(config.constLabels)]
    this.#report = report
    this.#epoch = family.epoch
  }

  /** The slot of a request that has its reply, or `notRecorded`. */
  resolve (request: FastifyRequest, reply: FastifyReply): number {
    if (this.#epoch !== this.#family.epoch) {
      this.#routes = new WeakMap()
      this.#epoch = this.#family.epoch
    }
    // Fastify builds `routeOptions` anew at every access: read it once.
    const { config, url } = request.routeOptions
    let route = this.#routes.get(config)
    if (route === undefined) this.#routes.set(config, route = this.#createRoute(config, url))
    if (!route.recorded) return notRecorded

    // HTTP/2 lets a client invent methods. Those that no route declares must not fill the route's memory.
    const method = route.matched || knownMethods.has(request.method) ? request.method : other
    const status = reply.statusCode
    if (this.#hasFunctions) {
      this.#fill(route, method, status, request, reply)
      return this.#family.slot(this.#values)
    }
    let slot = route.find(method, status)
    if (slot === undefined) {
      this.#fill(route, method, status, request, reply)
      slot = this.#family.slot(this.#values)
      route.add(method, status, slot)
    }
    return slot
  }

  #createRoute (config: FastifyContextConfig, url: string | undefined): RouteSeries {
    const pattern = url ?? unmatchedRoute
    try {
      const { recorded, route } = parseRouteConfig(config)
      return new RouteSeries(route ?? pattern, url !== undefined, recorded)
    } catch (error) {
      // The route was declared before this plugin was registered, too early to be refused.
      this.#report(`config of ${pattern}`, error as FastifyError)
      return new RouteSeries(pattern, url !== undefined, true)
    }
  }

  #fill (route: RouteSeries, method: string, status: number, request: FastifyRequest, reply: FastifyReply): void {
    for (let index = 0; index < this.#sources.length; index++) {
      const source = this.#sources[index]!
      switch (source) {
        case 'method': this.#values[index] = method; break
        case 'route': this.#values[index] = route.label; break
        case 'status': this.#values[index] = statusLabels[status] ?? other; break
        case 'status_class': this.#values[index] = statusClassLabels[status] ?? other; break
        default: this.#values[index] = this.#call(this.#labelNames[index]!, source, request, reply)
      }
    }
  }

  #call (name: string, source: LabelFunction, request: FastifyRequest, reply: FastifyReply): string {
    let value: unknown
    try {
      value = source(request, reply)
    } catch (error) {
      this.#report(name, new FST_LATENCY_ERR_CALLBACK(`labels.${name}`, describe(error)))
      return invalid
    }
    // Lone surrogates would all become U+FFFD on the wire, and two series one.
    if (typeof value === 'string') return value.toWellFormed()
    if (typeof value === 'number' || typeof value === 'boolean') return String(value)
    if (value === undefined || value === null) return ''
    this.#report(name, new FST_LATENCY_ERR_CALLBACK(`labels.${name}`, `it returned ${describe(value)}`))
    return invalid
  }
}

/**
 * The slots of one route, found by a linear search: a route has few statuses and, unless it was declared for many, one method.
 */
class RouteSeries {
  readonly label: string
  /** False for the handler of requests that match no route. */
  readonly matched: boolean
  readonly recorded: boolean
  readonly #methods: string[] = []
  readonly #statuses: number[] = []
  readonly #slots: number[] = []

  constructor (label: string, matched: boolean, recorded: boolean) {
    this.label = label
    this.matched = matched
    this.recorded = recorded
  }

  find (method: string, status: number): number | undefined {
    for (let index = 0; index < this.#slots.length; index++) {
      if (this.#statuses[index] === status && this.#methods[index] === method) return this.#slots[index]
    }
    return undefined
  }

  add (method: string, status: number, slot: number): void {
    this.#methods.push(method)
    this.#statuses.push(status)
    this.#slots.push(slot)
  }
}
