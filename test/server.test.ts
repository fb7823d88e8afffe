import dns from 'node:dns'
import { once } from 'node:events'
import { Agent, get, type IncomingMessage, request as httpRequest } from 'node:http'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import swagger from '@fastify/swagger'
import t from 'tap'
import latency from '../lib'
import {
  anyPort, createApplication, createListening, hasIPv6, listen, otherLoopback, resolveLocalhost, scrape, warningOf
} from './helpers/application'

async function openSocket (url: string | null, text = ''): Promise<Socket> {
  const { hostname, port } = new URL(url!)
  const socket = connect(Number(port), hostname.replace(/^\[|\]$/g, ''))
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

t.test('it starts with the application, on a port of its own, and closes with it', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  t.equal(app.latency.url, null)
  const address = await listen(app)
  t.match(app.latency.url, /^http:\/\/127\.0\.0\.1:\d+\/metrics$/)
  t.not(new URL(app.latency.url!).port, new URL(address).port)
  t.equal((await fetch(app.latency.url!)).status, 200)
  const { url } = app.latency
  await app.close()
  t.equal(app.latency.url, null)
  await t.rejects(fetch(url!))
})

t.test('by default its port is 8000', async t => {
  const app = createApplication(t)
  await app.register(latency)
  app.latency.server!.listen = (async (options: object) => {
    t.match(options, { port: 8000 })
    throw new Error('not bound here')
  }) as never
  await t.rejects(app.latency.start(), {
    message: 'The metrics server cannot listen on host localhost, port 8000: not bound here'
  })
})

t.test('inject() and ready() bind nothing', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  app.get('/', async () => 'x')
  await app.inject('/')
  t.equal(app.latency.url, null)
  t.equal(app.latency.server!.server.listening, false)
})

t.test('the host follows the application', async t => {
  const cases: Array<[host: string, url: RegExp, bound: string]> = [
    ['0.0.0.0', /^http:\/\/127\.0\.0\.1:/, '0.0.0.0'],
    ['127.0.0.1', /^http:\/\/127\.0\.0\.1:/, '127.0.0.1']
  ]
  if (hasIPv6) {
    cases.push(['::1', /^http:\/\/\[::1\]:/, '::1'], ['::', /^http:\/\/\[::1\]:/, '::'])
  }
  for (const [host, url, bound] of cases) {
    const app = createApplication(t)
    await app.register(latency, { server: { port: 0 } })
    await app.listen({ host, port: 0 })
    t.match(await app.latency.start(), url, host)
    t.equal((app.latency.server!.server.address() as AddressInfo).address, bound, host)
    t.equal((await fetch(app.latency.url!)).status, 200, host)
  }
})

t.test('localhost stays localhost, in both address families', { skip: !hasIPv6 && 'no IPv6 loopback' }, async t => {
  resolveLocalhost(t, ['127.0.0.1', '::1'])
  const app = createApplication(t)
  await app.register(latency, { server: { port: 0 } })
  await app.listen({ host: 'localhost', port: 0 })
  const url = await app.latency.start()
  t.match(url, /^http:\/\/localhost:\d+\/metrics$/)
  for (const host of ['127.0.0.1', '[::1]']) t.equal((await fetch(url.replace('localhost', host))).status, 200, host)
  await app.close()
  for (const host of ['127.0.0.1', '[::1]']) await t.rejects(fetch(url.replace('localhost', host)), `closed: ${host}`)
})

t.test('where localhost is one address, the URL has that address', async t => {
  resolveLocalhost(t, ['127.0.0.1'])
  const app = createApplication(t)
  await app.register(latency, { server: { port: 0 } })
  await app.listen({ host: 'localhost', port: 0 })
  t.match(await app.latency.start(), /^http:\/\/127\.0\.0\.1:\d+\/metrics$/)
})

t.test('if the port is taken on the other address of localhost, that is warned of', async t => {
  resolveLocalhost(t, ['127.0.0.1', otherLoopback, '192.0.2.1'])
  // The first address has this port too, since nobody else can have it: a port of the
  // other is taken when ours is known.
  const app = createApplication(t)
  await app.register(latency, { server: { port: 0, start: 'manual' } })
  const bound = once(app.latency.server!.server, 'listening')
  const warning = warningOf(async () => {
    const started = app.latency.start()
    await bound
    const { port } = app.latency.server!.server.address() as AddressInfo
    const other = createServer().listen(port, otherLoopback)
    t.teardown(() => other.close())
    await started
  })
  const { code, message } = await warning
  t.equal(code, 'FST_LATENCY_ERR_SERVER_LISTEN')
  t.match(message, /localhost, port \d+: /)
  t.match(message, otherLoopback)
  t.equal((await fetch(app.latency.url!.replace('localhost', '127.0.0.1'))).status, 200)
})

t.test('an application on a Unix socket has its metrics on localhost', {
  skip: process.platform === 'win32' && 'Windows has no Unix sockets'
}, async t => {
  const app = createApplication(t)
  await app.register(latency, { server: { port: 0 } })
  // Not in the test's own folder, whose path may be longer than a socket's may be.
  const folder = mkdtempSync(path.join(os.tmpdir(), 'latency-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  await app.listen({ path: path.join(folder, 'app.sock') })
  const url = await app.latency.start()
  t.equal((await fetch(url)).status, 200)
})

t.test('host, port and path are configurable', async t => {
  const { app } = await createListening(t, { server: { host: '127.0.0.1', port: 0, path: '/internal/prometheus' } })
  t.match(app.latency.url, /\/internal\/prometheus$/)
  t.ok((await scrape(app.latency.url)).families.has('http_request_duration_seconds'))
  t.equal((await fetch(new URL('/metrics', app.latency.url!))).status, 404)
})

t.test('a host that has no address is named', async t => {
  const { lookup } = dns
  t.teardown(() => { dns.lookup = lookup })
  dns.lookup = ((host: string, options: object, callback: Function) => {
    if (host === 'metrics.example') callback(new Error('getaddrinfo ENOTFOUND'))
    else lookup(host, options, callback as never)
  }) as unknown as typeof lookup
  const app = createApplication(t)
  await app.register(latency, { server: { host: 'metrics.example', port: 0, start: 'manual' } })
  await t.rejects(app.latency.start(), {
    code: 'FST_LATENCY_ERR_SERVER_LISTEN', message: /on host metrics\.example, port 0: getaddrinfo ENOTFOUND/
  })
})

t.test('start() may be called by anybody, any number of times', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: { ...anyPort, start: 'manual' } })
  await app.listen({ host: '127.0.0.1', port: 0 })
  t.equal(app.latency.url, null)
  const urls = await Promise.all([app.latency.start(), app.latency.start()])
  t.same(urls, [app.latency.url, app.latency.url])
  t.equal(await app.latency.start(), app.latency.url)
})

t.test('start() rejects with a code: without a server, and once the application closes', async t => {
  const off = createApplication(t)
  await off.register(latency, { server: false })
  t.equal(off.latency.server, null)
  t.equal(off.latency.url, null)
  await t.rejects(off.latency.start(), { code: 'FST_LATENCY_ERR_SERVER_OFF' })

  const { app } = await createListening(t, {})
  await app.close()
  await t.rejects(app.latency.start(), { code: 'FST_LATENCY_ERR_SERVER_CLOSED' })
})

t.test("with start: 'ready' it is up before the application listens", async t => {
  const app = createApplication(t)
  await app.register(latency, { server: { ...anyPort, start: 'ready' } })
  await app.ready()
  t.equal((await fetch(app.latency.url!)).status, 200)
})

t.test('closing does not wait for the connection that Prometheus keeps open, nor for one that never asks', async t => {
  const { app } = await createListening(t, {})
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  const [response] = await once(get(app.latency.url!, { agent }), 'response') as [IncomingMessage]
  await once(response.resume(), 'end')
  const silent = await openSocket(app.latency.url)
  const halfAsked = await openSocket(app.latency.url, 'GET /metrics HTTP/1.1\r\nHost:')
  const gone = [silent, halfAsked].map(socket => new Promise(resolve => socket.once('close', resolve)))
  await app.close()
  await Promise.all(gone)
})

t.test('a scrape that is being answered may finish while the application closes', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  let finish = (): void => {}
  app.latency.server!.get('/slow', async () => {
    await new Promise<void>(resolve => { finish = resolve })
    return 'finished'
  })
  await listen(app)
  const asked = once(app.latency.server!.server, 'request')
  const answer = fetch(new URL('/slow', app.latency.url!))
  await asked
  const closed = app.close()
  await new Promise(resolve => setImmediate(resolve))
  finish()
  t.equal(await (await answer).text(), 'finished')
  await closed
})

t.test('requests that wait for others on a connection that closes are over, and delay nothing', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  app.latency.server!.get('/stuck', () => new Promise(() => {}))
  await listen(app)
  const disconnected = new Promise(resolve =>
    app.latency.server!.server.once('connection', socket => socket.once('close', resolve)))
  const asked = once(app.latency.server!.server, 'request')
  const socket = await openSocket(
    app.latency.url, 'GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n' + 'GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(10)
  )
  await asked
  socket.resetAndDestroy()
  await disconnected
  const waits = t.capture(globalThis, 'setTimeout', globalThis.setTimeout)
  await app.close()
  t.same(waits().filter(({ args: [, ms] }) => ms === 1000), [])
})

t.test('GET and HEAD are answered, other paths are 404, other methods 405 with Allow', async t => {
  const { app } = await createListening(t, {})
  const { url } = app.latency
  const got = await fetch(url!)
  t.equal(got.status, 200)
  t.equal(got.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
  t.ok((await got.text()).endsWith('\n'))

  const head = await fetch(url!, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.equal(head.headers.get('content-type'), got.headers.get('content-type'))
  t.equal(await head.text(), '')

  t.equal((await fetch(`${url!}?name=x`)).status, 200, 'a query changes nothing')

  for (const path of ['/metrics/', '/metricsx', '/METRICS', '/favicon.ico']) {
    const response = await fetch(new URL(path, url!))
    t.equal(response.status, 404, path)
    t.match(await response.text(), 'The metrics are at /metrics', path)
  }
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND']) {
    const response = await fetch(url!, { method })
    t.equal(response.status, 405, method)
    t.equal(response.headers.get('allow'), 'GET, HEAD', method)
  }
  t.equal((await fetch(new URL('/healthz', url!), { method: 'POST' })).status, 405)
})

t.test('requests to the metrics server are not requests to the application', async t => {
  const { app } = await createListening(t, { labels: {} })
  await scrape(app.latency.url)
  t.equal((await scrape(app.latency.url)).value('http_request_duration_seconds_count'), 0)
})

t.test('its Fastify instance takes routes and hooks of the user', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  app.latency.server!.addHook('onRequest', async (request, reply) => {
    if (request.headers.authorization !== 'Bearer secret') return reply.code(401).send()
  })
  app.latency.server!.get('/healthz', async () => 'OK')
  await listen(app)
  t.equal((await fetch(app.latency.url!)).status, 401)
  const headers = { authorization: 'Bearer secret' }
  t.equal((await fetch(app.latency.url!, { headers })).status, 200)
  t.equal(await (await fetch(new URL('/healthz', app.latency.url!), { headers })).text(), 'OK')
})

t.test('the metrics may be a route of the application as well, or instead, and are not traffic', async t => {
  for (const server of [anyPort, false] as const) {
    const app = createApplication(t)
    await app.register(latency, { server, endpoint: '/internal/metrics', labels: { route: 'route' } })
    app.get('/', async () => 'x')
    const address = await app.listen({ host: '127.0.0.1', port: 0 })
    await fetch(address)
    const first = await scrape(`${address}/internal/metrics`)
    t.same(first.samples('http_request_duration_seconds_count').map(sample => sample.labels), [{ route: '/' }])
    t.equal(
      (await fetch(`${address}/internal/metrics`, { method: 'HEAD' })).headers.get('content-type'),
      'text/plain; version=0.0.4; charset=utf-8'
    )
    const second = await scrape(`${address}/internal/metrics`)
    t.same(second.samples('http_request_duration_seconds_count').map(sample => sample.labels), [{ route: '/' }])
  }
})

t.test('as a route of the application it is not in the documentation, the log or the traffic', async t => {
  const lines: string[] = []
  const app = createApplication(t, { logger: { level: 'trace', stream: { write: line => { lines.push(line) } } } })
  await app.register(swagger, { openapi: {} })
  await app.register(latency, { server: false, endpoint: '/metrics', labels: {} })
  app.get('/', async () => 'x')
  await app.ready()
  t.same(Object.keys(app.swagger().paths!), ['/'])
  lines.length = 0
  const { payload, headers } = await app.inject({
    url: '/metrics', headers: { accept: 'application/openmetrics-text' }
  })
  t.match(payload, /^http_request_duration_seconds_count 0$/m)
  t.match(headers['content-type'], 'application/openmetrics-text')
  t.same(lines, [])
})

t.test('the route is below the prefix of its context, and asking for it again adds nothing', async t => {
  const app = createApplication(t)
  await app.register(async v1 => {
    await v1.register(latency, { server: false, endpoint: '/metrics' })
    await v1.register(latency, { endpoint: '/metrics' })
  }, { prefix: '/v1' })
  t.equal((await app.inject('/v1/metrics')).statusCode, 200)
})

t.test('a client that sends a scrape and leaves does no harm', async t => {
  const { app } = await createListening(t, {})
  const request = httpRequest(app.latency.url!).on('error', () => {})
  request.end()
  await once(app.latency.server!.server, 'request')
  request.destroy()
  t.equal((await fetch(app.latency.url!)).status, 200)
})
