import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:http2'
import path from 'node:path'
import t, { type Test } from 'tap'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { QueueTimeOptions } from '..'
import latency from '../lib'
import { readProxyTime } from '../lib/http/proxy-times'
import { anyPort, collectWarnings, createApplication, listen, scrape } from './helpers/application'
import { Connection, exchange, leaveAfter } from './helpers/connection'
import { Gate } from './helpers/gate'
import { root } from './helpers/repository'
import { until } from './helpers/until'

const header = 'x-request-start'
const queue = 'http_request_queue_seconds'
const code = 'FST_LATENCY_ERR_QUEUE_HEADER'

async function create (
  t: Test, server: FastifyServerOptions & { http2?: true, https?: object } = { trustProxy: true },
  queueTime: QueueTimeOptions = {}
): Promise<{ app: FastifyInstance, url: string }> {
  const app = createApplication(t, server as FastifyServerOptions)
  await app.register(latency, {
    server: anyPort, processMetrics: false, labels: {}, queueTime: { header, ...queueTime }
  })
  app.get('/', async () => 'x')
  return { app, url: await listen(app) }
}

/** What was counted: of waits, and of headers that were not used. */
async function counted (
  app: FastifyInstance
): Promise<{ count: number, sum: number, refused: Record<string, number> }> {
  const exposition = await scrape(app.latency.url)
  const refused = exposition.samples('fastify_latency_queue_header_refused_total')
  return {
    count: exposition.value(`${queue}_count`)!,
    sum: exposition.value(`${queue}_sum`)!,
    refused: Object.fromEntries(refused.map(({ labels: { reason }, value }) => [reason!, value]))
  }
}

/** How far the clock of the machine, which may be set, is ahead of the one that nobody sets, in milliseconds. */
const clockAheadMs = (): number => Date.now() - performance.now()
/** The same when `ago()` was called last. */
let clockWasAheadMs = clockAheadMs()

/** A time so many seconds ago, as nginx writes it. */
function ago (seconds: number): string {
  clockWasAheadMs = clockAheadMs()
  return `t=${(Date.now() / 1000 - seconds).toFixed(3)}`
}

async function get (url: string, ...values: string[]): Promise<void> {
  const headers = ['connection: close', ...values.map(value => `X-Request-Start: ${value}`)].join('\n')
  await exchange(url, `GET / HTTP/1.1\nhost: x\n${headers}\n\n`)
}

/** Whether a wait is as long as it has to be, and not longer than a slow machine makes it. */
function isWait (t: Test, seconds: number, expected: number, message?: string): void {
  const setBack = Math.max(clockWasAheadMs - clockAheadMs(), 0) / 1000
  t.ok(seconds >= expected - setBack - 0.002 && seconds < expected + 5, `${message ?? 'wait'}: ${seconds} s`)
}

const none = { unreadable: 0, ahead: 0, too_long: 0 }

t.test('the forms in which proxies write a time', async t => {
  const exact = 1_700_000_000_123
  const whole = { ms: 1_700_000_000_000, latestMs: 1_700_000_000_999 }
  const times: Record<string, object | undefined> = {
    1700000000123: { ms: exact, latestMs: exact },
    't=1700000000123': { ms: exact, latestMs: exact },
    't=1700000000.123': { ms: exact, latestMs: exact },
    1700000000.123: { ms: exact, latestMs: exact },
    't=1700000000123000': { ms: exact, latestMs: exact },
    't=t=1700000000123000': { ms: exact, latestMs: exact },
    1700000000: whole,
    ' t=1700000000 ': whole,
    'Root=1-6553f100-0123456789abcdef01234567': whole,
    'Root=1-5553f100-0123456789abcdef01234567;Parent=53995c3f42cd8ad8;Sampled=1': {
      ms: 0x5553f100 * 1000, latestMs: 0x5553f100 * 1000 + 999
    },
    'Self=1-6553f100-0123456789abcdef01234567;Root=1-5553f100-0123456789abcdef01234567': whole,
    't=1, 1700000000123': { ms: exact, latestMs: exact },
    '1700000000123, x': undefined,
    [`${'9'.repeat(10_000)},t=1700000000123`]: { ms: exact, latestMs: exact },
    ['1'.repeat(10_000)]: undefined,
    ['t='.repeat(5000)]: undefined,
    [','.repeat(10_000)]: undefined,
    '': undefined,
    t: undefined,
    0: undefined,
    '-1700000000': undefined,
    '1.7e9': undefined,
    'NaN, Infinity': undefined,
    '0x6553f100': undefined,
    'Tue, 14 Nov 2023 22:13:20 GMT': undefined,
    'Root=1-6553f10-0123456789abcdef01234567': undefined
  }
  for (const [text, time] of Object.entries(times)) t.same(readProxyTime(text), time, text.slice(0, 90))
})

t.test('what a request waited since a proxy received it is counted as one time', async t => {
  const { app, url } = await create(t)
  t.same((await counted(app)).refused, none, 'there from the start')
  await get(url, ago(7))
  const { count, sum, refused } = await counted(app)
  t.equal(count, 1)
  isWait(t, sum, 7)
  t.same(refused, none)
  await get(url)
  t.equal((await counted(app)).count, 2, 'without the header only the wait for the event loop')
  t.ok((await counted(app)).sum < sum + 1)
})

t.test('a wait for the event loop that is longer than what the proxy says is not lost', async t => {
  const { app, url } = await create(t)
  let isBusy = true
  app.server.on('request', () => {
    if (isBusy) for (const end = performance.now() + 100; performance.now() < end;);
    isBusy = false
  })
  const connections = await Promise.all([Connection.open(url), Connection.open(url)])
  await get(url)
  const { sum } = await counted(app)
  isBusy = true
  // By its clock, the proxy has just received the request.
  for (const connection of connections) connection.send(`GET / HTTP/1.1\nhost: x\n${header}: ${Date.now() + 5}\n\n`)
  for (const connection of connections) await connection.until('\r\n\r\nx')
  t.ok((await counted(app)).sum - sum > 0.05)
  for (const connection of connections) connection.leave()
})

t.test('a time in whole seconds counts as the end of its second', async t => {
  const { app, url } = await create(t)
  const seconds = Math.floor(Date.now() / 1000)
  await get(url, `t=${seconds - 9}`)
  const { sum } = await counted(app)
  isWait(t, sum, 8)
})

t.test('only senders that trustProxy trusts are believed, and the others cost and change nothing', async t => {
  for (const trustProxy of ['127.0.0.1', ['10.0.0.0/8', '127.0.0.0/8'], (address: string) => address === '127.0.0.1']) {
    const { app, url } = await create(t, { trustProxy } as FastifyServerOptions)
    await get(url, ago(7))
    isWait(t, (await counted(app)).sum, 7, String(trustProxy))
  }
  const warnings = collectWarnings(t)
  const throws = (): boolean => { throw new Error('broken') }
  for (const trustProxy of ['10.0.0.1', () => false, throws]) {
    const { app, url } = await create(t, { trustProxy } as FastifyServerOptions)
    for (const value of [ago(7), ago(-7), ago(700), 'x'.repeat(10_000)]) await get(url, value)
    const { count, sum, refused } = await counted(app)
    t.equal(count, 4)
    t.ok(sum < 4, `${sum} s`)
    t.same(refused, none)
  }
  t.same(warnings, [])
})

t.test('whom the application trusts is asked once for each connection', async t => {
  const asked: string[] = []
  const { app, url } = await create(t, { trustProxy: address => asked.push(address) > 0 })
  const connection = await Connection.open(url)
  for (let requests = 1; requests <= 3; requests++) {
    const forwarded = Array.from({ length: 100 }, (_, index) => `10.0.0.${index}`).join()
    connection.send(`GET / HTTP/1.1\nhost: x\nx-forwarded-for: ${forwarded}\n${header}: ${ago(7)}\n\n`)
    await until('the reply', () => connection.received.split('\r\n\r\nx').length === requests + 1)
  }
  connection.leave()
  t.same(asked, ['127.0.0.1'])
  const { count, sum } = await counted(app)
  t.equal(count, 3)
  isWait(t, sum, 21)
})

t.test('without trustProxy the header is not read, which is warned of once', async t => {
  const warnings = collectWarnings(t)
  const { app, url } = await create(t, {})
  for (const value of [ago(7), ago(-7), 'x']) await get(url, value)
  const { count, sum, refused } = await counted(app)
  t.equal(count, 3)
  t.ok(sum < 3)
  t.same(refused, none)
  await until('the warning', () => warnings.length > 0)
  t.match(warnings, [{ code, message: /"x-request-start".*"trustProxy"/ }])
  t.equal(warnings.length, 1)
})

t.test('a registration without the header is not warned of, beside one with it', async t => {
  const warnings = collectWarnings(t)
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, processMetrics: false, queueTime: true })
  await app.register(latency, { histogram: { name: 'b_seconds' }, queueTime: { name: 'b_queue_seconds', header } })
  app.get('/', async () => 'x')
  await get(await listen(app), ago(7))
  await until('the warning', () => warnings.length > 0)
  t.equal(warnings.length, 1)
})

t.test('clocks that disagree are bounded, counted and warned of once', async t => {
  const warnings = collectWarnings(t)
  const { app, url } = await create(t)
  const future = [ago(-7), ago(-8), 't=99999999999999']
  const past = [ago(61), ago(1e8)]
  for (const value of [...future, ...past, 'secret', 'secret', `${ago(1)}.1`, '']) await get(url, value)
  const { count, sum, refused } = await counted(app)
  t.equal(count, 9)
  t.ok(sum < 5, `${sum} s`)
  t.same(refused, { unreadable: 4, ahead: 3, too_long: 2 })
  t.match(warnings.map(({ message }) => message), [/[67](?:\.\d+)? s ahead/, /61.* s ago/, /a string of 6 characters/])
  t.equal(warnings.length, 3)
  await get(url, `t=${Date.now() + 9}`)
  t.match(await counted(app), { count: 10, refused: { ahead: 3 } }, 'a few milliseconds are no disagreement')
})

t.test('a header that comes several times has the value that was added last', async t => {
  const { app, url } = await create(t)
  await get(url, ago(50), 'x', ago(7))
  const { sum, refused } = await counted(app)
  isWait(t, sum, 7)
  t.same(refused, none)
})

t.test('HTTP/2, aborted requests, inject(), and a request that was held up', async t => {
  const pem = readFileSync(path.join(root, 'test', 'fixtures', 'localhost.pem'))
  const second = await create(t, { http2: true, https: { key: pem, cert: pem }, trustProxy: true })
  const session = connect(second.url, { rejectUnauthorized: false })
  t.teardown(() => session.destroy())
  await once(session.request({ ':path': '/', [header]: ago(7) }).resume(), 'end')
  isWait(t, (await counted(second.app)).sum, 7, 'HTTP/2')

  const app = createApplication(t, { trustProxy: true })
  const gate = new Gate()
  app.addHook('onRequest', async ({ url }) => { if (url === '/held') await gate.passed() })
  await app.register(latency, { server: anyPort, processMetrics: false, queueTime: { header } })
  app.get('/', async () => 'x')
  app.get('/held', async () => 'x')
  app.get('/part', (_request, reply) => {
    reply.hijack()
    reply.raw.write('part')
  })
  const url = await listen(app)
  await app.inject({ url: '/' })
  t.equal((await counted(app)).count, 0)
  await app.inject({ url: '/', headers: { [header]: ago(7) } })
  let { count, sum } = await counted(app)
  t.equal(count, 1)
  isWait(t, sum, 7, 'inject()')

  await leaveAfter(url, `GET /part HTTP/1.1\nhost: x\n${header}: ${ago(17)}\n\n`, 'part')
  const aborted = await until('the abort', async () => {
    const now = await counted(app)
    return now.count === 2 && now
  })
  isWait(t, aborted.sum - sum, 17, 'aborted')

  const held = await Connection.open(url)
  const arrived = once(app.server, 'request')
  held.send(`GET /held HTTP/1.1\nhost: x\n${header}: ${ago(27)}\n\n`)
  await arrived
  gate.open()
  await held.until('\r\n\r\nx')
  held.leave();
  ({ count, sum } = await counted(app))
  t.equal(count, 3)
  isWait(t, sum - aborted.sum, 27, 'held up')
})

t.test('the name of the header is in any case, and a strange one reads nothing', async t => {
  const { app, url } = await create(t, { trustProxy: true }, { header: 'X-Amzn-Trace-Id' })
  const second = (Math.floor(Date.now() / 1000) - 20).toString(16)
  await get(url, `x\nx-amzn-trace-id: Root=1-${second}-0123456789abcdef01234567`)
  isWait(t, (await counted(app)).sum, 19)
  for (const name of ['__proto__', 'constructor', 'set-cookie']) {
    const strange = await create(t, { trustProxy: true }, { header: name })
    await exchange(strange.url, 'GET / HTTP/1.1\nhost: x\nconnection: close\nset-cookie: a\n\n')
    t.match(await counted(strange.app), { count: 1, refused: none }, name)
  }
})

t.test('each registration reads a header of its own, and another one for the same histogram is refused', async t => {
  const app = createApplication(t, { trustProxy: true })
  await app.register(latency, { server: anyPort, processMetrics: false, queueTime: { header } })
  const queueTime = { name: 'other_queue_seconds', header: 'x-other' }
  await app.register(latency, { histogram: { name: 'other_seconds' }, queueTime })
  app.get('/', async () => 'x')
  const url = await listen(app)
  await get(url, `${ago(7)}\nx-other: ${ago(27)}`)
  isWait(t, (await counted(app)).sum, 7)
  isWait(t, (await scrape(app.latency.url)).value('other_queue_seconds_sum')!, 27)

  const refused = createApplication(t)
  await refused.register(latency, { server: anyPort, queueTime: { header } })
  await t.rejects(async () => refused.register(latency, { queueTime: { header: 'x-other' } }), {
    code: 'FST_LATENCY_ERR_HISTOGRAM_RECORDED',
    message: '"queueTime.header" is \'x-request-start\' at first, and then \'x-other\''
  })
})

t.test('what was probably meant is said', async t => {
  const meant: Array<[QueueTimeOptions | string, string]> = [
    ['x-request-start', "{ header: 'x-request-start' }"],
    [{ header: true as never }, "'x-request-start'"],
    [{ header: ' x-request-start' }, "'x-request-start'"]
  ]
  for (const [queueTime, meaning] of meant) {
    await t.rejects(async () => createApplication(t).register(latency, { queueTime: queueTime as QueueTimeOptions }),
      { code: 'FST_LATENCY_ERR_OPTION_INVALID', message: `did you mean ${meaning}?` })
  }
})
