import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { Registry } from 'prom-client'

declare module 'fastify' {
  interface FastifyInstance {
    /** What `fastify-latency` has added to this application. */
    latency: fastifyLatency.Latency
  }

  interface FastifyContextConfig {
    /**
     * `false`: requests of the route are not recorded. `{ route: 'name' }`: the `route` label of the route has this
     * value.
     */
    latency?: false | fastifyLatency.RouteConfig
  }
}

type FastifyLatency = FastifyPluginAsync<fastifyLatency.Options> & {
  readonly openTelemetry: fastifyLatency.OpenTelemetryOptions
}

declare namespace fastifyLatency {
  /** Every option has a default. Unknown names and wrong values are refused at registration with a coded error. */
  export interface Options {
    /**
     * The histogram of request latency: its name, help and buckets.
     *
     * @default the defaults of its parts
     */
    histogram?: LatencyOptions

    /**
     * Label name → source of its value, see {@link LabelSource}. The histogram has these labels, in this order. `{}`
     * means no labels.
     *
     * Names match `[a-zA-Z_][a-zA-Z0-9_]*`, do not begin with `__` (reserved by Prometheus) and are not `le` (reserved
     * for histograms).
     *
     * @default { method: 'method', route: 'route', status_code: 'status' }
     */
    labels?: Record<string, LabelSource>

    /**
     * Label name → fixed value, on every series of this registration. Names follow the rules of `labels`, and none of
     * them is in `labels` too. To Prometheus, a label with an empty value is a missing label.
     *
     * @default {}
     */
    constLabels?: Record<string, string>

    /**
     * The name of each route, for many routes at once: the value of its `route` label in place of the route as
     * declared. `false` leaves the route out, and undefined leaves it as it is. The function is called once for each
     * route while it is declared, and also for the HEAD route that Fastify adds to a GET route. It is not called for a
     * route whose `config.latency` says something, because that is stronger.
     *
     * If the function throws or returns anything else, an empty string, or more than 1024 characters, the route is
     * refused with `FST_LATENCY_ERR_CALLBACK`. For a route that was declared before this plugin was registered, the
     * function is called when the first request comes. A failure is then warned of, and the route recorded as declared.
     *
     * @default none: routes are recorded as they are declared
     */
    routes?: (route: DeclaredRoute) => string | false | undefined

    /**
     * Called once for each request, when the request has ended. If `timeToFirstByte` is on, and the reply is an event
     * stream, which may never end by itself, it is called when the headers of the reply have been sent. A request for
     * which it returns true is not recorded. One for which it returns false, null or nothing is recorded. If it throws,
     * or returns anything else, such as a promise, the request is recorded, and the failure is warned of once. It
     * may be called outside the request, as label functions may: see {@link LabelFunction}.
     *
     * @default none: every request is recorded
     */
    ignore?: (request: FastifyRequest, reply: FastifyReply) => boolean | null | undefined

    /**
     * The methods that label `'method'` tells apart on requests that match no route, in place of all of the defaults:
     * at least one, in capital letters. Any other method of such a request is `_OTHER`, since HTTP/2 clients can invent
     * methods. A route is recorded with the methods that it is declared for.
     *
     * @default ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY']
     */
    knownMethods?: readonly string[]

    /**
     * How many series the histogram may have: an integer from 1. Requests that would need a further series are counted
     * in one series whose label values are `_OVERFLOW`, which is part of the limit, and in
     * `fastify_latency_overflowed_total`. Values of label functions may fill half of the limit. Beyond that half they
     * become `_OVERFLOW` while the other labels keep their values, so that label functions cannot crowd out routes. All
     * histograms of a registration have the same series, to which the limit applies once. The first overflow is warned
     * of, and so are declared routes that cannot fit, when the application starts.
     *
     * @default 2000
     */
    seriesLimit?: number

    /**
     * Whether to serve three gauges of open requests: `http_requests_in_flight{method,route}` counts requests that wait
     * for the rest of their reply, `http_request_oldest_seconds{method,route}` is the age of the oldest of these, and
     * `http_long_lived_requests{method,route,kind}` counts open event streams and upgraded connections. They are read
     * when they are scraped, and cost a request nothing.
     *
     * @default true
     */
    inFlight?: boolean

    /**
     * The status of a request whose connection closed before anything of the reply had been sent. It is a status code
     * from 100 to 599, or `'reply'` for the status that Fastify would have sent, usually 200. Such a request is also
     * counted in `http_requests_aborted_total{phase="before_reply"}`.
     *
     * @default 499
     */
    abortedStatus?: number | 'reply'

    /**
     * A second histogram with the same labels: the time until the headers of the reply were sent, in seconds. `true`
     * turns it on with its defaults, and an object with other values for parts of it.
     *
     * @default false
     */
    timeToFirstByte?: boolean | HistogramOptions

    /**
     * A histogram with the same labels of how large the bodies of requests were, in bytes as they were received:
     * compressed, and without the framing of chunks. A request without a body has 0. One whose body was not received to
     * its end is in the histogram of latency only.
     *
     * @default false
     */
    requestSize?: boolean | HistogramOptions

    /**
     * A histogram with the same labels of how large the bodies of replies were, in bytes as they were sent: compressed,
     * and without the framing of chunks. A reply without a body has 0. One that was not sent to its end, one with
     * another length than its head says, an event stream, and an answer written to the connection past the reply are
     * not in this histogram.
     *
     * @default false
     */
    responseSize?: boolean | HistogramOptions

    /**
     * A histogram of how long requests waited for a busy event loop before it received them, in seconds. No other
     * latency has this time: every clock starts when the router gets a request. It is an estimate, from when the event
     * loop was told which connections can be read; a request of `inject()` has none. The wait is that of the loop and
     * not of a route, so that the histogram has no labels but `constLabels` and those of `labels`. Event streams,
     * upgrades and what `ignore` leaves out are not in it. With `header` the wait before the process is in it too.
     * `true` turns it on with its defaults. Costs a request less than a microsecond, and `header` as much again.
     *
     * @default false
     */
    queueTime?: boolean | QueueTimeOptions

    /**
     * Whether to count for how long the event loop was busy while requests were open, in seconds, as
     * `http_request_busy_seconds_total{method,route}`. It does not matter with whose work. What an earlier hook holds a
     * request up for is not in it. Divided by the sum of the latency histogram, it is near 1 where requests take
     * processor time or wait for that of others, and near 0 where they wait for a database or another service. If the
     * latency begins at the arrival, what requests waited for the event loop is busy time too.
     *
     * @default false
     */
    busyTime?: boolean

    /**
     * Which requests become exemplars: examples of a bucket, whose labels usually name a trace. Of each bucket of each
     * series, the latest is kept, with its time. They are in OpenMetrics and in Protocol Buffers.
     *
     * `true`: the requests of sampled traces, with the labels `trace_id` and `span_id`. These are of the span that was
     * active when the request began or, if none was, when it ended, if an SDK of OpenTelemetry is there, or else those
     * that the client has sent in a valid `traceparent` (W3C Trace Context). A function: the requests for which it
     * returns labels, see {@link ExemplarFunction}.
     *
     * @default false
     */
    exemplars?: boolean | ExemplarFunction

    /**
     * The registry in which this plugin registers its histogram: a `Registry` of `prom-client`, or any object of the
     * same shape, such as one of `@prometheus-io/client`. `registry.metrics()` shows the histogram like any other
     * metric. When the application closes, the histogram is removed from this registry. When the registry was cleared,
     * the next scrape puts the histogram back.
     *
     * @default a new `prom-client` Registry for the application
     */
    registry?: RegistryLike

    /**
     * Whether to serve `prom-client`'s default metrics of the process too (CPU, memory, event loop, garbage
     * collection). They are collected once per process, however many applications the process runs.
     *
     * `nodejs_active_handles`, `nodejs_active_requests` and `nodejs_active_resources` are left out: each of them reads
     * all handles, requests or resources of the process in one go, which holds up the event loop for 5 to 15 ms with
     * 10,000 connections. Their sums, whose names end in `_total`, are left out too, because they are gauges with the
     * names of counters, to which `promtool check metrics` objects.
     *
     * @default true
     */
    processMetrics?: boolean

    /**
     * The metrics server. `true` is a server with the default options, and `false` means no server. The first
     * registration of an application decides. A later registration leaves this option out or gives the same value;
     * another value is refused.
     *
     * @default true
     */
    server?: boolean | ServerOptions

    /**
     * How scrapes are answered, on the metrics server and on `endpoint`. The first registration of an application
     * decides. A later registration leaves this option out or gives the same value; another value is refused.
     *
     * @default the defaults of its parts
     */
    scrape?: ScrapeOptions

    /**
     * The path of a route of the application itself that serves the metrics, in addition to the metrics server or, with
     * `server: false`, instead of it. The path begins with `/` and is literal: it has no parameters, wildcards or
     * query. In a context with a prefix it is below the prefix. Requests to this route are not recorded.
     *
     * @default none
     */
    endpoint?: string
  }

  export interface HistogramOptions {
    /**
     * The name of the metric. It matches `[a-zA-Z_:][a-zA-Z0-9_:]*`; by convention it ends in the unit, `_seconds`, and
     * one that ends in another unit of time is warned of. Neither the name nor the name with `_bucket`, `_sum`,
     * `_count` or `_created` is that of another metric of this plugin, or of one of its samples.
     *
     * @default 'http_request_duration_seconds'; of `timeToFirstByte` 'http_request_first_byte_seconds'; of `queueTime`
     * 'http_request_queue_seconds'; of `requestSize` 'http_server_request_body_size_bytes'; of `responseSize`
     * 'http_server_response_body_size_bytes'
     */
    name?: string

    /**
     * The HELP text of the metric. It must not be empty.
     *
     * @default 'Time from receiving a request to handing its reply to the operating system, in seconds.'; of
     * `timeToFirstByte` 'Time from receiving a request to sending the headers of its reply, in seconds.'; of
     * `queueTime` 'Estimated time for which requests waited before the router received them, in seconds.'; of
     * `requestSize` 'Size of the bodies of requests as they were received, in bytes.'; of `responseSize` 'Size of the
     * bodies of replies as they were sent, in bytes.'
     */
    help?: string

    /**
     * The upper bounds of the buckets, in seconds or, of sizes, in bytes: at least one finite number, strictly
     * increasing. A bound is inclusive: a request of exactly 0.1 s is in the bucket `le="0.1"`. The last bucket,
     * `le="+Inf"`, is added automatically. Bounds of times that look like milliseconds are warned of: the first is at
     * least 1, and the last 100.
     *
     * @default [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]; of `requestSize`
     * [64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216]; of `responseSize`
     * [64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216]
     */
    buckets?: readonly number[]

    /**
     * Whether the histogram has native buckets too, which are much finer. `true` turns them on with their defaults.
     * Only Protocol Buffers have them: in text and in OpenMetrics, and in the registry, nothing changes.
     * docs/native-histograms.md says what to set in Prometheus.
     *
     * @default false
     */
    native?: boolean | NativeOptions
  }

  export interface NativeOptions {
    /**
     * The resolution, an integer from -4 to 8: there are `2^schema` buckets between one power of two and the next. With
     * 3, each bucket is 9 % wider than the one before it, and a quantile is off by less than that.
     *
     * @default 3
     */
    schema?: number

    /**
     * How many buckets a series may have: an integer from 10 to 1000. A series that needs more has its resolution
     * halved, by which no count is lost. So has a series that needs one and a half times as many together with the
     * empty buckets between them: with the defaults, one whose longest time is more than a billion times its shortest.
     *
     * @default 160
     */
    maxBuckets?: number
  }

  export interface LatencyOptions extends HistogramOptions {
    /**
     * When the latency of a request begins: when the router gets it, or at its estimated arrival. From `'arrival'`, it
     * is what the client waited, without the network: the time for which the request waited for a busy event loop is in
     * it. See `queueTime`.
     *
     * @default 'router'
     */
    from?: 'router' | 'arrival'
  }

  export interface QueueTimeOptions extends HistogramOptions {
    /**
     * The labels of the histogram: label names, and where their values come from.
     *
     * @default {}
     */
    labels?: Readonly<Record<string, LabelSource>>

    /**
     * The header in which a proxy or load balancer says when it received a request, such as `'x-request-start'`. What
     * a request has waited is then counted from that moment, as one time: before the process, and for the event loop.
     * The header has seconds, milliseconds or microseconds since 1970, behind `t=` or not, or is `X-Amzn-Trace-Id`. It
     * is read only if Fastify's `trustProxy` trusts the sender; without `trustProxy` the first request is warned of.
     *
     * A time that is more than 10 ms ahead of the clock of this machine, or more than 60 s ago, is not believed, and
     * the wait for the event loop alone is counted. Such a time, and a value in no known form, is counted in
     * `fastify_latency_queue_header_refused_total{reason}`, and warned of once. A time in whole seconds counts as the
     * end of its second, so that no wait is counted that was none.
     *
     * @default none
     */
    header?: string
  }

  /**
   * Where the value of a label comes from:
   *
   * - `'method'`: the request method. On a request that matches no route, a method that is not in `knownMethods` is
   *   `_OTHER`.
   * - `'route'`: the route as declared, such as `/users/:id`; `unmatched` if no route matched, or if the handler called
   *   `reply.callNotFound()`. It is never the URL.
   * - `'status'`: the status code, such as `404`; `_OTHER` for a status outside 100–599.
   * - `'status_class'`: `1xx` to `5xx`; `_OTHER` for a status outside 100–599.
   * - `'matched_route'`: as `'route'`, but empty if no route matched.
   * - `'sent_status'`: as `'status'`, but empty if the connection closed before anything was sent, whatever
   *   `abortedStatus` is.
   * - `'error_type'`: `aborted` if the connection closed before all of the reply was sent; `timeout` or `malformed` if
   *   Node.js gave up on the rest of the request; otherwise the status code if it is 500 or above; empty if there was
   *   no error.
   * - `'scheme'`: `http` or `https`. If Fastify's `trustProxy` trusts a proxy, it is the scheme that the proxy says its
   *   client used.
   * - `'protocol_version'`: the version of HTTP, `1.0`, `1.1` or `2`; empty for any other version.
   * - a function: the value that the function returns. See {@link LabelFunction}.
   *
   * To Prometheus, a label with an empty value is a missing label.
   */
  export type LabelSource =
    | 'method' | 'route' | 'status' | 'status_class'
    | 'matched_route' | 'sent_status' | 'error_type' | 'scheme' | 'protocol_version'
    | LabelFunction

  /**
   * A function that returns the value of a label. It should return one of a small, fixed set of values, because each
   * new value is a new series.
   *
   * It is called once for each request, when the request has ended. If `timeToFirstByte` is on, and the reply is an
   * event stream, which may never end by itself, it is called when the headers of the reply have been sent.
   *
   * It is called where the request ends, and that may be outside of it: an `AsyncLocalStorage` is empty when the client
   * has left, and in HTTP/2; of pipelined requests it may be that of another one. What the function needs is best kept
   * on the request itself, as a property that `app.decorateRequest()` has declared.
   *
   * Numbers and booleans become strings. Null and undefined become the empty string, which to Prometheus is a missing
   * label. If the function throws, or returns anything else or more than 1024 characters, the value is `_INVALID`. The
   * request is recorded nevertheless, and the failure is warned of once.
   */
  export type LabelFunction = (
    request: FastifyRequest, reply: FastifyReply
  ) => string | number | boolean | null | undefined

  /**
   * A function that returns the labels of a request's exemplars, or undefined if the request is to be none. Names match
   * `[a-zA-Z_][a-zA-Z0-9_]*`, values are strings, and all of them together have at most 128 characters.
   *
   * It is called when the functions of labels are called, once for each request that is recorded. If it throws or
   * returns anything else, the request is recorded without an exemplar, and the failure is warned of once.
   */
  export type ExemplarFunction = (
    request: FastifyRequest, reply: FastifyReply
  ) => Readonly<Record<string, string>> | undefined

  /** What the page at `/live` shows beside what it always shows. */
  export interface LiveOptions {
    /**
     * An objective for the latency of the first registration: `share` of the requests, above 0 and below 1, take
     * `latency` seconds or less, whatever their status. `latency` is one of `histogram.buckets`. The page shows how
     * fast the budget of requests that may take longer is being used up, over 5 minutes and an hour, by the formula of
     * the alerts in `example/monitoring`. The counts are then read every 10 seconds, even while nobody looks.
     *
     * @default none
     */
    objective?: { latency: number, share: number }

    /**
     * Where the trace of an exemplar is shown: an `http` or `https` URL with names of labels in braces behind the host,
     * such as `'https://traces.example/trace/{trace_id}'`. The labels of `exemplars: true` are `trace_id` and
     * `span_id`; a function has labels of its own. Their values are percent-encoded. An exemplar without one of the
     * labels has no link. With `exemplars` the page lists the slowest requests of the last 5 minutes.
     *
     * @default none
     */
    traceUrl?: string
  }

  /** What the option `routes` is told of a route: its options, with the prefix of its context in `url`. */
  export type DeclaredRoute = Pick<RouteOptions, 'method' | 'url' | 'config' | 'schema'>

  export interface ServerOptions {
    /**
     * The address or name to bind, such as `'127.0.0.1'`, `'::'` or `'localhost'` (both of its addresses), without
     * scheme, port or path.
     *
     * @default where the application listens: 'localhost' if it listens on loopback in both address families, '0.0.0.0'
     * if it listens on that, and so on; 'localhost' if the application is not listening on a network address
     */
    host?: string

    /**
     * The TCP port, 0 to 65535. With 0 the operating system chooses a port, which is then in `app.latency.url`.
     *
     * There is no default in a worker of a `node:cluster` with `group: false`. Such a worker has its own counts, and
     * every scrape of a shared port would reach another worker. Give each worker a port.
     *
     * @default 8000; none in a worker of a `node:cluster` with `group: false`, which is warned of
     */
    port?: number

    /**
     * The absolute path of a Unix socket to listen on, instead of `host` and `port`: `'/run/app/metrics.sock'`. At most
     * 103 bytes; not on Windows, and without `https`. Its folder has to exist. Who may write to the file may read the
     * metrics: its mode follows from the umask of the process. Closing removes it. One that a killed process has left
     * behind is replaced; a file that is no socket, or whose server answers, is not, which is handled like a port that
     * is taken. `app.latency.url` is then `'http+unix://%2Frun%2Fapp%2Fmetrics.sock/metrics'`.
     *
     * @default none
     */
    socket?: string

    /**
     * The name of a group: processes and threads of one user, on one machine, that answer scrapes as one. One of them
     * has the port, and each scrape there is of all of them; when it goes, another one takes its place. Counters and
     * histograms go on when a process dies. When all have gone, the next group begins at zero.
     *
     * Workers of a `node:cluster`, and threads of `worker_threads`, are a group by themselves, if they run the same
     * program with the same `host` and `port`, and the port is not 0, or with the same `socket`. With PM2 in cluster
     * mode, it is the name of the application that they have in common. Other processes, as with PM2 in fork mode, give
     * a name of at most 200 characters. `false`: the server answers for its own process alone.
     *
     * The members meet in a directory of their own in that of temporary files (`os.tmpdir()`), which nobody else may
     * be able to replace: `FST_LATENCY_ERR_GROUP_DIRECTORY`. Groups need Unix sockets, and are not made on Windows: the
     * default is `false` there, and a name has no effect, which a line in the log says.
     *
     * @default workers and threads are a group by themselves, but not on Windows; other processes are in none
     */
    group?: string | false

    /**
     * The path of the metrics. It begins with `/` and is literal: it has no parameters, wildcards or query. It is not
     * `/healthz` or `/readyz`, nor, unless `live` is false, `/live` or below that. With `/` the metrics take the place
     * of the page there.
     *
     * @default '/metrics'
     */
    path?: string

    /**
     * Whether to serve a page at `/live`, for people: rates, quantiles, a heat map, how requests ended, and a table by
     * route, since the start and as they are now. While somebody looks, the counts are read once a second. Otherwise
     * the page costs nothing. An object says what else it shows.
     *
     * @default true
     */
    live?: boolean | LiveOptions

    /**
     * When the metrics server starts:
     *
     * - `'listen'`: when the application listens. Nothing is bound for `inject()`. If the port cannot be bound, the
     *   application keeps serving. The failure is logged as an error and emitted as a process warning, once. Binding is
     *   tried again after 1, 2, 4 and 8 seconds and then every 10 seconds, until it succeeds or the application closes.
     *   Neither `app.listen()` nor hooks wait for it; `await app.latency.start()` does.
     * - `'ready'`: before the application listens. If the port cannot be bound, `app.ready()` and `app.listen()`
     *   reject. Give `host` if it is not `'localhost'`, because it is not known yet where the application will listen.
     * - `'manual'`: when you call `app.latency.start()`.
     *
     * @default 'listen'
     */
    start?: 'listen' | 'ready' | 'manual'

    /**
     * How long closing waits for one more scrape, in seconds, 0 to 3600. The wait begins when the application has
     * answered its last request, so that no count is lost with the process. A little more than the scrape interval is
     * enough. Whatever ends the process has to allow this time and the time of the last requests together.
     *
     * @default 0
     */
    lastScrapeSeconds?: number

    /**
     * Serves the metrics over TLS, version 1.2 or newer.
     *
     * @default none: plain HTTP
     */
    https?: HttpsOptions

    /**
     * Who may read the metrics. Every path but `/healthz` and `/readyz` then needs credentials. A request without valid
     * credentials is answered with status 401.
     *
     * @default none: everyone who reaches the port
     */
    auth?: UserOptions | TokenOptions
  }

  /**
   * The names of PEM files. The files are read at registration, which fails with `FST_LATENCY_ERR_CERTIFICATE` if they
   * cannot be used. They are read again when they have changed: a connection that comes after the change gets the new
   * certificate. If the new files cannot be used, the old certificate stays, and each such change is warned of.
   */
  export interface HttpsOptions {
    /** The server's certificate, followed by the certificates between it and its authority. */
    certFile: string

    /** The private key of the certificate, without a passphrase. */
    keyFile: string

    /**
     * The certificates of the authorities that sign clients' certificates. Only clients with a certificate from one of
     * these authorities are answered (mutual TLS). This also holds for probes.
     *
     * @default none: clients need no certificate
     */
    clientCaFile?: string
  }

  /** Basic authentication (RFC 7617). */
  export interface UserOptions {
    /**
     * User name → password, at least one. Names and passwords are not empty and have no control characters. A name has
     * no colon.
     */
    users: Record<string, string>
    tokens?: never
  }

  /** Bearer tokens (RFC 6750). */
  export interface TokenOptions {
    /**
     * The tokens, of which any one is accepted, so that a token can be replaced without a gap. There is at least one. A
     * token consists of the characters `[A-Za-z0-9._~+/-]`, with `=` only at its end.
     */
    tokens: readonly string[]
    users?: never
  }

  export interface ScrapeOptions {
    /**
     * What happens to a scrape when a metric cannot be read, because its `collect()` throws or takes too long. In both
     * cases the failure is warned of once for each metric, and counted in
     * `fastify_latency_metric_errors_total{metric}`. A metric that was read, and that readers would refuse, is left out
     * in both cases, warned of and counted.
     *
     * - `'fail'`: the answer is status 500 and names the metric. Prometheus shows the target as down.
     * - `'continue'`: the other metrics are served.
     *
     * @default 'fail'
     */
    errorHandling?: 'fail' | 'continue'

    /**
     * How many scrapes may be answered at the same time: an integer from 1. A further scrape is answered with status
     * 503.
     *
     * @default 40
     */
    concurrency?: number

    /**
     * How long a scrape may take to read metrics, in seconds, above 0 and at most 3600. A metric that has not been read
     * by then counts as failed. A client that has not received its whole answer after twice this time is disconnected.
     *
     * A scraper may say in `X-Prometheus-Scrape-Timeout-Seconds` how long it waits; less than 1 counts as 1. If nine
     * tenths of that time are less than this option, they are used instead.
     *
     * @default 10
     */
    timeoutSeconds?: number

    /**
     * Whether OpenMetrics says when each series of this plugin began to count (`_created`). Prometheus stores it as one
     * more series each.
     *
     * @default false
     */
    created?: boolean
  }

  /** The object form of `config: { latency: … }` of a route. */
  export interface RouteConfig {
    /** The value of the route's `route` label, in place of the route as declared. */
    route: string
  }

  /** The `code` of an error or warning of this plugin. docs/errors.md says for each what causes it, and what helps. */
  export type ErrorCode =
    | 'FST_LATENCY_ERR_NOT_REGISTERED'
    | 'FST_LATENCY_ERR_DECORATOR_TAKEN'
    | 'FST_LATENCY_ERR_REGISTRATION_FAILED'
    | 'FST_LATENCY_ERR_OPTION_UNKNOWN'
    | 'FST_LATENCY_ERR_OPTION_INVALID'
    | 'FST_LATENCY_ERR_OPTION_CONFLICT'
    | 'FST_LATENCY_ERR_HISTOGRAM_CONFLICT'
    | 'FST_LATENCY_ERR_HISTOGRAM_RECORDED'
    | 'FST_LATENCY_ERR_CERTIFICATE'
    | 'FST_LATENCY_ERR_NAME_TAKEN'
    | 'FST_LATENCY_ERR_SERVER_LISTEN'
    | 'FST_LATENCY_ERR_CLUSTER_PORT'
    | 'FST_LATENCY_ERR_GROUP_DIRECTORY'
    | 'FST_LATENCY_ERR_GROUP_FAILED'
    | 'FST_LATENCY_ERR_GROUP_UNKNOWN'
    | 'FST_LATENCY_ERR_SERVER_CLOSED'
    | 'FST_LATENCY_ERR_SERVER_OFF'
    | 'FST_LATENCY_ERR_CALLBACK'
    | 'FST_LATENCY_ERR_QUEUE_HEADER'
    | 'FST_LATENCY_ERR_REQUEST_UNREADABLE'
    | 'FST_LATENCY_ERR_NOT_RECORDED'
    | 'FST_LATENCY_ERR_SERIES_LIMIT'
    | 'FST_LATENCY_ERR_ROUTE_OPTION'
    | 'FST_LATENCY_ERR_UNIT'
    | 'FST_LATENCY_ERR_NAME_HIDDEN'
    | 'FST_LATENCY_ERR_METRIC_INVALID'
    | 'FST_LATENCY_ERR_REGISTRY_FAILED'
    | 'FST_LATENCY_ERR_REGISTRY_UNSERVED'
    | 'FST_LATENCY_ERR_CONNECTION_LIMIT'
    | 'FST_LATENCY_ERR_PORT_OF_APPLICATION'
    | 'FST_LATENCY_ERR_UNAUTHORIZED'
    | 'FST_LATENCY_ERR_METRIC_FAILED'

  /** The type of `app.latency`. */
  export interface Latency {
    /** The histogram of the application's first registration, as it is in the registry. */
    readonly histogram: Histogram

    /**
     * The registry of the application's first registration. Pass it in `registers` of your own metrics to serve them
     * too. It is a `Registry` of `prom-client`, unless the option `registry` has given another one. `prom-client` is
     * loaded when this is first read, or at the first scrape. In TypeScript, write `app.latency.registry as Registry`.
     */
    readonly registry: Registry | RegistryLike

    /**
     * The Fastify instance of the metrics server. It is null if the option `server` is `false`. Otherwise it is there
     * from registration on; it is made when this is first read, or when the server starts. Add hooks, plugins and
     * routes of your own before the server starts. A `/`, `/live`, `/healthz` or `/readyz` of yours takes the place of
     * the server's own.
     */
    readonly server: FastifyInstance | null

    /**
     * The URL to scrape, such as `http://localhost:8000/metrics`, or `http://127.0.0.1:8000/metrics` where `localhost` is
     * that address alone. It is null while the metrics server does not listen, nor that of another member of its group.
     */
    readonly url: string | null

    /**
     * Starts the metrics server if it is not running yet, and resolves to `url`. If another member of its `group` has
     * the port, the server waits for its turn, and the promise resolves meanwhile.
     *
     * Rejects with `FST_LATENCY_ERR_SERVER_LISTEN` if the port cannot be bound, with
     * `FST_LATENCY_ERR_PORT_OF_APPLICATION` if the application itself has that port, with
     * `FST_LATENCY_ERR_CLUSTER_PORT` in a worker of a `node:cluster` with neither a group nor a port of its own, with
     * `FST_LATENCY_ERR_SERVER_CLOSED` once the application closes, and with `FST_LATENCY_ERR_SERVER_OFF` if the option
     * `server` is `false`.
     */
    start (): Promise<string>
  }

  /**
   * A histogram of this plugin, as a `prom-client` registry holds it. TypeScript knows the names of its labels if it is
   * told them:
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
    /** The label names. Those of `constLabels` come last. */
    readonly labelNames: readonly Name[]
    /** The upper bounds of the buckets in seconds, without the implied `+Inf`. */
    readonly buckets: readonly number[]
    /** Resolves to all samples of the histogram. The counts of its buckets are cumulative. */
    get (): Promise<HistogramValues<Name>>
    /** Forgets everything recorded so far. To Prometheus this is a counter reset. */
    reset (): void
  }

  export interface HistogramValues<Name extends string = string> {
    name: string
    help: string
    type: 'histogram'
    aggregator: 'sum'
    /**
     * The samples. `metricName` is the histogram's name with `_bucket`, `_sum` or `_count`. Only buckets have the label
     * `le`.
     */
    values: Array<{ metricName: string, labels: Record<Name, string> & { le?: string }, value: number }>
  }

  /** The names of the labels of a histogram that is registered with these options: `LabelName<typeof options>`. */
  export type LabelName<O extends Options = {}> = string & (
    | (O extends { labels: infer Labels }
      ? keyof Labels
      : 'labels' extends keyof O ? string : 'method' | 'route' | 'status_code')
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
   * Options with which the histogram is `http.server.request.duration` of OpenTelemetry's semantic conventions, as
   * Prometheus writes it: `http_server_request_duration_seconds`, with the conventions' attributes as labels and their
   * recommended buckets, `0.005` to `10` seconds.
   *
   * ```ts
   * app.register(latency, openTelemetry)
   * app.register(latency, { ...openTelemetry, labels: { ...openTelemetry.labels, tenant }, server: { port: 9464 } })
   * ```
   */
  export const openTelemetry: OpenTelemetryOptions

  export interface OpenTelemetryOptions {
    readonly histogram: Readonly<Required<Pick<HistogramOptions, 'name' | 'help' | 'buckets'>>>
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
