import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, get } from 'node:http'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import timers from 'node:timers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import type { FastifyInstance, FastifyPluginAsync, FastifyServerOptions } from 'fastify'
import type { LabelFunction, Options } from '..'
import latency from '../lib'
import { anyPort, createApplication, listen, loadAnew, registryOf, scrape } from './helpers/application'
import { Connection, exchange } from './helpers/connection'
import { Gate } from './helpers/gate'
import { root } from './helpers/repository'
import { until } from './helpers/until'

const pem = readFileSync(path.join(root, 'test', 'fixtures', 'localhost.pem'))

/** How long the handler of `/` keeps the event loop busy, in milliseconds. */
const work = 20

function beBusy (ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

async function create (
  t: Test, options: Options, server: object = {}, inner: FastifyPluginAsync = async () => {}
): Promise<{ app: FastifyInstance, url: string }> {
  const app = createApplication(t, server as FastifyServerOptions)
  await app.register(latency, { server: anyPort, processMetrics: false, labels: { route: 'route' }, ...options })
  app.get('/', async () => {
    beBusy(work)
    return 'x'
  })
  app.get('/idle', async () => 'x')
  app.get('/left', { config: { latency: false } }, async () => 'x')
  await app.register(inner)
  return { app, url: await listen(app) }
}

/** What a family has counted, by the value of its only label. */
async function counted (app: FastifyInstance, family: string): Promise<Record<string, { sum: number, count: number }>> {
  const exposition = await scrape(app.latency.url)
  return Object.fromEntries(exposition.samples(`${family}_count`).map(({ labels, value: count }) => {
    const sum = exposition.value(`${family}_sum`, labels)!
    return [Object.values(labels).join(), { sum, count }]
  }))
}

const queue = 'http_request_queue_seconds'

/** Sends a request on each of these connections, before the event loop can read any of them. */
async function burst (connections: readonly Connection[], request = 'GET / HTTP/1.1\nhost: x\n\n'): Promise<void> {
  for (const connection of connections) connection.send(request)
  await Promise.all(connections.map(async connection => connection.until('\r\n\r\nx')))
}

/** Opens connections, and has each of them accepted. */
async function openMany (url: string, count = 10): Promise<Connection[]> {
  return Promise.all(Array.from({ length: count }, async () => {
    const connection = await Connection.open(url)
    connection.send('GET /left HTTP/1.1\nhost: x\n\n')
    await connection.until('\r\n\r\nx')
    connection.received = ''
    return connection
  }))
}

const certificates = Object.entries({ http: undefined, https: { key: pem, cert: pem } })

for (const [protocol, certificate] of certificates) {
  t.test(`a request waits for those that came with it and were read before it: ${protocol}`, async t => {
    const { app, url } = await create(t, { queueTime: true }, certificate && { https: certificate })
    const connections = await openMany(url)
    await burst(connections)
    const { '': waits } = await counted(app, queue)
    t.equal(waits!.count, 10)
    // They waited for 0, 1, 2, …, 9 others.
    t.ok(waits!.sum >= 45 * work / 1000, `${waits!.sum} s`)
  })
}

/**
 * A client that keeps its connection. It sends a request on it, and one that takes long on another, which are read
 * together. When it has the reply to the first, while the other one is answered, it sends the next.
 */
const keepingClient = `
  const { workerData: { flags, port, isTls } } = require('node:worker_threads')
  const options = { port, host: '127.0.0.1', rejectUnauthorized: false }
  const open = () => isTls ? require('node:tls').connect(options) : require('node:net').connect(options)
  const ask = (connection, path) => connection.write('GET ' + path + ' HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n')
  const reply = connection => new Promise(resolve => connection.once('data', resolve))
  async function main () {
    const [kept, other] = [open(), open()]
    for (const connection of [kept, other]) {
      ask(connection, '/left')
      await reply(connection)
    }
    require('node:worker_threads').parentPort.postMessage('open')
    Atomics.wait(flags, 0, 0)
    ask(kept, '/idle')
    ask(other, '/long')
    Atomics.store(flags, 1, 1)
    await reply(kept)
    ask(kept, '/next')
    Atomics.store(flags, 2, 1)
    await reply(kept)
    process.exit()
  }
  main()`

for (const [protocol, certificate] of certificates) {
  t.test(`a request waits although the reply before it is told late: ${protocol}`, async t => {
    const flags = new Int32Array(new SharedArrayBuffer(12))
    const { app, url } = await create(
      t, { queueTime: { labels: { route: 'route' } } }, certificate && { https: certificate },
      async app => {
        app.get('/long', async () => {
          while (Atomics.load(flags, 2) === 0);
          beBusy(200)
          return 'x'
        })
        app.get('/next', async () => 'x')
      }
    )
    const workerData = { flags, port: Number(new URL(url).port), isTls: certificate !== undefined }
    const worker = new Worker(keepingClient, { eval: true, workerData })
    await once(worker, 'message')
    const exit = once(worker, 'exit')
    Atomics.store(flags, 0, 1)
    Atomics.notify(flags, 0)
    while (Atomics.load(flags, 1) === 0);
    await exit
    // It waited for 200 ms. A connection that is kept is taken to have asked at any time since the reply before.
    const { '/next': waits } = await counted(app, queue)
    t.ok(waits!.sum > 0.05, `${waits!.sum} s`)
  })
}

t.test('requests that came at once on one connection have waited for each other: HTTP/2, and pipelined', async t => {
  const { app, url } = await create(t, { queueTime: true }, { http2: true, https: { key: pem, cert: pem } })
  const session = connect(url, { rejectUnauthorized: false })
  t.teardown(() => session.destroy())
  await once(session, 'connect')
  const streams = Array.from({ length: 5 }, () => session.request({ ':path': '/' }))
  await Promise.all(streams.map(async stream => once(stream.resume(), 'end')))
  const http2 = (await counted(app, queue))['']!
  t.equal(http2.count, 5)
  t.ok(http2.sum >= 10 * work / 1000, `${http2.sum} s`)

  const second = await create(t, { queueTime: true })
  const [connection] = await openMany(second.url, 1)
  connection!.send('GET / HTTP/1.1\nhost: x\n\n'.repeat(5))
  const pipelined = await until('five requests', async () => {
    const { '': waits } = await counted(second.app, queue)
    return waits!.count === 5 && waits
  })
  t.ok(pipelined.sum >= 10 * work / 1000, `${pipelined.sum} s`)
})

/** Clients that send a request with a new connection, as programs that call `sent` when they have done so. */
const newClients = {
  http: `require('node:net').connect(port, '127.0.0.1', function () {
    this.end('GET /idle HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n', sent)
  }).resume()`,
  'http/2': `
    const session = require('node:http2').connect('http://127.0.0.1:' + port, sent)
    session.request({ ':path': '/idle' }).resume().on('close', () => session.close())`
}

/** What can keep the event loop busy, as functions that have it do some work. */
const busyParts: Record<string, (work: () => void) => void> = {
  'whatever was read before it': work => work(),
  'a timer': work => { setTimeout(work) },
  'an immediate': work => { setImmediate(work) }
}

/**
 * Has a client of another thread send a request with a new connection in the middle of a piece of work, and get its
 * answer. Resolves to how long the work took, in seconds.
 */
async function connectWhileBusy (url: string, client = newClients.http, begin = (work: () => void) => work()
): Promise<number> {
  const flags = new Int32Array(new SharedArrayBuffer(8))
  const worker = new Worker(`
    const { workerData: { flags, port } } = require('node:worker_threads')
    const sent = () => Atomics.store(flags, 1, 1)
    Atomics.wait(flags, 0, 0)
    ${client}`, { eval: true, workerData: { flags, port: new URL(url).port } })
  await once(worker, 'online')
  const exit = once(worker, 'exit')
  const startMs = performance.now()
  const endMs = await new Promise<number>(resolve => begin(() => {
    beBusy(150)
    Atomics.store(flags, 0, 1)
    Atomics.notify(flags, 0)
    while (Atomics.load(flags, 1) === 0);
    beBusy(150)
    resolve(performance.now())
  }))
  await exit
  return (endMs - startMs) / 1000
}

/** How long the only request of an application has waited, as a share of some time. */
async function shareWaited (app: FastifyInstance, seconds: number): Promise<number> {
  const metrics = await registryOf(app).metrics()
  if (!metrics.includes(`\n${queue}_count 1\n`)) throw new Error(metrics)
  return Number(/_queue_seconds_sum (.+)/.exec(metrics)![1]) / seconds
}

for (const [what, begin] of Object.entries(busyParts)) {
  t.test(`the first request of a connection waited for half of ${what}`, async t => {
    const { app, url } = await create(t, { queueTime: true })
    const share = await shareWaited(app, await connectWhileBusy(url, newClients.http, begin))
    t.ok(share > 0.25 && share < 0.75, `${share}`)
  })
}

t.test('the first request of an HTTP/2 session waits from when its connection could have been accepted', async t => {
  const { app, url } = await create(t, { queueTime: true }, { http2: true })
  const share = await shareWaited(app, await connectWhileBusy(url, newClients['http/2']))
  t.ok(share > 0.25 && share < 0.75, `${share}`)
})

t.test('applications of one process estimate the same as one alone', async t => {
  const apps: Array<{ app: FastifyInstance, url: string }> = []
  for (const plugin of [latency, latency, loadAnew(t, () => require('../lib') as typeof latency)]) {
    const app = createApplication(t)
    await app.register(plugin, { server: false, processMetrics: false, queueTime: true })
    app.get('/idle', async () => 'x')
    apps.push({ app, url: await app.listen({ host: '127.0.0.1', port: 0 }) })
    // The others have seen more turns of the event loop.
    for (let turn = 0; turn < 3; turn++) await sleep(0)
  }
  for (const { app, url } of apps) {
    const share = await shareWaited(app, await connectWhileBusy(url))
    t.ok(share > 0.25 && share < 0.75, `${share}`)
  }
})

t.test('whatever holds up the process, no request of the network goes without a wait', async t => {
  const app = createApplication(t)
  app.addHook('onRequest', (_request, reply, done) => {
    let reads = 0
    Object.defineProperty(reply, 'elapsedTime', {
      get () {
        if (reads++ === 0) beBusy(work)
        return Reflect.get(Object.getPrototypeOf(reply) as object, 'elapsedTime', reply) as number
      }
    })
    done()
  })
  await app.register(latency, {
    server: anyPort, processMetrics: false, queueTime: true, histogram: { from: 'arrival' }, labels: {}
  })
  app.get('/', async () => 'x')
  app.get('/left', { config: { latency: false } }, async () => 'x')
  await burst(await openMany(await listen(app)))
  t.equal((await counted(app, queue))['']!.count, 10)
  t.equal((await counted(app, 'http_request_duration_seconds'))['']!.count, 10)
})

t.test('a request that was read after another one, and passed it, has waited for it', async t => {
  const app = createApplication(t)
  app.addHook('onRequest', async ({ url }) => {
    if (url !== '/first') return
    beBusy(100)
    await Promise.resolve()
  })
  await app.register(latency, { server: anyPort, processMetrics: false, queueTime: { labels: { path: 'route' } } })
  for (const path of ['/first', '/second']) app.get(path, async () => 'x')
  app.get('/left', { config: { latency: false } }, async () => 'x')
  const [connection] = await openMany(await listen(app), 1)
  connection!.send('GET /first HTTP/1.1\nhost: x\n\nGET /second HTTP/1.1\nhost: x\n\n')
  const waits = await until('both', async () => {
    const now = await counted(app, queue)
    return now['/second']?.count === 1 && now['/first']?.count === 1 && now
  })
  t.ok(waits['/first']!.sum >= 0, `${waits['/first']!.sum} s`)
  t.ok(waits['/second']!.sum >= 0.1, `${waits['/second']!.sum} s`)
})

t.test('a connection of which nothing can be noted has no wait, and its request is recorded', async t => {
  const app = createApplication(t)
  app.addHook('onRequest', (request, _reply, done) => {
    Object.preventExtensions(request.raw.socket)
    done()
  })
  await app.register(latency, {
    server: anyPort, processMetrics: false, queueTime: true, histogram: { from: 'arrival' }, labels: {}
  })
  app.get('/', async () => 'x')
  const url = await listen(app)
  for (const path of ['/', '/none']) await exchange(url, `GET ${path} HTTP/1.1\nhost: x\nconnection: close\n\n`)
  t.equal((await counted(app, queue))['']!.count, 0)
  t.equal((await counted(app, 'http_request_duration_seconds'))['']!.count, 2)
})

t.test('a latency from the arrival has the wait in it, and one from the router has not', async t => {
  const fromRouter = await create(t, {})
  await burst(await openMany(fromRouter.url))
  const { '/': router } = await counted(fromRouter.app, 'http_request_duration_seconds')

  const fromArrival = await create(t, { histogram: { from: 'arrival' }, queueTime: true })
  await burst(await openMany(fromArrival.url))
  const { '/': arrival } = await counted(fromArrival.app, 'http_request_duration_seconds')
  const { '': waits } = await counted(fromArrival.app, queue)
  t.equal(router!.count, 10)
  t.equal(arrival!.count, 10)
  t.ok(arrival!.sum >= 55 * work / 1000, `${arrival!.sum} s`)
  t.ok(arrival!.sum - waits!.sum >= 10 * work / 1000, 'the wait and the handler')
  t.ok(router!.sum < arrival!.sum)
})

t.test('an event loop that has nothing to do keeps no request waiting', async t => {
  const { app, url } = await create(t, { queueTime: { buckets: [10] } })
  const connections = await openMany(url, 3)
  for (const connection of connections) await burst([connection])
  const series = (await scrape(app.latency.url)).samples(`${queue}_bucket`)
  t.same(series.map(({ value }) => value), [3, 3])
})

t.test('what is no request of the network has no wait, and neither has one that was held up before', async t => {
  const app = createApplication(t)
  const gate = new Gate()
  app.addHook('onRequest', async request => { if (request.url === '/held') await gate.passed() })
  await app.register(latency, {
    server: anyPort, processMetrics: false, labels: { route: 'route' }, queueTime: true, histogram: { from: 'arrival' }
  })
  app.get('/', async () => 'x')
  app.get('/held', async () => 'x')
  app.get('/left', { config: { latency: false } }, async () => 'x')
  const url = await listen(app)
  await app.inject('/')
  const [held] = await openMany(url, 1)
  const arrived = once(app.server, 'request')
  held!.send('GET /held HTTP/1.1\nhost: x\n\n')
  await arrived
  await sleep(0)
  gate.open()
  await held!.until('\r\n\r\nx')
  t.same(Object.values(await counted(app, queue)).map(({ count }) => count), [0])
  const durations = await counted(app, 'http_request_duration_seconds')
  t.same(Object.entries(durations).map(([route, { count }]) => [route, count]), [['/', 1], ['/held', 1]])
})

t.test('the wait has labels if it is given some, and none is counted that the registration leaves out', async t => {
  const agent: LabelFunction = ({ headers }) => headers['user-agent']
  const { app, url } = await create(t, {
    queueTime: { name: 'waits_seconds', labels: { path: 'route', scheme: 'scheme', agent } },
    ignore: ({ url }) => url === '/idle',
    constLabels: { zone: 'z' }
  })
  const connections = await openMany(url, 2)
  await burst(connections.slice(0, 1), 'GET / HTTP/1.1\nhost: x\nuser-agent: a\n\n')
  await burst(connections.slice(1), 'GET /idle HTTP/1.1\nhost: x\n\n')
  t.same((await scrape(app.latency.url)).samples('waits_seconds_count').map(({ labels, value }) => [labels, value]),
    [[{ path: '/', scheme: 'http', agent: 'a', zone: 'z' }, 1]])
})

/** An application that has answered one request, with its latency from the arrival, and its registry. */
async function answerOne (t: Test, plugin: typeof latency): Promise<{ app: FastifyInstance, registry: Registry }> {
  const app = createApplication(t)
  await app.register(plugin, { server: anyPort, labels: {}, queueTime: true, histogram: { from: 'arrival' } })
  app.get('/', async () => 'x')
  app.get('/left', { config: { latency: false } }, async () => 'x')
  const registry = registryOf(app)
  const [connection] = await openMany(await listen(app), 1)
  await burst([connection!])
  return { app, registry }
}

t.test('what ends in the turn in which it began is recorded when the application closes', async t => {
  const { app, registry } = await answerOne(t, latency)
  await app.close()
  t.match(await registry.metrics(), /^http_request_duration_seconds_count 1$/m)
})

t.test('two registrations may share the histogram of waits, unless they differ in it', async t => {
  const app = createApplication(t)
  const register = async (options: Options): Promise<void> => {
    await app.register(async context => { await context.register(latency, { server: false, ...options }) })
  }
  await register({ queueTime: true })
  await register({ queueTime: true, histogram: { name: 'other_seconds' } })
  await t.rejects(async () => register({ queueTime: { buckets: [1] }, histogram: { name: 'third_seconds' } }),
    { code: 'FST_LATENCY_ERR_HISTOGRAM_CONFLICT', message: 'queueTime.name' })
})

t.test('a registration inside another one takes no request from it', async t => {
  const { app, url } = await create(t, { queueTime: true, histogram: { from: 'arrival' } }, {}, async context => {
    await context.register(latency, {
      labels: { route: 'route' },
      histogram: { name: 'inner_seconds', from: 'arrival' },
      queueTime: { name: 'inner_queue_seconds' }
    })
    context.get('/inner', async () => 'x')
  })
  await burst(await openMany(url, 3), 'GET /inner HTTP/1.1\nhost: x\n\n')
  for (const name of ['http_request_duration_seconds', 'inner_seconds', queue, 'inner_queue_seconds']) {
    t.equal(Object.values(await counted(app, name))[0]!.count, 3, name)
  }
})

t.test('where timers are fake from the start nothing is estimated, and all is recorded', async t => {
  const fake = (): object => ({ unref () {} })
  t.intercept(timers, 'setTimeout', { value: fake })
  t.intercept(timers, 'setImmediate', { value: fake })
  const { registry } = await answerOne(t, loadAnew(t, () => require('../lib') as typeof latency))
  const metrics = await registry.metrics()
  t.match(metrics, /^http_request_duration_seconds_count 1$/m)
  t.match(metrics, /^http_request_queue_seconds_count 0$/m)
})

t.test('the server may listen before the plugin is registered', async t => {
  const app = createApplication(t, { serverFactory: handler => createServer(handler).listen(0, '127.0.0.1') })
  await app.register(latency, { server: anyPort, processMetrics: false, queueTime: true })
  app.get('/', async () => 'x')
  app.get('/left', { config: { latency: false } }, async () => 'x')
  await app.ready()
  await app.latency.start()
  const { port } = app.server.address() as AddressInfo
  const connections = await openMany(`http://127.0.0.1:${port}`, 2)
  await burst(connections)
  for (const connection of connections) connection.leave()
  t.equal((await counted(app, queue))['']!.count, 2)
  app.server.close()
})

t.test('a request is labelled in its own context, and before later hooks change it, ' +
  'whatever waits for an estimate', async t => {
  const storage = new AsyncLocalStorage<string>()
  const app = createApplication(t)
  app.decorateRequest('tenant', '')
  app.addHook('onRequest', (request, _reply, done) => {
    Object.assign(request, { tenant: 'a' })
    storage.run('b', done)
  })
  let calls = 0
  await app.register(latency, {
    server: anyPort,
    processMetrics: false,
    labels: { kept: request => (request as { tenant?: string }).tenant, stored: () => storage.getStore() },
    histogram: { from: 'arrival' },
    queueTime: { labels: { stored: () => storage.getStore() } },
    exemplars: () => ({ call: String(++calls) })
  })
  app.addHook('onResponse', async request => { Object.assign(request, { tenant: '' }) })
  app.get('/', () => 'x')
  app.get('/left', { config: { latency: false } }, async () => 'x')
  await burst(await openMany(await listen(app), 2))
  t.same(Object.keys(await counted(app, queue)), ['b'])
  t.same(Object.keys(await counted(app, 'http_request_duration_seconds')), ['a,b'])
  t.equal(calls, 2, 'one call for each request')
})

t.test('whoever reads the metrics in the turn of the last request finds it there', async t => {
  const app = createApplication(t)
  await app.register(latency, {
    server: false, processMetrics: false, labels: {}, histogram: { from: 'arrival' }, queueTime: true
  })
  const closed = new Gate()
  let page = ''
  app.addHook('onClose', async () => {
    page = await registryOf(app).metrics()
    closed.open()
  })
  app.addHook('onResponse', (_request, _reply, done) => {
    app.close()
    done()
  })
  app.get('/', () => 'x')
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const connection = await Connection.open(address)
  connection.send('GET / HTTP/1.1\nhost: x\n\n')
  await closed.passed()
  t.match(page, /^http_request_duration_seconds_count 1$/m)
  t.match(page, /^http_request_queue_seconds_count 1$/m)
})

t.test('a route that one of two registrations leaves out has no wait there', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, processMetrics: false, queueTime: true, routes: () => false })
  await app.register(latency, { histogram: { name: 'all_seconds' }, labels: {} })
  app.get('/', () => 'x')
  app.get('/left', { config: { latency: false } }, async () => 'x')
  await burst(await openMany(await listen(app), 1))
  t.equal((await counted(app, 'all_seconds'))['']!.count, 1)
  t.equal((await counted(app, queue))['']!.count, 0)
})

t.test('what a reset has taken away does not come back with an estimate', async t => {
  const { app, url } = await create(t, { queueTime: true, histogram: { from: 'arrival' } })
  const connection = await Connection.open(url)
  const { registry } = app.latency
  app.server.once('request', (_request, response) => {
    response.once('finish', () => process.nextTick(() => (registry as Registry).resetMetrics()))
  })
  await burst([connection], 'GET /idle HTTP/1.1\nhost: x\n\n')
  t.same(await counted(app, queue), { '': { sum: 0, count: 0 } })
  t.same(await counted(app, 'http_request_duration_seconds'), {})
})

t.test('what a latency from the arrival has waited for the event loop is busy time of it', async t => {
  const { app, url } = await create(t, { histogram: { from: 'arrival' }, busyTime: true })
  const connections = await openMany(url, 5)
  await burst(connections)
  const durations = await counted(app, 'http_request_duration_seconds')
  const busy = (await scrape(app.latency.url)).samples('http_request_busy_seconds_total')
  t.same(busy.map(({ labels: { route } }) => route), ['/'])
  t.ok(busy[0]!.value > 0.9 * durations['/']!.sum, `${busy[0]!.value} of ${durations['/']!.sum} s`)
})

t.test('who waits while another request computes is told from who waits for a service', async t => {
  const service = createServer((_request, response) => {
    setTimeout(() => response.end('x'), 1000)
  }).listen(0, '127.0.0.1')
  t.teardown(() => service.close())
  await once(service, 'listening')
  const { port } = service.address() as AddressInfo
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, processMetrics: false, labels: { route: 'route' }, busyTime: true })
  app.get('/victim', async () => sleep(100, 'x'))
  app.get('/computes', async () => {
    beBusy(600)
    return 'x'
  })
  app.get('/waits', async () => {
    const [response] = await once(get({ host: '127.0.0.1', port }), 'response')
    await once(response.resume(), 'end')
    return 'x'
  })
  app.get('/left', { config: { latency: false } }, async () => 'x')
  const connections = await openMany(await listen(app), 3)
  const [victim, computes, waits] = connections
  await burst([waits!], 'GET /waits HTTP/1.1\nhost: x\n\n')
  victim!.send('GET /victim HTTP/1.1\nhost: x\n\n')
  await burst([computes!], 'GET /computes HTTP/1.1\nhost: x\n\n')
  await victim!.until('\r\n\r\nx')
  for (const connection of connections) connection.leave()
  const durations = await counted(app, 'http_request_duration_seconds')
  const exposition = await scrape(app.latency.url)
  const share = (route: string): number =>
    exposition.value('http_request_busy_seconds_total', { method: 'GET', route })! / durations[route]!.sum
  t.ok(share('/victim') > 0.9, `${share('/victim')}`)
  t.ok(share('/computes') > 0.9, `${share('/computes')}`)
  t.ok(share('/waits') < 0.05, `${share('/waits')}`)
})

t.test('busyTime tells a route that waits from one that works, and from the victim of others', async t => {
  const app = createApplication(t)
  // Nobody has seen the beginning of this one.
  app.addHook('onRequest', async ({ url }, reply) => url === '/before' ? reply.code(401).send() : undefined)
  // Of what these two do, a part is of no request, and of a part nobody knows what the event loop did.
  app.addHook('onRequest', async ({ url }) => url === '/held' ? sleep(300) : undefined)
  app.addHook('onResponse', async ({ url }) => url === '/late' ? sleep(300) : undefined)
  await app.register(latency, {
    server: anyPort,
    processMetrics: false,
    labels: { route: 'route' },
    busyTime: true,
    ignore: ({ url }) => url === '/left'
  })
  app.get('/waits', async () => sleep(500, 'x'))
  app.get('/works', async () => {
    beBusy(50)
    return 'x'
  })
  app.get('/victim', async () => {
    setImmediate(() => beBusy(200))
    return sleep(100, 'x')
  })
  app.get('/left', async () => 'x')
  await app.register(async part => {
    await part.register(latency, { histogram: { name: 'part_seconds' }, busyTime: true })
    part.get('/held', async () => 'x')
  })
  app.get('/late', async () => {
    beBusy(50)
    return 'x'
  })
  const url = await listen(app)
  const measured = ['/held', '/late', '/victim', '/waits', '/works', 'unmatched'] as const
  const sharesNow = async (): Promise<Record<typeof measured[number], number>> => {
    ;(app.latency.registry as Registry).resetMetrics()
    for (const path of ['/none', '/before', '/left', '/waits', '/works', '/victim', '/held', '/late']) {
      await (await fetch(url + path)).text()
    }
    await app.inject('/works')
    await until('the late hook', async () => (await counted(app, 'http_request_duration_seconds'))['/late'])
    const durations = await counted(app, 'http_request_duration_seconds')
    const busy = (await scrape(app.latency.url)).samples('http_request_busy_seconds_total')
    t.same(busy.map(({ labels: { route } }) => route!).sort(), measured)
    return Object.fromEntries(busy.map(({ labels: { route }, value }) => [route!, value / durations[route!]!.sum])) as
      Record<typeof measured[number], number>
  }
  // The first request of an application is slow, and on a busy machine a turn in which little is done may be long.
  await until('the shares', async () => {
    const shares = await sharesNow()
    t.comment(JSON.stringify(shares))
    return shares['/held'] < 0.2 && shares['/late'] > 0.9 && shares['/waits'] < 0.05 && shares['/works'] > 0.9 &&
      shares['/victim'] > 0.9
  })
})
