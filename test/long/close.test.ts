import dns from 'node:dns'
import { once } from 'node:events'
import { connect, createServer, Server, type AddressInfo, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Gauge, Registry } from 'prom-client'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import latency from '../../lib'
import * as timers from '../../lib/timers'
import {
  anyPort, createApplication, createListening, declareLarge, listen, otherLoopback, resolveLocalhost, scrape
} from '../helpers/application'
import { createCertificate } from '../helpers/certificates'
import { Connection, exchange } from '../helpers/connection'
import { Gate } from '../helpers/gate'
import { until } from '../helpers/until'

async function status (url: string | null, path: string): Promise<number> {
  return (await fetch(new URL(path, url!))).status
}

t.test('/readyz is 200 while the application accepts requests, ' +
  '/healthz for as long as the process answers', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: { ...anyPort, start: 'ready' } })
  await app.ready()
  t.equal(await status(app.latency.url, '/readyz'), 503, 'not listening yet')
  t.equal(await status(app.latency.url, '/healthz'), 200)
  await listen(app)
  const response = await fetch(new URL('/readyz', app.latency.url!))
  t.equal(response.status, 200)
  t.equal(await response.text(), 'OK\n')
  t.equal(response.headers.get('cache-control'), 'no-store')
})

t.test('/readyz turns to 503 before the application stops accepting', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  let seen: unknown
  app.addHook('preClose', async () => {
    seen = [app.server.listening, await status(app.latency.url, '/readyz'), await status(app.latency.url, '/healthz')]
  })
  await listen(app)
  await app.close()
  t.same(seen, [true, 503, 200])
})

t.test('the metrics stay until the last request is in them, and until they have been scraped once more', async t => {
  const gate = new Gate()
  const begun = new Gate()
  const { app, address } = await createListening(t, {
    labels: {}, server: { ...anyPort, lastScrapeSeconds: 60 }
  }, app => {
    app.get('/slow', async () => { begun.open(); await gate.passed(); return 'x' })
  })
  const { url } = app.latency
  const answer = exchange(address, 'GET /slow HTTP/1.1\nHost: x\nConnection: close\n\n')
  await begun.passed()
  const stopped = once(app.server, 'close')
  const closed = app.close()
  t.equal((await scrape(url)).value('http_request_duration_seconds_count'), 0)
  t.equal(await status(url, '/readyz'), 503)
  gate.open()
  t.match(await answer, /^HTTP\/1.1 200 /)
  await stopped
  t.equal((await fetch(url!, { method: 'HEAD' })).status, 200, 'is no scrape')
  t.ok((await scrape(`${url}?name[]=http_requests_in_flight`)).families.size, 'is not all of it')
  t.equal((await scrape(url)).value('http_request_duration_seconds_count'), 1)
  await closed
  await t.rejects(fetch(url!))
})

t.test('closing waits for a last scrape no longer than it is told, ' +
  'and not at all for a server that never started', async t => {
  const { app } = await createListening(t, { server: { ...anyPort, lastScrapeSeconds: 0.05 } })
  await app.close()
  const unstarted = createApplication(t)
  await unstarted.register(latency, { server: { ...anyPort, lastScrapeSeconds: 3600 } })
  await unstarted.ready()
  await unstarted.close()
  t.equal(unstarted.latency.url, null)
})

t.test('a scrape that is being answered is answered in full', async t => {
  const gate = new Gate()
  const begun = new Gate()
  const registry = new Registry()
  registry.registerMetric(
    new Gauge({ name: 'slow', help: 'x', registers: [], collect: async () => { begun.open(); await gate.passed() } })
  )
  const { app } = await createListening(t, { registry })
  const scraped = scrape(app.latency.url)
  await begun.passed()
  const stopped = once(app.server, 'close')
  const closed = app.close()
  await stopped
  gate.open()
  t.equal((await scraped).value('slow'), 0)
  await closed
})

t.test('a health route of the user takes the place of its own', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  app.latency.server!.get('/readyz', async () => 'mine')
  await listen(app)
  t.equal(await (await fetch(new URL('/readyz', app.latency.url!))).text(), 'mine')
  t.equal(await status(app.latency.url, '/healthz'), 200)
})

/** Closes an application, which may take the second that answers have, and some more on a busy machine. */
async function closesInTime (t: Test, app: FastifyInstance): Promise<void> {
  const start = performance.now()
  await app.close()
  const tookMs = performance.now() - start
  t.ok(tookMs < 4000, `${tookMs} ms`)
}

/** What a client has sent of which nothing comes of itself. */
const unfinished: Array<[what: string, isTls: boolean, text: string]> = [
  ['says nothing', false, ''],
  ['has sent half a request', false, 'GET /metrics HTTP/1.1\nHost:'],
  ['has sent half a body', false, 'POST /mine HTTP/1.1\nHost: x\nContent-Type: text/plain\nContent-Length: 9\n\nx'],
  ['does not read its answer', false, 'GET /metrics HTTP/1.1\nHost: x\n\n'],
  ['does not begin the TLS handshake', true, ''],
  ['has sent half a ClientHello', true, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03']
]

for (const [what, isTls, text] of unfinished) {
  t.test(`closing waits for no client that ${what}, at any address`, async t => {
    resolveLocalhost(t, ['127.0.0.1', otherLoopback])
    const https = isTls ? await createCertificate(t) : undefined
    const app = createApplication(t)
    await app.register(latency, { server: { host: 'localhost', port: 0, ...https === undefined ? {} : { https } } })
    app.latency.server!.post('/mine', async () => 'x')
    await app.listen({ host: '127.0.0.1', port: 0 })
    declareLarge(app)
    const { port } = new URL(await app.latency.start())
    const sockets = await Promise.all(Array.from({ length: 20 }, async (_, index) => {
      const socket = connect(Number(port), index % 2 === 0 ? '127.0.0.1' : otherLoopback)
      socket.on('error', () => {})
      await once(socket, 'connect')
      socket.write(text.replaceAll('\n', '\r\n'), 'latin1')
      return socket
    }))
    await (await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined))?.text()
    await closesInTime(t, app)
    // Only a client that reads notices that it was disconnected.
    await Promise.all(sockets.map(async socket => socket.closed || once(socket.resume(), 'close')))
  })
}

t.test('closing waits for no TLS handshake that is finished meanwhile', async t => {
  const { app } = await createListening(t, { server: { ...anyPort, https: await createCertificate(t) } }, app => {
    app.latency.server!.get('/stuck', () => new Promise(() => {}))
  })
  const { port } = new URL(app.latency.url!)
  const held = new Gate()
  // A proxy that holds back what the server says.
  const proxy = createServer(client => {
    const upstream = connect(Number(port), '127.0.0.1')
    for (const socket of [client, upstream]) socket.on('error', () => {})
    client.pipe(upstream)
    upstream.once('readable', async () => {
      await held.passed()
      upstream.pipe(client)
    })
    upstream.on('close', () => client.destroy())
  }).listen(0, '127.0.0.1')
  t.teardown(() => proxy.close())
  await once(proxy, 'listening')
  const stuck = await Connection.open(app.latency.url!)
  const asked = once(app.latency.server!.server, 'request')
  stuck.send('GET /stuck HTTP/1.1\nHost: x\n\n')
  await asked
  const client = connectTls({ port: (proxy.address() as AddressInfo).port, rejectUnauthorized: false })
  client.on('error', () => {})
  await once(app.latency.server!.server, 'connection')
  const closing = closesInTime(t, app)
  held.open()
  await closing
  client.destroy()
  stuck.leave()
})

t.test('closing waits for no DNS server that does not answer', async t => {
  const { lookup } = dns
  t.teardown(() => { dns.lookup = lookup })
  const asked = new Gate()
  dns.lookup = ((host: string, ...rest: [never]) => {
    if (host === 'metrics.example') asked.open()
    else lookup(host, ...rest)
  }) as unknown as typeof lookup
  const app = createApplication(t)
  await app.register(latency, { server: { host: 'metrics.example', port: 0 } })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const started = t.rejects(app.latency.start(), { code: 'FST_LATENCY_ERR_SERVER_CLOSED' })
  await asked.passed()
  await closesInTime(t, app)
  await started
})

t.test('the boot, and closing that waits for it, wait 5 seconds for the addresses of a name', async t => {
  const { lookup } = dns
  t.teardown(() => { dns.lookup = lookup })
  const asked = new Gate()
  dns.lookup = (() => asked.open()) as unknown as typeof lookup
  let expire = (): void => {}
  t.intercept(timers, 'setTimeout', {
    value (callback: () => void, ms: number) {
      if (ms === 5000) expire = callback
      return { unref: () => ({}) }
    }
  })
  const app = createApplication(t, { pluginTimeout: 0 })
  await app.register(latency, { server: { host: 'other.example', port: 0, start: 'ready' } })
  const booted = t.rejects(async () => app.ready(), {
    code: 'FST_LATENCY_ERR_SERVER_LISTEN', message: /other\.example.* the name was not resolved in 5000 ms/
  })
  await asked.passed()
  const closed = app.close()
  expire()
  await booted
  await closed
})

/** Closes an application when its metrics server, which listens on `localhost`, has come so far that the gate opens. */
async function closeWhileStarting (t: Test, asked: Gate): Promise<FastifyInstance> {
  const app = createApplication(t)
  await app.register(latency, { server: { host: 'localhost', port: 0, start: 'manual' } })
  await app.ready()
  const started = t.rejects(app.latency.start(), { code: 'FST_LATENCY_ERR_SERVER_CLOSED' })
  await asked.passed()
  await app.close()
  await started
  return app
}

t.test('what was being started while the application closed does not listen afterwards', async t => {
  const { lookup } = dns
  t.teardown(() => { dns.lookup = lookup })
  const asked = new Gate()
  let answer = (): void => {}
  dns.lookup = ((host: string, options: object, callback: Function) => {
    if (host !== 'localhost') return lookup(host, options, callback as never)
    answer = () => callback(null, [{ address: '127.0.0.1', family: 4 }])
    asked.open()
  }) as unknown as typeof lookup
  const app = await closeWhileStarting(t, asked)
  answer()
  await new Promise(resolve => setImmediate(resolve))
  t.equal(app.latency.server!.server.listening, false)
})

t.test('an address that is bound while the application closes is let go', async t => {
  resolveLocalhost(t, ['127.0.0.1', otherLoopback])
  const asked = new Gate()
  let server: Server | undefined
  let bindNow = (): void => {}
  const { listen: bind } = Server.prototype
  t.intercept(Server.prototype, 'listen', {
    value (this: Server, options: { host: string }) {
      if (options.host !== otherLoopback) return bind.call(this, options as never)
      server = this
      bindNow = () => { bind.call(this, options as never) }
      asked.open()
      return this
    }
  })
  await closeWhileStarting(t, asked)
  const closed = once(server!, 'close')
  bindNow()
  await closed
  t.notOk(server!.listening)
})

t.test('no address goes on listening while an answer is being sent', async t => {
  resolveLocalhost(t, ['127.0.0.1', otherLoopback])
  const app = createApplication(t)
  await app.register(latency, { server: { host: 'localhost', port: 0 } })
  const begun = new Gate()
  const gate = new Gate()
  app.latency.server!.get('/slow', async () => { begun.open(); await gate.passed(); return 'finished' })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const url = new URL('/slow', await app.latency.start())
  url.hostname = '127.0.0.1'
  const answer = fetch(url)
  await begun.passed()
  const closing = app.close()
  const isRefused = async (host: string): Promise<boolean> => {
    const socket: Socket = connect(Number(url.port), host)
    return new Promise(resolve => {
      socket.on('error', () => resolve(true)).on('connect', () => resolve(false)).on('close', () => socket.destroy())
    })
  }
  for (const host of ['127.0.0.1', otherLoopback]) {
    await until(`nobody to listen at ${host}`, async () => isRefused(host))
  }
  gate.open()
  t.equal(await (await answer).text(), 'finished')
  await closing
})

t.test('a scrape that does not finish delays closing by one second at most', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  app.latency.server!.get('/stuck', () => new Promise(() => {}))
  await listen(app)
  const asked = once(app.latency.server!.server, 'request')
  const answer = t.rejects(fetch(new URL('/stuck', app.latency.url!)))
  await asked
  await app.close()
  await answer
})
