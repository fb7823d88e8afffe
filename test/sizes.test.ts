import { once } from 'node:events'
import { open } from 'node:fs/promises'
import http2, { type ServerHttp2Stream } from 'node:http2'
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
  ['trailers', (_, reply) => reply.trailer('etag', (_reply, _payload, done) => done(null, 'x')).send(inChunks())],
  ['an end after the end', (_, reply) => {
    const { raw } = reply.hijack()
    raw.on('error', () => {}).end('abc')
    raw.end('defgh')
  }],
  ['in HTTP/1, a write after the end', (_, reply) => {
    const { raw } = reply.hijack()
    raw.on('error', () => {}).end('abc')
    raw.write('defgh')
  }]
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

/** Replies in HTTP/2 that are written to the stream, and whether their sizes can be known. */
const repliesOfStreams: Array<[kind: string, reply: (stream: ServerHttp2Stream) => unknown, isKnown: boolean]> = [
  ['in parts', stream => {
    stream.respond()
    stream.write('abc')
    stream.end('def')
  }, true],
  ['in parts behind the head of the reply', stream => inChunks().pipe(stream), true],
  ['what has not changed', stream => stream.respond({ ':status': 304, 'content-length': 9 }), true],
  ['a file', stream => stream.respondWithFile(__filename), true],
  ['a part of a file', stream => stream.respondWithFile(__filename, {}, { offset: 5, length: 9 }), true],
  ['an open file', async stream => {
    const file = await open(__filename)
    stream.respondWithFD(file.fd, {})
    await once(stream, 'close')
    await file.close()
  }, false]
]

t.test('what is written to the stream of a reply in HTTP/2 is counted, where it can be seen', async t => {
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  await app.register(latency, { server: anyPort, ...sizes })
  for (const [index, [kind, respond]] of repliesOfStreams.entries()) {
    app.get(`/${index}`, async (_request, reply) => {
      const { raw } = reply.hijack()
      if (kind.includes('head')) raw.writeHead(200)
      await respond(raw.stream)
    })
  }
  const session = http2.connect(await listen(app as never))
  t.teardown(() => session.destroy())
  for (const [index, [kind,, isKnown]] of repliesOfStreams.entries()) {
    const stream = session.request({ ':path': `/${index}` })
    let received = 0
    stream.on('data', (chunk: Buffer) => { received += chunk.length })
    await once(stream, 'close')
    t.same((await recorded(app as never, `/${index}`)).response, isKnown ? [1, received] : [0, 0], kind)
  }
})

t.test('a reply of another length than its head says is not known, nor one that an earlier hook began', async t => {
  const app = createApplication(t)
  app.addHook('onRequest', async ({ url }, { raw }) => { if (url === '/begun') raw.write('abc') })
  await app.register(latency, { server: anyPort, ...sizes })
  app.get('/less', (_, reply) => reply.header('content-length', 10).send(Readable.from(['abc'])))
  app.get('/more', (_, reply) => { reply.hijack().raw.writeHead(200, { 'content-length': 3 }).end('abcdef') })
  app.get('/begun', (_, reply) => { reply.hijack().raw.end('defg') })
  // Other than in HTTP/2, this is nothing that Node.js knows of.
  app.get('/stream', (_, reply) => Object.assign(reply.raw, { stream: Readable.from([]) }) && reply.send('abc'))
  const address = await listen(app)
  for (const [path, size] of [['/less', [0, 0]], ['/more', [0, 0]], ['/begun', [0, 0]], ['/stream', [1, 3]]] as const) {
    await exchange(address, `GET ${path} HTTP/1.1\nhost: x\nconnection: close\n\n`)
    t.same((await recorded(app, path)).response, size, path)
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
  ['whose length a hook takes away',
    'POST /undeclared HTTP/1.1\nhost: x\ncontent-length: 3\nconnection: close\n\nabc', 3],
  ['refused for its length', 'POST /limited HTTP/1.1\nhost: x\ncontent-length: 9\nconnection: close\n\n', undefined],
  ['malformed in the middle', 'POST / HTTP/1.1\nhost: x\ntransfer-encoding: chunked\n\n5\nabcde\nz\n', undefined]
]

/** Resolves when all of a body has come, whether or not somebody reads it. */
async function wholeBody (raw: FastifyRequest['raw']): Promise<void> {
  const { stream } = raw as { stream?: ServerHttp2Stream }
  await until('the end of the body', () => stream === undefined ? raw.complete : stream.state.remoteClose === 1)
}

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
  const forgetLength = async ({ headers }: FastifyRequest): Promise<void> => { delete headers['content-length'] }
  app.post('/undeclared', { onRequest: forgetLength }, async () => 'x')
  const replyLate = async ({ raw }: FastifyRequest, reply: FastifyReply): Promise<void> => {
    await wholeBody(raw)
    await reply.send('x')
  }
  app.post('/waiting', { onRequest: replyLate }, async () => 'x')
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

/** Requests in HTTP/2: their path, what of their bodies comes, whether that is all, and the size. */
const streams: Array<
  [kind: string, path: string, parts: string[], end: boolean, size: number | undefined, length?: number]
> = [
  ['in parts', '/', ['abc', 'def'], true, 6],
  ['with its length', '/', ['abc', 'def'], true, 6, 6],
  ['empty', '/', [], true, 0],
  ['empty, with its length', '/', [], true, 0, 0],
  ['which nobody reads', '/waiting', ['abc', 'def'], true, 6],
  ['with its length, which nobody reads', '/waiting', ['abc', 'def'], true, 6, 6],
  ['half of which nobody reads', '/unread', ['abc'], false, undefined],
  ['with its length, half of which nobody reads', '/unread', ['abc'], false, undefined, 6]
]

t.test('bodies in HTTP/2 are counted as they come', async t => {
  for (const [kind, path, parts, end, size, length] of streams) {
    const app = Fastify({ http2: true })
    t.teardown(() => app.close())
    await app.register(latency, { server: anyPort, ...sizes })
    declareUploads(app as never)
    const session = http2.connect(await listen(app as never))
    t.teardown(() => session.destroy())
    const declared = length === undefined ? {} : { 'content-length': length }
    const stream = session.request({ ':path': path, ':method': 'POST', ...declared })
    for (const part of parts) stream.write(part)
    if (end) stream.end()
    await once(stream.resume(), 'close')
    t.same((await recorded(app as never, path)).request, size === undefined ? [0, 0] : [1, size], kind)
    session.close()
    await app.close()
  }
})

/**
 * What an earlier hook does when 'abc' has come, what comes afterwards, and what is recorded if the body comes in
 * chunks.
 */
const heldUp: Array<[kind: string, act: (body: Readable) => unknown, rest: string, size: number | undefined]> = [
  ['waits', () => {}, 'defg', 7],
  ['waits for the end', () => {}, '', 3],
  ['reads it', body => body.read(), 'defg', undefined],
  ['makes it text', body => body.setEncoding('utf8'), 'defg', undefined]
]

t.test('what came while an earlier hook took time is counted, unless somebody has read it', async t => {
  for (const [kind, act, rest, size] of heldUp) {
    for (const protocol of ['chunks', 'length', 'HTTP/2'] as const) {
      const held = new Gate()
      const app = protocol === 'HTTP/2' ? Fastify({ http2: true }) as never : createApplication(t)
      t.teardown(() => app.close())
      app.addHook('onRequest', async ({ raw }) => {
        const { stream } = raw as { stream?: ServerHttp2Stream }
        await until('the first bytes', () => (stream ?? raw).readableLength === 3)
        if (rest === '') await wholeBody(raw)
        act(stream ?? raw)
        held.open()
      })
      let part = app
      await app.register(async child => {
        part = child
        await child.register(latency, { server: anyPort, ...sizes })
        child.addContentTypeParser('*', (_request, payload, done) => {
          payload.on('end', () => done(null)).resume()
        })
        child.post('/', async () => 'x')
      })
      const address = await app.listen({ host: '127.0.0.1', port: 0 })
      await part.latency.start()
      await send[protocol](address, rest, held)
      const known = protocol === 'length' ? 3 + rest.length : size
      t.same((await recorded(part)).request, known === undefined ? [0, 0] : [1, known], `${kind}, ${protocol}`)
      await app.close()
    }
  }
})

/** Send a body that begins with 'abc', and the rest once the gate is open, until there is an answer. */
const send = {
  async chunks (address: string, rest: string, held: Gate) {
    const end = rest === '' ? '0\n\n' : `${rest.length}\n${rest}\n0\n\n`
    await sendParts(address, 'transfer-encoding: chunked', `3\nabc\n${rest === '' ? end : ''}`, rest && end, held)
  },
  async length (address: string, rest: string, held: Gate) {
    await sendParts(address, `content-length: ${3 + rest.length}`, 'abc', rest, held)
  },
  async 'HTTP/2' (address: string, rest: string, held: Gate) {
    const session = http2.connect(address)
    const stream = session.request({ ':path': '/', ':method': 'POST', 'content-type': 'x/y' })
    stream.write('abc')
    if (rest === '') stream.end()
    await held.passed()
    if (rest !== '') stream.end(rest)
    await once(stream.resume(), 'close')
    session.destroy()
  }
}

async function sendParts (address: string, header: string, first: string, rest: string, held: Gate): Promise<void> {
  const connection = await Connection.open(address)
  connection.send(`POST / HTTP/1.1\nhost: x\ncontent-type: x/y\n${header}\n\n${first}`)
  await held.passed()
  connection.send(rest)
  await connection.until('\r\n\r\nx')
  connection.leave()
}

t.test('what comes after the reply, and nobody is given, is known by the length in the head alone', async t => {
  for (const [header, first, rest, size] of [
    ['transfer-encoding: chunked', '3\nabc\n', '4\ndefg\n0\n\n', [0, 0]],
    ['content-length: 7', 'abc', 'defg', [1, 7]]
  ] as const) {
    const app = createApplication(t)
    app.addHook('onResponse', async ({ raw }) => wholeBody(raw))
    await app.register(latency, { server: anyPort, ...sizes })
    declareUploads(app)
    const connection = await Connection.open(await listen(app))
    connection.send(`POST /unread HTTP/1.1\nhost: x\n${header}\n\n${first}`)
    await connection.until('\r\n\r\nx')
    connection.send(rest)
    t.same((await recorded(app, '/unread')).request, size, header)
    connection.leave()
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

t.test('an injected body is counted whatever the head says of it', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, ...sizes })
  declareUploads(app)
  await listen(app)
  const payload = Readable.from(['abc', 'def'], { objectMode: false })
  await app.inject({ url: '/', method: 'POST', headers: { 'content-type': 'x/y' }, payload })
  t.same((await recorded(app)).request, [1, 6])
  await app.inject({ url: '/unread', method: 'POST' })
  t.same((await recorded(app, '/unread')).request, [1, 0])
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
