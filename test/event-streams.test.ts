import { once } from 'node:events'
import http2, { type ServerHttp2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import latency from '../lib'
import { anyPort, createApplication, listen, scrape } from './helpers/application'
import { Connection } from './helpers/connection'
import type { Exposition } from './helpers/exposition'
import { Gate } from './helpers/gate'

type Handler = (reply: FastifyReply, ends: Promise<void>, type: string) => unknown

/** A stream of one event, which ends when the promise is fulfilled. */
function sourceOf (ends: Promise<void>): Readable {
  const source = new Readable({ read () {} })
  source.push('data: x\n\n')
  ends.then(() => source.push(null), () => {})
  return source
}

function writeEvents ({ raw }: FastifyReply, ends: Promise<void>): void {
  raw.write('data: x\n\n')
  ends.then(() => raw.end(), () => {})
}

/** A handler that writes its headers in some way, and then one event. */
const raw = (writeHead: (reply: FastifyReply, type: string) => void): Handler => (reply, ends, type) => {
  writeHead(reply, type)
  writeEvents(reply, ends)
}

/** A handler that is told that its headers are wrong, and writes right ones. */
function writeHeadAfterFailure (reply: FastifyReply, type: string): void {
  try {
    reply.raw.writeHead(200, { 'content-type': 'text/html', wrong: 'a\nb' })
  } catch {
    reply.raw.writeHead(200, { 'content-type': type })
  }
}

/** Ways to send an event stream. */
const ways: Record<string, Handler> = {
  'reply.type() and a stream': (reply, ends, type) => reply.type(type).send(sourceOf(ends)),
  'reply.header() and a stream': (reply, ends, type) => reply.header('Content-Type', type).send(sourceOf(ends)),
  'a Response': (reply, ends, type) =>
    reply.send(new Response(Readable.toWeb(sourceOf(ends)) as never, { headers: { 'content-type': type } })),
  'raw.setHeader()': raw((reply, type) => { reply.raw.setHeader('Content-Type', type) }),
  'raw.setHeader() and raw.flushHeaders()': raw((reply, type) => {
    reply.raw.setHeader('Content-Type', type)
    reply.raw.flushHeaders()
  }),
  'raw.writeHead() with an object': raw((reply, type) => { reply.raw.writeHead(200, { 'Content-Type': type }) }),
  'raw.writeHead() with a message': raw((reply, type) => {
    reply.raw.writeHead(200, 'Fine', { 'content-type': type })
  }),
  'raw.writeHead() in place of headers that were never sent': raw((reply, type) => {
    reply.type('text/html').raw.writeHead(200, { 'content-type': type })
  })
}

/** Ways that HTTP/2 does not have. */
const waysOfHttp1: Record<string, Handler> = {
  'raw.writeHead() that fails first': raw(writeHeadAfterFailure),
  'raw.writeHead() with an array': raw((reply, type) => { reply.raw.writeHead(200, ['Content-Type', type, 'x', 'y']) }),
  'raw.writeHead() with pairs': raw((reply, type) => { reply.raw.writeHead(200, [['content-type', type]] as never) })
}

function declare (app: FastifyInstance, ways: Record<string, Handler>, type: string, ends: Promise<void>): string[] {
  return Object.values(ways).flatMap((handle, index) => [true, false].map(hijacks => {
    const path = `/${index}${hijacks ? '/hijacked' : ''}`
    app.route({
      method: ['GET', 'POST'],
      url: path,
      handler: (_request, reply) => {
        if (hijacks && index > 2) reply.hijack()
        return handle(reply, ends, type)
      }
    })
    return path
  }))
}

/** What @fastify/express does to every reply. */
function redefineHeadersSent (_request: FastifyRequest, { raw }: FastifyReply, done: () => void): void {
  Object.defineProperty(raw, 'headersSent', { get: () => false, configurable: true })
  done()
}

function counts (exposition: Exposition, name: string): Record<string, number> {
  return Object.fromEntries(exposition.samples(name).filter(({ value }) => value > 0)
    .map(({ labels, value }) => [labels.route, value]))
}

/** Checks that each of these routes was a long-lived one, once, and nothing else. */
async function checkEnded (t: Test, app: FastifyInstance, paths: string[]): Promise<void> {
  const read = await scrape(await app.latency.start())
  const once = Object.fromEntries(paths.map(path => [path, 1]))
  t.same(counts(read, 'http_long_lived_requests_ended_total'), once)
  t.same(counts(read, 'http_request_first_byte_seconds_count'), once)
  t.same(counts(read, 'http_request_duration_seconds_count'), {})
  t.same(counts(read, 'http_requests_aborted_total'), {})
  t.same(counts(read, 'http_long_lived_requests'), {})
}

async function createStreaming (t: Test, options: object): Promise<FastifyInstance> {
  const app = createApplication(t, options)
  await app.register(latency, { server: anyPort, processMetrics: false, timeToFirstByte: true })
  return app
}

for (const express of [false, true]) {
  for (const ending of ['the client', 'the handler', 'the closing server'] as const) {
    t.test(`an event stream is one, whatever has written its headers; ended by ${ending}` +
      `${express ? ', with headersSent redefined' : ''}`, async t => {
      const ends = new Gate()
      const app = await createStreaming(t, { forceCloseConnections: true })
      if (express) app.addHook('onRequest', redefineHeadersSent)
      const paths = declare(app, { ...ways, ...waysOfHttp1 }, 'Text/Event-Stream;charset=utf-8', ends.passed())
      const { registry } = app.latency
      const address = await listen(app)
      const closed: Array<Promise<unknown>> = []
      app.server.on('connection', socket => closed.push(once(socket, 'close')))
      const connections = []
      for (const [index, path] of paths.entries()) {
        const connection = await Connection.open(address)
        const [method, version] = [index % 2 === 0 ? 'GET' : 'POST', index % 3 === 0 ? '1.0' : '1.1']
        connection.send(`${method} ${path} HTTP/${version}\nhost: x\naccept: text/html\n` +
          'connection: close\ncontent-length: 0\n\n')
        await connection.until('data: x')
        connections.push(connection)
      }
      const open = await scrape(app.latency.url)
      t.same(counts(open, 'http_long_lived_requests'), Object.fromEntries(paths.map(path => [path, 1])))
      t.same(counts(open, 'http_requests_in_flight'), {})
      if (ending === 'the closing server') {
        await app.close()
        await Promise.all(closed)
        const ended = await registry.getMetricsAsJSON() as unknown as Array<{ name: string, values: any[] }>
        const valuesOf = (wanted: string): any[] => ended.find(({ name }) => name === wanted)!.values
        t.equal(valuesOf('http_long_lived_requests_ended_total').length, paths.length)
        t.same(valuesOf('http_request_duration_seconds'), [])
        return
      }
      if (ending === 'the handler') ends.open()
      for (const connection of connections) {
        if (ending === 'the client') connection.leave()
        await connection.closed()
      }
      await Promise.all(closed)
      await checkEnded(t, app, paths)
    })
  }
}

t.test('over HTTP/2 too', async t => {
  for (const ending of ['the client', 'the handler'] as const) {
    const ends = new Gate()
    const app = await createStreaming(t, { http2: true })
    const paths = declare(app, ways, 'text/event-stream', ends.passed())
    const session = http2.connect(await listen(app))
    const streams = await Promise.all(paths.map(async path => {
      const stream = session.request({ ':path': path })
      stream.on('error', () => {})
      await once(stream, 'data')
      return stream
    }))
    t.equal(Object.keys(counts(await scrape(app.latency.url), 'http_long_lived_requests')).length, paths.length)
    if (ending === 'the handler') ends.open()
    await Promise.all(streams.map(async stream => {
      if (ending === 'the client') stream.close(http2.constants.NGHTTP2_CANCEL)
      await new Promise(resolve => stream.resume().once('close', resolve))
    }))
    session.close()
    await once(session, 'close')
    await checkEnded(t, app, paths)
  }
})

t.test('over HTTP/2, whatever the case of the names that somebody has written', async t => {
  const app = await createStreaming(t, { http2: true })
  app.get('/raw', (_request, reply) => {
    reply.hijack()
    const { stream } = reply.raw as unknown as { stream: ServerHttp2Stream }
    stream.respond({ ':status': 200, 'Content-Type': 'text/event-stream' })
    stream.write('data: x')
  })
  const session = http2.connect(await listen(app))
  const stream = session.request({ ':path': '/raw' }).on('error', () => {})
  await once(stream, 'data')
  stream.close(http2.constants.NGHTTP2_CANCEL)
  await new Promise(resolve => stream.once('close', resolve))
  session.close()
  await once(session, 'close')
  const read = await scrape(app.latency.url)
  t.same(counts(read, 'http_long_lived_requests_ended_total'), { '/raw': 1 })
  t.same(counts(read, 'http_request_duration_seconds_count'), {})
})

t.test('and for inject()', async t => {
  const app = await createStreaming(t, {})
  const paths = declare(app, ways, 'text/event-stream', Promise.resolve())
  for (const path of paths) await app.inject(path)
  await checkEnded(t, app, paths)
})

t.test('what a client says about itself makes no event stream, and hides nothing', async t => {
  const ends = new Gate()
  const app = await createStreaming(t, {})
  let elapsedTime = 1000
  // The time that a request takes, without waiting for it.
  app.addHook('onRequest', (_request, reply, done) => {
    Object.defineProperty(reply, 'elapsedTime', { get: () => elapsedTime })
    done()
  })
  app.get('/empty', async (_request, reply) => reply.code(500).send())
  app.get('/nothing', async (_request, reply) => reply.code(204).type('text/event-stream').send())
  app.get('/away', async (_request, reply) => reply.redirect('/empty'))
  app.get('/similar', async (_request, reply) => reply.type('text/event-streams').send(sourceOf(Promise.resolve())))
  app.get('/events', async (_request, reply) => reply.type('text/event-stream').send(sourceOf(Promise.resolve())))
  app.get('/unavailable', (_request, { raw }) => { raw.writeHead(503, { 'content-type': 'text/event-stream' }).end() })
  app.get('/hijacked', (_request, reply) => {
    reply.hijack()
    ends.passed().then(() => reply.raw.destroy(), () => {})
  })
  const address = await listen(app)
  const headers = 'accept: text/event-stream\nupgrade: x\nconnection: close, upgrade\n'
  for (const path of ['/empty', '/nothing', '/away', '/similar', '/unavailable', '/hijacked']) {
    const connection = await Connection.open(address)
    connection.send(`GET ${path} HTTP/1.1\nhost: x\n${headers}\n`)
    ends.open()
    await connection.closed()
  }
  await app.inject({ method: 'HEAD', url: '/events' })
  elapsedTime = 1
  const read = await scrape(app.latency.url)
  t.same(counts(read, 'http_request_duration_seconds_count'), {
    '/empty': 1, '/nothing': 1, '/away': 1, '/similar': 1, '/unavailable': 1, '/hijacked': 1, '/events': 1
  })
  t.same(counts(read, 'http_requests_aborted_total'), { '/hijacked': 1 })
  t.same(counts(read, 'http_long_lived_requests_ended_total'), {})
})
