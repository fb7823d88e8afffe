import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import type { Registry } from 'prom-client'

declare module 'fastify' {
  interface FastifyInstance {
    /** What `fastify-latency` added to this application. */
    latency: fastifyLatency.Latency
  }

  interface FastifyContextConfig {
    /** `false` leaves the route out; `{ route: 'name' }` gives its `route` label another value. */
    latency?: false | fastifyLatency.RouteConfig
  }
}

type FastifyLatency = FastifyPluginAsync<fastifyLatency.Options> & { readonly openTelemetry: fastifyLatency.OpenTelemetryOptions }

declare namespace fastifyLatency {
  /** Every option has a default. Unknown names and wrong values are refused at registration with a coded error. */
  export interface Options {
    /**
     * The histogram that request latency is recorded into: its name, help and buckets.
     *
     * @default the defaults of its parts
     */
    histogram?: HistogramOptions

    /**
     * Label name → where its value comes from: see {@link LabelSource}. The names are the labels of the histogram, in this order; `{}` means
     * no labels.
     *
     * Names match `[a-zA-Z_][a-zA-Z0-9_]*`, do not begin with `__` (reserved by Prometheus) and are not `le` (reserved for histograms).
     *
     * @default { method: 'method', route: 'route', status_code: 'status' }
     */
    labels?: Record<string, LabelSource>

    /**
     * Label name → fixed value, on every series of this registration. Names follow the rules of `labels` and must not repeat one of them. An
     * empty value is, to Prometheus, a missing label.
     *
     * @default {}
     */
    constLabels?: Record<string, string>

    /**
     * Called when a request has ended; a request for which it returns true is not recorded. If it throws or does not return a boolean,
     * the request is recorded and the failure is reported once.
     *
     * @default none: every request is recorded
     */
    ignore?: (request: FastifyRequest, reply: FastifyReply) => boolean

    /**
     * How many series the histogram may have: an integer from 1. What comes after that is counted in a series whose label values are
     * `_OVERFLOW`, and in `fastify_latency_overflowed_total`. Values of label functions may fill half of the limit; beyond that they become
     * `_OVERFLOW` before any other label does, so that they cannot crowd out routes.
     *
     * @default 2000
     */
    seriesLimit?: number

    /**
     * The gauges `http_requests_in_flight{method,route}`, requests that wait for the rest of their reply, and
     * `http_long_lived_requests{method,route,kind}`, open event streams and upgraded connections.
     *
     * @default true
     */
    inFlight?: boolean

    /**
     * Status under which a request is recorded whose connection was gone before anything of its reply had been sent: a status code from 100
     * to 599, or `'reply'` for the one that Fastify had in store, usually 200. It is also counted in
     * `http_requests_aborted_total{phase="before_reply"}`.
     *
     * @default 499
     */
    abortedStatus?: number | 'reply'

    /**
     * A second histogram with the same labels: the time until the headers of the reply were sent. `true` for the default one, or what is to
     * be different about it.
     *
     * @default false
     */
    timeToFirstByte?: boolean | HistogramOptions

    /**
     * Where this plugin registers its histogram: a `Registry` of `prom-client`, or any object of the same shape, such as one of
     * `@prometheus-io/client`. It shows in `registry.metrics()` like any other metric, and is removed from this registry when the
     * application closes.
     *
     * @default a new `prom-client` Registry for the application
     */
    registry?: RegistryLike

    /**
     * Also serve `prom-client`'s default metrics of the process (CPU, memory, event loop, garbage collection). They are collected
     * once per process, however many applications it runs. Those that `promtool check metrics` objects to
     * (`nodejs_active_handles_total`, `_requests_total`, `_resources_total`) are left out.
     *
     * @default true
     */
    processMetrics?: boolean

    /**
     * The metrics server. `false` starts none, `true` is the default server. The first registration of an application decides; a later
     * one leaves this out or says the same.
     *
     * @default true
     */
    server?: boolean | ServerOptions

    /**
     * How scrapes are answered, on the metrics server and on `endpoint`. The first registration of an application decides; a later one leaves
     * this out or says the same.
     *
     * @default the defaults of its parts
     */
    scrape?: ScrapeOptions

    /**
     * Path of a route of the application itself that serves the metrics too, or instead with `server: false`. Begins with `/` and is literal:
     * without parameters, wildcards or a query. In a context with a prefix it is below the prefix. Requests to it are not recorded.
     *
     * @default none
     */
    endpoint?: string
  }

  export interface HistogramOptions {
    /**
     * Metric name. Matches `[a-zA-Z_:][a-zA-Z0-9_:]*`; by convention it ends in the unit, `_seconds`.
     *
     * @default 'http_request_duration_seconds'; of `timeToFirstByte` 'http_request_first_byte_seconds'
     */
    name?: string

    /**
     * The HELP text, not empty.
     *
     * @default 'Time from receiving a request to handing its reply to the operating system, in seconds.'; of `timeToFirstByte` 'Time from
     * receiving a request to sending the headers of its reply, in seconds.'
     */
    help?: string

    /**
     * Upper bounds of the buckets, in seconds: at least one finite number, strictly increasing. A bound is inclusive: a request of
     * exactly 0.1 s is in the bucket `le="0.1"`. The last bucket, `le="+Inf"`, is added by itself.
     *
     * @default [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
     */
    buckets?: readonly number[]
  }

  /**
   * - `'method'`: the request method. On a request that matches no route, a method outside RFC 9110, PATCH and QUERY is `_OTHER`.
   * - `'route'`: the route as declared, such as `/users/:id`; `unmatched` when no route matched. Never the URL.
   * - `'status'`: the status code, such as `404`; `_OTHER` outside 100–599.
   * - `'status_class'`: `1xx` to `5xx`; `_OTHER` outside them.
   * - `'matched_route'`: as `'route'`, but empty when no route matched.
   * - `'sent_status'`: as `'status'`, but empty when the connection was gone before anything was sent, whatever `abortedStatus` is.
   * - `'error_type'`: `aborted` if the connection was gone before all of the reply was sent, `timeout` or `malformed` if Node.js gave up on
   *   the rest of the request, else the status code if it is 500 or above; empty if there was no error.
   * - `'scheme'`: `http` or `https`. What a proxy says of its client counts if Fastify's `trustProxy` trusts it.
   * - `'protocol_version'`: that of HTTP, `1.0`, `1.1` or `2`; empty if it is another.
   * - a function: what it returns. See {@link LabelFunction}.
   *
   * To Prometheus, a label with an empty value is a missing one.
   */
  export type LabelSource =
    | 'method' | 'route' | 'status' | 'status_class'
    | 'matched_route' | 'sent_status' | 'error_type' | 'scheme' | 'protocol_version'
    | LabelFunction

  /**
   * Called when a request has ended. Return one of a small, fixed set of values: each new value is a new series.
   *
   * Numbers and booleans are turned into strings, null and undefined into the empty string (to Prometheus, a missing label). If it throws
   * or returns anything else, or more than 1024 characters, the value is `_INVALID`, the request is still recorded, and the failure is
   * reported once.
   */
  export type LabelFunction = (request: FastifyRequest, reply: FastifyReply) => string | number | boolean | null | undefined

  export interface ServerOptions {
    /**
     * Address or name to bind, not empty: `'127.0.0.1'`, `'::'`, `'localhost'` (both of its addresses).
     *
     * @default where the application listens: 'localhost' if it listens on loopback in both address families, '0.0.0.0' if it listens
     * on that, and so on; 'localhost' if the application is not listening on a network address
     */
    host?: string

    /**
     * TCP port, 0 to 65535. 0 lets the operating system choose; read it back from `app.latency.url`.
     *
     * The workers of a `node:cluster` have no default: each has counts of its own, and a scrape of a shared port would reach another one
     * each time. Give each worker a port.
     *
     * @default 8000; none in a worker of a `node:cluster`, which is warned of
     */
    port?: number

    /**
     * Path of the metrics. Begins with `/` and is literal: without parameters, wildcards or a query.
     *
     * @default '/metrics'
     */
    path?: string

    /**
     * A page at `/live`, for people: rates, quantiles and a heat map of the latency as it is now. It asks for the metrics once a second while
     * somebody looks at it, and costs nothing otherwise.
     *
     * @default true
     */
    live?: boolean

    /**
     * - `'listen'`: when the application listens, so `inject()` binds nothing. If the port cannot be bound the application keeps serving;
     *   the failure is logged as an error, emitted as a process warning, and binding is tried again after 1 s, then less and less often, at
     *   the least every 10 s, until it succeeds or the application closes.
     * - `'ready'`: before the application listens. If the port cannot be bound, `app.ready()` and `app.listen()` reject. Name `host` if it
     *   is not `'localhost'`: the application's own is not known yet.
     * - `'manual'`: when you call `app.latency.start()`.
     *
     * @default 'listen'
     */
    start?: 'listen' | 'ready' | 'manual'

    /**
     * Seconds, 0 to 3600, that closing waits for one more scrape once the application has answered its last request, so that no count is
     * lost with the process. A little more than the scrape interval is enough; together with the time that requests take, it has to be less
     * than the time that whatever ends the process allows.
     *
     * @default 0
     */
    lastScrapeSeconds?: number

    /**
     * Serve over TLS, 1.2 or newer.
     *
     * @default none: plain HTTP
     */
    https?: HttpsOptions

    /**
     * Who may read. Everything but `/healthz` and `/readyz` then asks for credentials; without, the answer is status 401.
     *
     * @default none: everyone who reaches the port
     */
    auth?: UserOptions | TokenOptions
  }

  /**
   * Names of PEM files. They are read at registration, which fails with `FST_LATENCY_ERR_CERTIFICATE` if they cannot be used, and again when
   * they have changed: a connection that comes after that gets the new certificate. If the new files cannot be used, the old certificate
   * stays, and each such change is warned of.
   */
  export interface HttpsOptions {
    /** The server's certificate, followed by those between it and its authority. */
    certFile: string

    /** Its private key, without a passphrase. */
    keyFile: string

    /**
     * Certificates of authorities. Then only clients with a certificate from one of them are answered (mutual TLS), probes included.
     *
     * @default none: clients need no certificate
     */
    clientCaFile?: string
  }

  /** Basic authentication (RFC 7617). */
  export interface UserOptions {
    /** User name → password; at least one. Neither is empty or has control characters, and a name has no colon. */
    users: Record<string, string>
    tokens?: never
  }

  /** Bearer tokens (RFC 6750). */
  export interface TokenOptions {
    /** Any of these will do, so that one can be replaced by another: at least one, of the characters `[A-Za-z0-9._~+/-]` and `=` at the end. */
    tokens: readonly string[]
    users?: never
  }

  export interface ScrapeOptions {
    /**
     * What becomes of a scrape when a metric cannot be read, because its `collect()` throws or is not done in time. Either way it is
     * logged as an error and counted in `fastify_latency_metric_errors_total{metric}`.
     *
     * - `'fail'`: the answer is status 500 and names the metric. Prometheus shows the target as down.
     * - `'continue'`: the other metrics are served.
     *
     * @default 'fail'
     */
    errorHandling?: 'fail' | 'continue'

    /**
     * How many scrapes may be answered at the same time: an integer from 1. One more is answered with status 503.
     *
     * @default 40
     */
    concurrency?: number

    /**
     * Seconds, above 0 and at most 3600, that a scrape may take to read metrics. A metric that is not there by then counts as failed. A
     * client that has not received its answer after twice that is disconnected. A scraper that says how long it waits, in
     * `X-Prometheus-Scrape-Timeout-Seconds`, gets its answer after nine tenths of that if it is less; less than 1 counts as 1.
     *
     * @default 10
     */
    timeoutSeconds?: number

    /**
     * In OpenMetrics, also tell when each series of this plugin began to count (`_created`). Prometheus 2 stores it as one more series each.
     *
     * @default false
     */
    created?: boolean
  }

  /** `config: { latency: … }` of a route. */
  export interface RouteConfig {
    /** Value of the `route` label, instead of the route as declared. */
    route: string
  }

  /** `code` of an error or warning of this plugin. README.md says what causes each, and what helps. */
  export type ErrorCode =
    | 'FST_LATENCY_ERR_OPTION_UNKNOWN'
    | 'FST_LATENCY_ERR_OPTION_INVALID'
    | 'FST_LATENCY_ERR_OPTION_CONFLICT'
    | 'FST_LATENCY_ERR_HISTOGRAM_CONFLICT'
    | 'FST_LATENCY_ERR_HISTOGRAM_RECORDED'
    | 'FST_LATENCY_ERR_CERTIFICATE'
    | 'FST_LATENCY_ERR_NAME_TAKEN'
    | 'FST_LATENCY_ERR_SERVER_LISTEN'
    | 'FST_LATENCY_ERR_CLUSTER_PORT'
    | 'FST_LATENCY_ERR_SERVER_CLOSED'
    | 'FST_LATENCY_ERR_SERVER_OFF'
    | 'FST_LATENCY_ERR_CALLBACK'
    | 'FST_LATENCY_ERR_NAME_HIDDEN'
    | 'FST_LATENCY_ERR_CONNECTION_LIMIT'
    | 'FST_LATENCY_ERR_METRIC_FAILED'

  /** `app.latency` */
  export interface Latency {
    /** The histogram of the application's first registration, as it is in the registry. */
    readonly histogram: Histogram

    /** The registry of the application's first registration: pass it in `registers` of your own metrics to serve them too. */
    readonly registry: Registry | RegistryLike

    /**
     * The metrics server's Fastify instance, or null with `server: false`. Add hooks, plugins and routes of your own before it starts. A
     * `/`, `/live`, `/healthz` or `/readyz` of yours takes the place of its own.
     */
    readonly server: FastifyInstance | null

    /** The address to scrape, such as `http://localhost:8000/metrics`; null while nothing listens. */
    readonly url: string | null

    /**
     * Starts the metrics server if it is not running yet, and resolves to `url`.
     *
     * Rejects with `FST_LATENCY_ERR_SERVER_LISTEN` if the port cannot be bound, `FST_LATENCY_ERR_CLUSTER_PORT` in a worker of a
     * `node:cluster` without a port of its own, `FST_LATENCY_ERR_SERVER_CLOSED` once the application closes, and
     * `FST_LATENCY_ERR_SERVER_OFF` with `server: false`.
     */
    start (): Promise<string>
  }

  /**
   * A histogram as metrics are in a `prom-client` registry. What names its labels have is known to TypeScript if it is told:
   *
   * ```ts
   * const options = { labels: { path: 'route' }, constLabels: { service: 'shop' } } satisfies Options
   * await app.register(latency, options)
   * const histogram = app.latency.histogram as Histogram<LabelName<typeof options>>   // 'path' | 'service'
   * ```
   */
  export interface Histogram<Name extends string = string> {
    readonly name: string
    readonly help: string
    readonly type: 'histogram'
    readonly aggregator: 'sum'
    /** Label names, those of `constLabels` last. */
    readonly labelNames: readonly Name[]
    /** Upper bounds in seconds, without the implied `+Inf`. */
    readonly buckets: readonly number[]
    /** All samples, with cumulative buckets. */
    get (): Promise<HistogramValues<Name>>
    /** Forgets everything recorded so far. Prometheus sees a counter reset. */
    reset (): void
  }

  export interface HistogramValues<Name extends string = string> {
    name: string
    help: string
    type: 'histogram'
    aggregator: 'sum'
    /** `metricName` is the histogram's name with `_bucket`, `_sum` or `_count`. Only buckets have the label `le`. */
    values: Array<{ metricName: string, labels: Record<Name, string> & { le?: string }, value: number }>
  }

  /** Names of the labels of a histogram that is registered with these options: `LabelName<typeof options>`. */
  export type LabelName<O extends Options = {}> = string & (
    | (O extends { labels: infer Labels } ? keyof Labels : 'labels' extends keyof O ? string : 'method' | 'route' | 'status_code')
    | (O extends { constLabels: infer Labels } ? keyof Labels : 'constLabels' extends keyof O ? string : never)
  )

  /** The part of a `prom-client` Registry that this plugin uses. */
  export interface RegistryLike {
    registerMetric (metric: any): void
    getSingleMetric (name: string): unknown
    removeSingleMetric (name: string): void
    getMetricsAsArray (): unknown[]
    getMetricsAsJSON (): Promise<unknown>
  }

  /**
   * Options with which the histogram is `http.server.request.duration` of OpenTelemetry's semantic conventions, as Prometheus writes it:
   * `http_server_request_duration_seconds`, with the conventions' attributes as labels and their recommended buckets, `0.005` to `10` seconds.
   *
   * ```ts
   * app.register(latency, openTelemetry)
   * app.register(latency, { ...openTelemetry, labels: { ...openTelemetry.labels, tenant }, server: { port: 9464 } })
   * ```
   */
  export const openTelemetry: OpenTelemetryOptions

  export interface OpenTelemetryOptions {
    readonly histogram: Readonly<Required<HistogramOptions>>
    readonly labels: {
      readonly http_request_method: 'method'
      readonly http_route: 'matched_route'
      readonly http_response_status_code: 'sent_status'
      readonly error_type: 'error_type'
      readonly url_scheme: 'scheme'
      readonly network_protocol_version: 'protocol_version'
    }
  }

  export const fastifyLatency: FastifyLatency
  export { fastifyLatency as default }
}

declare function fastifyLatency (...params: Parameters<FastifyLatency>): ReturnType<FastifyLatency>

export = fastifyLatency
