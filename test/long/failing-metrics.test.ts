import { Gauge } from 'prom-client'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import latency from '../../lib'
import { createApplication, createListening, registryOf, warningOf } from '../helpers/application'
import { Exposition } from '../helpers/exposition'

/** Declares a metric that fails, and one that never comes. */
function declareBroken (app: FastifyInstance): void {
  const registers = [registryOf(app)]
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({ name: 'broken', help: 'x', registers, collect () { throw new Error('no database') } })
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({ name: 'hung', help: 'x', registers, collect: () => new Promise<void>(() => {}) })
}

t.test('a metric that cannot be read fails the scrape, which names it', async t => {
  const lines: Array<{ level: number, msg: string, err: { code: string } }> = []
  const app = createApplication(t, {
    logger: { level: 'error', stream: { write: line => { lines.push(JSON.parse(line)) } } }
  })
  const scrape = { timeoutSeconds: 0.5 }
  await app.register(latency, { server: false, endpoint: '/metrics', processMetrics: false, scrape })
  declareBroken(app)
  await app.listen({ host: '127.0.0.1', port: 0 })
  let status = 0
  const warning = await warningOf(async () => {
    const response = await app.inject('/metrics')
    status = response.statusCode
    t.same(response.body.trim().split('\n').sort(), [
      'Metric "broken" could not be read', 'Metric "hung" could not be read'
    ])
    t.notMatch(response.body, /database|at /)
  })
  t.equal(status, 500)
  t.match(warning, { code: 'FST_LATENCY_ERR_METRIC_FAILED' })
  await app.inject('/metrics')
  t.same(lines.map(line => line.msg), [
    'Metric "broken" could not be read: no database', 'Metric "hung" could not be read: it was not read in time'
  ])
})

t.test("with errorHandling: 'continue' the others are served, and the failure is counted", async t => {
  const { app } = await createListening(t, { scrape: { errorHandling: 'continue', timeoutSeconds: 3600 } })
  declareBroken(app)
  // The scraper has less time than the hour that is configured.
  const headers = { 'x-prometheus-scrape-timeout-seconds': '0.05' }
  const first = await fetch(app.latency.url!, { headers })
  t.equal(first.status, 200)
  const second = new Exposition(await (await fetch(app.latency.url!, { headers })).text())
  t.ok(new Exposition(await first.text()).families.has('http_requests_in_flight'))
  for (const metric of ['broken', 'hung']) {
    t.equal(second.value('fastify_latency_metric_errors_total', { metric }), 1, metric)
  }
  t.notOk(second.families.has('broken'))
})
