import { once } from 'node:events'
import { connect as connectHttp2, constants, type Http2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import Fastify from 'fastify'
import t from 'tap'
import latency from '../lib'
import { anyPort, createApplication, listen, scrape } from './helpers/application'
import { Connection, exchange } from './helpers/connection'
import { Gate } from './helpers/gate'
import { until } from './helpers/until'
import { Gates, play, scenarios, type Scenario } from './scenarios/endings'
import type { Exposition } from './helpers/exposition'

/** The series of a metric that are not 0, by their label values. */
function values (exposition: Exposition, name: string): Record<string, number> {
  const counted = exposition.samples(name).filter(({ value }) => value !== 0)
  return Object.fromEntries(counted.map(({ labels, value }) => [Object.values(labels).join(' '), value]))
}

const hasHandlerTimeout = 'handlerTimeout' in Fastify().initialConfig
/** Endings whose `error.type` is not told by a status, nor by what is counted as aborted. */
const errorTypes: Record<string, string> = {
  'requestTimeout in the body': 'timeout',
  'a body that is not what its headers say': 'malformed',
  'a body that is not what its headers say, while a hook before the plugin waits': 'malformed'
}

/** What is to be observed of a scenario with OpenTelemetry's labels. */
function attributes ({ name, observed, aborted = {} }: Scenario): Record<string, number> {
  return Object.fromEntries(Object.entries(observed).map(([labels, count]) => {
    const [method, route, status] = labels.split(' ') as [string, string, string]
    const phase = ['before_reply', 'in_reply'].find(phase => aborted[`${method} ${route} ${phase}`] === count &&
      (phase === 'in_reply' || status === '499'))
    const error = phase !== undefined ? 'aborted' : errorTypes[name] ?? (status >= '500' ? status : '')
    const sent = [method, route === 'unmatched' ? '' : route, phase === 'before_reply' ? '' : status]
    return [[...sent, error, 'http', name.startsWith('HTTP/2') ? '2' : '1.1'].join(' '), count]
  }))
}

for (const scenario of scenarios) {
  const skip = scenario.name === 'handlerTimeout' && !hasHandlerTimeout && 'Fastify has none before 5.8'
  t.test(`counted once: ${scenario.name}`, { skip }, async t => {
    const app = createApplication(t, scenario.options)
    const gates = new Gates()
    scenario.before?.(app, gates)
    await app.register(latency, { server: anyPort, processMetrics: false })
    await app.register(latency, latency.openTelemetry)
    scenario.declare?.(app, gates)
    await play(scenario, app, gates, await listen(app))

    const exposition = await scrape(app.latency.url)
    t.same(values(exposition, 'http_request_duration_seconds_count'), scenario.observed)
    t.same(values(exposition, 'http_server_request_duration_seconds_count'), attributes(scenario))
    t.same(values(exposition, 'http_requests_aborted_total'), scenario.aborted ?? {})
    t.same(values(exposition, 'http_long_lived_requests_ended_total'), scenario.longLived ?? {})
    t.same(values(exposition, 'http_requests_rejected_total'), {})
    t.same(values(exposition, 'http_requests_in_flight'), {})
    t.same(values(exposition, 'http_long_lived_requests'), {})
  })
}

t.test('a reply to a connection that has failed reaches nobody', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.get('/late', async () => 'x')
  app.get('/late/bytes', async () => Buffer.from('x'))
  app.get('/late/stream', async (_request, reply) => {
    return reply.type('text/event-stream').send(Readable.from(['data: x\n\n']))
  })
  app.get('/destroyed', async ({ raw }) => {
    raw.destroy()
    return 'x'
  })
  app.get('/failed', async ({ raw }) => {
    raw.socket.destroy()
    throw new Error('no')
  })
  app.get('/ended', async ({ raw }) => {
    await once(raw.socket, 'end')
    return 'x'
  })
  app.get('/reset', async ({ raw }) => {
    await once(raw.socket, 'close')
    return 'x'
  })
  const address = await listen(app)
  const head = (path: string): string => `GET ${path} HTTP/1.1\nhost: x\n\n`
  for (const path of ['/late', '/late/bytes', '/late/stream']) {
    t.match(await exchange(address, `${head(path)}\0`), 'HTTP/1.1 400 ', 'which Fastify answers in place of it')
  }
  for (const path of ['/destroyed', '/failed']) t.equal(await exchange(address, head(path)), '')
  for (const [path, leave] of [['/ended', 'end'], ['/reset', 'resetAndDestroy']] as const) {
    const connection = await Connection.open(address)
    const arrived = once(app.server, 'request')
    connection.send(head(path))
    await arrived
    connection.socket[leave]()
    await connection.closed()
  }
  await until('the end of all requests', async () =>
    Object.keys(values(await scrape(app.latency.url), 'http_requests_in_flight')).length === 0)

  const exposition = await scrape(app.latency.url)
  const paths = ['/destroyed', '/ended', '/failed', '/late', '/late/bytes', '/late/stream', '/reset']
  t.same(values(exposition, 'http_request_duration_seconds_count'),
    Object.fromEntries(paths.map(path => [`GET ${path} 499`, 1])))
  t.same(values(exposition, 'http_requests_aborted_total'),
    Object.fromEntries(paths.map(path => [`GET ${path} before_reply`, 1])))
})

t.test('a reply that was sent is whole, whatever else comes on its connection', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.get('/', (_request, reply) => { reply.send('x') })
  t.match(await exchange(await listen(app), 'GET / HTTP/1.1\nhost: x\n\n\0'), /200 OK[^]*400 Bad Request/)

  const exposition = await scrape(app.latency.url)
  t.same(values(exposition, 'http_request_duration_seconds_count'), { 'GET / 200': 1 })
  t.same(values(exposition, 'http_requests_aborted_total'), {})
})

t.test('a head is not sent before a part of the body is, or before the replies to earlier requests', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, processMetrics: false, timeToFirstByte: true })
  app.get('/first', async () => 'x')
  app.get('/held', (_request, reply) => { reply.hijack().raw.writeHead(200) })
  app.get('/stream', (_request, reply) => {
    reply.hijack().raw.writeHead(200, { 'content-type': 'text/event-stream' })
  })
  let heldMs = 0
  app.get('/later', async (_request, { raw }) => {
    raw.writeHead(200)
    const start = performance.now()
    await setImmediate()
    heldMs = performance.now() - start
    raw.end('x')
  })
  app.get('/large', async () => Buffer.alloc(20_000_000))
  const address = await listen(app)
  const head = (path: string, line = ''): string => `GET ${path} HTTP/1.1\nhost: x\n${line}\n`
  const leave = async (connection: Connection, text: string, requests = 1): Promise<void> => {
    let count = 0
    const arrived = new Promise<void>(resolve => {
      app.server.on('request', () => { if (++count === requests) resolve() })
    })
    connection.send(text)
    await arrived
    connection.reset()
    await connection.closed()
  }
  for (const path of ['/held', '/stream']) {
    await leave(await Connection.open(address), head(path))
    const kept = await Connection.open(address)
    kept.send(head('/first'))
    await kept.until('\r\n\r\nx')
    await leave(kept, head(path))
  }
  await leave(await Connection.open(address), head('/held', 'expect: 100-continue\n'))
  for (const behind of ['/first', '/held']) {
    const pipelining = await Connection.open(address)
    pipelining.socket.once('data', () => pipelining.socket.pause())
    await leave(pipelining, head('/large') + head(behind), 2)
  }
  const patient = await Connection.open(address)
  patient.send(head('/later'))
  await patient.until('x')
  await until('the end of all requests', async () =>
    Object.keys(values(await scrape(app.latency.url), 'http_requests_in_flight')).length === 0)

  const exposition = await scrape(app.latency.url)
  const counts = {
    'GET /first 200': 2,
    'GET /first 499': 1,
    'GET /held 499': 4,
    'GET /stream 499': 2,
    'GET /large 200': 2,
    'GET /later 200': 1
  }
  t.same(values(exposition, 'http_request_duration_seconds_count'), counts)
  t.same(values(exposition, 'http_request_first_byte_seconds_count'),
    Object.fromEntries(Object.entries(counts).filter(([labels]) => labels.endsWith('200'))))
  t.same(values(exposition, 'http_requests_aborted_total'), {
    'GET /first before_reply': 1,
    'GET /held before_reply': 4,
    'GET /stream before_reply': 2,
    'GET /large in_reply': 2
  })
  t.same(values(exposition, 'http_long_lived_requests_ended_total'), {})
  t.ok(values(exposition, 'http_request_first_byte_seconds_sum')['GET /later 200']! >= heldMs / 1000)
})

t.test('an HTTP/2 stream that its client resets without an error ends', async t => {
  const app = createApplication(t, { http2: true } as object)
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.get('/large', async () => Buffer.alloc(5_000_000))
  app.get('/parts', async () => Readable.from(Array.from({ length: 50 }, () => Buffer.alloc(100_000))))
  const streams: Http2Stream[] = []
  app.server.on('stream', stream => streams.push(stream as Http2Stream))
  const session = connectHttp2(await listen(app))
  t.teardown(() => {
    session.destroy()
    // Node.js never does.
    for (const stream of streams) stream.destroy()
  })
  for (const path of ['/large', '/parts']) {
    const stream = session.request({ ':path': path })
    await once(stream, 'data')
    stream.pause().close(constants.NGHTTP2_NO_ERROR)
  }
  await until('the end of both', async () =>
    Object.keys(values(await scrape(app.latency.url), 'http_requests_in_flight')).length === 0)
  const exposition = await scrape(app.latency.url)
  t.same(values(exposition, 'http_request_duration_seconds_count'), { 'GET /large 200': 1, 'GET /parts 200': 1 })
  t.same(values(exposition, 'http_requests_aborted_total'), { 'GET /large in_reply': 1, 'GET /parts in_reply': 1 })
})

t.test('an HTTP/2 request whose client leaves while an earlier hook takes time is counted once', async t => {
  const [held, left] = [new Gate(), new Gate()]
  const app = createApplication(t, { http2: true } as object)
  app.addHook('onRequest', async ({ raw }) => {
    held.open()
    await once((raw as { stream?: Http2Stream }).stream!, 'close')
    await setImmediate()
  })
  app.addHook('onResponse', async () => left.open())
  await app.register(latency, { server: anyPort, processMetrics: false, endpoint: '/metrics' })
  app.get('/', async () => 'x')
  const address = await listen(app)
  for (const path of ['/', '/metrics']) {
    held.close()
    left.close()
    const session = connectHttp2(address)
    session.request({ ':path': path })
    await held.passed()
    session.destroy()
    await left.passed()
  }
  const exposition = await until('the end of both', async () => {
    const exposition = await scrape(app.latency.url)
    return exposition.value('fastify_latency_scrapes_total', { code: '499' }) === 1 && exposition
  })
  t.same(values(exposition, 'http_request_duration_seconds_count'), { 'GET / 499': 1 })
  t.same(values(exposition, 'http_requests_aborted_total'), { 'GET / before_reply': 1 })
})
