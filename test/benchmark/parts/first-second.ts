import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Client } from '../client'
import { quantile, type Figures, type Part } from '../part'
import { peersFolder, root } from '../subjects'

const requestsPerSecond = 1000

/**
 * An application in a process that has loaded nothing else: what it loads later is not loaded yet. It tells of the
 * longest turn of its event loop between two messages.
 */
const program = (register: string): string => `
  async function main () {
    const app = require('fastify')()
    ${register}
    app.get('/', async () => 'Hello World')
    process.send({ address: await app.listen({ host: '127.0.0.1', port: 0 }) })
    let longest, last, next
    function turn () {
      const now = performance.now()
      longest = Math.max(longest, now - last)
      last = now
      next = setImmediate(turn)
    }
    process.on('message', message => {
      clearImmediate(next)
      process.send({ longest, metrics: app.hasDecorator('latency') ? app.latency.url : undefined })
      longest = 0
      last = performance.now()
      if (message === 'watch') next = setImmediate(turn)
    })
  }
  main()`

interface Answer {
  readonly address: string
  readonly metrics: string
  readonly longest: number
}

async function measure (register: string, headers?: Record<string, string>): Promise<Figures> {
  const child = spawn(process.execPath, ['-e', program(register)], {
    cwd: root, stdio: ['ignore', 'inherit', 'inherit', 'ipc']
  })
  const client = new Client()
  try {
    const { address } = (await once(child, 'message'))[0] as Answer
    const latencies = await client.do('latenciesAtRate', address, 1, requestsPerSecond)
    const figures = { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99), longest: Math.max(...latencies) }
    if (headers === undefined) return figures
    child.send('watch')
    const { metrics } = (await once(child, 'message'))[0] as Answer
    const [scrape] = await client.do('scrape', metrics, headers)
    child.send('stop')
    const { longest: turn } = (await once(child, 'message'))[0] as Answer
    return { scrape, turn }
  } finally {
    client.end()
    child.kill()
  }
}

const ours = "await app.register(require('fastify-latency'), { server: { port: 0 } })"
const fastifyMetrics = `await app.register(require(${JSON.stringify(`${peersFolder}/node_modules/fastify-metrics`)}))`
const protobuf = 'application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited'

export const firstSecond: Part = {
  title: 'The first second, and the first scrape',
  method: `An application gets ${requestsPerSecond} requests per second from the moment at which it listens. A ` +
    'second later it is scraped for the first time, for which it loads prom-client and what else it needs. The ' +
    'longest turn of its event loop is measured meanwhile.',
  samples: 9,
  scenarios: {
    'no plugin': () => measure(''),
    'no plugin, again': () => measure(''),
    'fastify-latency': () => measure(ours),
    'fastify-metrics': () => measure(fastifyMetrics),
    'fastify-latency, scraped with gzip': () => measure(ours, { 'accept-encoding': 'gzip' }),
    'fastify-latency, scraped without': () => measure(ours, { 'accept-encoding': 'identity' }),
    'fastify-latency, scraped in protobuf': () => measure(ours, { 'accept-encoding': 'identity', accept: protobuf })
  },
  columns: [
    { heading: 'p50, ms', digits: 1, value: ({ p50 }) => p50 },
    { heading: 'p99, ms', digits: 1, value: ({ p99 }) => p99 },
    { heading: 'longest, ms', digits: 1, value: ({ longest }) => longest },
    { heading: 'first scrape, ms', digits: 1, value: ({ scrape }) => scrape },
    { heading: 'longest turn, ms', digits: 1, value: ({ turn }) => turn }
  ]
}
