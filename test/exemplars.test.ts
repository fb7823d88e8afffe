import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { connect, createServer as createHttp2Server } from 'node:http2'
import { context, ROOT_CONTEXT, trace, type Context } from '@opentelemetry/api'
import t, { type Test } from 'tap'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Options } from '..'
import latency from '../lib'
import { isSampledTrace } from '../lib/histogram/traceparent'
import { anyPort, collectWarnings, createApplication, createListening, listen } from './helpers/application'
import { exchange } from './helpers/connection'
import { createHistogram, observe } from './helpers/histogram'
import { protobuf, readProtobuf, secondsOf, type Exemplar } from './helpers/protobuf'
import { until } from './helpers/until'

const name = 'http_request_duration_seconds'
const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const spanId = '00f067aa0ba902b7'
const traceparent = `00-${traceId}-${spanId}-01`

/** The exemplars of a histogram, as Protocol Buffers and OpenMetrics have them. They must be the same. */
async function read (t: Test, app: FastifyInstance, histogram = name): Promise<Array<Record<string, string>>> {
  const scrape = async (accept: string): Promise<Buffer> => {
    const response = await fetch(`${app.latency.url}?name[]=${histogram}`, { headers: { accept } })
    return Buffer.from(await response.arrayBuffer())
  }
  const [family] = readProtobuf(await scrape(protobuf))
  const buckets = family!.metric.flatMap(({ histogram }) => histogram!.bucket)
  const exemplars = buckets.flatMap(({ exemplar }) => exemplar ?? [])
  t.ok(exemplars.every(({ timestamp }) => Math.abs(secondsOf(timestamp!) - Date.now() / 1000) < 60), 'their times')
  const lines = exemplars.map(({ label, value, timestamp }) => {
    const labels = label.map(({ name, value }) => `${name}="${value}"`).join(',')
    return `# {${labels}} ${value} ${Math.round(secondsOf(timestamp!) * 1000) / 1000}`
  })
  t.same([...String(await scrape('application/openmetrics-text')).matchAll(/ (# \{.*)$/gm)].map(([, text]) => text), lines)
  t.notMatch(await (await fetch(app.latency.url!)).text(), / # /)
  return exemplars.map(({ label }: Exemplar) => Object.fromEntries(label.map(({ name, value }) => [name, value])))
}

async function createWith (t: Test, options: Options): Promise<{ app: FastifyInstance, address: string }> {
  return createListening(t, { histogram: { buckets: [10] }, ...options }, app => {
    app.get('/', async () => 'x')
    app.get('/broken', async (_request, reply) => reply.code(500).send('x'))
  })
}

t.test('a traceparent is one of a sampled trace by the rules of W3C', async t => {
  for (const valid of [
    traceparent, `00-${traceId}-${spanId}-03`, `00-${traceId}-${spanId}-ff`, `00-${traceId}-${spanId}-0b`,
    `01-${traceId}-${spanId}-01`, `cc-${traceId}-${spanId}-01-what-comes-later`, `fe-${traceId}-${spanId}-01`,
    `00-${'0'.repeat(31)}1-${spanId}-01`, `00-${traceId}-1${'0'.repeat(15)}-01`
  ]) t.ok(isSampledTrace(valid), valid)
  for (const invalid of [
    '', '00', `00-${traceId}-${spanId}`, `00-${traceId}-${spanId}-`, `00-${traceId}-${spanId}-0`,
    `00-${traceId}-${spanId}-00`, `00-${traceId}-${spanId}-02`, `00-${traceId}-${spanId}-0a`,
    `00-${traceId}-${spanId}-0g`, `00-${traceId}-${spanId}-g1`, `00-${traceId}-${spanId}-0B`,
    `00-${traceId}-${spanId}-01-`, `01-${traceId}-${spanId}-01x`, `ff-${traceId}-${spanId}-01`,
    `0g-${traceId}-${spanId}-01`, `g0-${traceId}-${spanId}-01`, `00-${'0'.repeat(32)}-${spanId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`, `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${traceId}-${spanId.slice(1)}G-01`, `00_${traceId}-${spanId}-01`, `00-${traceId}_${spanId}-01`,
    `00-${traceId}-${spanId}_01`, ` ${traceparent}`, `${traceparent}, ${traceparent}`, `${traceparent} `, '😀'.repeat(28)
  ]) t.notOk(isSampledTrace(invalid), invalid)
})

t.test('the latest request of a sampled trace is the exemplar of its bucket', async t => {
  const { app, address } = await createWith(t, { exemplars: true, timeToFirstByte: { buckets: [10] } })
  t.same(await read(t, app), [])
  await fetch(address)
  await fetch(address, { headers: { traceparent: `00-${traceId}-${spanId}-00` } })
  await fetch(address, { headers: { traceparent: 'nonsense' } })
  t.same(await read(t, app), [], 'none of these is one')
  for (const digit of ['1', '2']) {
    await fetch(address, { headers: { traceparent: `00-${digit.repeat(32)}-${spanId}-01` } })
    t.same(await read(t, app), [{ trace_id: digit.repeat(32), span_id: spanId }])
  }
  await fetch(`${address}/broken`, { headers: { traceparent } })
  const both = [{ trace_id: '2'.repeat(32), span_id: spanId }, { trace_id: traceId, span_id: spanId }]
  t.same(await read(t, app), both, 'one for each series')
  t.same(await read(t, app, 'http_request_first_byte_seconds'), both, 'in each histogram')
  app.latency.histogram.reset()
  t.same(await read(t, app), [])
})

t.test('without the option there are none', async t => {
  const { app, address } = await createWith(t, {})
  await fetch(address, { headers: { traceparent } })
  t.same(await read(t, app), [])
})

t.test('a function chooses which requests are exemplars, and their labels', async t => {
  const { app, address } = await createWith(t, {
    exemplars: ({ headers }, { statusCode }) => statusCode === 500 ? { id: String(headers['x-id']) } : undefined
  })
  for (const path of ['/', '/broken']) await fetch(address + path, { headers: { 'x-id': path, traceparent } })
  t.same(await read(t, app), [{ id: '/broken' }])
})

t.test('a function that fails is warned of once, and its requests are recorded without an exemplar', async t => {
  const failures: Array<() => unknown> = [
    () => { throw new Error('no') }, async () => { throw new Error('no') }, () => null, () => 'x', () => ({}),
    () => ({ 'a-b': 'x' }), () => ({ a: 1 }), () => ({ a: 'x'.repeat(128) }), () => ['x'],
    () => ({ get a () { throw new Error('no') } })
  ]
  for (const exemplars of failures) {
    const warnings = collectWarnings(t)
    const { app, address } = await createWith(t, { exemplars: exemplars as () => undefined })
    for (let count = 0; count < 2; count++) await fetch(address)
    t.same(await read(t, app), [], exemplars.toString())
    t.equal(warnings.filter(({ code }) => code === 'FST_LATENCY_ERR_CALLBACK').length, 1, exemplars.toString())
    t.match(await (await fetch(app.latency.url!)).text(), /_count\{.*\} 2\n/)
  }
  const { app, address } = await createWith(t, { exemplars: () => ({ a: '😀'.repeat(127) }) })
  await fetch(address)
  t.same(await read(t, app), [{ a: '😀'.repeat(127) }], 'characters, not bytes')
})

t.test('the function is called once for each request, event streams too', async t => {
  let calls = 0
  let stream: ServerResponse | undefined
  const { app, address } = await createListening(t, {
    timeToFirstByte: true, exemplars: () => ({ call: String(++calls) })
  }, app => {
    app.get('/', async () => 'x')
    for (const [path, config] of [['/events', {}], ['/left-out', { latency: false }]] as const) {
      app.get(path, { config }, (_request, reply) => {
        reply.hijack()
        reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
        reply.raw.write('data: x\n\n')
        stream = reply.raw
      })
    }
    app.get('/end', { config: { latency: false } }, async () => { stream!.end() })
  })
  await fetch(address)
  for (const path of ['/events', '/left-out']) {
    const events = await fetch(address + path)
    await fetch(`${address}/end`)
    await events.text()
  }
  t.equal(calls, 2)
  t.same((await read(t, app)).map(({ call }) => call), ['1'], 'an event stream is in no latency')
  t.same((await read(t, app, 'http_request_first_byte_seconds')).map(({ call }) => call), ['1', '2'])
})

/** Does what the context manager of an SDK does, until the test ends. */
function manageContexts (t: Test): void {
  const storage = new AsyncLocalStorage<Context>()
  context.setGlobalContextManager({
    active: () => storage.getStore() ?? ROOT_CONTEXT,
    with: (context, run, self, ...parameters) => storage.run(context, () => run.apply(self, parameters)),
    bind: (_context, target) => target,
    enable () { return this },
    disable () { return this }
  })
  t.teardown(() => context.disable())
}

function span (digit: string, traceFlags: number): Context {
  return trace.setSpanContext(ROOT_CONTEXT, { traceId: digit.repeat(32), spanId: digit.repeat(16), traceFlags })
}

t.test('each request has the trace of its own span, whichever is active when it ends', async t => {
  manageContexts(t)
  for (const http2 of [false, true]) {
    const app = createApplication(t, {
      http2,
      serverFactory: (handler: (...exchange: never[]) => void) => {
        const listener = (request: { url: string }, response: object): void =>
          context.with(span(request.url.at(-1)!, 1), handler, undefined, ...[request, response] as never[])
        return http2 ? createHttp2Server(listener as never) : createServer(listener as never)
      }
    } as FastifyServerOptions)
    await app.register(latency, {
      server: anyPort, processMetrics: false, histogram: { buckets: [10] }, exemplars: true, labels: { route: 'route' }
    })
    const routes = ['/a', '/b', '/c']
    for (const route of routes) app.get(route, () => 'x')
    // An API that is loaded after the first requests is found soon.
    for (let count = 0; count < 64; count++) await app.inject('/')
    const address = await listen(app)
    if (http2) {
      const session = connect(address)
      for (const route of routes) await once(session.request({ ':path': route }).resume(), 'close')
      session.close()
    } else {
      await exchange(address, routes.map((route, index) =>
        `GET ${route} HTTP/1.1\nhost: x\n${index === 2 ? 'connection: close\n' : ''}\n`).join(''))
    }
    await until('all exemplars', async () => (await read(t, app)).length === routes.length)
    t.same((await read(t, app)).map(({ trace_id: id }) => id), routes.map(route => route.at(-1)!.repeat(32)))
  }
})

t.test("the active span of OpenTelemetry is preferred to the client's", async t => {
  manageContexts(t)
  const { app, address } = await createListening(t, { histogram: { buckets: [10] }, exemplars: true }, app => {
    app.addHook('onRequest', (request, _reply, done) => {
      const [digit, flags] = String(request.headers['x-span'] ?? '').split(' ')
      if (flags === undefined) done()
      else context.with(span(digit!, Number(flags)), done)
    })
    app.get('/', async () => 'x')
  })
  // An API that is loaded after the first requests is found soon.
  for (let count = 0; count < 64; count++) await app.inject('/')
  const cases = [
    ['a 1', traceparent, 'a'.repeat(32)], ['b 0', traceparent, traceId], ['G 1', traceparent, traceId],
    [undefined, traceparent, traceId], ['c 1', undefined, 'c'.repeat(32)]
  ] as const
  for (const [xSpan, parent, expected] of cases) {
    const headers = {
      ...xSpan === undefined ? {} : { 'x-span': xSpan }, ...parent === undefined ? {} : { traceparent: parent }
    }
    await fetch(address, { headers })
    t.match(await read(t, app), [{ trace_id: expected }], `${xSpan} ${parent}`)
  }
})

t.test('an API that fails is warned of once, and the request is recorded', async t => {
  const warnings = collectWarnings(t)
  // What an SDK registers with the API is a property of this object.
  const api = (globalThis as Record<symbol, unknown>)[Symbol.for('opentelemetry.js.api.1')] as { context?: unknown }
  t.teardown(() => { delete api.context })
  api.context = { active () { throw new Error('broken') } }
  const { app, address } = await createWith(t, { exemplars: true })
  for (let count = 0; count < 2; count++) await fetch(address, { headers: { traceparent } })
  t.same(await read(t, app), [{ trace_id: traceId, span_id: spanId }], "the client's is used")
  t.match(warnings.map(({ code, message }) => ({ code, message })), [{ code: 'FST_LATENCY_ERR_CALLBACK', message: /broken/ }])
  t.equal(warnings.length, 1)
})

t.test('a value that is no time is no exemplar, and a negative one is one of 0', async t => {
  const family = createHistogram({ name: 'h', help: 'h', labelNames: [], upperBounds: [1] })
  for (const value of [NaN, Infinity]) {
    observe(family, [], value)
    family.keepExemplar(0, value, { a: 'x' })
  }
  t.same(family.snapshot().exemplars, [])
  family.keepExemplar(0, -1, { a: 'x' })
  t.match(family.snapshot().exemplars, [{ series: 0, bucket: 0, value: 0, labels: { a: 'x' } }])
})

t.test('of many values the latest that may be one is the exemplar of its bucket, in each series', async t => {
  const family = createHistogram({ name: 'h', help: 'h', labelNames: ['route'], upperBounds: [1] })
  const slots = ['a', 'b'].map(route => observe(family, [route], 1))
  const trace = (id: number): string => `00-${String(id).padStart(32, '0')}-${spanId}-01`
  for (let id = 1; id <= 500; id++) {
    for (const slot of slots) family.keepExemplar(slot, id % 3, id % 10 === 0 ? trace(id).replace('-', '_') : trace(id))
  }
  const expected = slots.flatMap((_slot, series) => [[0, 499, 1], [1, 497, 2]].map(([bucket, id, value]) =>
    ({ series, bucket, value, labels: { trace_id: String(id).padStart(32, '0'), span_id: spanId } })))
  const found = family.snapshot().exemplars.map(({ timestampSeconds, ...exemplar }) => exemplar)
  t.same(found, expected)
  family.keepExemplar(slots[0]!, 1, `cc${traceparent.slice(2)}-${'x'.repeat(5000)}`)
  t.same(family.snapshot().exemplars[0]!.labels, { trace_id: traceId, span_id: spanId }, 'a version to come')
  family.keepExemplar(slots[0]!, 1, trace(1))
  family.reset()
  t.same(family.snapshot().exemplars, [])
  t.same(family.snapshot().exemplars, [], 'not even those that waited')
})
