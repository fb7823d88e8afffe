import dns from 'node:dns'
import { errorMonitor, once } from 'node:events'
import { createServer, Server, type AddressInfo } from 'node:net'
import os from 'node:os'
import t, { type Test } from 'tap'
import Fastify from 'fastify'
import latency from '../../lib'
import { retryDelayMs } from '../../lib/server/bindings'
import {
  anyPort, collectWarnings, createApplication, createListening, loadInWorker, otherLoopback, resolveLocalhost, scrape,
  warningOf
} from '../helpers/application'
import { createFolder } from '../helpers/folder'
import { until } from '../helpers/until'

/** Somebody else's server, on a port that ours will want. */
async function takePort (t: Test): Promise<{ port: number, release: () => Promise<void> }> {
  const server: Server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const release = async (): Promise<void> => {
    if (server.listening) await once(server.close(), 'close')
  }
  t.teardown(release)
  return { port: (server.address() as AddressInfo).port, release }
}

t.test("with start: 'ready' a taken port fails the boot, with host and port in a coded error", async t => {
  const { port, release } = await takePort(t)
  const app = createApplication(t)
  await app.register(latency, { server: { host: '127.0.0.1', port, start: 'ready' } })
  await t.rejects(app.listen({ host: '127.0.0.1', port: 0 }), {
    code: 'FST_LATENCY_ERR_SERVER_LISTEN',
    message: `The metrics server cannot listen on host 127.0.0.1, port ${port}: EADDRINUSE at 127.0.0.1. Another `,
    cause: { code: 'EADDRINUSE' }
  })
  await app.close()
  await release()
})

t.test('with a taken port the application serves; the failure is logged, ' +
  'warned of and tried again until it succeeds', async t => {
  const { port, release } = await takePort(t)
  const lines: Array<{ level: number, msg: string, err?: { code: string } }> = []
  const app = createApplication(t, { logger: { stream: { write: line => { lines.push(JSON.parse(line)) } } } })
  await app.register(latency, { server: { host: '127.0.0.1', port } })
  app.get('/', async () => 'Hello World')

  let address = ''
  const warning = await warningOf(async () => { address = await app.listen({ host: '127.0.0.1', port: 0 }) })
  t.match(warning, {
    name: 'FastifyLatencyWarning',
    code: 'FST_LATENCY_ERR_SERVER_LISTEN',
    message: new RegExp(`port ${port}: EADDRINUSE at 127.0.0.1. ` +
      'The application goes on, and binding is tried again. Another process, .* has this port. ' +
      'Give .* another "server.port", or "server: false" if it needs no metrics server$')
  })
  t.equal(await (await fetch(address)).text(), 'Hello World')
  t.equal(app.latency.url, null)
  t.match(lines.find(line => line.level === 50), {
    msg: warning.message,
    err: {
      code: 'FST_LATENCY_ERR_SERVER_LISTEN',
      // The logger itself adds what the cause says.
      message: `${warning.message}: listen EADDRINUSE: address already in use 127.0.0.1:${port}`
    }
  })
  await t.rejects(app.latency.start(), { code: 'FST_LATENCY_ERR_SERVER_LISTEN' })

  await release()
  await once(app.latency.server!.server, 'listening')
  t.equal(await app.latency.start(), `http://127.0.0.1:${port}/metrics`)
  t.match((await scrape(app.latency.url)).families.get('http_request_duration_seconds'), { samples: { length: 14 } })
  t.match(lines.at(-1), { level: 30, msg: `Metrics at http://127.0.0.1:${port}/metrics` })
})

t.test('a port that stays taken is warned of once, and so is another reason', async t => {
  const { port, release } = await takePort(t)
  const lines: Array<{ level: number, msg: string }> = []
  const app = createApplication(t, { logger: { stream: { write: line => { lines.push(JSON.parse(line)) } } } })
  await app.register(latency, { server: { host: '127.0.0.1', port } })
  const { server } = app.latency.server!
  let attempts = 0
  const { listen: bind } = server
  server.listen = ((options: object) => { attempts++; return bind.call(server, options) }) as never
  const warnings = collectWarnings(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  await until('a second attempt', () => attempts === 2)
  await until('the warning', () => warnings.length > 0)
  t.match(warnings, [{ code: 'FST_LATENCY_ERR_SERVER_LISTEN', message: /EADDRINUSE/ }])
  await release()
  await until('it to recover', () => app.latency.url !== null)
  t.equal(warnings.length, 1)
  t.equal(lines.filter(({ level }) => level >= 40).length, 1)
  t.equal(lines.at(-1)!.msg, `Metrics at ${app.latency.url}`)
})

t.test('a failure to listen says what becomes of the application, and what helps', async t => {
  const cases: Array<[start: 'listen' | 'ready', code: string, message: RegExp]> = [
    ['listen', 'EACCES', /: EACCES\. The application goes on, and binding is tried again\. .* another "server\.port", /],
    ['ready', 'EACCES', /: EACCES\. The operating system keeps this port/],
    ['ready', 'EADDRINUSE', /: EADDRINUSE\. Another process/],
    ['ready', 'EADDRNOTAVAIL', /: EADDRNOTAVAIL\. Let "server\.host" be an address of this machine/],
    ['listen', 'ENOTFOUND', /: ENOTFOUND\. The application goes on, .* again\. Let "server\.host" be /],
    ['listen', 'EOTHER', /: x\. The application goes on, and binding is tried again$/],
    ['ready', 'EOTHER', /: x$/]
  ]
  for (const [start, code, message] of cases) {
    const app = createApplication(t)
    await app.register(latency, { server: { host: '127.0.0.1', port: 1, start } })
    app.latency.server!.server.listen = () => { throw Object.assign(new Error('x'), { code }) }
    await t.rejects(app.latency.start(), { code: 'FST_LATENCY_ERR_SERVER_LISTEN', message })
  }
})

t.test('the port of the application itself is told apart, and not tried again', async t => {
  const { port, release } = await takePort(t)
  await release()
  for (const start of ['listen', 'ready'] as const) {
    const app = createApplication(t)
    await app.register(latency, { server: { host: '127.0.0.1', port, start } })
    const warnings = collectWarnings(t)
    const listening = app.listen({ host: '127.0.0.1', port })
    if (start === 'ready') await t.rejects(listening, { code: 'EADDRINUSE' })
    else await listening
    await until('the warning', () => warnings.length > 0)
    t.match(warnings, [{ code: 'FST_LATENCY_ERR_PORT_OF_APPLICATION', message: /of the application itself.*"server\.port"/ }])
    if (start === 'listen') await t.rejects(app.latency.start(), { code: 'FST_LATENCY_ERR_PORT_OF_APPLICATION' })
    t.equal(app.server.listenerCount(errorMonitor), 1)
    await app.close()
    t.equal(app.server.listenerCount(errorMonitor), 0)
  }
})

t.test('an address that the application has is not tried again, and the other one serves', async t => {
  resolveLocalhost(t, ['127.0.0.1', otherLoopback])
  const { port, release } = await takePort(t)
  await release()
  const app = createApplication(t)
  await app.register(latency, { server: { host: 'localhost', port } })
  const warning = await warningOf(async () => app.listen({ host: '127.0.0.1', port }))
  t.match(warning, { code: 'FST_LATENCY_ERR_PORT_OF_APPLICATION' })
  const url = await app.latency.start()
  const other = otherLoopback.includes(':') ? `[${otherLoopback}]` : otherLoopback
  t.equal((await fetch(url.replace('localhost', other))).status, 200)
})

t.test('an application that cannot listen for another reason is not told so', async t => {
  const { port } = await takePort(t)
  const app = createApplication(t)
  await app.register(latency, { server: { ...anyPort, start: 'ready' } })
  const warnings = collectWarnings(t)
  await t.rejects(app.listen({ host: '127.0.0.1', port }), { code: 'EADDRINUSE' })
  await new Promise(resolve => setImmediate(resolve))
  t.same(warnings, [])
})

t.test('each address of localhost is tried until it can be bound', async t => {
  const { port, release } = await takePort(t)
  resolveLocalhost(t, ['127.0.0.1', otherLoopback, '192.0.2.1'])
  const lines: string[] = []
  const app = createApplication(t, { logger: { stream: { write: line => { lines.push(JSON.parse(line).msg) } } } })
  await app.register(latency, { server: { host: 'localhost', port } })
  const warnings = collectWarnings(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const url = await app.latency.start()
  const at = (host: string): string => url.replace('localhost', host.includes(':') ? `[${host}]` : host)
  t.equal((await fetch(at(otherLoopback))).status, 200, 'the second address alone')
  await until('the warning', () => warnings.length > 0)
  await until('a second attempt', () => lines.length > 0)
  await release()
  await until('the first address', () => lines.includes('The metrics server now listens on 127.0.0.1 too'))
  t.match(await (await fetch(at('127.0.0.1'))).text(), 'http_requests_in_flight')
  t.match(warnings, [{ code: 'FST_LATENCY_ERR_SERVER_LISTEN', message: /127\.0\.0\.1/ }])
  await app.close()
  for (const host of ['127.0.0.1', otherLoopback]) await t.rejects(fetch(at(host)))
})

t.test('closing ends the attempts to bind another address', async t => {
  const { port, release } = await takePort(t)
  resolveLocalhost(t, ['127.0.0.1', otherLoopback])
  const app = createApplication(t)
  await app.register(latency, { server: { host: 'localhost', port } })
  const timers = process.getActiveResourcesInfo().filter(resource => resource === 'Timeout').length
  await warningOf(async () => {
    await app.listen({ host: '127.0.0.1', port: 0 })
    await app.latency.start()
  })
  await app.close()
  t.ok(process.getActiveResourcesInfo().filter(resource => resource === 'Timeout').length <= timers)
  await release()
})

t.test('an address that this machine does not have is an error if it is the only one', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: { host: '192.0.2.1', port: 0, start: 'manual' } })
  await t.rejects(app.latency.start(), { code: 'FST_LATENCY_ERR_SERVER_LISTEN', cause: { code: 'EADDRNOTAVAIL' } })
})

t.test('every failure to bind one address is said, but that this machine does not have it', async t => {
  for (const code of ['EACCES', 'EADDRNOTAVAIL', 'EAFNOSUPPORT']) {
    resolveLocalhost(t, ['127.0.0.1', otherLoopback])
    const app = createApplication(t)
    await app.register(latency, { server: { host: 'localhost', port: 0, start: 'manual' } })
    const { listen: bind } = Server.prototype
    t.intercept(Server.prototype, 'listen', {
      value (this: Server, options: { host: string }) {
        if (options.host !== otherLoopback) return bind.call(this, options as never)
        const error = Object.assign(new Error(`listen ${code}`), { code })
        process.nextTick(() => this.emit('error', error))
        return this
      }
    })
    const warnings = collectWarnings(t)
    await app.latency.start()
    await new Promise(resolve => setImmediate(resolve))
    t.equal(warnings.length, code === 'EACCES' ? 1 : 0, code)
    await app.close()
  }
})

t.test("the application's hooks do not wait for the metrics server", async t => {
  const { lookup } = dns
  t.teardown(() => { dns.lookup = lookup })
  let lookups = 0
  dns.lookup = ((host: string, ...rest: [never]) => {
    if (host === 'metrics.example') lookups++
    else lookup(host, ...rest)
  }) as unknown as typeof lookup
  for (let count = 0; count < 3; count++) {
    const app = createApplication(t)
    await app.register(latency, { server: { host: 'metrics.example', port: 0 } })
    const ran = new Promise<void>(resolve => app.addHook('onListen', async () => resolve()))
    await app.listen({ host: '127.0.0.1', port: 0 })
    await ran
    t.equal(app.latency.url, null)
    await until('the lookup', () => lookups > 0)
    await new Promise(resolve => setImmediate(resolve))
  }
  t.equal(lookups, 1, 'there is never more than one lookup of a name, since it may hold up those of others')
})

t.test('binding is tried again after 1, 2, 4, 8 and then every 10 seconds', async t => {
  t.same([0, 1, 2, 3, 4, 5, 1000].map(retryDelayMs), [1000, 2000, 4000, 8000, 10_000, 10_000, 10_000])
})

t.test('a worker of a node:cluster with no group or port is told so once, and does not try again', async t => {
  const worker = loadInWorker(t, () => require('../../lib') as typeof latency)
  const app = createApplication(t)
  await app.register(worker, { server: { group: false } })
  const timers = t.capture(globalThis, 'setTimeout', setTimeout)
  const warning = await warningOf(() => app.listen({ host: '127.0.0.1', port: 0 }))
  t.match(warning, { code: 'FST_LATENCY_ERR_CLUSTER_PORT' })
  t.notOk(timers().some(({ args: [, ms] }) => ms === retryDelayMs(0)))
  t.equal(app.latency.url, null)
})

t.test('closing ends the attempts', async t => {
  const { port } = await takePort(t)
  const app = createApplication(t)
  await app.register(latency, { server: { host: '127.0.0.1', port } })
  const timers = process.getActiveResourcesInfo().filter(resource => resource === 'Timeout').length
  await warningOf(() => app.listen({ host: '127.0.0.1', port: 0 }))
  await app.close()
  t.equal(process.getActiveResourcesInfo().filter(resource => resource === 'Timeout').length, timers)
})

t.test('closing while an attempt is under way is quiet', async t => {
  const { port } = await takePort(t)
  const app = createApplication(t)
  await app.register(latency, { server: { host: '127.0.0.1', port } })
  const warnings = collectWarnings(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  await app.close()
  await new Promise(resolve => setImmediate(resolve))
  t.same(warnings, [])
})

t.test('closing is harmless before ready, twice, and after a failed start', async t => {
  const early = Fastify()
  early.register(latency, { server: anyPort })
  await early.close()

  const { app } = await createListening(t, {})
  await Promise.all([app.close(), app.close()])
  await app.close()

  const { port } = await takePort(t)
  const failed = Fastify()
  await failed.register(latency, { server: { host: '127.0.0.1', port, start: 'manual' } })
  await t.rejects(failed.latency.start())
  await failed.close()
})

t.test('a member of a group whose port belongs to somebody else serves nevertheless, and says so', async t => {
  const folder = createFolder(t)
  t.intercept(os, 'tmpdir', { value: () => folder })
  const { port } = await takePort(t)
  const app = createApplication(t)
  await app.register(latency, { server: { host: '127.0.0.1', port, group: 'x' } })
  const warning = await warningOf(() => app.listen({ host: '127.0.0.1', port: 0 }))
  t.match(warning, { code: 'FST_LATENCY_ERR_SERVER_LISTEN', message: /EADDRINUSE/ })
  await app.close()
})
