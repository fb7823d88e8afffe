import { once } from 'node:events'
import { createServer, ServerResponse, type RequestListener } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import type { Options } from '..'
import latency from '../lib'
import { EndingObserver } from '../lib/http/endings'
import { anyPort, collectWarnings, createApplication, listen, scrape } from './helpers/application'
import { Connection, exchange } from './helpers/connection'
import { until } from './helpers/until'

const name = 'http_request_duration_seconds'

async function createWatched (
  t: Test, { before = () => {}, ...options }: Options & { before?: (app: FastifyInstance) => void } = {}
): Promise<FastifyInstance> {
  const app = createApplication(t)
  before(app)
  await app.register(latency, { server: anyPort, processMetrics: false, ...options })
  app.get('/', async () => 'x')
  return app
}

async function counted (app: FastifyInstance): Promise<Record<string, number>> {
  const samples = (await scrape(await app.latency.start())).samples(`${name}_count`)
  return Object.fromEntries(samples.map(({ labels, value }) => [labels.status_code, value]))
}

t.test('a WebSocket that is injected is an upgrade, and one that is refused a reply', async t => {
  const app = await createWatched(t)
  await app.register(websocket)
  app.register(async app => {
    app.get('/socket', { websocket: true }, socket => { socket.on('message', message => socket.send(message)) })
    app.get('/refused', { websocket: true, preValidation: async (_request, reply) => reply.code(403).send() }, () => {})
  })
  await app.ready()
  const socket = await app.injectWS('/socket')
  socket.send('x')
  await once(socket, 'message')
  const labels = { method: 'GET', route: '/socket', kind: 'upgrade' }
  t.equal((await scrape(await app.latency.start())).value('http_long_lived_requests', labels), 1)
  socket.terminate()
  await t.rejects(app.injectWS('/refused'), { message: 'Unexpected server response: 403' })
  await until('the end of the WebSocket', async () =>
    (await scrape(app.latency.url)).value('http_long_lived_requests_ended_total', labels) === 1)
  t.same(await counted(app), { 403: 1 })
})

/** Replies that `app.routing()` may be called with. */
const replies: Record<string, (request: never) => ServerResponse> = {
  'of Node.js': request => new ServerResponse(request),
  'that cannot be listened to once': request => Object.assign(new ServerResponse(request), { once: undefined }),
  'that cannot be extended': request => Object.preventExtensions(new ServerResponse(request))
}

for (const [kind, createReply] of Object.entries(replies)) {
  t.test(`a request without a connection is recorded, with a reply ${kind}`, async t => {
    const app = await createWatched(t)
    app.get('/hijacked', (_request, reply) => {
      reply.hijack()
      reply.raw.emit('finish')
    })
    await app.ready()
    const request = { method: 'GET', url: '/hijacked', headers: {} }
    const response = createReply(request as never)
    const routing = app.routing as (request: unknown, response: unknown) => void
    routing(request, response)
    t.same(await counted(app), { 200: 1 })
  })
}

t.test('without the head of a reply, what is documented of the reply tells whether it is an event stream', async t => {
  const app = await createWatched(t)
  app.get('/events', (_request, reply) => {
    reply.type('text/event-stream').hijack()
    reply.raw.emit('finish')
  })
  await app.ready()
  const routing = app.routing as (request: unknown, response: unknown) => void
  for (const headersSent of [true, false]) {
    const request = { method: 'GET', url: '/events', headers: {} }
    const response = Object.defineProperties(new ServerResponse(request as never), {
      _header: { get: () => undefined }, headersSent: { get: () => headersSent }
    })
    routing(request, response)
  }
  t.same(await counted(app), { 200: 1 })
  const labels = { method: 'GET', route: '/events', kind: 'stream' }
  t.equal((await scrape(app.latency.url)).value('http_long_lived_requests_ended_total', labels), 1)
})

/** What others may do to a request before this plugin sees it. */
const changes: Record<string, (request: FastifyRequest) => void> = {
  'its connection is frozen': request => { Object.preventExtensions(request.raw.socket) },
  'its connection is no stream': request => { Object.defineProperty(request.raw, 'socket', { value: {} }) }
}

for (const [what, change] of Object.entries(changes)) {
  t.test(`a request is answered and recorded when ${what}`, async t => {
    const app = await createWatched(t, {
      labels: { status_code: 'status', scheme: 'scheme' },
      before (app) { app.addHook('onRequest', async request => change(request)) }
    })
    const answer = await exchange(await listen(app), 'GET / HTTP/1.1\nhost: x\nconnection: close\n\n')
    t.match(answer, 'HTTP/1.1 200 OK')
    t.same(await counted(app), { 200: 1 })
  })
}

t.test('what makes recording fail is warned of once, and reaches no request', async t => {
  /** A property whose getter throws when it is first read. */
  const failing = (value: unknown): PropertyDescriptor => {
    let reads = 0
    return {
      get () {
        if (reads++ === 0) throw new Error('not now')
        return value
      }
    }
  }
  for (const timeToFirstByte of [true, false]) {
    const app = await createWatched(t, {
      timeToFirstByte,
      before (app) {
        app.addHook('onRequest', (request, reply, done) => {
          if (request.url === '/raw') Object.defineProperty(request, 'raw', failing(request.raw))
          else Object.defineProperty(reply, 'elapsedTime', failing(1))
          done()
        })
      }
    })
    app.get('/raw', async () => 'x')
    app.get('/left', (_request, reply) => {
      reply.hijack()
      ;(reply.raw.socket as Socket).destroy()
    })
    const address = await listen(app)
    const warnings = collectWarnings(t)
    for (const path of ['/', '/raw', '/']) t.equal(await (await fetch(address + path)).text(), 'x')
    await t.rejects(fetch(`${address}/left`))
    t.match(warnings, [{ code: 'FST_LATENCY_ERR_NOT_RECORDED', message: 'A request could not be recorded: not now' }])
    t.equal(warnings.length, 1)
    t.same(await counted(app), { 200: 1 })
  }
})

t.test('whoever observes endings, a failure at the end of a connection ends nothing else', async t => {
  let endings = 0
  const observer = new EndingObserver(() => {
    endings++
    throw new Error('no')
  })
  const app = createApplication(t)
  app.addHook('onRequest', (request, reply, done) => {
    observer.begin(request, reply)
    done()
  })
  app.get('/', ({ raw }) => { raw.socket.destroy() })
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  for (let count = 0; count < 2; count++) await t.rejects(fetch(address))
  t.equal(endings, 2)
})

t.test('a reply that is aborted has the status that was sent, whatever its status is by then', async t => {
  const app = await createWatched(t)
  app.get('/left', ({ raw }, reply) => {
    reply.hijack()
    reply.raw.writeHead(202).write('first', () => {
      reply.raw.statusCode = 500
      raw.socket.destroySoon()
    })
  })
  const connection = await Connection.open(await listen(app))
  connection.send('GET /left HTTP/1.1\nhost: x\n\n')
  await connection.closed()
  t.same(await counted(app), { 202: 1 })
})

t.test('eleven registrations have one listener for each connection', async t => {
  const app = await createWatched(t)
  const listeners: number[] = []
  for (let part = 0; part < 11; part++) {
    await app.register(async app => {
      await app.register(latency, {
        histogram: { name: `part_${part}_seconds` }, server: anyPort, processMetrics: false
      })
      app.get(`/${part}`, async request => { listeners.push(request.raw.socket.listenerCount('close')) })
    })
  }
  const address = await listen(app)
  const paths = Array.from({ length: 11 }, (_, part) => `GET /${part} HTTP/1.1\nhost: x\n`)
  await exchange(address, `${paths.join('\n')}connection: close\n\n`)
  t.equal(listeners.length, 11)
  t.equal(new Set(listeners).size, 1)
})

t.test('a connection that outlives applications keeps nothing of them', async t => {
  let handle: RequestListener = () => {}
  let socket: Socket | undefined
  const server = createServer((request, response) => handle(request, response)).on('connection', accepted => {
    socket = accepted
  })
  t.teardown(() => server.close())
  const create = async (): Promise<{ app: FastifyInstance, handler: RequestListener }> => {
    let handler: RequestListener = () => {}
    const app = createApplication(t, {
      serverFactory: given => {
        handler = given
        return server
      }
    })
    await app.register(latency, { server: anyPort, processMetrics: false })
    app.get('/', async () => 'x')
    await app.ready()
    return { app, handler }
  }
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const connection = await Connection.open(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const counts = new Set<number>()
  for (let generation = 0; generation < 3; generation++) {
    const apps = [await create(), await create(), await create()]
    for (const { handler } of apps) {
      handle = handler
      connection.received = ''
      connection.send('GET / HTTP/1.1\nhost: x\n\n')
      await connection.until('\r\n\r\nx')
    }
    counts.add(socket!.listenerCount('close'))
    // The order in which they were seen, the reverse, and from the middle.
    const order = [[0, 1, 2], [2, 1, 0], [1, 0, 2]][generation]!
    for (const index of order) await apps[index]!.app.close()
    const kept = Object.getOwnPropertySymbols(socket!).filter(({ description }) =>
      description === 'fastify-latency.connection')
    t.same(kept.map(symbol => socket![symbol as never]), [undefined])
  }
  t.equal(counts.size, 1)
  connection.leave()
})

t.test('whatever a handler puts in the place of the parts of a request, it is counted once', async t => {
  const app = await createWatched(t)
  const parts: Array<[part: string, value: unknown]> = [
    ['stream', new PassThrough()], ['socket', new PassThrough()], ['socket', null], ['method', 5], ['method', null],
    ['method', Symbol('x')]
  ]
  for (const [index, [part, value]] of parts.entries()) {
    app.get(`/${index}`, (request, reply) => {
      Object.assign(request.raw, { [part]: value })
      reply.send('x')
    })
  }
  const address = await listen(app)
  for (const index of parts.keys()) {
    for (const connection of ['keep-alive', 'close']) {
      await (await fetch(`${address}/${index}`, { headers: { connection } })).text()
    }
  }
  const read = await scrape(app.latency.url)
  t.same(read.samples(`${name}_count`).map(({ value }) => value), parts.map(() => 2))
  t.same(read.samples('http_requests_in_flight').filter(({ value }) => value !== 0), [])
})

t.test('a request is open no longer when an earlier hook has failed at its end', async t => {
  const app = await createWatched(t, {
    before: app => { app.addHook('onResponse', async () => { throw new Error('no') }) }
  })
  const connection = await Connection.open(await listen(app))
  for (let n = 0; n < 3; n++) {
    connection.received = ''
    connection.send('GET / HTTP/1.1\nhost: x\n\n')
    await connection.until('\r\n\r\nx')
  }
  const open = (await scrape(app.latency.url)).value('http_requests_in_flight', { method: 'GET', route: '/' })
  t.equal(open ?? 0, 0)
  connection.leave()
})

t.test('a logger that throws holds up no application', async t => {
  const throws = (): never => { throw new Error('log down') }
  const levels = Object.fromEntries(['info', 'error', 'warn', 'debug', 'trace', 'fatal'].map(name => [name, throws]))
  const logger = { ...levels, level: 'info' }
  const app = createApplication(t, {
    loggerInstance: Object.assign(logger, { child: () => logger }), disableRequestLogging: true
  } as never)
  app.register(async app => { await app.register(latency, { server: false }) })
  await t.resolves(async () => { await app.ready() })
})

t.test('onRequest of a route is refused as without the plugin', async t => {
  for (const onRequest of [null, 'x', [null], [[() => {}]]] as never[]) {
    const refusals = []
    for (const app of [createApplication(t), await createWatched(t)]) {
      try {
        app.get('/refused', { onRequest }, async () => 'x')
      } catch (error) {
        refusals.push([(error as Error & { code: string }).code, (error as Error).message])
      }
    }
    t.equal(refusals.length, 2)
    t.same(refusals[0], refusals[1])
  }
})

t.test('the route / of a context with a prefix has one label, whichever of its URLs comes first', async t => {
  for (const urls of [['/users', '/users/'], ['/users/', '/users']]) {
    for (const method of ['GET', 'HEAD'] as const) {
      const app = await createWatched(t, {
        labels: { route: 'route' },
        before (app) {
          app.addHook('onRequest', async ({ url }, reply) => { if (url === '/users/') return reply.send() })
        }
      })
      app.register(async app => { app.get('/', async () => 'x') }, { prefix: '/users' })
      app.register(async app => {
        app.get('/', { prefixTrailingSlash: 'slash' }, async () => 'x')
      }, { prefix: '/slash' })
      for (const url of [...urls, '/slash/']) await app.inject({ method, url })
      const samples = (await scrape(await app.latency.start())).samples(`${name}_count`)
      t.same(samples.map(({ labels, value }) => [labels.route, value]), [['/users', 2], ['/slash/', 1]])
    }
  }
})
