import { Readable } from 'node:stream'
import Fastify, { type FastifyInstance } from 'fastify'
import latency, { type Options } from 'fastify-latency'
import { addPromClient, addSeries, createHistogram, observeSeries, type Values } from './subjects'

export interface Served {
  readonly application: string
  readonly metrics: string
  readonly close: () => Promise<unknown>
}

async function serve (app: FastifyInstance, metrics?: FastifyInstance): Promise<Served> {
  app.get('/', async () => 'Hello World')
  const application = await app.listen({ host: '127.0.0.1', port: 0 })
  return {
    application,
    metrics: metrics === undefined
      ? await app.latency.start()
      : `${await metrics.listen({ host: '127.0.0.1', port: 0 })}/metrics`,
    close: async () => Promise.all([app.close(), metrics?.close()])
  }
}

export async function serveOurs (series: number, valuesOf?: Values, options: Options = {}): Promise<Served> {
  const app = Fastify()
  await app.register(latency, { server: { port: 0 }, processMetrics: false, seriesLimit: series + 10, ...options })
  addSeries((app.latency.histogram as any).family, series, valuesOf)
  return serve(app)
}

async function servePromClient (series: number): Promise<Served> {
  const app = Fastify()
  addPromClient(app)
  const { registry, histogram } = createHistogram()
  observeSeries(histogram, series)
  const metrics = Fastify()
  metrics.get('/metrics', async () => registry.metrics())
  return serve(app, metrics)
}

/** Sends the page that we would send, rendered before: what the machine and the network do by themselves. */
async function serveReadyMade (series: number): Promise<Served> {
  const ours = await serveOurs(series)
  const page = Buffer.from(await (await fetch(ours.metrics)).arrayBuffer())
  await ours.close()
  const app = Fastify()
  await app.register(latency, { server: false })
  const metrics = Fastify()
  metrics.get('/metrics', async () => Readable.from(slices(page)))
  return serve(app, metrics)
}

function * slices (page: Buffer): Generator<Buffer> {
  for (let start = 0; start < page.length; start += 65_536) yield page.subarray(start, start + 65_536)
}

/** Applications with so many series, and their metrics on another port. */
export const servers: Readonly<Record<string, (series: number) => Promise<Served>>> = {
  'fastify-latency': series => serveOurs(series),
  'prom-client': servePromClient,
  'ready-made page': serveReadyMade
}
