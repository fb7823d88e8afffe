import { once } from 'node:events'
import http2 from 'node:http2'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { createGzip, gzipSync } from 'node:zlib'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import t from 'tap'
import latency from '../lib'
import { anyPort, createApplication, createListening, listen, scrape } from './helpers/application'
import { Connection, exchange } from './helpers/connection'
import { Gate } from './helpers/gate'
import { until } from './helpers/until'

const [requestSize, responseSize] = ['http_server_request_body_size_bytes', 'http_server_response_body_size_bytes']
const sizes = { requestSize: true, responseSize: true, labels: { route: 'route' } } as const

/** How often each size was recorded of a route, and their sum, once a request of it has ended. */
async function recorded (app: FastifyInstance, route = '/'): Promise<Record<'request' | 'response', number[]>> {
  const page = await until('the end of the request', async () => {
    const page = await scrape(app.latency.url)
    return page.value('http_request_duration_seconds_count', { route }) === 1 && page
  })
  const read = (name: string): number[] =>
    [page.value(`${name}_count`, { route }), page.value(`${name}_sum`, { route })].map(value => value ?? 0)
  return { request: read(requestSize), response: read(responseSize) }
}

/** The body in the answer of an HTTP/1 server, without the framing of chunks. */
function bodyOf (answer: string): string {
  const end = answer.lastIndexOf('HTTP/1.1 ') + answer.slice(answer.lastIndexOf('HTTP/1.1 ')).indexOf('\r\n\r\n')
  let rest = answer.slice(end + 4)
  if (!/transfer-encoding: chunked/i.test(answer.slice(0, end))) return rest
  let body = ''
  for (;;) {
    const size = Number.parseInt(rest, 16)
    const begin = rest.indexOf('\r\n') + 2
    if (size === 0) return body
    body += rest.slice(begin, begin + size)
    rest = rest.slice(begin + size + 2)
  }
}

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown

const text = 'ä'.repeat(5000)
const inChunks = (): Readable => Readable.from(['a'.repeat(1000), 'ö', 'c'.repeat(70_000)], { objectMode: false })

/** Replies, and what the client asks with. */
const replies: Array<[kind: string, handler: Handler, method?: string, headers?: string]> = [
  ['a text', () => text],
  ['an object', () => ({ text })],
  ['a buffer', () => Buffer.from(text)],
  ['nothing', (_, reply) => reply.send()],
  ['an empty text', () => ''],
  ['an error', () => { throw new Error(text) }],
  ['a stream', () => inChunks()],
  ['a stream with its length', (_, reply) => reply.header('content-length', 71_002).send(inChunks())],
  ['a compressed stream', (_, reply) => reply.header('content-encoding', 'gzip').send(inChunks().pipe(createGzip()))],
  ['a compressed text', (_, reply) => reply.header('content-encoding', 'gzip').send(gzipSync(text))],
  ['a part', (_, reply) => reply.code(206).header('content-range', 'bytes 1-3/10').send('abc')],
  ['no content', (_, reply) => reply.code(204).send()],
  ['what has not changed', (_, reply) => reply.code(304).send()],
  ['what has not changed, with a body', (_, { raw }) => { raw.writeHead(304).end(text) }],
  ['HEAD', () => text, 'HEAD'],
  ['HEAD of a stream', () => inChunks(), 'HEAD'],
  ['HTTP/1.0', () => inChunks(), 'GET', 'HTTP/1.0'],
  ['a hijacked reply', (_, reply) => { reply.hijack().raw.end(text) }],
  ['a hijacked reply in parts', (_, reply) => {
    reply.hijack()
    reply.raw.write('61', 'hex')
    reply.raw.write(text, () => reply.raw.end('end', 'latin1'))
  }],
  ['early hints', (_, reply) => {
    reply.raw.writeEarlyHints({ link: '</a.css>; rel=preload' })
    return text
  }],
  ['trailers', (_, reply) => reply.trailer('etag', (_reply, _payload, done) => done(null, 'x')).send(inChunks())]
]

t.test('the size of a reply is what its client received of the body', async t => {
  for (const [kind, handler, method = 'GET', version = 'HTTP/1.1'] of replies) {
    const { app, address } = await createListening(t, sizes, app => {
      app.route({ method: ['GET', 'HEAD'], url: '/', exposeHeadRoute: false, handler: handler as never })
    })
    const answer = await exchange(address, `${method} / ${version}\nhost: x\nconnection: close\n\n`)
    const received = bodyOf(answer).length
    t.same(await recorded(app), { request: [1, 0], response: [1, received] }, kind)
    await app.close()
  }
})

t.test('in HTTP/2 too', async t => {
  for (const [kind, handler, method = 'GET', version] of replies.filter(([kind]) => !/HTTP|early|trailers/.test(kind))) {
    if (version !== undefined) continue
    const app = Fastify({ http2: true })
    t.teardown(() => app.close())
    await app.register(latency, { server: anyPort, ...sizes })
    app.route({ method: ['GET', 'HEAD'], url: '/', exposeHeadRoute: false, handler: handler as never })
    const session = http2.connect(await listen(app as never))
    t.teardown(() => session.destroy())
    const stream = session.request({ ':path': '/', ':method': method })
    let received = 0
    stream.on('data', (chunk: Buffer) => { received += chunk.length }).end()
    await once(stream, 'close')
    t.same(await recorded(app as never), { request: [1, 0], response: [1, received] }, kind)
    session.close()
    await app.close()
  }
})

const body = gzipSync(text).toString('latin1')
const chunks = `5\n${'a'.repeat(5)}\n400\n${'b'.repeat(1024)}\n0\n\n`

/** Requests, and the bytes of their bodies. */
const uploads: Array<[kind: string, request: string, size: number | undefined]> = [
  ['none', 'POST / HTTP/1.1\nhost: x\nconnection: close\n\n', 0],
  ['an empty one', 'POST / HTTP/1.1\nhost: x\ncontent-length: 0\nconnection: close\n\n', 0],
  ['with its length', `POST / HTTP/1.1\nhost: x\ncontent-length: 9\nconnection: close\n\n${'x'.repeat(9)}`, 9],
  ['of a GET', 'GET / HTTP/1.1\nhost: x\ncontent-length: 3\nconnection: close\n\nabc', 3],
  ['in chunks', `POST / HTTP/1.1\nhost: x\ntransfer-encoding: chunked\nconnection: close\n\n${chunks}`, 1029],
  ['in chunks that nobody reads',
    `POST /unread HTTP/1.1\nhost: x\ntransfer-encoding: chunked\nconnection: close\n\n${chunks}`, 1029],
  ['with its length, which nobody reads',
    'POST /unread HTTP/1.1\nhost: x\ncontent-length: 3\nconnection: close\n\nabc', 3],
  ['after 100 Continue',
    'POST / HTTP/1.1\nhost: x\nexpect: 100-continue\ncontent-length: 3\nconnection: close\n\nabc', 3],
  ['refused for its length', 'POST /limited HTTP/1.1\nhost: x\ncontent-length: 9\nconnection: close\n\n', undefined],
  ['malformed in the middle', 'POST / HTTP/1.1\nhost: x\ntransfer-encoding: chunked\n\n5\nabcde\nz\n', undefined]
]

function declareUploads (app: FastifyInstance): void {
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, payload, done) => done(null, payload))
  app.addHook('onRequest', async ({ headers }) => { headers['content-type'] ??= 'x/y' })
  app.route({ method: ['GET', 'POST'], url: '/', handler: async () => 'x' })
  app.post('/limited', { bodyLimit: 3 }, async () => 'x')
  const replyEarly = async (_request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    await setImmediate()
    await reply.send('x')
  }
  app.post('/unread', { onRequest: replyEarly }, async () => 'x')
}

t.test('the size of a request is what its client has sent of the body, where all of it came', async t => {
  for (const [kind, request, size] of uploads) {
    const { app, address } = await createListening(t, sizes, declareUploads)
    await exchange(address, request)
    const route = / (\/\w*) /.exec(request)![1]
    t.same((await recorded(app, route)).request, size === undefined ? [0, 0] : [1, size], kind)
    await app.close()
  }
})

t.test('a compressed request has the size that went over the connection', async t => {
  const { app, address } = await createListening(t, sizes, declareUploads)
  await fetch(address, { method: 'POST', body: Buffer.from(body, 'latin1') })
  t.same((await recorded(app)).request, [1, Buffer.byteLength(body, 'latin1')])
})

t.test('bodies in HTTP/2 are counted as they come, and one that nobody has read to its end is not known', async t => {
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  await app.register(latency, { server: anyPort, ...sizes })
  declareUploads(app as never)
  const session = http2.connect(await listen(app as never))
  t.teardown(() => session.destroy())
  for (const [path, size] of [['/', [1, 6]], ['/unread', [0, 0]]] as const) {
    const stream = session.request({ ':path': path, ':method': 'POST' })
    stream.write('abc')
    stream.end('def')
    await once(stream.resume(), 'close')
    t.same((await recorded(app as never, path)).request, size, path)
  }
})

t.test('what a client left half-way is not known', async t => {
  const reached = new Gate()
  const { app, address } = await createListening(t, sizes, app => {
    app.post('/', (_request, reply) => {
      reply.hijack().raw.write('x'.repeat(100))
      reached.open()
    })
  })
  const connection = await Connection.open(address)
  connection.send('POST / HTTP/1.1\nhost: x\n\n')
  await reached.passed()
  await connection.until('xxx')
  connection.leave()
  t.same(await recorded(app), { request: [1, 0], response: [0, 0] })
})

t.test('who stands between the application and what is sent leaves the length in the head, or nothing', async t => {
  const app = createApplication(t)
  app.addHook('onRequest', async (_request, { raw }) => {
    const { end } = raw as { end: (...parameters: unknown[]) => unknown }
    raw.end = ((chunk: string, ...others: unknown[]) => end.call(raw, `${chunk}, and more`, ...others)) as never
  })
  await app.register(latency, { server: anyPort, ...sizes })
  app.get('/known', (_request, { raw }) => { raw.writeHead(200, { 'content-length': 11 }).end('x') })
  app.get('/unknown', (_request, { raw }) => {
    raw.writeHead(200)
    raw.write('a')
    raw.end('x')
  })
  const address = await listen(app)
  for (const path of ['/known', '/unknown']) await (await fetch(address + path)).text()
  t.same((await recorded(app, '/known')).response, [1, 11])
  t.same((await recorded(app, '/unknown')).response, [0, 0])
})

t.test('an injected request has sizes, an event stream none, and two registrations count once each', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, ...sizes })
  await app.register(latency, {
    histogram: { name: 'b_seconds' }, responseSize: { name: 'b_bytes', buckets: [1, 3] }, labels: {}
  })
  app.post('/', async ({ body }) => body)
  app.get('/events', (_request, reply) => {
    reply.hijack().raw.writeHead(200, { 'content-type': 'text/event-stream' }).end('a')
  })
  await listen(app)
  await app.inject({ url: '/', method: 'POST', payload: { a: 1 } })
  await app.inject('/events')
  t.same(await recorded(app), { request: [1, 7], response: [1, 7] })
  const page = await scrape(app.latency.url)
  t.equal(page.value('http_long_lived_requests_ended_total', { method: 'GET', route: '/events', kind: 'stream' }), 1)
  t.equal(page.value(`${responseSize}_count`, { route: '/events' }), undefined)
  t.equal(page.value('b_bytes_bucket', { le: '3.0' }), 0)
  t.equal(page.value('b_bytes_sum'), 7)
})

t.test('a part with a registration of its own changes nothing, ' +
  'and of what an earlier hook replies nothing is known', async t => {
  const app = createApplication(t)
  app.addHook('onRequest', async ({ url }, reply) => url === '/early' ? reply.send('x') : undefined)
  await app.register(latency, { server: anyPort, ...sizes })
  await app.register(async part => {
    const own = { histogram: { name: 'part_seconds' }, responseSize: { name: 'part_bytes' } }
    await part.register(latency, { ...own, labels: {} })
    part.get('/', async () => 'x')
  })
  app.get('/early', async () => 'x')
  const address = await listen(app)
  for (const path of ['/', '/early']) await exchange(address, `GET ${path} HTTP/1.1\nhost: x\nconnection: close\n\n`)
  t.same(await recorded(app), { request: [1, 0], response: [1, 1] })
  t.same(await recorded(app, '/early'), { request: [1, 0], response: [0, 0] })
  t.equal((await scrape(app.latency.url)).value('part_bytes_sum'), 1)
})
