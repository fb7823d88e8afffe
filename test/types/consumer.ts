// Compiled, not run: by `npm run build`, and by several versions of TypeScript in test/package/compilers.test.ts.
import Fastify, { type FastifyInstance } from 'fastify'
import latency, {
  fastifyLatency, type ErrorCode, type Histogram, type HistogramOptions, type LabelFunction, type LabelName,
  type LabelSource, type Latency, type Options, openTelemetry,
  type RouteConfig, type ScrapeOptions, type ServerOptions
} from 'fastify-latency'
import { Gauge, Registry } from 'prom-client'

const app = Fastify()

app.register(latency)
app.register(fastifyLatency, {})
app.register(latency, {
  histogram: { name: 'a', help: 'b', buckets: [1, 2] as const },
  labels: {
    method: 'method',
    route: 'route',
    status: 'status',
    class: 'status_class',
    tenant: (request, reply) => request.headers.host ?? reply.statusCode,
    nothing: () => undefined,
    matched: 'matched_route',
    sent: 'sent_status',
    error: 'error_type',
    scheme: 'scheme',
    version: 'protocol_version'
  },
  constLabels: { region: 'eu' },
  ignore: (request, reply) => reply.statusCode === 404 && request.headers['user-agent']?.startsWith('probe'),
  seriesLimit: 100,
  inFlight: false,
  abortedStatus: 'reply',
  timeToFirstByte: { name: 'b', help: 'c', buckets: [1], native: { schema: 5, maxBuckets: 100 } },
  exemplars: (request, reply) => reply.statusCode === 500 ? { id: request.id } : undefined,
  registry: new Registry(),
  processMetrics: false,
  server: { host: '::', port: 0, path: '/m', start: 'manual', lastScrapeSeconds: 20 },
  scrape: { errorHandling: 'continue', concurrency: 1, timeoutSeconds: 0.5, created: true },
  endpoint: '/metrics',
  prefix: '/v1',
  logLevel: 'warn'
})
app.register(latency, { server: false, labels: {}, constLabels: {} })
app.register(latency, { server: true, abortedStatus: 408, timeToFirstByte: true })
app.register(latency, { histogram: { native: true }, exemplars: true })
app.register(latency, { server: { https: { certFile: 'a', keyFile: 'b' } } })
app.register(latency, {
  server: { https: { certFile: 'a', keyFile: 'b', clientCaFile: 'c' }, auth: { tokens: ['t'] } }
})
app.register(latency, { server: { auth: { users: { prometheus: 'secret' } } } })
app.register(latency, openTelemetry)
app.register(latency, latency.openTelemetry)
app.register(latency, {
  ...openTelemetry, labels: { ...openTelemetry.labels, tenant: request => request.hostname }, server: { port: 9464 }
})
app.register(latency, parent => ({ constLabels: { prefix: parent.prefix } }))

// @ts-expect-error unknown option
app.register(latency, { histogramm: {} })
// @ts-expect-error unknown option beside a known one
app.register(latency, { seriesLimit: 1, label: {} })
// @ts-expect-error unknown option of the histogram
app.register(latency, { histogram: { name: 'a', bounds: [1] } })
// @ts-expect-error a name is a string
app.register(latency, { histogram: { name: 1 } })
// @ts-expect-error a help text is a string
app.register(latency, { histogram: { help: ['a'] } })
// @ts-expect-error bounds are numbers
app.register(latency, { histogram: { buckets: ['1'] } })
// @ts-expect-error not a source
app.register(latency, { labels: { path: 'url' } })
// @ts-expect-error misspelt source
app.register(latency, { labels: { version: 'protocol.version' } })
// @ts-expect-error labels are an object
app.register(latency, { labels: ['route'] })
// @ts-expect-error a label function is not async
app.register(latency, { labels: { path: async () => 'x' } })
// @ts-expect-error constant labels are strings
app.register(latency, { constLabels: { shard: 1 } })
// @ts-expect-error the predicate answers at once
app.register(latency, { ignore: async () => true })
// @ts-expect-error the predicate is a function
app.register(latency, { ignore: ['/health'] })
// @ts-expect-error a limit is a number
app.register(latency, { seriesLimit: '2000' })
// @ts-expect-error a boolean
app.register(latency, { inFlight: 'yes' })
// @ts-expect-error a status code, or 'reply'
app.register(latency, { abortedStatus: 'none' })
// @ts-expect-error a boolean, or a histogram
app.register(latency, { timeToFirstByte: 'on' })
// @ts-expect-error unknown option of the second histogram
app.register(latency, { timeToFirstByte: { bucket: [1] } })
// @ts-expect-error the values of labels are strings
app.register(latency, { exemplars: () => ({ id: 1 }) })
// @ts-expect-error not a registry
app.register(latency, { registry: {} })
// @ts-expect-error a boolean
app.register(latency, { processMetrics: { prefix: 'x' } })
// @ts-expect-error a path
app.register(latency, { endpoint: true })
// @ts-expect-error unknown option of the server
app.register(latency, { server: { host: '::', prot: 8000 } })
// @ts-expect-error a host is a string
app.register(latency, { server: { host: true } })
// @ts-expect-error the port is a number
app.register(latency, { server: { port: '8000' } })
// @ts-expect-error a path is a string
app.register(latency, { server: { path: /metrics/ } })
// @ts-expect-error not a policy
app.register(latency, { server: { start: 'now' } })
// @ts-expect-error seconds
app.register(latency, { server: { lastScrapeSeconds: '15s' } })
// @ts-expect-error TLS needs a key
app.register(latency, { server: { https: { certFile: 'a' } } })
// @ts-expect-error certificates are files, which are read again when they change
app.register(latency, { server: { https: { cert: 'a', key: 'b' } } })
// @ts-expect-error one file of authorities
app.register(latency, { server: { https: { certFile: 'a', keyFile: 'b', clientCaFile: ['c'] } } })
// @ts-expect-error a name has one password
app.register(latency, { server: { auth: { users: { prometheus: ['secret'] } } } })
// @ts-expect-error more than one token may be valid
app.register(latency, { server: { auth: { tokens: 't' } } })
// @ts-expect-error users or tokens, not both
app.register(latency, { server: { auth: { users: { prometheus: 'secret' }, tokens: ['t'] } } })
// @ts-expect-error users or tokens, not neither
app.register(latency, { server: { auth: {} } })
// @ts-expect-error unknown option of scrapes
app.register(latency, { scrape: { timeout: 5 } })
// @ts-expect-error not a policy
app.register(latency, { scrape: { errorHandling: 'ignore' } })
// @ts-expect-error a number
app.register(latency, { scrape: { concurrency: '1' } })
// @ts-expect-error seconds
app.register(latency, { scrape: { timeoutSeconds: '10s' } })
// @ts-expect-error a boolean
app.register(latency, { scrape: { created: 1 } })

app.get('/off', { config: { latency: false } }, async () => 'x')
app.get('/named', { config: { latency: { route: '/name' } } }, async () => 'x')
app.route({
  method: 'GET',
  url: '/both',
  config: { latency: false },
  handler: async request => request.routeOptions.config.latency === false
})
// @ts-expect-error there is no true: a route is recorded by default
app.get('/on', { config: { latency: true } }, async () => 'x')
// @ts-expect-error unknown option of the route
app.get('/path', { config: { latency: { path: '/name' } } }, async () => 'x')
// @ts-expect-error a name is a string
app.get('/number', { config: { latency: { route: 1 } } }, async () => 'x')

// Other servers, loggers and type providers than the default ones.
export async function others (): Promise<Array<Latency['url']>> {
  const overHttp2 = Fastify({ http2: true })
  await overHttp2.register(latency, { seriesLimit: 1 })
  const overHttps = Fastify({ https: {}, logger: true })
  await overHttps.register(latency, { seriesLimit: 1 })
  // @ts-expect-error unknown option
  await overHttp2.register(latency, { seriesLimits: 1 })
  return [overHttp2.latency.url, overHttps.latency.url]
}

export async function decorator (): Promise<[string, string | null, FastifyInstance | null]> {
  const histogram: Histogram = app.latency.histogram
  const buckets: readonly number[] = histogram.buckets
  const names: readonly string[] = histogram.labelNames
  const gauge = new Gauge({ name: 'g', help: names.join(), registers: [app.latency.registry as Registry] })
  gauge.set(buckets.length)
  histogram.reset()
  const { values } = await histogram.get()
  const first: number | undefined = values[0]?.value
  gauge.set(first ?? 0)
  // @ts-expect-error read-only
  app.latency.url = 'x'
  // @ts-expect-error read-only
  histogram.buckets.push(1)
  // @ts-expect-error read-only
  openTelemetry.histogram.buckets.push(20)
  // @ts-expect-error misspelt
  app.latency.histograms.reset()
  // @ts-expect-error `server` is null with `server: false`
  app.latency.server.get('/', async () => 'x')
  return [await app.latency.start(), app.latency.url, app.latency.server]
}

// The names of labels, inferred from `labels` and `constLabels`.
const shop =
  { labels: { path: 'route', tenant: request => request.hostname }, constLabels: { service: 'shop' } } satisfies Options
app.register(latency, shop)

export async function inferred (): Promise<string | undefined> {
  const histogram = app.latency.histogram as Histogram<LabelName<typeof shop>>
  const names: ReadonlyArray<'path' | 'tenant' | 'service'> = histogram.labelNames
  const { values: [sample] } = await histogram.get()
  const bound: string | undefined = sample?.labels.le
  // @ts-expect-error no label of these
  console.log(sample?.labels.route)
  return names.includes('service') ? sample?.labels.path : bound
}

export const preset: LabelName<typeof openTelemetry> = 'http_route'
const [byDefault, unknown, none]: [LabelName, LabelName<Options>, Array<LabelName<{ labels: {} }>>] = [
  'status_code', 'anything', []
]
export { byDefault, none, unknown }
// @ts-expect-error not a default label
export const misspelt: LabelName = 'status'
// @ts-expect-error misspelt
export const options = { histogram: {}, label: {} } satisfies Options

export const known: ErrorCode = 'FST_LATENCY_ERR_CALLBACK'
// @ts-expect-error misspelt
export const noCode: ErrorCode = 'FST_LATENCY_ERR_CALLBACKS'

export const source: LabelSource = request => request.method
export const label: LabelFunction = (_request, reply) => reply.statusCode
export const parts: [HistogramOptions, ServerOptions, ScrapeOptions, RouteConfig] = [{}, {}, {}, { route: 'x' }]
