import path from 'node:path'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { Histogram, Registry } from 'prom-client'
import latency from 'fastify-latency'

/** Something that records the requests of an application. Called before any route is declared. */
export type Subject = (app: FastifyInstance) => unknown

/** Folder of this package. */
export const root = path.join(__dirname, '../../..')

/** Folder in which the packages are installed that this one is compared with. */
export const peersFolder = path.join(root, 'test/benchmark/peers')

/** Folder of another build of this package, to compare with; `BASELINE` in the environment. */
const { BASELINE: baseline } = process.env

// Not installed when the types are checked.
const loadPeer = (name: string): any => require(path.join(peersFolder, 'node_modules', name))

/** A module of this package that is not public. */
export const loadInternal = (name: string): any => require(path.join(root, 'dist', 'lib', name))

export const buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export function createHistogram (): { registry: Registry, histogram: Histogram } {
  const registry = new Registry()
  const labelNames = ['method', 'route', 'status_code']
  return {
    registry,
    histogram: new Histogram({
      name: 'http_request_duration_seconds', help: 'x', labelNames, registers: [registry], buckets
    })
  }
}

export function addEmptyHooks (app: FastifyInstance): void {
  app.addHook('onRequest', (_request, _reply, done) => done())
  app.addHook('onResponse', (_request, _reply, done) => done())
}

export async function addLatency (app: FastifyInstance): Promise<void> {
  await app.register(latency, { server: false })
}

/** What people write by hand. */
export function addPromClient (app: FastifyInstance): Registry {
  const { registry, histogram } = createHistogram()
  app.addHook('onResponse', (request, reply, done) => {
    histogram.observe(
      { method: request.method, route: request.routeOptions.url ?? 'unmatched', status_code: reply.statusCode },
      reply.elapsedTime / 1000
    )
    done()
  })
  return registry
}

async function addFastifyMetrics (app: FastifyInstance, routeMetrics: object): Promise<void> {
  await app.register(loadPeer('fastify-metrics'), { defaultMetrics: { enabled: false }, endpoint: null, routeMetrics })
}

/**
 * OpenTelemetry has no metrics in its plugin for Fastify: those of requests come from `node:http`, and the
 * plugin adds the route to them.
 */
async function addOpenTelemetry (app: FastifyInstance): Promise<void> {
  await app.register(new (loadPeer('@fastify/otel'))().plugin())
}

function instrumentHttp (): void {
  process.env.OTEL_SEMCONV_STABILITY_OPT_IN = 'http'
  const exporter = new (loadPeer('@opentelemetry/exporter-prometheus').PrometheusExporter)({ preventServerStart: true })
  const instrumentation = new (loadPeer('@opentelemetry/instrumentation-http').HttpInstrumentation)()
  instrumentation.setMeterProvider(new (loadPeer('@opentelemetry/sdk-metrics').MeterProvider)({ readers: [exporter] }))
  instrumentation.enable()
  require('http') // Is instrumented when it is required.
}

const peers: Readonly<Record<string, Subject>> = {
  'fastify-metrics': app => addFastifyMetrics(app, {}),
  'fastify-metrics, histogram only': app => addFastifyMetrics(app, { enabled: { histogram: true, summary: false } }),
  '@platformatic/fastify-http-metrics': async app => {
    await app.register(loadPeer('@platformatic/fastify-http-metrics'), {
      registry: new (loadPeer('prom-client').Registry)()
    })
  },
  '@promster/fastify': async app => {
    await app.register(loadPeer('@promster/fastify').plugin, { detectKubernetes: false })
  }
}

/** Those whose cost is in hooks. */
export const subjects: Readonly<Record<string, Subject>> = {
  'empty hooks': addEmptyHooks,
  'fastify-latency': addLatency,
  'prom-client histogram': addPromClient,
  ...baseline === undefined
    ? peers
    : { baseline: async app => { await app.register(require(path.resolve(baseline)), { server: false }) } }
}

const openTelemetry = '@fastify/otel, instrumentation-http'

/** All of them, and those whose cost is elsewhere too. */
export const httpSubjects: Readonly<Record<string, Subject>> = {
  ...subjects,
  'no plugin': () => {},
  [openTelemetry]: async app => {
    instrumentHttp()
    await addOpenTelemetry(app)
  }
}

/** Those whose cost other applications of the process share. */
export const changesEveryServer: ReadonlySet<string> = new Set([openTelemetry])

export async function createApplication (
  subject: Subject, options: FastifyServerOptions = {}
): Promise<FastifyInstance> {
  const app = Fastify(options)
  await subject(app)
  app.get('/', (_request, reply) => { reply.send('Hello World') })
  return app
}

/** The values that a series counts. */
export type Values = (series: number) => Iterable<number>

/** Fills a histogram of ours with series, as that many routes would. */
export function addSeries (family: any, count: number, valuesOf: Values = () => [0.003]): void {
  for (let index = 0; index < count; index++) {
    const slot = family.index.slot(['GET', route(index), '200'])
    for (const value of valuesOf(index)) family.observe(slot, value)
  }
}

/** A histogram of ours in seconds, with the usual labels and buckets. */
export function createOwnHistogram (name: string, more: object = {}): any {
  const [{ HistogramFamily }, { SeriesIndex }] = ['histogram/family', 'histogram/series-index'].map(loadInternal)
  return new HistogramFamily(
    { name, help: 'x', unit: 'seconds', upperBounds: buckets, ...more },
    new SeriesIndex(['method', 'route', 'status_code'])
  )
}

/** The same for one of prom-client. */
export function observeSeries (histogram: Histogram, count: number): void {
  for (let index = 0; index < count; index++) {
    histogram.observe({ method: 'GET', route: route(index), status_code: '200' }, 0.003)
  }
}

/** Flat, like a string that was parsed: one that was put together is slower to read. */
function route (index: number): string {
  return Buffer.from(`/users/:id/${index}`).toString()
}
