import { existsSync, readdirSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import * as promClient from 'prom-client'
import type { RegistryLike } from '..'
import latency from '../lib'
import {
  anyPort, collectWarnings, createApplication, createListening, listen, registryOf, scrape
} from './helpers/application'
import { Exposition } from './helpers/exposition'
import { readOpenMetrics } from './helpers/openmetrics'

const name = 'http_request_duration_seconds'

/** What the tests below need of a client library. */
interface Client {
  Registry: new () => RegistryLike & {
    metrics (): Promise<string>
    resetMetrics (): void
    clear (): void
    setContentType (type: string): void
    getSingleMetricAsString (name: string): Promise<string>
    setDefaultLabels (labels: object): void
  }
  Gauge: new (options: any) => { set (value: number): void }
  Counter: new (options: any) => { inc (value: number): void }
  Histogram: new (options: any) => { observe (labels: object, value: number): void }
}

const [major] = process.versions.node.split('.').map(Number)
const clients: Record<string, () => Client> = {
  'prom-client': () => promClient as unknown as Client,
  '@prometheus-io/client': () => require('@prometheus-io/client')
}

for (const [library, load] of Object.entries(clients)) {
  const skip = library === '@prometheus-io/client' && major! < 22 ? '@prometheus-io/client needs Node.js 22' : false
  t.test(`in a registry of ${library} the histogram is a metric like any other`, { skip }, async t => {
    const client = load()

    async function create (
      t: Test, declare?: (app: FastifyInstance) => void
    ): Promise<{ registry: InstanceType<Client['Registry']>, app: FastifyInstance, address: string }> {
      const registry = new client.Registry()
      const options = {
        registry, histogram: { buckets: [0.5, 1000] }, labels: { route: 'route', status: 'status' }
      } as const
      return { registry, ...await createListening(t, options, declare ?? (app => { app.get('/', async () => 'x') })) }
    }

    await t.test('registry.metrics() shows what the metrics server shows', async t => {
      const { registry, app, address } = await create(t)
      await fetch(address)
      await fetch(`${address}/nothing`)
      const served = (await scrape(app.latency.url)).families.get(name)!
      const shown = new Exposition((await registry.metrics()).replaceAll('\n\n', '\n')).families.get(name)!
      t.same(shown.samples, served.samples)
      t.equal(shown.samples.length, 2 * 5)
      t.equal(shown.help, served.help)
      t.equal(shown.type, 'histogram')
    })

    await t.test('getMetricsAsJSON() agrees with a histogram of the library', async t => {
      const { registry, address } = await create(t)
      await fetch(address)
      const reference = new client.Registry()
      new client.Histogram({
        name, help: 'h', labelNames: ['route', 'status'], buckets: [0.5, 1000], registers: [reference]
      }).observe({ route: '/', status: '200' }, 0.1)
      const samples = async (registry: RegistryLike): Promise<unknown> => {
        const [{ name, type, aggregator, values }] = await registry.getMetricsAsJSON() as [any]
        return {
          name,
          type,
          aggregator,
          values: values.map(({ metricName, labels, value }: any) => ({
            metricName,
            labels: {
              ...labels, ...labels.le !== undefined && { le: Number(String(labels.le).replace('+Inf', 'Infinity')) }
            },
            value: metricName.endsWith('_sum') || value
          }))
        }
      }
      t.same(await samples(registry), await samples(reference))
    })

    await t.test('getSingleMetric() finds it, removeSingleMetric() takes it away from the scrape, ' +
      'registering again brings it back', async t => {
      const { registry, app, address } = await create(t)
      const metric = registry.getSingleMetric(name)
      t.equal(metric, app.latency.histogram)
      t.match(await registry.getSingleMetricAsString(name), `# TYPE ${name} histogram`)
      registry.removeSingleMetric(name)
      t.notOk((await scrape(app.latency.url)).families.has(name))
      await fetch(address)
      registry.registerMetric(metric)
      t.equal((await scrape(app.latency.url)).value(`${name}_count`, { route: '/', status: '200' }), 1)
    })

    await t.test('resetMetrics() forgets, and recording goes on', async t => {
      const { registry, app, address } = await create(t)
      await fetch(address)
      registry.resetMetrics()
      t.same((await scrape(app.latency.url)).samples(`${name}_count`), [])
      await fetch(address)
      t.equal((await scrape(app.latency.url)).value(`${name}_count`, { route: '/', status: '200' }), 1)
    })

    await t.test('resetMetrics() keeps the zeros that were there from the start', async t => {
      const { registry, app } = await create(t)
      const before = (await scrape(app.latency.url)).samples('http_requests_rejected_total')
      registry.resetMetrics()
      t.same((await scrape(app.latency.url)).samples('http_requests_rejected_total'), before)
      t.ok(before.length > 10)
    })

    await t.test('after clear() the next scrape brings it back, with its counts', async t => {
      const { registry, app, address } = await create(t)
      await fetch(address)
      registry.clear()
      new client.Gauge({ name: 'mine', help: 'x', registers: [registry] }).set(1)
      const read = await scrape(app.latency.url)
      t.equal(read.value(`${name}_count`, { route: '/', status: '200' }), 1)
      t.equal(read.value('mine'), 1)
      t.equal(registry.getSingleMetric(name), app.latency.histogram)
      await app.close()
      t.same(registry.getMetricsAsArray().map(metric => (metric as { name: string }).name), ['mine'])
    })

    await t.test('to render the registry in OpenMetrics changes nothing here, ' +
      'and nothing of this plugin stays in it', async t => {
      const { registry, app, address } = await create(t)
      const counter = new client.Counter({ name: 'orders_total', help: 'x', registers: [registry] })
      counter.inc(3)
      await fetch(address)
      const headers = { accept: 'application/openmetrics-text' }
      const pages = async (): Promise<string[]> => [
        (await (await fetch(app.latency.url!)).text()), (await (await fetch(app.latency.url!, { headers })).text())
      ].map(page => page.split('\n').filter(line => !/^fastify_latency_scrape/.test(line)).join('\n'))
      const before = await pages()
      registry.setContentType('application/openmetrics-text; version=1.0.0; charset=utf-8')
      for (let n = 0; n < 2; n++) {
        const families = readOpenMetrics(await registry.metrics())
        t.equal(families.get('http_requests_rejected')!.type, 'counter')
        t.equal(families.get('orders')!.samples.size, 1)
        t.same(await pages(), before)
      }
      t.match(before, [/^orders_total 3$/m, /^orders_total 3$/m])
      registry.setContentType('text/plain; version=0.0.4; charset=utf-8')
      t.match(await registry.metrics(), /^# TYPE http_requests_rejected_total counter\nhttp_requests_rejected_total\{/m)
      await app.close()
      t.same(registry.getMetricsAsArray(), [counter])
    })

    await t.test('a name that another metric has is refused, and another may not take ours', async t => {
      const { registry } = await create(t)
      t.throws(() => new client.Gauge({ name, help: 'x', registers: [registry] }), /already been registered/)
      // eslint-disable-next-line no-new -- it registers itself
      new client.Gauge({ name: 'taken', help: 'x', registers: [registry] })
      const app = createApplication(t)
      await t.rejects(async () => await app.register(latency, { registry, histogram: { name: 'taken' } }), {
        code: 'FST_LATENCY_ERR_NAME_TAKEN'
      })
      const other = new client.Registry()
      // eslint-disable-next-line no-new -- it registers itself
      new client.Gauge({ name: 'http_requests_aborted_total', help: 'x', registers: [other] })
      const otherApp = createApplication(t)
      await t.rejects(async () => await otherApp.register(latency, { registry: other }), {
        code: 'FST_LATENCY_ERR_NAME_TAKEN'
      })
    })

    await t.test('its default labels are on our series too, unless a series has a label of that name', async t => {
      const { registry, app, address } = await create(t)
      registry.setDefaultLabels({ app: 'shop', route: 'never' })
      new client.Gauge({ name: 'stock', help: 'x', registers: [registry] }).set(3)
      await fetch(address)
      const read = await scrape(app.latency.url)
      t.equal(read.value(`${name}_count`, { route: '/', status: '200', app: 'shop' }), 1)
      t.equal(read.value('stock', { route: 'never', app: 'shop' }), 3)
    })

    await t.test('a metric of the user is served beside ours, histograms with canonical bounds', async t => {
      const { registry, app } = await create(t)
      new client.Gauge({ name: 'stock', help: 'In\nstock', registers: [registry] }).set(3)
      new client.Histogram({
        name: 'orders', help: 'x', labelNames: ['kind'], buckets: [1, 10], registers: [registry]
      }).observe({ kind: 'a' }, 5)
      const read = await scrape(app.latency.url)
      t.equal(read.value('stock'), 3)
      t.equal(read.families.get('stock')!.help, 'In\nstock')
      t.same(read.samples('orders_bucket').map(sample => [sample.labels.le, sample.value]), [
        ['1.0', 0], ['10.0', 1], ['+Inf', 1]
      ])
    })
  })
}

t.test("prom-client's global registry is served without being asked for", async t => {
  const gauge = new promClient.Gauge({ name: 'global_stock', help: 'x' })
  t.teardown(() => promClient.register.removeSingleMetric('global_stock'))
  gauge.set(7)
  const { app } = await createListening(t, {})
  t.equal((await scrape(app.latency.url)).value('global_stock'), 7)
})

t.test('passed as the registry, the global one is served once', async t => {
  const { app } = await createListening(t, { registry: promClient.register, labels: {} })
  t.equal(app.latency.registry, promClient.register)
  const read = await scrape(app.latency.url)
  t.equal(read.value(`${name}_count`), 0)
  t.equal(read.value('fastify_latency_hidden_families'), 0)
})

t.test('of two families with one name the first is served; the other is counted, and reported once', async t => {
  t.teardown(() => promClient.register.removeSingleMetric('twice'))
  const { app } = await createListening(t, {})
  new promClient.Gauge({ name: 'twice', help: 'x', registers: [registryOf(app)] }).set(1)
  new promClient.Gauge({ name: 'twice', help: 'x' }).set(2)
  const warnings = collectWarnings(t)
  for (let n = 0; n < 2; n++) {
    const read = await scrape(app.latency.url)
    t.equal(read.value('twice'), 1)
    t.equal(read.value('fastify_latency_hidden_families'), 1)
  }
  t.same(warnings.map(({ code, message }) => [code, message]), [
    [
      'FST_LATENCY_ERR_NAME_HIDDEN',
      'More than one registry holds a metric named "twice": that of app.latency.registry is served, ' +
        "and that of prom-client's global registry is not"
    ]
  ])
})

t.test('of two registries of registrations, the first one is shown', async t => {
  const [first, second] = [new promClient.Registry(), new promClient.Registry()]
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, registry: first, processMetrics: false })
  await app.register(latency, { registry: second, histogram: { name: 'second_seconds' } })
  await listen(app)
  new promClient.Gauge({ name: 'twice', help: 'x', registers: [first] }).set(1)
  new promClient.Gauge({ name: 'twice', help: 'x', registers: [second] }).set(2)
  const warnings = collectWarnings(t)
  t.equal((await scrape(app.latency.url)).value('twice'), 1)
  t.match(warnings.map(({ message }) => message).find(message => message.includes('twice')),
    /that of app\.latency\.registry is served, and that of a later "registry" is not$/)
})

t.test('process metrics are served by default, without the gauges that are named like counters', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  await listen(app)
  const read = await scrape(app.latency.url)
  t.ok(read.value('process_cpu_seconds_total')! > 0)
  t.ok(read.value('nodejs_eventloop_lag_seconds') !== undefined)
  t.same([...read.families].filter(([name, { type }]) => name.endsWith('_total') && type !== 'counter'), [])
})

t.test('process metrics that read all handles at once are left out, and open files are counted in steps', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  await listen(app)
  const read = await scrape(app.latency.url)
  for (const what of ['handles', 'requests', 'resources']) t.notOk(read.families.has(`nodejs_active_${what}`), what)
  const files = existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : undefined
  const counted = read.value('process_open_fds')
  t.ok(files === counted || Math.abs(files! - counted!) < 20, `${counted} of about ${files}`)
})

t.test('process metrics that the user collects are not served twice, and that is no collision', async t => {
  promClient.collectDefaultMetrics()
  t.teardown(() => promClient.register.clear())
  const { app } = await createListening(t, { processMetrics: true })
  const read = await scrape(app.latency.url)
  t.equal(read.samples('process_cpu_seconds_total').length, 1)
  t.equal(read.value('fastify_latency_hidden_families'), 0)
})

t.test('name[] finds a family by the names of its samples', async t => {
  const { app, address } = await createListening(t, { labels: {} })
  const registers = [registryOf(app)]
  new promClient.Counter({ name: 'orders_total', help: 'x', registers }).inc()
  new promClient.Summary({ name: 'pages', help: 'x', registers }).observe(1)
  await fetch(address)
  const cases: Array<[asked: string, found: string]> = [
    [name, name], [`${name}_bucket`, name], [`${name}_sum`, name], [`${name}_count`, name], ['orders', 'orders_total'],
    ['orders_total', 'orders_total'], ['pages_count', 'pages'],
    ['fastify_latency_hidden_families', 'fastify_latency_hidden_families']
  ]
  for (const [asked, found] of cases) {
    const read = await scrape(`${app.latency.url}?name[]=${asked}`)
    t.same([...read.families.keys()], [found], asked)
  }
  const nothing = await (await fetch(`${app.latency.url}?name[]=orders_bucket`)).text()
  t.equal(nothing, '')
})

t.test('a series has no labels that are those of every object', async t => {
  const registry = new promClient.Registry()
  const gauge = new promClient.Gauge({ name: 'odd', help: 'x', labelNames: ['toString'], registers: [registry] })
  gauge.set(1)
  gauge.set({ toString: 'own' } as never, 2)
  const { app } = await createListening(t, { registry })
  t.same((await scrape(app.latency.url)).samples('odd').map(({ labels }) => ({ ...labels })), [{}, { toString: 'own' }])
})
