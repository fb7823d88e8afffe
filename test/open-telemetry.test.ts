import { once } from 'node:events'
import http2 from 'node:http2'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import latency from '../lib'
import { anyPort, createApplication, createListening, listen, scrape } from './helpers/application'
import { createAuthority, issue } from './helpers/certificates'
import { Connection, exchange } from './helpers/connection'
import { familyOf } from './helpers/histogram'
import { Gate } from './helpers/gate'

const { openTelemetry } = latency
const name = 'http_server_request_duration_seconds'

/** Values of one label of every series, and how many requests each has. */
async function counts (
  app: FastifyInstance, label: string, metric = name
): Promise<Array<[value: string, count: number]>> {
  const samples = (await scrape(app.latency.url)).samples(`${metric}_count`)
  return samples.map(({ labels, value }): [string, number] => [labels[label]!, value]).sort()
}

t.test('the metric, its labels and its buckets are those of the semantic conventions', async t => {
  const { app, address } = await createListening(t, openTelemetry, app => { app.get('/users/:id', async () => 'x') })
  await (await fetch(`${address}/users/1`)).text()
  const text = await (await fetch(app.latency.url!, { headers: { accept: 'application/openmetrics-text' } })).text()
  const labels = 'http_request_method="GET",http_route="/users/:id",http_response_status_code="200",error_type="",' +
    'url_scheme="http",network_protocol_version="1.1"'
  const lines = text.split('\n').filter(line => line.includes(name))
  t.same(lines.slice(0, 3), [
    `# HELP ${name} Duration of HTTP server requests.`, `# TYPE ${name} histogram`, `# UNIT ${name} seconds`
  ])
  t.same(lines.slice(3).map(line => line.replace(/ \S+$/, '')), [
    ...[
      '0.005', '0.01', '0.025', '0.05', '0.075', '0.1', '0.25', '0.5', '0.75', '1.0', '2.5', '5.0', '7.5', '10.0',
      '+Inf'
    ]
      .map(le => `${name}_bucket{${labels},le="${le}"}`),
    `${name}_sum{${labels}}`, `${name}_count{${labels}}`
  ])
})

t.test('sizes have the names, units and labels of the semantic conventions', async t => {
  const options = { ...openTelemetry, requestSize: true, responseSize: true }
  const { app, address } = await createListening(t, options, app => { app.post('/', async () => 'reply') })
  await (await fetch(address, { method: 'POST', body: 'request' })).text()
  const exposition = await scrape(app.latency.url)
  const labels = {
    http_request_method: 'POST',
    http_route: '/',
    http_response_status_code: '200',
    error_type: '',
    url_scheme: 'http',
    network_protocol_version: '1.1'
  }
  for (const [metric, bytes] of [['request', 7], ['response', 5]] as const) {
    const name = `http_server_${metric}_body_size_bytes`
    t.equal(exposition.value(`${name}_sum`, labels), bytes, name)
  }
})

t.test('the preset is data: it can be spread and overridden, and not changed for others', async t => {
  const { app } = await createListening(t, {
    ...openTelemetry,
    histogram: { ...openTelemetry.histogram, buckets: [1] },
    labels: { ...openTelemetry.labels, tenant: () => 'x' }
  })
  t.same(app.latency.histogram.buckets, [1])
  t.same(app.latency.histogram.labelNames, [...Object.keys(openTelemetry.labels), 'tenant'])
  t.throws(() => { (openTelemetry.histogram.buckets as number[]).push(20) }, TypeError)
  t.throws(() => { Object.assign(openTelemetry.labels, { url_scheme: 'route' }) }, TypeError)
  t.throws(() => { Object.assign(openTelemetry, { labels: {} }) }, TypeError)
  t.throws(() => { Object.assign(openTelemetry.histogram, { name: 'x' }) }, TypeError)
})

t.test('what a label has no value for is empty', async t => {
  const { app, address } = await createListening(t, {
    labels: { route: 'matched_route', status: 'sent_status', error: 'error_type' }
  }, app => {
    app.get('/:code', async (request, reply) => reply.code(Number((request.params as { code: string }).code)).send())
    app.get('/named/:code', { config: { latency: { route: 'name' } } }, async () => 'x')
    app.get('/none/:code', (request, reply) => {
      reply.raw.statusCode = Number((request.params as { code: string }).code)
      reply.hijack()
      reply.raw.end()
    })
  })
  for (const path of ['/200', '/404', '/500', '/503', '/named/1', '/no/route', '/none/999']) {
    await (await fetch(address + path)).text()
  }
  const samples = (await scrape(app.latency.url)).samples('http_request_duration_seconds_count')
  t.same(samples.map(({ labels: { route, status, error }, value }) => [route, status, error, value]), [
    ['/:code', '200', '', 1], ['/:code', '404', '', 1], ['/:code', '500', '500', 1], ['/:code', '503', '503', 1],
    ['name', '200', '', 1], ['', '404', '', 1], ['/none/:code', '_OTHER', '_OTHER', 1]
  ])
})

t.test('the version of HTTP is as HTTP calls it', async t => {
  const { app, address } = await createListening(t, { labels: { version: 'protocol_version' } }, app => {
    app.get('/', async () => 'x')
  })
  for (const version of ['1.0', '1.1', '1.1', '0.9']) {
    await exchange(address, `GET / HTTP/${version}\nhost: x\nconnection: close\n\n`)
  }
  t.same(await counts(app, 'version', 'http_request_duration_seconds'), [['', 1], ['1.0', 1], ['1.1', 2]])
})

/**
 * Sends a request that is answered, and one whose client leaves, and resolves to the
 * schemes under which they are counted.
 */
async function schemes (t: Test, options: object, head = ''): Promise<Array<[value: string, count: number]>> {
  const [reached, released, ended] = [new Gate(), new Gate(), new Gate()]
  let open = 2
  const app = createApplication(t, options)
  await app.register(latency, {
    ...openTelemetry,
    server: anyPort,
    ignore: () => {
      if (--open === 0) ended.open()
      return false
    }
  })
  // The same again for a part of the application, whose requests have been noted already.
  await app.register(async part => {
    await part.register(latency, { ...openTelemetry, histogram: { name: 'part_seconds' } })
  })
  app.get('/', async () => 'x')
  app.get('/wait', async () => {
    reached.open()
    await released.passed()
    return 'x'
  })
  const address = await listen(app)
  await exchange(address, `GET / HTTP/1.1\nhost: x\nconnection: close\n${head}\n`)
  const connection = await Connection.open(address)
  connection.send(`GET /wait HTTP/1.1\nhost: x\n${head}\n`)
  await reached.passed()
  connection.leave()
  await ended.passed()
  released.open()
  const samples = (await scrape(app.latency.url)).samples(`${name}_count`)
  t.same(samples.map(({ labels }) => labels.error_type), ['', 'aborted'])
  return samples.map(({ labels, value }): [string, number] => [labels.url_scheme!, value])
}

t.test('the scheme is that of the connection, or what a trusted proxy says of its client, ' +
  'even if that has left', async t => {
  const https = await issue(await createAuthority('test'), 'localhost')
  const forwarded = (scheme: string): string => `x-forwarded-proto: ${scheme}\n`
  t.same(await schemes(t, {}), [['http', 1], ['http', 1]])
  t.same(await schemes(t, { https }), [['https', 1], ['https', 1]])
  t.same(await schemes(t, {}, forwarded('https')), [['http', 1], ['http', 1]], 'not trusted')
  t.same(await schemes(t, { trustProxy: true }, forwarded('https')), [['https', 1], ['https', 1]])
  t.same(await schemes(t, { trustProxy: '127.0.0.1' }, forwarded('https')), [['https', 1], ['https', 1]])
  t.same(await schemes(t, { https, trustProxy: true }, forwarded('http')), [['http', 1], ['http', 1]])
  t.same(
    await schemes(t, { https, trustProxy: true }, forwarded('wss')), [['https', 1], ['https', 1]], 'no scheme of HTTP'
  )
})

t.test('when it cannot be said whether the proxy is trusted, it is not', async t => {
  const trustProxy = (): boolean => { throw new Error('no') }
  const forwarded = { 'x-forwarded-proto': 'https' }
  const { statusCode } = await createApplication(t, { trustProxy }).get('/', async request => request.protocol).inject({
    url: '/', headers: forwarded
  })
  if (statusCode === 200) {
    return t.pass('not asked', { skip: 'this Fastify believes x-forwarded-proto without asking trustProxy' })
  }
  t.same(await schemes(t, { trustProxy }, 'x-forwarded-proto: https\n'), [['http', 1], ['http', 1]])
})

t.test('the scheme of a request that a hook before the plugin has answered is known too', async t => {
  const app = createApplication(t)
  app.addHook('onRequest', async (_request, reply) => reply.code(401).send())
  await app.register(latency, { ...openTelemetry, server: anyPort })
  await (await fetch(await listen(app))).text()
  t.same(await counts(app, 'url_scheme'), [['http', 1]])
})

t.test('the scheme of an HTTP/2 request is known when its session is gone', async t => {
  const https = await issue(await createAuthority('test'), 'localhost')
  const [reached, ended] = [new Gate(), new Gate()]
  const app = createApplication(t, { http2: true, https } as object)
  await app.register(latency, { ...openTelemetry, server: anyPort, ignore: () => { ended.open(); return false } })
  app.get('/', () => { reached.open() })
  const session = http2.connect(await listen(app), { rejectUnauthorized: false })
  session.on('error', () => {})
  session.request({ ':path': '/' }).on('error', () => {})
  await reached.passed()
  session.destroy()
  await once(session, 'close')
  await ended.passed()
  t.same(await counts(app, 'url_scheme'), [['https', 1]])
  t.same(await counts(app, 'network_protocol_version'), [['2', 1]])
})

t.test('without a label for it, no request carries its scheme', async t => {
  let keys: PropertyKey[] = []
  const { address } = await createListening(t, {}, app => {
    app.get('/', async request => {
      keys = [...Reflect.ownKeys(request), ...Reflect.ownKeys(Object.getPrototypeOf(request))]
      return 'x'
    })
  })
  await (await fetch(address)).text()
  t.notOk(keys.some(key => String(key).includes('latency.scheme')))
})

t.test('labels are looked up only once for each outcome of a route', async t => {
  const released = new Gate()
  const { app, address } = await createListening(t, openTelemetry, app => {
    app.get('/', async () => 'x')
    app.get('/wait', async () => released.passed())
  })
  const { index } = familyOf(app)
  let lookups = 0
  const { find } = index
  index.find = values => {
    lookups++
    return find.call(index, values)
  }
  for (let round = 0; round < 3; round++) {
    for (const version of ['1.0', '1.1']) {
      await exchange(address, `GET / HTTP/${version}\nhost: x\nconnection: close\n\n`)
    }
    const closed = new Promise<void>(resolve =>
      app.server.once('connection', socket => socket.once('close', () => resolve())))
    const requested = once(app.server, 'request')
    const connection = await Connection.open(address)
    connection.send('GET /wait HTTP/1.1\nhost: x\n\n')
    await requested
    connection.leave()
    await closed
    if (round === 0) t.ok(lookups >= 3)
    if (round > 0) t.equal(lookups, 0)
    lookups = 0
  }
  released.open()
  t.same(await counts(app, 'error_type'), [['', 3], ['', 3], ['aborted', 3]])
})
