// The primary of a node:cluster of WORKERS workers, each with 1,000 series of SUBJECT, which are scraped at PORT. Tells
// when all have started. A worker then tells what it has used whenever it is asked.
import cluster from 'node:cluster'
import { once } from 'node:events'
import { createServer } from 'node:http'
import Fastify, { type FastifyRequest } from 'fastify'
import latency from 'fastify-latency'
import promClient from 'prom-client'
import { buckets } from './subjects'

const series = 1000
const { SUBJECT: subject, WORKERS: workers, PORT: port } = process.env

/** The library whose registry in the primary adds up what those of workers tell. */
function loadAggregating (): any {
  return subject === 'prom-client' ? promClient : require('@prometheus-io/client')
}

async function startWorker (): Promise<void> {
  // The primary may end while this worker tells it something.
  cluster.worker!.once('error', () => process.exit())
  if (subject!.startsWith('fastify-latency')) {
    const app = Fastify()
    await app.register(latency, {
      server: { host: '127.0.0.1', port: Number(port), ...subject === 'fastify-latency, no group' && { group: false } },
      processMetrics: false,
      labels: { method: 'method', status_code: 'status', route: (request: FastifyRequest) => request.url },
      seriesLimit: 2 * series
    })
    app.get('/*', async () => 'x')
    for (let route = 0; route < series; route++) await app.inject(`/${route}`)
    await app.listen({ host: '127.0.0.1', port: 0 })
    await app.latency.start()
    process.on('message', () => process.send!(process.cpuUsage()))
    setInterval(() => app.inject('/0'), 100)
  } else {
    const { AggregatorRegistry, Histogram } = loadAggregating()
    new AggregatorRegistry() // eslint-disable-line no-new
    const labelNames = ['method', 'route', 'status_code']
    const histogram = new Histogram({ name: 'http_request_duration_seconds', help: 'x', labelNames, buckets })
    for (let route = 0; route < series; route++) {
      histogram.observe({ method: 'GET', route: `/${route}`, status_code: 200 }, 0.001)
    }
  }
  process.send!('ready')
}

async function startPrimary (): Promise<void> {
  if (!subject!.startsWith('fastify-latency')) {
    const registry = new (loadAggregating().AggregatorRegistry)()
    const server = createServer((_request, response) => {
      registry.clusterMetrics().then((page: string) => response.end(page))
    })
    await once(server.listen(Number(port), '127.0.0.1'), 'listening')
  }
  const started = Array.from({ length: Number(workers) }, async () => {
    const worker = cluster.fork()
    while ((await once(worker, 'message'))[0] !== 'ready');
  })
  await Promise.all(started)
  const [first] = Object.values(cluster.workers!)
  process.on('message', message => first!.send(message as string))
  first!.on('message', message => process.send!(message))
  process.send!('ready')
}

process.once('disconnect', () => process.exit())
if (cluster.isPrimary) startPrimary()
else startWorker()
