import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { connect, type Http2ServerResponse, type ServerHttp2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance, FastifyReply, FastifyServerOptions } from 'fastify'
import { Registry } from 'prom-client'
import t from 'tap'
import type { Options } from '..'
import latency from '../lib'
import { parseOptions } from '../lib/config'
import { HistogramFamily } from '../lib/histogram/family'
import { SeriesIndex } from '../lib/histogram/series-index'
import { Recorder } from '../lib/request/recorder'
import { anyPort, createApplication, createListening, listen, registryOf, scrape } from './helpers/application'
import { Connection } from './helpers/connection'
import { Exposition } from './helpers/exposition'
import { Gate } from './helpers/gate'
import { until } from './helpers/until'

const name = 'http_request_duration_seconds'

/** A connection, and when the application has seen it close. */
async function openAccepted (
  app: FastifyInstance, address: string
): Promise<{ connection: Connection, closed: Promise<void> }> {
  const closed = new Promise<void>(resolve =>
    app.server.once('connection', socket => socket.once('close', () => resolve())))
  return { connection: await Connection.open(address), closed }
}

t.test('a request is in flight until its reply has been sent, under the route that it has', async t => {
  const [reached, released] = [new Gate(), new Gate()]
  const { app, address } = await createListening(t, { constLabels: { region: 'eu', kind: 'x' } }, app => {
    app.get('/wait', async () => {
      reached.open()
      await released.passed()
      return 'x'
    })
    app.get('/swapped', (_request, reply) => { reply.callNotFound() })
    app.setNotFoundHandler(async (_request, reply) => {
      await released.passed()
      return reply.code(404).send()
    })
  })
  const replies = Promise.all(['/wait', '/swapped', '/nothing'].map(async path => fetch(address + path)))
  await reached.passed()
  const during = await scrape(app.latency.url)
  const labels = { region: 'eu', kind: 'x', method: 'GET' }
  t.equal(during.value('http_requests_in_flight', { ...labels, route: '/wait' }), 1)
  t.equal(during.value('http_requests_in_flight', { ...labels, route: 'unmatched' }), 2)
  released.open()
  await replies
  const after = await scrape(app.latency.url)
  t.equal(after.value('http_requests_in_flight', { ...labels, route: '/wait' }), 0)
  t.equal(after.value('http_requests_in_flight', { ...labels, route: 'unmatched' }), 0)
  t.equal(after.value('http_requests_in_flight', { ...labels, route: '/swapped' }), undefined)
})

t.test('the oldest request that waits for its reply is told by its age', async t => {
  const [reached, released] = [new Gate(), new Gate()]
  const { app, address } = await createListening(t, {}, app => {
    app.get('/wait', async () => {
      reached.open()
      await released.passed()
      return 'x'
    })
    app.get('/events', (_request, reply) => {
      const source = new Readable({ read () {} })
      source.push('data: x\n\n')
      reply.type('text/event-stream').send(source)
    })
  })
  const age = async (route: string): Promise<number | undefined> =>
    (await scrape(app.latency.url)).value('http_request_oldest_seconds', { method: 'GET', route })
  const stream = await Connection.open(address)
  stream.send('GET /events HTTP/1.1\nhost: x\n\n')
  await stream.until('data: x')
  const start = performance.now()
  const first = fetch(`${address}/wait`)
  await reached.passed()
  const reachedMs = performance.now()
  const second = fetch(`${address}/wait`)
  for (let scraped = 0; scraped < 2; scraped++) {
    const least = (performance.now() - reachedMs) / 1000
    const oldest = (await age('/wait'))!
    t.ok(oldest >= least && oldest <= (performance.now() - start) / 1000, `${oldest} s`)
  }
  t.equal(await age('/events'), undefined)
  released.open()
  await Promise.all([first, second])
  t.equal(await age('/wait'), 0)
  stream.leave()
})

t.test('of several applications that share a registry, the oldest request is that of all', async t => {
  const registry = new Registry()
  const released = new Gate()
  const start = performance.now()
  const apps = []
  for (let n = 0; n < 2; n++) {
    const reached = new Gate()
    const { app, address } = await createListening(t, { registry }, app => {
      app.get('/wait', async () => {
        reached.open()
        await released.passed()
      })
    })
    const reply = fetch(`${address}/wait`)
    await reached.passed()
    apps.push({ app, reply, reachedMs: performance.now() })
  }
  const least = (performance.now() - apps[0]!.reachedMs) / 1000
  const read = await scrape(apps[1]!.app.latency.url)
  const oldest = read.value('http_request_oldest_seconds', { method: 'GET', route: '/wait' })!
  t.ok(oldest >= least && oldest <= (performance.now() - start) / 1000, `${oldest} s`)
  t.equal(read.value('http_requests_in_flight', { method: 'GET', route: '/wait' }), 2)
  released.open()
  await Promise.all(apps.map(({ reply }) => reply))
})

t.test('a request whose reply was sent is not open, whatever an earlier onResponse hook does', async t => {
  const [reached, released] = [new Gate(), new Gate()]
  const app = createApplication(t)
  app.addHook('onResponse', async ({ url }) => {
    if (url === '/fails') throw new Error('not today')
    reached.open()
    await released.passed()
  })
  await app.register(latency, { server: anyPort })
  for (const path of ['/fails', '/waits']) app.get(path, async () => 'x')
  const address = await listen(app)
  const failed = await Connection.open(address)
  failed.send('GET /fails HTTP/1.1\nhost: x\n\n')
  await failed.until('200 OK')
  await (await fetch(`${address}/waits`)).text()
  await reached.passed()
  for (const name of ['http_requests_in_flight', 'http_request_oldest_seconds']) {
    t.same((await scrape(app.latency.url)).samples(name), [], name)
  }
  released.open()
  failed.leave()
  await until('both to be counted', async () => {
    const counts = (await scrape(app.latency.url)).samples('http_request_duration_seconds_count')
    return counts.length === 2 && counts.every(({ value }) => value === 1)
  })
})

t.test('pipelined requests are in flight, each of them', async t => {
  const released = new Gate()
  const { app, address } = await createListening(t, {}, app => { app.get('/wait', async () => released.passed()) })
  const { connection, closed } = await openAccepted(app, address)
  const second = new Promise<void>(resolve =>
    app.server.on('request', request => { if (request.headers.last === 'yes') resolve() }))
  connection.send('GET /wait HTTP/1.1\nhost: x\n\nGET /wait HTTP/1.1\nhost: x\nlast: yes\n\n')
  await second
  t.equal((await scrape(app.latency.url)).value('http_requests_in_flight', { method: 'GET', route: '/wait' }), 2)
  connection.leave()
  await closed
  released.open()
  t.equal((await scrape(app.latency.url)).value('http_requests_in_flight', { method: 'GET', route: '/wait' }), 0)
})

t.test('routes that are left out are in no metric', async t => {
  const [reached, released] = [new Gate(), new Gate()]
  const { app, address } = await createListening(t, {}, app => {
    app.get('/health', { config: { latency: false } }, async () => {
      reached.open()
      await released.passed()
      return 'x'
    })
  })
  const { connection, closed } = await openAccepted(app, address)
  connection.send('GET /health HTTP/1.1\nhost: x\n\n')
  await reached.passed()
  t.same((await scrape(app.latency.url)).samples('http_requests_in_flight'), [])
  connection.leave()
  await closed
  const exposition = await scrape(app.latency.url)
  t.same(exposition.samples('http_requests_aborted_total'), [])
  t.same(exposition.samples(`${name}_count`), [])
  released.open()
})

t.test('the gauges can be turned off', async t => {
  const { app } = await createListening(t, { inFlight: false })
  const { families } = await scrape(app.latency.url)
  t.notOk(families.has('http_requests_in_flight'))
  t.notOk(families.has('http_long_lived_requests'))
})

t.test('an aborted request can have another status, or the one in store', async t => {
  for (const [abortedStatus, expected] of [[408, '408'], ['reply', '202']] as const) {
    const [reached, released] = [new Gate(), new Gate()]
    const { app, address } = await createListening(t, { abortedStatus }, app => {
      app.get('/', async (_request, reply) => {
        reply.code(202)
        reached.open()
        await released.passed()
        return 'x'
      })
    })
    const { connection, closed } = await openAccepted(app, address)
    connection.send('GET / HTTP/1.1\nhost: x\n\n')
    await reached.passed()
    connection.leave()
    await closed
    released.open()
    const exposition = await scrape(app.latency.url)
    t.equal(exposition.value(`${name}_count`, { method: 'GET', route: '/', status_code: expected }), 1)
    t.equal(exposition.value('http_requests_aborted_total', { method: 'GET', route: '/', phase: 'before_reply' }), 1)
  }
})

t.test('an injected request that is aborted is counted', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.get('/', (_request, reply) => { reply.raw.destroy() })
  app.get('/begun', (_request, reply) => {
    reply.raw.write('x', () => reply.raw.destroy())
  })
  await t.rejects(app.inject('/'))
  await t.rejects(app.inject('/begun'))
  const exposition = await scrape(await app.latency.start())
  t.equal(exposition.value(`${name}_count`, { method: 'GET', route: '/', status_code: '499' }), 1)
  t.equal(exposition.value(`${name}_count`, { method: 'GET', route: '/begun', status_code: '200' }), 1)
})

t.test('timeToFirstByte records the time to the headers of each reply, ' +
  'in a histogram with the same labels', async t => {
  const released = new Gate()
  const { app, address } = await createListening(t, {
    timeToFirstByte: true, labels: { route: 'route', status: 'status' }
  }, app => {
    app.get('/', async () => 'x')
    app.get('/events', (_request, reply) => {
      reply.hijack()
      reply.raw.writeHead(202, 'Fine', { 'content-type': 'text/event-stream', 'x-own': 'y' }).write('data: x\n\n')
    })
    app.get('/slow', (_request, reply) => {
      reply.hijack()
      reply.raw.write('first')
      released.passed().then(() => reply.raw.end(), () => {})
    })
  })
  await fetch(address)
  const connection = await Connection.open(address)
  connection.send('GET /events HTTP/1.1\nhost: x\n\n')
  await connection.until('data: x')
  t.match(connection.received, 'HTTP/1.1 202 Fine\r\n')
  t.match(connection.received, 'x-own: y\r\n')
  const slow = await Connection.open(address)
  slow.send('GET /slow HTTP/1.1\nhost: x\n\n')
  await slow.until('first')

  const exposition = await scrape(app.latency.url)
  const firstByte = (route: string, status: string): number | undefined =>
    exposition.value('http_request_first_byte_seconds_count', { route, status })
  t.equal(firstByte('/', '200'), 1)
  t.equal(firstByte('/events', '202'), 1, 'a stream, though it goes on')
  t.equal(firstByte('/slow', '200'), undefined, 'a reply is recorded at its end')
  t.equal(exposition.value(`${name}_count`, { route: '/', status: '200' }), 1)
  t.same(exposition.samples(`${name}_count`).length, 1)
  t.equal(exposition.value('http_long_lived_requests', { method: 'GET', route: '/events', kind: 'stream' }), 1)
  released.open()
  connection.leave()
  slow.leave()
})

t.test('headers are sent when a part of the body follows, or the end, and not when they are written', async t => {
  const reached = new Gate()
  const released = new Gate()
  const heldSeconds: number[] = []
  const { app, address } = await createListening(t, { timeToFirstByte: true }, app => {
    app.get('/', async (_request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200, { 'content-length': 1 })
      reached.open()
      await released.passed()
      heldSeconds.push(reply.elapsedTime / 1000)
      reply.raw.end('x')
    })
  })
  const answered = fetch(address)
  await reached.passed()
  // The time that passes in a scrape is more than none.
  await scrape(app.latency.url)
  released.open()
  await (await answered).text()
  const [{ value }] = (await scrape(app.latency.url)).samples('http_request_first_byte_seconds_sum')
  t.ok(value >= heldSeconds[0]!, `${value} s, and held for ${heldSeconds[0]} s`)
})

const firstByte = 'http_request_first_byte_seconds'

t.test('headers that wait for the reply to an earlier request are sent when that one has been', async t => {
  const [reached, released] = [new Gate(), new Gate()]
  let heldSeconds = 0
  const { app, address } = await createListening(t, { timeToFirstByte: true, labels: { route: 'route' } }, app => {
    app.get('/slow', async () => {
      await released.passed()
      return 'x'
    })
    app.get('/fast', async (_request, reply) => {
      reply.raw.once('prefinish', () => { heldSeconds = reply.elapsedTime / 1000 })
      return 'x'
    })
    app.get('/events', (_request, reply) => {
      reply.hijack().raw.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: x')
      reached.open()
    })
  })
  const connection = await Connection.open(address)
  connection.send(['/slow', '/fast', '/events'].map(path => `GET ${path} HTTP/1.1\nhost: x\n\n`).join(''))
  await reached.passed()
  t.same((await scrape(app.latency.url)).samples(`${firstByte}_count`), [])
  released.open()
  await connection.until('data: x')
  const exposition = await scrape(app.latency.url)
  for (const route of ['/slow', '/fast', '/events']) {
    t.equal(exposition.value(`${firstByte}_count`, { route }), 1, route)
  }
  // What was measured here came right after.
  t.ok(heldSeconds > 0)
  t.ok(Math.abs(exposition.value(`${firstByte}_sum`, { route: '/fast' })! - heldSeconds) < heldSeconds / 2)
  connection.leave()
})

t.test('in HTTP/2 headers may be sent by the stream itself, with a file or without', async t => {
  const app = createApplication(t, { http2: true } as unknown as FastifyServerOptions)
  await app.register(latency, {
    server: anyPort, processMetrics: false, timeToFirstByte: true, labels: { route: 'route' }
  })
  const paths: Record<string, (stream: ServerHttp2Stream) => void> = {
    '/stream': stream => {
      stream.respond({ ':status': 200 })
      stream.end('x')
    },
    '/file': stream => stream.respondWithFile(__filename),
    '/descriptor': stream => {
      const file = openSync(__filename, 'r')
      stream.respondWithFD(file)
      stream.once('close', () => closeSync(file))
    }
  }
  for (const [path, respond] of Object.entries(paths)) {
    app.get(path, (_request, reply) => { respond((reply.hijack().raw as unknown as Http2ServerResponse).stream) })
  }
  app.get('/reply', async () => 'x')
  const session = connect(await listen(app))
  t.teardown(() => session.destroy())
  for (const path of ['/stream', '/file', '/descriptor', '/reply']) {
    await once(session.request({ ':path': path }).resume(), 'close')
    await until('it to be recorded', async () =>
      (await scrape(app.latency.url)).value(`${firstByte}_count`, { route: path }) === 1)
  }
})

t.test('replies of two applications, or two of one, may share one of Node.js', async t => {
  const inner = createApplication(t)
  await inner.register(latency, {
    server: anyPort, processMetrics: false, timeToFirstByte: true, labels: { route: 'route' }
  })
  inner.get('/mounted', async () => 'x')
  await inner.ready()
  const { app, address } = await createListening(t, { timeToFirstByte: true, labels: { route: 'route' } }, app => {
    app.get('/mounted', (request, reply) => { inner.routing(request.raw, reply.hijack().raw) })
    app.get('/from', (request, reply) => {
      request.raw.url = '/to'
      app.routing(request.raw, reply.hijack().raw)
    })
    app.get('/to', async () => 'x')
  })
  for (const path of ['/mounted', '/from']) await (await fetch(address + path)).text()
  const count = async (app: FastifyInstance, route: string): Promise<number> =>
    new Exposition((await registryOf(app).metrics()).replaceAll(/\n+/g, '\n')).value(`${firstByte}_count`, { route })!
  t.equal(await count(inner, '/mounted'), 1)
  for (const route of ['/mounted', '/from', '/to']) t.equal(await count(app, route), 1, route)
})

t.test('headers that an earlier hook has sent are recorded', async t => {
  for (const server of [{}, { http2: true }]) {
    const app = createApplication(t, server as FastifyServerOptions)
    app.addHook('onRequest', async (_request, { raw }) => { raw.writeHead(200).flushHeaders() })
    await app.register(latency, { server: anyPort, processMetrics: false, timeToFirstByte: true })
    app.get('/', (_request, reply) => { reply.hijack().raw.end('x') })
    const address = await listen(app)
    if ('http2' in server) {
      const session = connect(address)
      await once(session.request({ ':path': '/' }).resume(), 'close')
      session.destroy()
    } else {
      await (await fetch(address)).text()
    }
    await until('it to be recorded', async () =>
      (await scrape(app.latency.url)).samples(`${firstByte}_count`).length === 1)
  }
})

t.test('an application and a part of it both record when the headers of a stream that goes on are sent', async t => {
  const names = ['whole', 'part'] as const
  const app = createApplication(t)
  const register = async (context: FastifyInstance, name: typeof names[number]): Promise<void> => {
    await context.register(latency, {
      server: anyPort,
      processMetrics: false,
      histogram: { name: `${name}_seconds` },
      timeToFirstByte: { name: `${name}_first_byte_seconds` }
    })
  }
  await register(app, 'whole')
  await app.register(async part => {
    await register(part, 'part')
    part.get('/', (_request, reply) => {
      reply.hijack().raw.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: x')
    })
  })
  const connection = await Connection.open(await listen(app))
  connection.send('GET / HTTP/1.1\nhost: x\n\n')
  await connection.until('data: x')
  const exposition = await scrape(app.latency.url)
  for (const name of names) {
    t.equal(exposition.value(`${name}_first_byte_seconds_count`, { method: 'GET', route: '/', status_code: '200' }), 1)
  }
  connection.leave()
})

t.test('ignore and label functions run once for each request, whatever is measured of it', async t => {
  const released = new Gate()
  const calls: string[] = []
  const note = (what: string, url: string): void => { calls.push(`${what} ${url}`) }
  const options: Options = {
    timeToFirstByte: true,
    labels: {
      route: 'route',
      status: 'status',
      error: 'error_type',
      tenant: request => {
        note('label', request.url)
        return 'x'
      }
    },
    ignore: request => {
      note('ignore', request.url)
      return request.url === '/ignored'
    }
  }
  const { app, address } = await createListening(t, options, app => {
    for (const path of ['/', '/ignored']) app.get(path, async () => 'x')
    app.get('/events', (_request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: x\n\n')
    })
    app.get('/hijacked', (_request, reply) => {
      reply.hijack()
      reply.raw.write('first')
      released.passed().then(() => reply.raw.end(), () => {})
    })
    app.get('/left', async (_request, reply) => reply.send(new Readable({ read () { this.push('first') } })))
  })
  for (const path of ['/', '/ignored']) await (await fetch(address + path)).text()
  t.same(calls.splice(0), ['ignore /', 'label /', 'ignore /ignored'])

  const connections = []
  for (const [path, begins] of [['/events', 'data: x'], ['/hijacked', 'first']] as const) {
    const connection = await Connection.open(address)
    connection.send(`GET ${path} HTTP/1.1\nhost: x\n\n`)
    await connection.until(begins)
    connections.push(connection)
  }
  t.same(
    calls.splice(0),
    ['ignore /events', 'label /events'],
    'when headers are sent of what may never end'
  )
  await leaveBegun(app, `${address}/left`)
  t.same(calls.splice(0), ['ignore /left', 'label /left'])
  released.open()
  await connections[1]!.until('0\r\n\r\n')
  connections.forEach(connection => connection.leave())
  t.same(calls.splice(0), ['ignore /hijacked', 'label /hijacked'])

  const read = await scrape(app.latency.url)
  const series = (name: string): unknown => read.samples(`${name}_count`)
    .map(({ labels, value }) => [labels.route, labels.error, labels.tenant, value])
  t.same(series('http_request_first_byte_seconds'), [
    ['/', '', 'x', 1], ['/events', '', 'x', 1], ['/left', 'aborted', 'x', 1], ['/hijacked', '', 'x', 1]
  ])
  t.same(series(name), [['/', '', 'x', 1], ['/left', 'aborted', 'x', 1], ['/hijacked', '', 'x', 1]])
  t.same(calls, [])
})

t.test('a reset of one histogram changes nothing about the other', async t => {
  const firstByteName = 'http_request_first_byte_seconds'
  for (const [forgotten, kept] of [[name, firstByteName], [firstByteName, name]] as const) {
    const { app, address } = await createListening(t, { timeToFirstByte: true, labels: { route: 'route' } }, app => {
      app.get('/', async () => 'x')
    })
    await (await fetch(address)).text()
    registryOf(app).getSingleMetric(forgotten)!.reset()
    const read = await scrape(app.latency.url)
    t.equal(read.value(`${kept}_count`, { route: '/' }), 1)
    t.equal(read.value(`${forgotten}_count`, { route: '/' }), undefined)
  }
})

t.test('the first byte of a stream is counted at once, whenever its handler says that it is one', async t => {
  const { app, address } = await createListening(t, { timeToFirstByte: true, labels: { route: 'route' } }, app => {
    app.get('/hijacked-later', (_request, reply) => {
      reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
      reply.hijack()
      reply.raw.write('first')
    })
    app.get('/never-hijacked', async (_request, reply) => {
      reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
      reply.raw.write('first')
      await new Promise(() => {})
    })
  })
  const firstBytes = async (): Promise<unknown> => (await scrape(app.latency.url))
    .samples('http_request_first_byte_seconds_count').map(({ labels, value }) => [labels.route, value])
  const { connection, closed } = await openAccepted(app, address)
  connection.send('GET /hijacked-later HTTP/1.1\nhost: x\n\n')
  await connection.until('first')
  t.same(await firstBytes(), [['/hijacked-later', 1]])
  connection.leave()
  await closed
  await leaveBegun(app, `${address}/never-hijacked`)
  t.same(await firstBytes(), [['/hijacked-later', 1], ['/never-hijacked', 1]])
})

t.test('a client that leaves while an earlier hook waits is counted, and leaves nothing open', async t => {
  const gates = [new Gate(), new Gate()].map(released => ({ reached: new Gate(), released }))
  const app = createApplication(t)
  app.addHook('onRequest', async ({ url }) => {
    if (url === '/early') return
    const { reached, released } = gates[Number(url.slice(1))]!
    reached.open()
    await released.passed()
  })
  await app.register(latency, { server: anyPort, processMetrics: false, labels: { route: 'route', status: 'status' } })
  app.get('/:wait', async () => 'x')
  const address = await listen(app)
  for (const [index, { reached, released }] of gates.entries()) {
    const { connection, closed } = await openAccepted(app, address)
    if (index === 1) {
      connection.send('GET /early HTTP/1.1\nhost: x\n\n')
      await connection.until('\r\n\r\nx')
    }
    connection.send(`GET /${index} HTTP/1.1\nhost: x\n\n`)
    await reached.passed()
    connection.leave()
    await closed
    released.open()
    await setImmediate()
  }
  const read = await scrape(app.latency.url)
  t.notOk(read.value('http_requests_in_flight', { method: 'GET', route: '/:wait' }))
  t.equal(read.value(`${name}_count`, { route: '/:wait', status: '499' }), 2)
  t.equal(read.value(`${name}_count`, { route: '/:wait', status: '200' }), 1)
  t.equal(read.value('http_requests_aborted_total', { method: 'GET', route: '/:wait', phase: 'before_reply' }), 2)
})

t.test('open requests are counted in steps, each once, and those of routes that are left out not at all', async t => {
  const { app, address } = await createListening(t, { constLabels: { part: 'x' } }, app => {
    for (const route of ['/a', '/b']) app.get(route, () => {})
    app.get('/out', { config: { latency: false } }, () => {})
  })
  const connection = await Connection.open(address)
  const all = ['/a', '/b', '/out'].map(path => `GET ${path} HTTP/1.1\nhost: x\n\n`).join('').repeat(1100)
  let received = 0
  const arrived = new Promise<void>(resolve => app.server.on('request', () => { if (++received === 3300) resolve() }))
  connection.send(all)
  await arrived
  const gauge = app.latency.registry.getSingleMetric('http_requests_in_flight') as {
    readInSteps (): Generator<undefined>
  }
  t.equal([...gauge.readInSteps()].length, 33)
  t.match(await registryOf(app).metrics(), '\nhttp_requests_in_flight{part="x",method="GET",route="/a"} 1100\n')
  const read = await scrape(app.latency.url)
  t.same(read.samples('http_requests_in_flight').map(({ labels, value }) => [labels, value]), [
    [{ part: 'x', method: 'GET', route: '/a' }, 1100], [{ part: 'x', method: 'GET', route: '/b' }, 1100]
  ])
  connection.leave()
})

t.test('a request is counted once where a part of the application has a histogram of its own', async t => {
  for (const outerFirst of [true, false]) {
    const released = new Gate()
    const app = createApplication(t)
    const outer = async (): Promise<unknown> => app.register(latency, { server: anyPort, processMetrics: false })
    const inner = async (): Promise<unknown> => app.register(async part => {
      await part.register(latency, { histogram: { name: 'part_seconds' }, server: anyPort, processMetrics: false })
      part.get('/part', async () => {
        await released.passed()
        return 'x'
      })
    })
    if (outerFirst) await outer()
    await inner()
    if (!outerFirst) await outer()
    const address = await listen(app)
    const { connection, closed } = await openAccepted(app, address)
    const requested = once(app.server, 'request')
    connection.send('GET /part HTTP/1.1\nhost: x\n\n')
    await requested
    t.equal((await scrape(app.latency.url)).value('http_requests_in_flight', { method: 'GET', route: '/part' }), 1)
    connection.leave()
    await closed
    released.open()
    const exposition = await scrape(app.latency.url)
    const labels = { method: 'GET', route: '/part' }
    t.equal(exposition.value('http_requests_in_flight', labels), 0)
    t.equal(exposition.value('http_requests_aborted_total', { ...labels, phase: 'before_reply' }), 1)
    t.equal(exposition.value(`${name}_count`, { ...labels, status_code: '499' }), 1)
    t.equal(exposition.value('part_seconds_count', { ...labels, status_code: '499' }), 1)
  }
})

t.test('a pipelined reply that fails before its turn is counted once', async t => {
  const [reached, released] = [new Gate(), new Gate()]
  const { app, address } = await createListening(t, {}, app => {
    app.get('/wait', async () => released.passed())
    app.get('/fails', (_request, reply) => {
      reply.hijack()
      reply.raw.emit('error', new Error('no'))
      reached.open()
    })
  })
  const { connection, closed } = await openAccepted(app, address)
  connection.send('GET /wait HTTP/1.1\nhost: x\n\nGET /fails HTTP/1.1\nhost: x\n\n')
  await reached.passed()
  connection.leave()
  await closed
  released.open()
  const observed = (await scrape(app.latency.url)).samples(`${name}_count`)
  t.same(observed.map(({ labels, value }) => [labels.route, labels.status_code, value]), [
    ['/fails', '200', 1], ['/wait', '499', 1]
  ])
})

t.test('counters can be reset, and gauges count on', async t => {
  const { app, address } = await createListening(t, {}, app => { app.get('/', async () => 'x') })
  await fetch(address)
  registryOf(app).resetMetrics()
  const exposition = await scrape(app.latency.url)
  const rejected = exposition.samples('http_requests_rejected_total')
  t.ok(rejected.length > 10, 'what was there from the start still is')
  t.ok(rejected.every(({ value }) => value === 0))
  t.same(exposition.samples('http_requests_in_flight'), [])
})

/** Leaves in mid-reply, and forgets the connection. */
async function leaveBegun (app: FastifyInstance, url: string): Promise<void> {
  const { connection, closed } = await openAccepted(app, url)
  connection.send(`GET ${new URL(url).pathname} HTTP/1.1\nhost: x\n\n`)
  await connection.until('first')
  connection.leave()
  await closed
}

t.test('a request is not kept alive after it ended', async t => {
  const collected = new Set<string>()
  const registry = new FinalizationRegistry((name: string) => collected.add(name))
  const { app, address } = await createListening(t, { timeToFirstByte: true }, app => {
    app.addHook('onRequest', (request, reply, done) => {
      registry.register(request, `request ${request.url}`)
      registry.register(reply, `reply ${request.url}`)
      registry.register(request.raw, `raw request ${request.url}`)
      registry.register(reply.raw, `raw reply ${request.url}`)
      done()
    })
    app.get('/replied', async () => 'x')
    app.get('/left', (_request, reply) => { reply.raw.write('first') })
  })
  const kept = await Connection.open(address)
  kept.send('GET /replied HTTP/1.1\nhost: x\n\n')
  await kept.until('\r\n\r\nx')
  await leaveBegun(app, `${address}/left`)

  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as () => void
  for (let round = 0; round < 50 && collected.size < 8; round++) {
    collectGarbage()
    await setImmediate()
  }
  t.same(
    [...collected].sort(),
    ['left', 'replied']
      .flatMap(path => [`raw reply /${path}`, `raw request /${path}`, `reply /${path}`, `request /${path}`])
      .sort()
  )
  kept.leave()
})

t.test('a stream of a route that is left out is not counted when it ends', async t => {
  const { app, address } = await createListening(t, {}, app => {
    app.get('/events', { config: { latency: false } }, (_request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200, { 'content-type': 'text/event-stream' }).write('first')
    })
  })
  await leaveBegun(app, `${address}/events`)
  t.same((await scrape(app.latency.url)).samples('http_long_lived_requests_ended_total'), [])
})

t.test('a measure is a row: what it reads of a reply goes into the series of the request', async t => {
  const config = parseOptions({ labels: { status: 'status' } })
  const index = new SeriesIndex(['status'])
  const define = (name: string, upperBounds: number[]): HistogramFamily =>
    new HistogramFamily({ name, help: 'h', unit: 'x', upperBounds }, index)
  const [seconds, bytes] = [define('seconds', [1000]), define('bytes', [10, 100])]
  const lengthOf = (reply: FastifyReply): number | undefined => {
    const length = reply.getHeader('content-length')
    return length === undefined ? undefined : Number(length)
  }
  const recorder = new Recorder({
    index,
    columns: [
      { measure: { moment: 'end', unit: 'seconds', value: 'elapsed seconds' }, family: seconds },
      { measure: { moment: 'end', unit: 'bytes', value: lengthOf }, family: bytes }
    ],
    config,
    warn: () => {},
    warnOnce: () => {},
    onOverflow: () => {}
  })
  const app = createApplication(t)
  app.addHook('onResponse', (_request, reply, done) => {
    recorder.record(reply, reply.statusCode, reply.elapsedTime, 'replied')
    done()
  })
  app.get('/', async () => 'x'.repeat(42))
  app.get('/unknown', (_request, reply) => {
    reply.hijack()
    reply.raw.end('x')
  })
  for (const url of ['/', '/unknown']) await app.inject(url)
  t.match(bytes.snapshot(), { labelSets: [['200']], counts: Float64Array.of(0, 1, 0), sums: Float64Array.of(42) })
  t.match(seconds.snapshot(), { labelSets: [['200']], counts: Float64Array.of(2, 0) })
})
