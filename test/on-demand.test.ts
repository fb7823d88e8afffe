import { PerformanceObserver, type PerformanceEntry } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Gauge, Registry } from 'prom-client'
import t, { type Test } from 'tap'
import latency from '../lib'
import {
  anyPort, createApplication, createListening, listen, loadAnew, registryOf, scrape, warningOf
} from './helpers/application'
import { until } from './helpers/until'

/** Has a module of lib fail to load until the test ends, or the function is called that is returned. */
function breakModule (t: Test, name: string): () => void {
  const file = require.resolve(`../lib/${name}`)
  const module = require.cache[file]
  const restore = (): void => { require.cache[file] = module }
  require.cache[file] = { get exports () { throw new Error('too many open files') } } as unknown as NodeModule
  t.teardown(restore)
  return restore
}

t.test('the registry is one object, and has everything, whenever it is asked for', async t => {
  const name = 'http_request_duration_seconds'
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  const registry = registryOf(app)
  t.ok(registry instanceof Registry)
  t.equal(registry.getSingleMetric(name), app.latency.histogram)
  await app.register(latency, { registry, histogram: { name: 'second_seconds' } })
  await app.register(latency, { histogram: { name: 'third_seconds' } })
  new Gauge({ name: 'taken_seconds', help: 'x', registers: [registry] }) // eslint-disable-line no-new
  await t.rejects(async () => app.register(latency, { histogram: { name: 'taken_seconds' } }), {
    code: 'FST_LATENCY_ERR_NAME_TAKEN'
  })
  t.equal(app.latency.registry, registry)
  for (const one of [name, 'second_seconds', 'third_seconds']) t.match(await registry.metrics(), `# HELP ${one} `)
  t.equal((await registry.getMetricsAsJSON()).filter(metric => metric.name === 'http_requests_aborted_total').length, 1)
})

t.test('a registry that is first asked for when the application has closed has everything', async t => {
  const app = createApplication(t)
  await app.register(latency)
  app.get('/', async () => 'x')
  await app.inject('/')
  await app.close()
  const series = 'http_request_duration_seconds_count{method="GET",route="/",status_code="200"} 1'
  t.match(await registryOf(app).metrics(), series)
})

t.test('a metrics server that is first asked for when the application closes is closed too', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  await app.close()
  await t.rejects(app.latency.start(), { code: 'FST_LATENCY_ERR_SERVER_CLOSED' })
  t.equal(app.latency.server!.server.listening, false)
})

t.test('an application that closes as soon as it listens starts no metrics server', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  await app.listen({ host: '127.0.0.1', port: 0 })
  await app.close()
  t.equal(app.latency.url, null)
})

t.test('a metrics server that cannot be loaded is warned of, and the application answers', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: { host: '127.0.0.1', port: 0 } })
  app.get('/', async () => 'x')
  const restore = breakModule(t, 'server/server')
  t.match(await warningOf(() => app.listen({ host: '127.0.0.1', port: 0 })), {
    code: 'FST_LATENCY_ERR_SERVER_LISTEN', message: /too many open files/
  })
  t.equal((await app.inject('/')).body, 'x')
  restore()
  t.equal((await scrape(await app.latency.start())).samples('http_request_duration_seconds_count').length, 1)
})

t.test('a scrape that finds its code unreadable fails, and the next one tries again', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: false, endpoint: '/metrics' })
  const restore = breakModule(t, 'gather/registries')
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const status = async (): Promise<number> => {
    const response = await fetch(`${url}/metrics`)
    await response.text()
    return response.status
  }
  t.same([await status(), await status()], [500, 500])
  restore()
  t.equal(await status(), 200)
})

t.test('modules that are forgotten before the first scrape, as test runners do it, leave no metric out', async t => {
  const { app, address } = await createListening(t, {}, app => { app.get('/', async () => 'x') })
  await (await fetch(address)).text()
  const page = loadAnew(t, async () => scrape(app.latency.url))
  for (const metric of ['http_request_duration_seconds', 'fastify_latency_scrape_duration_seconds']) {
    t.equal((await page).samples(`${metric}_count`).length, 1, metric)
  }
})

t.test('an application that closes while it boots does so without an error', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: { ...anyPort, start: 'ready' } })
  const ready = app.ready()
  await t.resolves(async () => app.close())
  await t.resolves(async () => ready)
})

t.test('garbage collections are watched until the last application has closed', async t => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const { garbageCollections, load } = loadAnew(t, () => ({
    ...require('../lib/gather/garbage-collections') as typeof import('../lib/gather/garbage-collections'),
    load: require('../lib') as typeof latency
  }))
  const count = async (): Promise<number> => {
    collect()
    const { values } = await garbageCollections.get()
    return values.filter(({ metricName }) => metricName?.endsWith('_count')).reduce((sum, { value }) => sum + value, 0)
  }
  const apps = [createApplication(t), createApplication(t)]
  for (const app of apps) await app.register(load, { server: anyPort })
  await until('a collection', async () => await count() > 0)
  await apps[0]!.close()
  const before = await count()
  await until('another collection', async () => await count() > before)
  await apps[1]!.close()
  const seen: PerformanceEntry[] = []
  const observer = new PerformanceObserver(list => seen.push(...list.getEntries()))
  observer.observe({ entryTypes: ['gc'] })
  const last = await count()
  await until('collections that others see', async () => {
    t.equal(await count(), last)
    return seen.length > 2
  })
  observer.disconnect()
})

t.test('every garbage collection since the registration is counted', async t => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const app = createApplication(t)
  await app.register(loadAnew(t, () => require('../lib') as typeof latency), { server: anyPort })
  for (let n = 0; n < 5; n++) collect()
  await listen(app)
  await until('five collections', async () => {
    const page = await scrape(app.latency.url)
    return Number(page.value('nodejs_gc_duration_seconds_count', { kind: 'major' })) >= 5
  })
})

t.test('the CPU time of the process is counted from its start', async t => {
  const { user, system } = process.cpuUsage()
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  await listen(app)
  const page = await scrape(app.latency.url)
  const [ofUser, ofSystem, both] = ['user_', 'system_', ''].map(part => page.value(`process_cpu_${part}seconds_total`)!)
  // What is used while the metrics are made is counted nowhere.
  t.ok(ofUser! > user / 1e6 - 0.01)
  t.ok(ofSystem! > system / 1e6 - 0.01)
  t.ok(Math.abs(ofUser! + ofSystem! - both!) < 0.001)
})
