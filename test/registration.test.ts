import { createServer } from 'node:http'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { register as globalRegistry, Registry } from 'prom-client'
import type { Options } from '..'
import latency from '../lib'
import { anyPort, createApplication, createListening, listen, registryOf, scrape } from './helpers/application'

const name = 'http_request_duration_seconds'

t.test('registered twice with the same options, a request is counted once', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  await app.register(latency)
  app.get('/', async () => 'x')
  await fetch(await listen(app))
  t.equal((await scrape(app.latency.url)).value(`${name}_count`, { method: 'GET', route: '/', status_code: '200' }), 1)
})

t.test('registered again with another histogram, one metrics server shows both', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  const { server } = app.latency
  await app.register(latency, { histogram: { name: 'coarse_seconds', buckets: [1] }, labels: {} })
  app.get('/', async () => 'x')
  await fetch(await listen(app))

  t.equal(app.latency.server, server)
  t.equal(app.latency.histogram.name, name)
  const read = await scrape(app.latency.url)
  t.equal(read.value('coarse_seconds_count'), 1)
  t.equal(read.samples(`${name}_count`).length, 1)
})

t.test('two histograms of the same routes find their own series', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  await app.register(latency, { histogram: { name: 'by_status_seconds' }, labels: { status_code: 'status' } })
  app.get('/a', async () => 'x')
  app.get('/b', async () => 'x')
  const address = await listen(app)
  for (const path of ['/a', '/b', '/b', '/nowhere', '/b']) await fetch(address + path)
  const read = await scrape(app.latency.url)
  t.same(read.samples(`${name}_count`).map(({ labels, value }) => [labels.route, value]), [
    ['/a', 1], ['/b', 3], ['unmatched', 1]
  ])
  t.same(read.samples('by_status_seconds_count').map(({ labels, value }) => [labels.status_code, value]), [
    ['200', 4], ['404', 1]
  ])
})

t.test('registered in a child context, only its requests are recorded', async t => {
  const app = createApplication(t)
  await app.register(async child => {
    await child.register(latency, { server: anyPort })
    child.get('/inside', async () => 'x')
    child.register(async grandchild => { grandchild.get('/deeper', async () => 'x') })
    app.addHook('onListen', async () => { await child.latency.start() })
    app.decorate('scrape', () => scrape(child.latency.url))
  })
  app.get('/outside', async () => 'x')
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  t.equal(app.hasDecorator('latency'), false)
  for (const path of ['/inside', '/deeper', '/outside', '/nothing']) await fetch(address + path)
  const read = await (app as unknown as { scrape: () => ReturnType<typeof scrape> }).scrape()
  t.same(read.samples(`${name}_count`).map(sample => sample.labels.route), ['/inside', '/deeper'])
})

t.test('registered in two child contexts, both record into one histogram, on one metrics server', async t => {
  const app = createApplication(t)
  const registry = new Registry()
  for (const part of ['a', 'b']) {
    await app.register(async child => {
      await child.register(latency, { registry, server: anyPort, labels: { route: 'route' }, constLabels: { part } })
      child.get(`/${part}`, async () => 'x')
    })
  }
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  for (const path of ['/a', '/b', '/b']) await fetch(address + path)
  const { values } = await (registry.getSingleMetric(name) as unknown as {
    get: () => Promise<{ values: Array<{ metricName: string, value: number, labels: object }> }>
  }).get()
  const counts = values.filter(sample => sample.metricName === `${name}_count`)
  t.same(counts.map(({ labels, value }) => ({ ...labels, value })), [
    { route: '/a', part: 'a', value: 1 }, { route: '/b', part: 'b', value: 2 }
  ])
})

t.test('routes and hooks declared before the plugin are covered', async t => {
  const app = createApplication(t)
  app.get('/early', async () => 'x')
  app.register(async child => { child.get('/early-child', async () => 'x') })
  await app.register(latency, { server: anyPort })
  const address = await listen(app)
  for (const path of ['/early', '/early-child', '/nothing']) await fetch(address + path)
  t.same((await scrape(app.latency.url)).samples(`${name}_count`).map(sample => sample.labels.route), [
    '/early', '/early-child', 'unmatched'
  ])
})

t.test('a request answered by an earlier onRequest hook is recorded', async t => {
  const app = createApplication(t)
  app.addHook('onRequest', async (_request, reply) => reply.code(401).send())
  await app.register(latency, { server: anyPort })
  app.get('/', async () => 'x')
  await fetch(await listen(app))
  t.equal((await scrape(app.latency.url)).value(`${name}_count`, { method: 'GET', route: '/', status_code: '401' }), 1)
})

t.test('one name, two shapes: the error says what is different, and names both', async t => {
  const cases: Array<[second: Options, message: string]> = [
    [{ histogram: { buckets: [1, 2] } }, 'buckets [ 1 ]; it cannot be registered again with [ 1, 2 ]'],
    [
      { histogram: { native: true } },
      'native buckets undefined; it cannot be registered again with { schema: 3, maxBuckets: 160 }'
    ],
    [{ histogram: { buckets: [1], help: 'Other' } }, "help 'First'; it cannot be registered again with 'Other'"],
    [{ labels: {} }, "labels [ 'route' ]; it cannot be registered again with []"],
    [{ constLabels: { a: 'b' } }, "labels [ 'route' ]; it cannot be registered again with [ 'route', 'a' ]"]
  ]
  for (const [{ histogram, ...second }, message] of cases) {
    const app = createApplication(t)
    const first: Options = { server: false, histogram: { buckets: [1], help: 'First' }, labels: { route: 'route' } }
    await app.register(latency, first)
    const other = { ...first, ...second, histogram: { ...first.histogram, ...histogram } }
    await t.rejects(async () => await app.register(latency, other), {
      code: 'FST_LATENCY_ERR_HISTOGRAM_CONFLICT',
      message: `Histogram "http_request_duration_seconds" is registered with the ${message}`
    })
  }
})

t.test('recording the same requests into the same histogram in two ways is refused, in whichever order', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: false })
  await t.rejects(async () => await app.register(latency, { ignore: () => true }), {
    code: 'FST_LATENCY_ERR_HISTOGRAM_RECORDED'
  })

  const outer = createApplication(t)
  await outer.register(latency, { server: false })
  await t.rejects(
    async () => await outer.register(async child => { await child.register(latency, { ignore: () => true }) }),
    { code: 'FST_LATENCY_ERR_HISTOGRAM_RECORDED' }
  )

  const inverse = createApplication(t)
  await inverse.register(async child => { await child.register(latency, { server: false }) })
  await t.rejects(async () => await inverse.register(latency), { code: 'FST_LATENCY_ERR_HISTOGRAM_RECORDED' })
})

t.test('a child context may repeat the registration of its parent', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  await app.register(async child => {
    await child.register(latency)
    child.get('/', async () => 'x')
  })
  await fetch(await listen(app))
  t.equal((await scrape(app.latency.url)).samples(`${name}_count`)[0]!.value, 1)
})

t.test('what an application has one of is decided once', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, processMetrics: false })
  const same = { server: anyPort, processMetrics: false, histogram: { name: 'second' } }
  await t.resolves(async () => await app.register(latency, same))
  await t.rejects(async () => await app.register(latency, { server: { port: 9000 }, histogram: { name: 'third' } }), {
    code: 'FST_LATENCY_ERR_OPTION_CONFLICT',
    message: /^Option "server" is already \{ host: '127\.0\.0\.1', port: 0, .*\} for this application; it cannot also be \{ host: undefined, port: 9000, .*\}$/
  })

  const other = createApplication(t)
  await other.register(latency, { server: anyPort, processMetrics: false })
  await t.rejects(async () => await other.register(latency, { processMetrics: true }), {
    code: 'FST_LATENCY_ERR_OPTION_CONFLICT',
    message: 'Option "processMetrics" is already false for this application; it cannot also be true'
  })
})

t.test('two applications in one process know nothing of each other', async t => {
  const first = await createListening(t, {}, app => { app.get('/first', async () => 'x') })
  const second = await createListening(t, {}, app => { app.get('/second', async () => 'x') })
  await fetch(`${first.address}/first`)
  await fetch(`${second.address}/second`)
  for (const [{ app }, route] of [[first, '/first'], [second, '/second']] as const) {
    t.same((await scrape(app.latency.url)).samples(`${name}_count`).map(sample => sample.labels.route), [route])
  }
})

t.test('two applications that share a registry share the histogram, until the last one closes', async t => {
  const registry = new Registry()
  const options = { registry, labels: {} }
  const first = await createListening(t, options)
  const second = await createListening(t, options)
  t.equal(first.app.latency.histogram, second.app.latency.histogram)
  await fetch(first.address)
  await fetch(second.address)
  t.equal((await scrape(first.app.latency.url)).value(`${name}_count`), 2)
  await first.app.close()
  await fetch(second.address)
  t.equal((await scrape(second.app.latency.url)).value(`${name}_count`), 3)
  await second.app.close()
  t.equal(registry.getSingleMetric(name), undefined)
})

t.test('the last counts can be read after the application has closed', async t => {
  const { app, address } = await createListening(t, { labels: {} })
  await fetch(address)
  await app.close()
  t.match(await registryOf(app).metrics(), `${name}_count 1\n`)
})

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

t.test('what is measured beside the latency is recorded once, too', async t => {
  const create = async (timeToFirstByte: Options['timeToFirstByte']): Promise<void> => {
    const app = createApplication(t)
    await app.register(latency, { server: false, timeToFirstByte: true })
    await app.register(latency, { histogram: { name: 'other_seconds' }, timeToFirstByte: timeToFirstByte! })
  }
  await t.rejects(create(true), {
    code: 'FST_LATENCY_ERR_HISTOGRAM_RECORDED',
    message: /^Histogram "http_request_first_byte_seconds" already records/
  })
  await t.resolves(create({ name: 'other_first_byte_seconds' }))
})

t.test('parts of an application with histograms of their own may share one of something else', async t => {
  const app = createApplication(t)
  const registry = new Registry()
  for (const part of ['a', 'b']) {
    await app.register(async child => {
      const histogram = { name: `${part}_seconds` }
      await child.register(latency, {
        registry, server: anyPort, histogram, labels: { route: 'route' }, timeToFirstByte: true
      })
      child.get(`/${part}`, async () => 'x')
      child.get(`/${part}/deep`, async () => 'x')
      app.addHook('onListen', async () => { await child.latency.start() })
      if (part === 'a') app.decorate('scrape', () => scrape(child.latency.url))
    })
  }
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  for (const path of ['/a', '/b', '/b/deep']) await fetch(address + path)
  const read = await (app as unknown as { scrape: () => ReturnType<typeof scrape> }).scrape()
  const routes = (name: string): unknown =>
    read.samples(`${name}_count`).map(({ labels, value }) => [labels.route, value])
  t.same(routes('a_seconds'), [['/a', 1]])
  t.same(routes('b_seconds'), [['/b', 1], ['/b/deep', 1]])
  t.same(routes('http_request_first_byte_seconds'), [['/a', 1], ['/b', 1], ['/b/deep', 1]])
  registry.resetMetrics()
  await fetch(`${address}/b`)
  const after = await (app as unknown as { scrape: () => ReturnType<typeof scrape> }).scrape()
  const afterReset = after.samples('http_request_first_byte_seconds_count')
  t.same(afterReset.map(({ labels, value }) => [labels.route, value]), [['/b', 1]])
})

t.test('applications that share a server share nothing else', async t => {
  const server = createServer()
  t.teardown(() => server.close())
  const apps = []
  for (const name of ['first', 'second']) {
    const app = createApplication(t, {
      serverFactory: handler => server.removeAllListeners('request').on('request', handler)
    })
    await app.register(latency, { server: anyPort, histogram: { name: `${name}_seconds` }, labels: {} })
    await app.ready()
    apps.push(app)
  }
  const [first, second] = apps as [FastifyInstance, FastifyInstance]
  t.not(first.latency, second.latency)
  t.same([first.latency.histogram.name, second.latency.histogram.name], ['first_seconds', 'second_seconds'])
  await first.inject('/')
  const counts = async (app: FastifyInstance): Promise<unknown> => {
    const read = await scrape(await app.latency.start())
    return [read.value('first_seconds_count'), read.value('second_seconds_count')]
  }
  t.same(await counts(first), [1, undefined])
  t.same(await counts(second), [undefined, 0])
})

t.test('a registration that is refused leaves nothing in the registry', async t => {
  const registry = new Registry()
  const app = createApplication(t)
  await app.register(latency, { registry, server: false })
  const before = registry.getMetricsAsArray().length
  const refused = async (options: Options): Promise<unknown> => {
    const other = createApplication(t)
    return other.register(latency, { registry, server: false, ...options })
  }
  const histogram = { name: 'left_behind' }
  await t.rejects(refused({ histogram, timeToFirstByte: { name: 'http_requests_in_flight' } }),
    { code: 'FST_LATENCY_ERR_NAME_TAKEN' })
  await t.rejects(refused({ histogram, timeToFirstByte: { name: 'http_request_duration_seconds' } }),
    { code: 'FST_LATENCY_ERR_HISTOGRAM_CONFLICT' })
  t.equal(registry.getMetricsAsArray().length, before)
})

t.test('an application that closes leaves room in the series of those that stay', async t => {
  const registry = new Registry()
  const labels: Options['labels'] = { tenant: ({ url }) => url }
  const options: Options = { registry, server: anyPort, processMetrics: false, labels, seriesLimit: 10 }
  const create = async (more: Options): Promise<{ app: FastifyInstance, address: string }> =>
    createListening(t, { ...options, ...more }, app => { app.get('/:tenant', async () => 'x') })
  const stays = await create({})
  const closes = await create({ timeToFirstByte: true })
  for (let n = 0; n < 4; n++) await fetch(`${closes.address}/${n}`)
  await closes.app.close()
  registry.resetMetrics()
  for (let n = 10; n < 14; n++) await fetch(`${stays.address}/${n}`)
  const read = await scrape(stays.app.latency.url)
  t.same(read.samples(`${name}_count`).map(({ labels }) => labels.tenant), ['/10', '/11', '/12', '/13'])
})

t.test('default labels of the registry are on every series that has no label of the same name', async t => {
  const registry = new Registry()
  registry.setDefaultLabels({ env: 'prod' })
  const first = await createListening(t, { registry, constLabels: { env: 'x' }, histogram: { name: 'first_seconds' } })
  await createListening(t, { registry, histogram: { name: 'second_seconds' } })
  const read = await scrape(first.app.latency.url)
  const closing = read.samples('http_requests_rejected_total').filter(({ labels }) => labels.reason === 'closing')
  t.same(closing.map(({ labels }) => labels.env).sort(), ['prod', 'x'])
})

t.test('options may be inherited', async t => {
  const app = createApplication(t)
  await app.register(latency, Object.create({ server: false, histogram: { name: 'inherited_seconds' } }))
  t.equal(app.latency.histogram.name, 'inherited_seconds')
  t.equal(app.latency.server, null)
})
