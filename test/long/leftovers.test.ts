import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Fastify from 'fastify'
import { register as globalRegistry, Registry } from 'prom-client'
import t from 'tap'
import latency from '../../lib'
import { anyPort, createListening, scrape } from '../helpers/application'

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

const uses: ReadonlyArray<[use: string, act: (app: ReturnType<typeof Fastify>) => Promise<unknown>]> = [
  ['injected', async app => app.inject('/')],
  ['listened', async app => app.listen({ host: '127.0.0.1', port: 0 })],
  // `fetch()` would remember every address.
  ['been scraped', async app => app.latency.server!.inject('/metrics')]
]
for (const [use, act] of uses) {
  t.test(`of a hundred applications that have ${use} and closed, no memory is in use`, async t => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    async function cycle (): Promise<void> {
      const app = Fastify()
      await app.register(latency, { server: anyPort })
      app.get('/', async () => 'x')
      await act(app)
      await app.close()
    }
    async function kilobytesAfter (cycles: number): Promise<number> {
      for (let n = 0; n < cycles; n++) await cycle()
      // What has closed is let go of in the turns after.
      for (let turn = 0; turn < 4; turn++) {
        await new Promise(resolve => setImmediate(resolve))
        collect()
      }
      const { heapUsed, arrayBuffers } = process.memoryUsage()
      return (heapUsed + arrayBuffers) / 1000
    }
    const before = await kilobytesAfter(30)
    const growth = await kilobytesAfter(100) - before
    // An application holds some 300 kB while it is open.
    t.ok(growth < 3000, `${Math.round(growth)} kB`)
  })
}
