import { once } from 'node:events'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { createListening } from '../helpers/application'
import { type Prometheus, until, withEach } from './programs'

const name = 'http_request_duration_seconds'

function scrapeConfig (app: FastifyInstance, more = ''): string {
  const { host } = new URL(app.latency.url!)
  return `global: { scrape_interval: 1s }\nscrape_configs:\n  - job_name: x\n${more}` +
    `    static_configs: [{ targets: ['${host}'] }]\n`
}

/** Resolves when a scrape has been answered, so that the next one is nearly a second away. */
async function scraped (app: FastifyInstance): Promise<void> {
  await once(app.server, 'scraped')
}

/** An application whose server emits `scraped` at the end of each scrape. */
async function createScraped (t: Parameters<typeof createListening>[0], options: Parameters<typeof createListening>[1] = {}) {
  return createListening(t, options, app => {
    app.get('/', async () => 'x')
    app.get('/broken', async (_request, reply) => reply.code(500).send('x'))
    app.latency.server!.addHook('onResponse', async () => { app.server.emit('scraped') })
  })
}

/** What was added to a series over exactly the time from its first sample to its last. */
async function increaseOf (prometheus: Prometheus, series: string): Promise<number> {
  const [history] = await prometheus.query<{ values: Array<[time: number, value: string]> }>(`${series}[1h]`)
  const times = history!.values.map(([time]) => time)
  const [first, last] = [times[0]!, times.at(-1)!]
  // A range begins after its first moment in Prometheus 3.
  const range = Math.ceil(1000 * (last - first)) + 1
  return (await prometheus.value(`increase(${series}[${range}ms])`, last))!
}

t.test('the first request of a series is an increase, ' +
  'with start times', withEach(['prometheus'], async (t, installation) => {
  const { app, address } = await createScraped(t)
  const prometheus = await installation.start(t, scrapeConfig(app), ['created-timestamp-zero-ingestion'])
  await scraped(app)
  await fetch(`${address}/broken`)
  await scraped(app)
  for (let count = 0; count < 3; count++) await fetch(address)
  const series = (status: number): string => `${name}_count{status_code="${status}"}`
  await until('both series', async () =>
    await prometheus.value(series(200)) === 3 && await prometheus.value(series(500)) === 1)
  await scraped(app)
  await scraped(app)
  for (const [status, count] of [[500, 1], [200, 3]] as const) {
    const increase = await increaseOf(prometheus, series(status))
    t.ok(Math.abs(increase - count) < 1e-9, `${status}: ${increase}`)
  }
}, [2, 50]))
