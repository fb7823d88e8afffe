import { createServer } from 'node:http'
import path from 'node:path'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { Gauge, Registry } from 'prom-client'
import type { NativeOptions, Options, RegistryLike } from '..'
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
    [{ histogram: { native: true } }, 'schema of native buckets not set; it cannot be registered again with 3'],
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

t.test('one name, two kinds of native buckets: the error says what is different', async t => {
  const cases: Array<[native: boolean | NativeOptions, message: string]> = [
    [false, 'schema of native buckets 3; it cannot be registered again with not set'],
    [{ schema: 4 }, 'schema of native buckets 3; it cannot be registered again with 4'],
    [{ maxBuckets: 100 }, 'limit of native buckets 160; it cannot be registered again with 100']
  ]
  for (const [native, message] of cases) {
    const app = createApplication(t)
    await app.register(latency, { server: false, histogram: { native: true } })
    await t.rejects(async () => await app.register(latency, { server: false, histogram: { native } }), {
      code: 'FST_LATENCY_ERR_HISTOGRAM_CONFLICT',
      message: `Histogram "http_request_duration_seconds" is registered with the ${message}`
    })
  }
})

t.test('two shapes that read alike in a message are told to differ', async t => {
  const app = createApplication(t)
  const buckets = Array.from({ length: 30 }, (_, index) => index)
  await app.register(latency, { server: false, timeToFirstByte: { buckets } })
  const other = { histogram: { name: 'other' }, timeToFirstByte: { buckets: buckets.slice(0, 29).concat(50) } }
  await t.rejects(async () => await app.register(latency, other), {
    code: 'FST_LATENCY_ERR_HISTOGRAM_CONFLICT',
    message: /\.\.\. 10 more items \]; it .* with another one\. Give one of them another "timeToFirstByte\.name"$/
  })
})

t.test('recording the same requests into the same histogram in two ways is refused, in whichever order', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: false })
  await t.rejects(async () => await app.register(latency, { ignore: () => true }), {
    code: 'FST_LATENCY_ERR_HISTOGRAM_RECORDED',
    message: 'Histogram "http_request_duration_seconds" already records the requests of this context, and to record ' +
      'them again would count each twice: "ignore" is not set at first, and then [Function: ignore]. '
  })

  const outer = createApplication(t)
  await outer.register(latency, { server: false })
  await t.rejects(
    async () => await outer.register(async child => { await child.register(latency, { ignore: () => true }) }),
    { code: 'FST_LATENCY_ERR_HISTOGRAM_RECORDED' }
  )

  const inverse = createApplication(t)
  await inverse.register(async child => { await child.register(latency, { server: false }) })
  await t.rejects(async () => await inverse.register(latency), {
    code: 'FST_LATENCY_ERR_HISTOGRAM_RECORDED', message: /each twice: a context inside this one was registered before this one\. Give /
  })
})

t.test('an error has a code whatever is thrown', async t => {
  class Disguised extends Error {
    override message = 'no'
    get code (): string { throw new Error('not to be read') }
  }
  const { proxy: revoked, revoke } = Proxy.revocable({}, {})
  revoke()
  const cases: Array<[thrown: unknown, message: string]> =
    [[new Disguised(), 'no'], [null, 'null'], [revoked, 'a value that cannot be shown']]
  for (const [thrown, message] of cases) {
    const app = createApplication(t)
    await t.rejects(async () => await app.register(latency, { get labels (): never { throw thrown } }),
      { code: 'FST_LATENCY_ERR_OPTION_INVALID', message: `; received one that throws: ${message}` })
  }
})

t.test('why requests would be recorded twice is said', async t => {
  const tenant = (value: string) => () => value
  const label = { labels: { tenant: tenant('a') } }
  const cases: Array<[first: Options, second: Options, message: RegExp]> = [
    [{}, { abortedStatus: 'reply' }, /: "abortedStatus" is 499 at first, and then 'reply'\. Give the same options, to the outer context first, or another "histogram\.name"$/],
    [{}, { ignore: () => true, seriesLimit: 1 },
      /: "ignore" is not set at first, and then .*; "seriesLimit" is 2000 at first, and then 1\./],
    [{ labels: { a: 'route' } }, { labels: { a: 'method' } }, /: "labels\.a" is 'route' at first, and then 'method'\./],
    [label, { labels: { tenant: tenant('b') } }, /: "labels\.tenant" is .* at first, and then another one\./],
    [{ constLabels: { a: 'x' } }, { constLabels: { a: 'y' } }, /: "constLabels\.a" is 'x' at first, and then 'y'\./],
    [{}, { timeToFirstByte: true }, /: "timeToFirstByte" is not set at first, and then an object\./],
    [{ timeToFirstByte: true }, { timeToFirstByte: true, histogram: { name: 'other', buckets: [1] } },
      /: "histogram\.name" is 'http_request.*buckets" is .*, and then \[ 1 \]\. .* another "timeToFirstByte\.name"$/]
  ]
  for (const [first, second, message] of cases) {
    const app = createApplication(t)
    await app.register(latency, { server: false, ...first })
    await t.rejects(async () => await app.register(latency, { server: false, ...second }), {
      code: 'FST_LATENCY_ERR_HISTOGRAM_RECORDED', message
    }, String(message))
  }
})

t.test('a histogram whose samples would have names of others is refused', async t => {
  const cases: Array<[options: Options, option: string, other: string]> = [
    [{ timeToFirstByte: { name } }, 'timeToFirstByte.name', name],
    [{ histogram: { name: 'http_requests_in_flight' }, inFlight: false }, 'histogram.name', 'http_requests_in_flight'],
    [{ histogram: { name: 'fastify_latency_scrapes_total' } }, 'histogram.name', 'fastify_latency_scrapes_total'],
    [{ histogram: { name: 'fastify_latency_scrape_size_bytes_sum' } }, 'histogram.name',
      'fastify_latency_scrape_size_bytes'],
    [{ timeToFirstByte: { name: 'fastify_latency_hidden_families' } }, 'timeToFirstByte.name',
      'fastify_latency_hidden_families'],
    ...['_bucket', '_count', '_sum', '_created'].flatMap((suffix): typeof cases => [
      [{ timeToFirstByte: { name: name + suffix } }, 'timeToFirstByte.name', name],
      [{ histogram: { name: `http_request_first_byte_seconds${suffix}` }, timeToFirstByte: true },
        'timeToFirstByte.name', `http_request_first_byte_seconds${suffix}`]
    ])
  ]
  for (const [options, option, other] of cases) {
    const app = createApplication(t)
    await t.rejects(async () => await app.register(latency, { server: false, ...options }), {
      code: 'FST_LATENCY_ERR_OPTION_INVALID',
      message: `Option "${option}" must be a name whose samples have other names than those of "${other}"; received `
    })
  }
  const app = createApplication(t)
  await app.register(latency, { server: false })
  await t.resolves(async () => await app.register(latency, { histogram: { name: `${name}_total` } }))
  await t.rejects(async () => await app.register(latency, { histogram: { name: `${name}_count` } }),
    { code: 'FST_LATENCY_ERR_OPTION_INVALID', message: `of "${name}"; received` })
})

t.test('every error that leaves a registration has a code, and its cause', async t => {
  const thrown = new Error('boom')
  const boom = (): never => { throw thrown }
  const throwing = new Proxy({}, { get: boom, ownKeys: boom, getPrototypeOf: boom })
  const getter = (key: string): object => Object.defineProperty({}, key, { get: boom, enumerable: true })
  const registry = (methods: object): RegistryLike => Object.assign(new Registry(), methods)
  const { proxy: revoked, revoke } = Proxy.revocable({}, {})
  revoke()
  const invalid = 'FST_LATENCY_ERR_OPTION_INVALID'
  const failed = 'FST_LATENCY_ERR_REGISTRY_FAILED'
  const cases: Array<[options: object, code: string, message: string]> = [
    [throwing, invalid, 'Option "options" must be a value that can be read; received one that throws: boom'],
    [getter('labels'), invalid, 'Option "labels" must be a value'],
    [{ histogram: getter('buckets') }, invalid, 'Option "histogram.buckets" must be'],
    [{ histogram: { buckets: new Proxy([1], { get: boom }) } }, invalid, 'Option "histogram.buckets" must be'],
    [{ server: { auth: getter('users') } }, invalid, 'Option "server.auth.users" must be'],
    ...['histogram', 'timeToFirstByte', 'labels', 'constLabels', 'server', 'scrape', 'registry']
      .map((option): typeof cases[number] => [{ [option]: throwing }, invalid, `Option "${option}" must be`]),
    [{ labels: getter('a') }, invalid, 'Option "labels" must be'],
    [{ constLabels: getter('a') }, invalid, 'Option "constLabels" must be'],
    [{ registry: registry({ registerMetric: boom }) }, failed,
      `A registry has failed (that of the option "registry"): registerMetric() failed for "${name}": boom`],
    [{ registry: registry({ getSingleMetric: boom }) }, failed, `: getSingleMetric() failed for "${name}": boom`]
  ]
  for (const [options, code, message] of cases) {
    const app = createApplication(t)
    Object.setPrototypeOf(options, { server: false })
    await t.rejects(async () => await app.register(latency, options), { code, message, cause: thrown }, message)
  }
  for (const [options, message] of [
    [{ registry: revoked }, 'Option "registry" must be a value that can be read'],
    [{ labels: revoked }, 'Option "labels" must be a value that can be read'],
    [{ registry: registry({ getSingleMetric: () => null }) }, 'it returned null, which is no metric'],
    [{ registry: registry({ getSingleMetric: async () => {} }) }, 'it returned Promise { undefined'],
    [{ registry: registry({ getSingleMetric: () => revoked }) }, 'getSingleMetric() failed for']
  ] as Array<[options: Options, message: string]>) {
    const app = createApplication(t)
    const refused = app.register(latency, { server: false, ...options })
    await t.rejects(async () => await refused, { code: /^FST_LATENCY_ERR_/, message, cause: TypeError }, message)
  }
  const app = createApplication(t)
  app.get('/metrics', async () => 'x')
  await t.rejects(async () => await app.register(latency, { server: false, endpoint: '/metrics' }), {
    code: 'FST_LATENCY_ERR_REGISTRATION_FAILED', cause: { message: /already declared for route '\/metrics'$/ }
  })
})

t.test('what a registration that fails half-way has registered leaves the registry with the application', async t => {
  const registry = new Registry()
  const gauge = new Gauge({ name: 'http_requests_aborted_total', help: 'x', registers: [registry] })
  const app = createApplication(t)
  await t.rejects(async () => await app.register(latency, { server: false, registry, timeToFirstByte: true }),
    { code: 'FST_LATENCY_ERR_NAME_TAKEN' })
  await app.close()
  t.same(registry.getMetricsAsArray(), [gauge])
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
    message: 'The first registration of an application decides what it has one of, and a later one may leave it out: ' +
      '"server.host" is \'127.0.0.1\' at first, and then not set; "server.port" is 0 at first, and then 9000'
  })

  const other = createApplication(t)
  await other.register(latency, { server: anyPort, processMetrics: false })
  await t.rejects(async () => await other.register(latency, { processMetrics: true }), {
    code: 'FST_LATENCY_ERR_OPTION_CONFLICT',
    message: ': "processMetrics" is false at first, and then true'
  })
})

t.test('which options differ between two registrations is said, with short values and no secrets', async t => {
  const https = { certFile: 'test/fixtures/localhost.pem', keyFile: 'test/fixtures/localhost.pem' }
  const cases: Array<[first: Options['server'], second: Options['server'], difference: string]> = [
    [false, {}, '"server" is false at first, and then an object'],
    [true, false, '"server" is an object at first, and then false'],
    [{ auth: { tokens: ['hunter2'] } }, { auth: { tokens: ['hunter3'] } },
      '"server.auth" is a value that is not shown at first, and then another one'],
    [{ auth: { users: { a: 'hunter2' } } }, { auth: { users: { a: 'hunter3' } } },
      '"server.auth" is a value that is not shown at first, and then another one'],
    [{}, { auth: { tokens: ['hunter2'] } }, '"server.auth" is not set at first, and then a value that is not shown'],
    [{}, { https }, '"server.https" is not set at first, and then an object'],
    [{ path: `/${'x'.repeat(1000)}` }, {}, `"server.path" is '/${'x'.repeat(79)}'... 921 more characters at first, and`]
  ]
  for (const [server, second, difference] of cases) {
    const app = createApplication(t)
    await app.register(latency, { server: server! })
    await t.rejects(async () => await app.register(latency, { server: second!, histogram: { name: 'second' } }), {
      code: 'FST_LATENCY_ERR_OPTION_CONFLICT', message: `: ${difference}`
    })
  }
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
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({ name: 'foreign', help: 'x', registers: [registry] })
  const before = registry.getMetricsAsArray().length
  const refused = async (options: Options): Promise<unknown> => {
    const other = createApplication(t)
    return other.register(latency, { registry, server: false, ...options })
  }
  const histogram = { name: 'left_behind' }
  await t.rejects(refused({ histogram, timeToFirstByte: { name: 'foreign' } }),
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

t.test('series that differ in an empty constant label only are one, which is to Prometheus no label', async t => {
  const registry = new Registry()
  const first = await createListening(t, { registry, constLabels: { tier: '' }, histogram: { name: 'first_seconds' } })
  await createListening(t, { registry, histogram: { name: 'second_seconds' } })
  const read = await scrape(first.app.latency.url)
  const closing = read.samples('http_requests_rejected_total').filter(({ labels }) => labels.reason === 'closing')
  t.same(closing.map(({ labels }) => ({ ...labels })), [{ reason: 'closing' }])
})

t.test('options may be inherited', async t => {
  const app = createApplication(t)
  await app.register(latency, Object.create({ server: false, histogram: { name: 'inherited_seconds' } }))
  t.equal(app.latency.histogram.name, 'inherited_seconds')
  t.equal(app.latency.server, null)
})

t.test('called instead of registered, the plugin says how it is registered', async t => {
  const call = latency as unknown as (...given: unknown[]) => Promise<void>
  for (const given of [[], [{}], [{ server: false }], [null], [undefined, {}]]) {
    t.throws(() => call(...given), { code: 'FST_LATENCY_ERR_NOT_REGISTERED', name: 'FastifyError' })
  }
})

t.test('app.latency of somebody else is refused, and nothing is changed', async t => {
  const folder = path.dirname(require.resolve('../lib'))
  const loaded = Object.entries(require.cache).filter(([file]) => file.startsWith(folder))
  for (const [file] of loaded) delete require.cache[file]
  const copy: typeof latency = require('../lib')
  Object.assign(require.cache, Object.fromEntries(loaded))
  t.not(copy, latency)
  const owners: Array<[add: (app: FastifyInstance) => unknown, message: RegExp]> = [
    [app => app.register(copy, { server: false }), /It belongs to another copy of fastify-latency: "npm ls /],
    [app => app.decorate('latency', null as never), /It belongs to another plugin, or to the application itself$/],
    [app => app.decorate('latency', {} as never), /It belongs to another plugin, or to the application itself$/]
  ]
  for (const [add, message] of owners) {
    const app = createApplication(t)
    const registry = new Registry()
    await add(app)
    await t.rejects(async () => await app.register(latency, { server: false, registry }),
      { code: 'FST_LATENCY_ERR_DECORATOR_TAKEN', message })
    t.same(registry.getMetricsAsArray(), [])
  }
})
