// Compiled, not run: `npm run test:types`.
import Fastify, { type FastifyInstance } from 'fastify'
import { Gauge, Registry } from 'prom-client'
import latency, { fastifyLatency, type Histogram, type LabelSource, type Options } from '../..'
import implementation from '../../lib'

// What is implemented is what is declared.
const declared: typeof latency = implementation
const named: typeof latency = fastifyLatency
export { declared, named }

const app = Fastify()

app.register(latency)
app.register(latency, {})
app.register(latency, {
  histogram: { name: 'a', help: 'b', buckets: [1, 2] as const },
  labels: {
    method: 'method',
    route: 'route',
    status: 'status',
    class: 'status_class',
    tenant: (request, reply) => request.headers.host ?? reply.statusCode,
    nothing: () => undefined
  },
  constLabels: { region: 'eu' },
  ignore: (request, reply) => request.url === '/' && reply.statusCode === 404,
  seriesLimit: 100,
  inFlight: false,
  abortedStatus: 'reply',
  timeToFirstByte: { buckets: [1] },
  registry: new Registry(),
  processMetrics: false,
  server: { host: '::', port: 0, path: '/m', start: 'manual' },
  route: '/metrics',
  prefix: '/v1',
  logLevel: 'warn'
})
app.register(latency, { server: false })
app.register(latency, { server: true })
app.register(latency, { server: { https: { certFile: 'a', keyFile: 'b' } } })
app.register(latency, { server: { https: { certFile: 'a', keyFile: 'b', clientCaFile: 'c' }, auth: { tokens: ['t'] } } })
app.register(latency, { server: { auth: { users: { prometheus: 'secret' } } } })

app.register(latency, { abortedStatus: 408, timeToFirstByte: true })
// @ts-expect-error unknown option
app.register(latency, { histogramm: {} })
// @ts-expect-error a status code, or 'reply'
app.register(latency, { abortedStatus: 'none' })
// @ts-expect-error unknown option of the histogram
app.register(latency, { histogram: { bounds: [1] } })
// @ts-expect-error bounds are numbers
app.register(latency, { histogram: { buckets: ['1'] } })
// @ts-expect-error not a source
app.register(latency, { labels: { path: 'url' } })
// @ts-expect-error a label function is not async
app.register(latency, { labels: { path: async () => 'x' } })
// @ts-expect-error constant labels are strings
app.register(latency, { constLabels: { shard: 1 } })
// @ts-expect-error the predicate answers at once
app.register(latency, { ignore: async () => true })
// @ts-expect-error not a registry
app.register(latency, { registry: {} })
// @ts-expect-error the port is a number
app.register(latency, { server: { port: '8000' } })
// @ts-expect-error not a policy
app.register(latency, { server: { start: 'now' } })
// @ts-expect-error TLS needs a key
app.register(latency, { server: { https: { certFile: 'a' } } })
// @ts-expect-error certificates are files, which are read again when they change
app.register(latency, { server: { https: { cert: 'a', key: 'b' } } })
// @ts-expect-error a name has one password
app.register(latency, { server: { auth: { users: { prometheus: ['secret'] } } } })
// @ts-expect-error more than one token may be valid
app.register(latency, { server: { auth: { tokens: 't' } } })
// @ts-expect-error users or tokens, not both
app.register(latency, { server: { auth: { users: { prometheus: 'secret' }, tokens: ['t'] } } })
// @ts-expect-error unknown option of scrapes
app.register(latency, { scrape: { timeout: 5 } })
// @ts-expect-error a path
app.register(latency, { route: true })
// @ts-expect-error with exactOptionalPropertyTypes, leaving out is not undefined
app.register(latency, { histogram: { name: undefined } })

app.get('/off', { config: { latency: false } }, async () => 'x')
app.get('/named', { config: { latency: { route: '/name' } } }, async () => 'x')
// @ts-expect-error there is no true: a route is recorded by default
app.get('/on', { config: { latency: true } }, async () => 'x')
// @ts-expect-error unknown option of the route
app.get('/path', { config: { latency: { path: '/name' } } }, async () => 'x')

export async function decorator (): Promise<[string, string | null, FastifyInstance | null]> {
  const histogram: Histogram = app.latency.histogram
  const buckets: readonly number[] = histogram.buckets
  const gauge = new Gauge({ name: 'g', help: 'g', registers: [app.latency.registry] })
  gauge.set(buckets.length)
  histogram.reset()
  const { values } = await histogram.get()
  const first: number | undefined = values[0]?.value
  gauge.set(first ?? 0)
  // @ts-expect-error read-only
  app.latency.url = 'x'
  // @ts-expect-error `server` is null with `server: false`
  app.latency.server.get('/', async () => 'x')
  return [await app.latency.start(), app.latency.url, app.latency.server]
}

export const source: LabelSource = request => request.method
export const options: Options = {}
