import type { FastifyContextConfig, FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { LabelFunction, LabelSource } from '../../index'
import { parseRouteConfig, type Config } from '../config'
import type { Ending } from '../http/endings'
import { describe, FST_LATENCY_ERR_CALLBACK, type ReportOnce } from '../errors'
import type { HistogramFamily } from '../histogram/family'
import { routeConfigOf } from './route-config'
import { schemeOf } from './scheme'

/** `route` of a request that matched none. No declared route can be called so: they begin with `/` or `*`. */
const unmatchedRoute = 'unmatched'

/** What OpenTelemetry's semantic conventions call a method that is not a known one; here also a status code that is none. */
const other = '_OTHER'

/** A label function failed. */
const invalid = '_INVALID'

/** RFC 9110 section 9, PATCH (RFC 5789), and QUERY. */
const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY'])

/** Label values that a request's route, method and status do not determine. Of each there are few. */
const varyingSources: readonly LabelSource[] = ['sent_status', 'error_type', 'scheme', 'protocol_version']

/** As Node.js writes them, and as HTTP calls them. */
const protocolVersions = ['1.1', '1.0', '2.0']
const protocolVersionLabels = ['1.1', '1.0', '2']

const errorTypes: Readonly<Partial<Record<Ending, string>>> = {
  aborted_before_reply: 'aborted', aborted_in_reply: 'aborted', timed_out: 'timeout', malformed: 'malformed'
}

const endings: readonly Ending[] = ['replied', 'aborted_before_reply', 'aborted_in_reply', 'timed_out', 'malformed']

const statusLabels = Array.from({ length: 600 }, (_, status) => status < 100 ? other : String(status))

const statusClassLabels = Array.from({ length: 600 }, (_, status) => status < 100 ? other : `${Math.floor(status / 100)}xx`)

/** Stands for what came after `seriesLimit` was reached. */
const overflow = '_OVERFLOW'

/** UTF-16 code units of a value that a label function may return. */
const longestValue = 1024

/** Where a route's `config` has what is known of the route. A WeakMap by `config` takes 15 ns longer. */
const kRoute = Symbol('fastify-latency.route')

/** Share of `seriesLimit` that label sets with values of label functions may fill. The rest is left to what the routes determine. */
const functionShare = 0.5

/** What `resolve()` answers for a request of a route with `config: { latency: false }`. */
export const notRecorded = -1

/**
 * Finds the series of a request. Its labels are worked out the first time that a route, method and status meet, and whatever else the labels
 * are about; from then on the slot is remembered in the route's `config`, an object that Fastify makes for each route and keeps. Only label
 * functions are called each time.
 */
export class SeriesResolver {
  readonly #family: HistogramFamily
  readonly #labelNames: readonly string[]
  readonly #sources: readonly LabelSource[]
  /** Indexes of the labels whose values functions return. */
  readonly #functions: readonly number[]
  /** Whether requests of the same route, method and status may have different labels, apart from those of functions. */
  readonly #varies: boolean
  /** Whether a label tells the scheme of a request, which has to be noted when it begins: see `noteSchemes()`. */
  readonly needsScheme: boolean
  readonly #seriesLimit: number
  readonly #functionLimit: number
  /** One value per label name, filled anew for each request; those of the constant labels come last and stay. */
  readonly #values: string[]
  readonly #report: ReportOnce
  readonly #onOverflow: () => void

  constructor (family: HistogramFamily, config: Config, report: ReportOnce, onOverflow: () => void) {
    this.#family = family
    this.#labelNames = Object.keys(config.labels)
    this.#sources = Object.values(config.labels)
    this.#functions = this.#sources.flatMap((source, index) => typeof source === 'function' ? [index] : [])
    this.needsScheme = this.#sources.includes('scheme')
    this.#varies = this.#sources.some(source => varyingSources.includes(source))
    this.#seriesLimit = config.seriesLimit
    this.#functionLimit = Math.floor(config.seriesLimit * functionShare)
    this.#values = [...this.#sources.map(() => ''), ...Object.values(config.constLabels)]
    this.#report = report
    this.#onOverflow = onOverflow
  }

  /** The slot of a request that ended like this, with this status, or `notRecorded`. */
  resolve (request: FastifyRequest, reply: FastifyReply, status: number, ending: Ending): number {
    const route = this.route(request)
    const outcome = this.#varies ? this.#outcome(request, status, ending) : status
    return route.find(request.method, outcome) ?? this.#resolveAnew(route, request, reply, status, ending, outcome)
  }

  /** What is known of the route that a request has now; `callNotFound()` changes it. */
  route (request: FastifyRequest): RouteSeries {
    const config = routeConfigOf(request) as RouteConfig
    let route = config[kRoute]
    while (route !== undefined && route.resolver !== this) route = route.next
    if (route === undefined) return this.#addRoute(config, request.routeOptions.url)
    route.renew(this.#family.epoch)
    return route
  }

  #addRoute (config: RouteConfig, url: string | undefined): RouteSeries {
    const { label, recorded } = this.#read(config, url ?? unmatchedRoute)
    const value = new RouteSeries(this, config[kRoute], label, url !== undefined, recorded, this.#family.epoch)
    // The options of `setNotFoundHandler()` are the user's own object, which may be frozen: then nothing is remembered.
    if (Object.isExtensible(config)) Object.defineProperty(config, kRoute, { value, writable: true })
    return value
  }

  #read (config: FastifyContextConfig, pattern: string): { label: string, recorded: boolean } {
    try {
      const { recorded, route } = parseRouteConfig(config)
      return { label: route ?? pattern, recorded }
    } catch (error) {
      // The route was declared before this plugin was registered, too early to be refused.
      this.#report(`config of ${pattern}`, error as FastifyError)
      return { label: pattern, recorded: true }
    }
  }

  /** Status, ending, scheme and protocol version in one number, since numbers are quick to compare. */
  #outcome (request: FastifyRequest, status: number, ending: Ending): number {
    const version = protocolVersions.indexOf(request.raw.httpVersion) + 1
    const encrypted = this.needsScheme && schemeOf(request) === 'https' ? 1 : 0
    return ((status * 4 + version) * 2 + encrypted) * 8 + endings.indexOf(ending)
  }

  #resolveAnew (route: RouteSeries, request: FastifyRequest, reply: FastifyReply, status: number, ending: Ending, outcome: number): number {
    if (!route.recorded) return notRecorded
    const method = route.method(request.method)
    this.#fill(route, method, status, ending, request, reply)
    const slot = this.#place()
    if (slot === undefined) return this.#overflow()
    // A client can invent any number of other methods.
    if (this.#functions.length === 0 && method === request.method) route.add(method, outcome, slot)
    return slot
  }

  #fill (route: RouteSeries, method: string, status: number, ending: Ending, request: FastifyRequest, reply: FastifyReply): void {
    for (let index = 0; index < this.#sources.length; index++) {
      const source = this.#sources[index]!
      switch (source) {
        case 'method': this.#values[index] = method; break
        case 'route': this.#values[index] = route.label; break
        case 'status': this.#values[index] = statusLabels[status] ?? other; break
        case 'status_class': this.#values[index] = statusClassLabels[status] ?? other; break
        case 'matched_route': this.#values[index] = route.label === unmatchedRoute ? '' : route.label; break
        case 'sent_status': this.#values[index] = ending === 'aborted_before_reply' ? '' : statusLabels[status] ?? other; break
        case 'error_type': this.#values[index] = errorTypes[ending] ?? (status < 500 ? '' : statusLabels[status] ?? other); break
        case 'scheme': this.#values[index] = schemeOf(request); break
        case 'protocol_version': this.#values[index] = protocolVersionLabels[protocolVersions.indexOf(request.raw.httpVersion)] ?? ''; break
        default: this.#values[index] = this.#call(this.#labelNames[index]!, source, request, reply)
      }
    }
  }

  /** The slot of the values that `#fill()` left; undefined if it would be one too many. Label functions may fill only a part of the limit. */
  #place (): number | undefined {
    const limit = this.#functions.length > 0 ? this.#functionLimit : this.#seriesLimit - 1
    return this.#family.find(this.#values) ?? (this.#family.size < limit ? this.#family.slot(this.#values) : undefined)
  }

  /**
   * The slot for values that found no place. Those of label functions give way first: a client may control them, and must not crowd out
   * routes. If there are still too many, all give way. One series of the limit is kept for that.
   */
  #overflow (): number {
    this.#onOverflow()
    for (const index of this.#functions) this.#values[index] = overflow
    const slot = this.#functions.length > 0 ? this.#family.find(this.#values) : undefined
    if (slot !== undefined) return slot
    if (this.#family.size >= this.#seriesLimit - 1) this.#values.fill(overflow, 0, this.#sources.length)
    return this.#family.slot(this.#values)
  }

  #call (name: string, source: LabelFunction, request: FastifyRequest, reply: FastifyReply): string {
    let value: unknown
    try {
      value = source(request, reply)
    } catch (error) {
      this.#report(name, new FST_LATENCY_ERR_CALLBACK(`labels.${name}`, describe(error)))
      return invalid
    }
    if (typeof value === 'string' && value.length <= longestValue) {
      // Lone surrogates would all become U+FFFD on the wire, and two series one.
      return value.toWellFormed()
    }
    if (typeof value === 'number' || typeof value === 'boolean') return String(value)
    if (value === undefined || value === null) return ''
    const returned = typeof value === 'string' ? `${value.length} characters; at most ${longestValue} are kept` : describe(value)
    this.#report(name, new FST_LATENCY_ERR_CALLBACK(`labels.${name}`, `it returned ${returned}`))
    return invalid
  }
}

type RouteConfig = FastifyContextConfig & { [kRoute]?: RouteSeries }

/** What one resolver knows of one route. */
export class RouteSeries {
  readonly resolver: SeriesResolver
  /** The same route, to another resolver. */
  readonly next: RouteSeries | undefined
  readonly label: string
  readonly recorded: boolean
  /** False for the handler of requests that match no route. */
  readonly #matched: boolean
  /** The family's when its slots were given out. */
  #epoch: number
  // The slots that its requests are recorded in, found by a linear search: a route has few outcomes and, unless it was declared for many, one
  // method. An outcome is a status, or what `SeriesResolver` makes of it.
  readonly #methods: string[] = []
  readonly #outcomes: number[] = []
  readonly #slots: number[] = []

  constructor (resolver: SeriesResolver, next: RouteSeries | undefined, label: string, matched: boolean, recorded: boolean, epoch: number) {
    this.resolver = resolver
    this.next = next
    this.label = label
    this.#matched = matched
    this.recorded = recorded
    this.#epoch = epoch
  }

  /** Forgets the slots, if those that were given out before this epoch are no longer valid. */
  renew (epoch: number): void {
    if (epoch === this.#epoch) return
    this.#epoch = epoch
    this.#methods.length = this.#outcomes.length = this.#slots.length = 0
  }

  /** Value of the `method` label. HTTP/2 lets a client invent methods; those that no route declares are all the same. */
  method (method: string): string {
    return this.#matched || knownMethods.has(method) ? method : other
  }

  find (method: string, outcome: number): number | undefined {
    for (let index = 0; index < this.#slots.length; index++) {
      if (this.#outcomes[index] === outcome && this.#methods[index] === method) return this.#slots[index]
    }
    return undefined
  }

  add (method: string, outcome: number, slot: number): void {
    this.#methods.push(method)
    this.#outcomes.push(outcome)
    this.#slots.push(slot)
  }
}
