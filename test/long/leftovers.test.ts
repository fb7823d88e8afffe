import t from 'tap'
import { register as globalRegistry, Registry } from 'prom-client'
import { createListening, scrape } from '../helpers/application'

t.test('a hundred applications, created and closed, leave nothing behind', async t => {
  const registry = new Registry()
  async function cycle (): Promise<void> {
    const { app, address } = await createListening(t, { registry, processMetrics: true }, app => {
      app.get('/', async () => 'x')
    })
    await (await fetch(address)).text()
    await scrape(app.latency.url)
    await app.close()
  }
  const state = (): unknown => ({
    listeners: process.eventNames().map(event => [String(event), process.listenerCount(event)]),
    metrics: [registry.getMetricsAsArray().length, globalRegistry.getMetricsAsArray().length],
    servers: process.getActiveResourcesInfo().filter(resource => /Server|Timeout/.test(resource)).length
  })
  await cycle()
  const before = state()
  for (let n = 0; n < 100; n++) await cycle()
  t.same(state(), before)
})
