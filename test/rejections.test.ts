import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import http2 from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import latency from '../lib'
import {
  anyPort, createApplication, listen, otherLoopback, registryOf, resolveLocalhost, scrape
} from './helpers/application'
import { Connection, exchange } from './helpers/connection'
import { Gate } from './helpers/gate'
import { root } from './helpers/repository'
import { until } from './helpers/until'

const narrow = { http: { maxHeaderSize: 1000 }, maxRequestsPerSocket: 2 }

/** Only for what never comes: on a busy machine, anything else would be late too. */
const impatient = { http: { headersTimeout: 50, connectionsCheckingInterval: 20 }, requestTimeout: 60 }

/** The rejections counted so far, by reason; those that are 0 are left out. */
async function rejected (app: FastifyInstance): Promise<Record<string, number>> {
  const samples = (await scrape(app.latency.url)).samples('http_requests_rejected_total')
  return Object.fromEntries(samples.filter(({ value }) => value > 0).map(({ labels, value }) => [labels.reason, value]))
}

async function observed (app: FastifyInstance): Promise<number> {
  const samples = (await scrape(app.latency.url)).samples('http_request_duration_seconds_count')
  return samples.reduce((sum, { value }) => sum + value, 0)
}

/** An application that listens on this host, and on two addresses if that is `localhost`. */
async function createRejecting (
  t: Test, host: string, options: object = {}
): Promise<{ app: FastifyInstance, addresses: string[] }> {
  resolveLocalhost(t, ['127.0.0.1', otherLoopback])
  const app = createApplication(t, options)
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.get('/', async () => 'x')
  app.get('/:parameter', async () => 'x')
  await app.listen({ host, port: 0 })
  await app.latency.start()
  const addresses = (app.addresses() as AddressInfo[]).map(({ address, port, family }) =>
    `${'https' in options ? 'https' : 'http'}://${family === 'IPv6' ? `[${address}]` : address}:${port}`)
  return { app, addresses }
}

const rejections: Record<string, [request: string, answer: string]> = {
  bad_url: ['GET /%zz HTTP/1.1\nhost: x\nconnection: close\n\n', '400'],
  long_parameter: [`GET /${'x'.repeat(101)} HTTP/1.1\nhost: x\nconnection: close\n\n`, '414'],
  missing_host: ['GET / HTTP/1.1\n\n', '400'],
  expectation_failed: ['GET / HTTP/1.1\nhost: x\nexpect: miracles\nconnection: close\n\n', '417'],
  invalid_method: ['NONSENSE / HTTP/1.1\nhost: x\n\n', '400'],
  malformed: ['GET / HTTP/1.1\nno header\n\n', '400'],
  header_too_large: [`GET / HTTP/1.1\nhost: ${'x'.repeat(2000)}\n\n`, '431']
}
t.before(async () => {
  // Before 5.9, Fastify answers it with 404 as if there were no such route.
  const { statusCode } = await Fastify().get('/:parameter', async () => 'x').inject(`/${'x'.repeat(101)}`)
  if (statusCode === 404) delete rejections.long_parameter
})

const pem = readFileSync(path.join(root, 'test', 'fixtures', 'localhost.pem'))

for (const [protocol, certificate] of Object.entries({ http: undefined, https: { key: pem, cert: pem } })) {
  const optionsWith = ({ http, ...options }: typeof narrow | typeof impatient): object => certificate === undefined
    ? { ...options, http }
    : { ...options, https: { ...http, ...certificate } }

  t.test('what no hook sees is counted by reason, on each server of an application that listens on localhost: ' +
    `${protocol}`, async t => {
    const { app, addresses } = await createRejecting(t, 'localhost', optionsWith(narrow))
    t.equal(addresses.length, 2)
    const series = (await scrape(app.latency.url)).samples('http_requests_rejected_total')
    t.equal(series.length, 12, 'every reason is there from the start')
    for (const address of addresses) {
      for (const [reason, [request, status]] of Object.entries(rejections)) {
        t.match(await exchange(address, request), `HTTP/1.1 ${status} `, `${reason} on ${address}`)
      }
      const connection = await Connection.open(address)
      connection.send('GET / HTTP/1.1\nhost: x\n\n'.repeat(3))
      await connection.until('503 ')
      connection.leave()
    }
    t.same(await rejected(app), {
      ...Object.fromEntries(Object.keys(rejections).map(reason => [reason, 2])), connection_limit: 2
    })
    t.equal(await observed(app), 4)
  })

  t.test(`so is a head that does not come in time: ${protocol}`, async t => {
    const { app, addresses } = await createRejecting(t, 'localhost', optionsWith(impatient))
    for (const address of addresses) t.match(await exchange(address, 'GET / HTTP/1.1\nhost: x\n'), 'HTTP/1.1 408 ')
    t.same(await rejected(app), { header_timeout: 2 })
    t.equal(await observed(app), 0)
  })
}

t.test('requests that come while the application closes are counted', async t => {
  const { app, addresses } = await createRejecting(t, '127.0.0.1', {})
  const connection = await Connection.open(addresses[0]!)
  const registry = registryOf(app)
  connection.send('GET / HTTP/1.1\nhost: x\n\n')
  await connection.until('200 OK')
  // A connection that is not idle stays open.
  const accepted = once(app.server, 'request')
  connection.send('POST / HTTP/1.1\nhost: x\ncontent-type: text/plain\ncontent-length: 1\n\n')
  await accepted
  const closed = app.close()
  connection.send('y' + 'GET / HTTP/1.1\nhost: x\n\n')
  await connection.until('503 ')
  await closed
  t.match(await registry.metrics(), 'http_requests_rejected_total{reason="closing"} 1\n')
})

async function createConstrained (
  t: Test, options: object, derive = (done: () => void): void => { setImmediate(done) }
): Promise<FastifyInstance> {
  const app = createApplication(t, options)
  app.addConstraintStrategy({
    name: 'secret',
    storage: () => ({ get: () => null, set () {} }),
    deriveConstraint: ((_request: unknown, _context: unknown, done: (error: Error) => void) => {
      derive(() => done(new Error('no')))
    }) as never,
    validate: () => {}
  })
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.route({ method: 'GET', url: '/', constraints: { secret: 'x' }, handler: async () => 'x' })
  return app
}

t.test('a constraint that fails is counted', async t => {
  const app = await createConstrained(t, {})
  const address = await listen(app)
  // A second request comes while the first waits for its constraint.
  const answers = await Promise.all([fetch(address), fetch(address)])
  t.same(answers.map(({ status }) => status), [500, 500])
  t.same(await rejected(app), { constraint_failed: 2 })
})

t.test('a client that leaves before the router has decided is not rejected', async t => {
  const app = await createConstrained(t, {}, () => {})
  const connection = await Connection.open(await listen(app))
  const requested = once(app.server, 'request')
  connection.send('GET / HTTP/1.1\nhost: x\n\n')
  const [request] = await requested
  t.same(await rejected(app), {})
  connection.leave()
  if (!request.closed) await new Promise(resolve => request.once('close', resolve))
  t.same(await rejected(app), {})
})

t.test('a constraint that fails is counted over HTTP/2', async t => {
  const app = await createConstrained(t, { http2: true })
  const session = http2.connect(await listen(app))
  await Promise.all([1, 2].map(async () => once(session.request({ ':path': '/' }).resume(), 'close')))
  session.close()
  await once(session, 'close')
  t.same(await rejected(app), { constraint_failed: 2 })
})

t.test('over HTTP/2 too', async t => {
  const { app, addresses } = await createRejecting(t, 'localhost', { http2: true })
  for (const address of addresses) {
    const session = http2.connect(address)
    const paths = ['/%zz', '/%zz', '/']
    await Promise.all(paths.map(async path => once(session.request({ ':path': path }).resume(), 'close')))
    session.close()
    await once(session, 'close')
  }
  t.same(await rejected(app), { bad_url: 2 * addresses.length })
  t.equal(await observed(app), addresses.length)
})

t.test('over HTTP/1 on a server of HTTP/2, once', async t => {
  const app = createApplication(t, { http2: true, https: { allowHTTP1: true, key: pem, cert: pem } } as object)
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.get('/', async (_request, reply) => reply.code(400).send())
  const address = await listen(app)
  await exchange(address, 'GET / HTTP/1.1\nhost: x\nconnection: close\n\n')
  t.same(await rejected(app), {})
  await exchange(address, rejections.bad_url![0])
  await exchange(address, rejections.invalid_method![0])
  t.same(await rejected(app), { bad_url: 1, invalid_method: 1 })
  t.equal(await observed(app), 1)
})

t.test('a request that an earlier hook holds up is not taken for one that no hook sees', async t => {
  const app = createApplication(t)
  const gate = new Gate()
  app.addHook('onRequest', async request => { if (request.url === '/') await gate.passed() })
  app.addHook('onRequest', async (request, reply) => request.url === '/refused' ? reply.code(400).send() : undefined)
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.get('/', async (_request, reply) => reply.code(400).send())
  const address = await listen(app)
  const waiting = fetch(address)
  await fetch(`${address}/refused`)
  await fetch(`${address}/refused`)
  gate.open()
  await waiting
  t.same(await rejected(app), {})
  t.equal(await observed(app), 3)
})

t.test('what goes wrong after a request was answered is not another request', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.addHook('onRequest', async (_request, reply) => reply.code(401).send())
  app.post('/', async () => 'x')
  const address = await listen(app)
  const upload = 'content-type: text/plain\ntransfer-encoding: chunked\n\n'
  for (const path of ['/', '/%zz']) {
    const connection = await Connection.open(address)
    connection.send(`POST ${path} HTTP/1.1\nhost: x\n${upload}`)
    await connection.until('\r\n\r\n')
    connection.send('no chunk\n')
    await connection.closed()
  }
  t.equal(await observed(app), 1)
  t.same(await rejected(app), { bad_url: 1 })
})

t.test('a connection on which nothing is sent, or not a whole head, is no request', async t => {
  const { app, addresses } = await createRejecting(t, '127.0.0.1', impatient)
  const idle = await Connection.open(addresses[0]!)
  await idle.closed()
  const half = await Connection.open(addresses[0]!)
  half.send('GET / HT')
  half.socket.end()
  await half.closed()
  t.same(await rejected(app), {})
})

t.test('requests to other servers of the process are not counted', async t => {
  const { app } = await createRejecting(t, '127.0.0.1')
  const other = createServer(() => {}).listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await once(other, 'listening')
  await exchange(`http://127.0.0.1:${(other.address() as AddressInfo).port}`, 'GET / HTTP/1.1\n\n')
  t.same(await rejected(app), {})
})

t.test('the server may listen before the plugin is registered', async t => {
  const app = createApplication(t, { serverFactory: handler => createServer(handler).listen(0, '127.0.0.1') })
  await app.register(latency, { server: anyPort, processMetrics: false })
  await app.ready()
  await app.latency.start()
  const { port } = app.server.address() as AddressInfo
  await exchange(`http://127.0.0.1:${port}`, 'GET / HTTP/1.1\n\n')
  await exchange(`http://127.0.0.1:${port}`, 'NONSENSE / HTTP/1.1\n\n')
  t.same(await rejected(app), { missing_host: 1, invalid_method: 1 })
  app.server.close()
})

t.test('CONNECT is counted where nobody listens for it', async t => {
  const { app, addresses } = await createRejecting(t, '127.0.0.1')
  const connect = 'CONNECT x:1 HTTP/1.1\nhost: x\n\n'
  t.equal(await exchange(addresses[0]!, connect), '', 'as without the plugin')
  t.same(await rejected(app), { connect: 1 })
  const listener = (_request: unknown, socket: Socket): void => { socket.end('HTTP/1.1 200 OK\r\n\r\n') }
  app.server.on('connect', listener)
  t.match(await exchange(addresses[0]!, connect), 'HTTP/1.1 200 OK')
  t.same(await rejected(app), { connect: 1 })

  const server = createServer()
  const apps = [1, 2].map(() => createApplication(t, { serverFactory: () => server }))
  for (const app of apps) await app.register(latency, { server: anyPort, processMetrics: false })
  t.teardown(() => server.close())
  await Promise.all(apps.map(async app => app.ready()))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.equal(await exchange(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, connect), '', 'of two, too')
  for (const app of apps) await app.close()
  t.equal(server.listenerCount('connect'), 0, 'a server may outlive its applications')
})

t.test('what HTTP/2 alone allows is counted too', async t => {
  const { app, addresses } = await createRejecting(t, '127.0.0.1', { http2: true })
  const session = http2.connect(addresses[0]!)
  const ask = async (headers: http2.OutgoingHttpHeaders): Promise<unknown> => {
    const [answer] = await once(session.request({ ':path': '/', ...headers }).resume(), 'response')
    return answer[':status']
  }
  t.equal(await ask({ ':method': 'UNKNOWN_METHOD' }), 404)
  t.equal(await ask({ ':method': 'get' }), 404)
  t.equal(await ask({ expect: 'miracles' }), 417)
  t.equal(await ask({ expect: '100-continue' }), 200)
  const [answer] = await once(session.request({ ':method': 'CONNECT', ':authority': 'x:1' }).resume(), 'response')
  t.equal(answer[':status'], 405)
  app.server.on('checkExpectation', (_request, response) => { response.writeHead(417).end() })
  t.equal(await ask({ expect: 'miracles' }), 417)
  session.close()
  await once(session, 'close')
  t.same(await rejected(app), { invalid_method: 2, expectation_failed: 1, connect: 1 })
  t.equal(await observed(app), 1)
})

t.test('what others answer on the same server is not counted', async t => {
  let handle: RequestListener
  const app = createApplication(t, {
    serverFactory (handler) {
      handle = handler as RequestListener
      return createServer(answerOrHandle)
    }
  })
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.get('/', async () => 'x')
  const address = await listen(app)
  const types: Array<Record<string, string | number>> = [
    {},
    { 'content-type': 'application/json' },
    { 'content-type': 'application/json; charset=utf-8', 'content-length': 2 },
    { 'Content-Type': 'application/json', 'Content-Length': 2 },
    { 'content-length': 2 }
  ]
  function answerOrHandle (request: IncomingMessage, response: ServerResponse): void {
    const [, status, type] = /^\/own\/(\d+)\/(\d+)/.exec(request.url!) ?? []
    if (status === undefined) handle(request, response)
    else response.writeHead(Number(status), types[Number(type)]).end('{}')
  }
  app.server.on('checkExpectation', (_request, response) => { response.writeHead(417).end() })
  for (const rest of ['', '/%zz', `/${'x'.repeat(101)}`]) {
    for (const status of [400, 404, 414, 417, 500, 503]) {
      for (const type of [0, 1, 2, 3]) {
        await exchange(address, `GET /own/${status}/${type}${rest} HTTP/1.1\nhost: x\nconnection: close\n\n`)
      }
    }
  }
  // HTTP/1.0 demands no host.
  await exchange(address, 'GET /own/400/4 HTTP/1.0\n\n')
  await exchange(address, rejections.expectation_failed![0])
  // As socket.io and others do: their own listener stands in front of those that were there before.
  const [first, ...rest] = app.server.listeners('request') as RequestListener[]
  app.server.removeAllListeners('request')
  app.server.on('request', (request, response) => {
    if (request.url === '/socket') response.writeHead(400, { 'Content-Type': 'application/json' }).end('{}')
    else for (const listener of [first!, ...rest]) listener(request, response)
  })
  await exchange(address, 'GET /socket HTTP/1.1\nhost: x\nconnection: close\n\n')
  t.same(await rejected(app), {})
  await exchange(address, rejections.bad_url![0])
  t.same(await rejected(app), { bad_url: 1 })
})

t.test('of applications that share a server and a registry, one counts what no hook sees', async t => {
  const handlers: RequestListener[] = []
  const server = createServer((request, response) => {
    handlers[request.url!.startsWith('/b') ? 1 : 0]!(request, response)
  })
  const registry = new Registry()
  const apps = [0, 1].map(index => createApplication(t, {
    serverFactory (handler) {
      handlers[index] = handler as RequestListener
      return server
    }
  }))
  const [first, second] = apps as [FastifyInstance, FastifyInstance]
  await first.register(latency, { server: anyPort, processMetrics: false, registry })
  await second.register(latency, { server: false, registry })
  second.get('/b', async () => 'x')
  await second.ready()
  const address = await listen(first)
  for (const path of ['/%zz', '/b/%zz']) await exchange(address, `GET ${path} HTTP/1.1\nhost: x\nconnection: close\n\n`)
  await exchange(address, rejections.malformed![0])
  await exchange(address, 'CONNECT x:1 HTTP/1.1\nhost: x\n\n')
  await exchange(address, 'GET /b HTTP/1.1\nhost: x\nconnection: close\n\n')
  t.same(await rejected(first), { bad_url: 2, malformed: 1, connect: 1 })
  t.equal(await observed(first), 1)
})

t.test('no request is counted as rejected and observed too, whenever the hooks of others reply', async t => {
  const app = createApplication(t, {
    http: { requireHostHeader: false }, routerOptions: { useSemicolonDelimiter: true }
  } as object)
  app.addHook('onRequest', async ({ url }, reply) => {
    await nextTurn()
    const [, status, isEmpty] = /^\/(\d+)(empty)?/.exec(url) ?? []
    if (status !== undefined) return reply.code(Number(status)).send(isEmpty === undefined ? { code: url } : undefined)
  })
  app.addHook('onResponse', async () => {
    for (let turn = 0; turn < 5; turn++) await nextTurn()
  })
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.get('/', async () => 'x')
  app.get('/*', async () => 'x')
  const address = await listen(app)
  const paths = [400, 404, 414, 417, 500, 503].flatMap(status => [
    `/${status}`, `/${status}empty`, `/${status};%zz`, `/${status}empty;%zz`, `/${status}empty/${'x'.repeat(101)}`, '/'
  ])
  const heads = ['HTTP/1.1\nhost: x\n', 'HTTP/1.1\n', 'HTTP/1.1\nhost: x\nexpect: 100-continue\n', 'HTTP/1.0\n']
  const requests = paths.flatMap(path => heads.map(head => `GET ${path} ${head}connection: close\n\n`))
  await Promise.all(requests.map(async request => exchange(address, request)))
  await until('all to be observed', async () => await observed(app) === requests.length)
  t.same(await rejected(app), {})
})

t.test('what the router refuses is counted, however the client writes its target', async t => {
  const { app, addresses } = await createRejecting(t, '127.0.0.1')
  const refused = {
    bad_url: ['/%zz', '/a"b%zz', '/%zz?x=%zz;y', '//%zz', 'http://x/%zz', 'HTTPS://x:80/%zz?x', 'http://x;y/%zz', 'http://x%zz/'],
    long_parameter: [`/${'x'.repeat(101)}?x=1`, `http://x/${'x'.repeat(101)}`, `/%20${'x'.repeat(101)}`]
  }
  if (!('long_parameter' in rejections)) refused.long_parameter = []
  for (const target of Object.values(refused).flat()) {
    t.match(await exchange(addresses[0]!, `GET ${target} HTTP/1.1\nhost: x\nconnection: close\n\n`), /^HTTP\/1.1 4[01][04] /)
  }
  t.same(await rejected(app), Object.fromEntries(
    Object.entries(refused).map(([reason, { length }]) => [reason, length]).filter(([, count]) => count !== 0)))
})

t.test('a request beyond the limit of its connection is rejected once, whatever becomes of its body', async t => {
  const { app, addresses } = await createRejecting(t, '127.0.0.1', { ...impatient, maxRequestsPerSocket: 1 })
  const head = 'POST / HTTP/1.1\nhost: x\ncontent-type: text/plain\n'
  for (const body of ['content-length: 5\n\nx', 'transfer-encoding: chunked\n\nno chunk\n']) {
    const connection = await Connection.open(addresses[0]!)
    connection.send('GET / HTTP/1.1\nhost: x\n\n')
    await connection.until('\r\n\r\nx')
    connection.send(head + body)
    await connection.until(' 503 ')
    await connection.closed()
  }
  t.same(await rejected(app), { connection_limit: 2 })
})

t.test('what is refused while an earlier plugin prepares to close is counted', async t => {
  const app = createApplication(t)
  const [closing, gate] = [new Gate(), new Gate()]
  app.addHook('preClose', async () => {
    closing.open()
    await gate.passed()
  })
  await app.register(latency, { server: anyPort, processMetrics: false })
  app.get('/', async () => 'x')
  const address = await listen(app)
  const registry = registryOf(app)
  const closed = app.close()
  await closing.passed()
  t.match(await exchange(address, 'GET / HTTP/1.1\nhost: x\nconnection: close\n\n'), 'HTTP/1.1 503 ')
  t.match(await registry.metrics(), /^http_requests_rejected_total\{reason="closing"\} 1$/m)
  gate.open()
  await closed
})

t.test('an HTTP/2 request is rejected once, and not if somebody has answered it', async t => {
  const app = createApplication(t, { http2: true } as object)
  await app.register(latency, { server: anyPort, processMetrics: false })
  const session = http2.connect(await listen(app))
  t.teardown(() => session.destroy())
  const connectTo = async (headers: object): Promise<number> => {
    const stream = session.request({ ':method': 'CONNECT', ':authority': 'x:1', ...headers })
    const [{ ':status': status }] = await once(stream, 'response')
    stream.destroy()
    return status
  }
  t.equal(await connectTo({ expect: 'miracles' }), 405)
  app.server.prependListener('stream', (stream: http2.ServerHttp2Stream) => stream.respond({ ':status': 403 }))
  t.equal(await connectTo({}), 403)
  t.same(await rejected(app), { expectation_failed: 1 })
})

t.test('frameworkErrors may answer with any status', async t => {
  const app = createApplication(t, {
    frameworkErrors: (_error, _request, reply: FastifyReply) => { reply.code(404).send() }
  })
  await app.register(latency, { server: anyPort, processMetrics: false })
  await exchange(await listen(app), rejections.bad_url![0])
  t.same(await rejected(app), { bad_url: 1 })
})

t.test('in a part of an application there is no such counter, which is said in the log', async t => {
  const lines: string[] = []
  const app = createApplication(t, { logger: { level: 'info', stream: { write: line => { lines.push(line) } } } })
  app.register(async part => {
    await part.register(latency, { server: anyPort, processMetrics: false })
    part.get('/', async () => 'x')
    app.decorate('partLatency', part.latency)
  })
  await app.ready()
  const { registry } = (app as unknown as { partLatency: typeof app.latency }).partLatency
  t.equal(registry.getSingleMetric('http_requests_rejected_total'), undefined)
  t.equal(lines.filter(line => line.includes('a part of this application only')).length, 1)
})
