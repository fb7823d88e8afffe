import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import Fastify from 'fastify'
import { exponentialBuckets, linearBuckets, Registry } from 'prom-client'
import type { Options } from '..'
import latency from '../lib'
import { parseOptions } from '../lib/config'
import { parseRouteConfig } from '../lib/request/options'
import { defaultScrape } from '../lib/scrape/options'
import { defaultServer } from '../lib/server/options'
import { collectWarnings, createApplication, loadInWorker } from './helpers/application'

t.test('every option has a default', async t => {
  t.same(parseOptions({}), {
    histogram: {
      name: 'http_request_duration_seconds',
      help: 'Time from receiving a request to handing its reply to the operating system, in seconds.',
      upperBounds: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      native: undefined,
      from: 'router'
    },
    queueTime: undefined,
    busyTime: false,
    labels: { method: 'method', route: 'route', status_code: 'status' },
    constLabels: {},
    routes: undefined,
    ignore: undefined,
    knownMethods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY'],
    seriesLimit: 2000,
    inFlight: true,
    abortedStatus: 499,
    exemplars: false,
    timeToFirstByte: undefined,
    requestSize: undefined,
    responseSize: undefined,
    registry: undefined,
    endpoint: undefined,
    scrape: undefined,
    processMetrics: undefined,
    server: undefined
  })
  t.same(parseOptions(undefined), parseOptions({}))
  t.same(parseOptions({ server: {} }).server, defaultServer)
  t.same(parseOptions({ scrape: {} }).scrape, {
    errorHandling: 'fail', concurrency: 40, timeoutSeconds: 10, created: false
  })
  t.same(parseOptions({ server: true }).server, defaultServer)
  const firstByte = {
    name: 'http_request_first_byte_seconds',
    help: 'Time from receiving a request to sending the headers of its reply, in seconds.',
    upperBounds: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    native: undefined
  }
  t.same(parseOptions({ timeToFirstByte: true }).timeToFirstByte, firstByte)
  t.same(parseOptions({ timeToFirstByte: {} }).timeToFirstByte, firstByte)
  t.equal(parseOptions({ timeToFirstByte: false }).timeToFirstByte, undefined)
  const queueTime = {
    name: 'http_request_queue_seconds',
    help: 'Estimated time for which requests waited before the router received them, in seconds.',
    upperBounds: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    labels: {},
    header: undefined
  }
  t.same(parseOptions({ queueTime: true }).queueTime, queueTime)
  t.same(parseOptions({ queueTime: {} }).queueTime, queueTime)
  t.equal(parseOptions({ queueTime: false }).queueTime, undefined)
  t.same(defaultServer, {
    host: undefined,
    port: 8000,
    path: '/metrics',
    live: true,
    start: 'listen',
    lastScrapeSeconds: 0,
    https: undefined,
    auth: undefined
  })
})

t.test('legitimate values at the edges are kept', async t => {
  const registry = new Registry()
  const tenant = (): string => 'x'
  const ignore = (): boolean => false
  const config = parseOptions({
    histogram: { name: 'a:b', help: '\n', buckets: [-1, 0], from: 'arrival' },
    labels: { _a: 'status_class', tenant },
    constLabels: { empty: '' },
    ignore,
    seriesLimit: 1,
    inFlight: false,
    abortedStatus: 599,
    timeToFirstByte: { name: 'ttfb_seconds', buckets: [1] },
    processMetrics: false,
    registry,
    endpoint: '/',
    server: {
      host: '::1',
      port: 0,
      path: '/a/b',
      live: false,
      start: 'manual',
      lastScrapeSeconds: 3600,
      https: { certFile: 'c', keyFile: 'k' },
      auth: { tokens: ['t'] }
    }
  })
  t.same(config.histogram, { name: 'a:b', help: '\n', upperBounds: [-1, 0], native: undefined, from: 'arrival' })
  for (const [native, parsed] of [
    [true, { schema: 3, maxBuckets: 160 }], [{}, { schema: 3, maxBuckets: 160 }], [false, undefined],
    [{ schema: -4, maxBuckets: 10 }, { schema: -4, maxBuckets: 10 }],
    [{ schema: 8, maxBuckets: 1000 }, { schema: 8, maxBuckets: 1000 }]
  ] as const) {
    t.same(parseOptions({ histogram: { native } }).histogram.native, parsed)
    t.same(parseOptions({ timeToFirstByte: { native } }).timeToFirstByte!.native, parsed)
  }
  t.same(config.labels, { _a: 'status_class', tenant })
  t.same(config.constLabels, { empty: '' })
  t.equal(config.ignore, ignore)
  t.equal(config.seriesLimit, 1)
  t.equal(config.inFlight, false)
  t.equal(config.abortedStatus, 599)
  t.equal(parseOptions({ abortedStatus: 100 }).abortedStatus, 100)
  t.equal(parseOptions({ abortedStatus: 'reply' }).abortedStatus, undefined)
  t.match(config.timeToFirstByte, { name: 'ttfb_seconds', upperBounds: [1] })
  t.equal(config.processMetrics, false)
  t.equal(config.registry, registry)
  t.equal(config.endpoint, '/')
  t.same(config.server, {
    host: '::1',
    port: 0,
    path: '/a/b',
    live: false,
    start: 'manual',
    lastScrapeSeconds: 3600,
    https: { certFile: 'c', keyFile: 'k', clientCaFile: undefined },
    auth: { users: undefined, tokens: ['t'] }
  })
  const server = { https: { certFile: 'c', keyFile: 'k', clientCaFile: 'a' }, auth: { users: { ü: ' ' } } }
  t.match(parseOptions({ server }).server,
    { https: { clientCaFile: 'a' }, auth: { users: { ü: ' ' }, tokens: undefined } })
  t.equal(parseOptions({ server: false }).server, false)
  t.match(parseOptions({ server: { live: {} } }).server, { live: { objective: undefined } })
  t.same(parseOptions({ server: { live: { objective: { latency: 0.25, share: 0.999 } } } }).server, {
    ...defaultServer, live: { objective: { latency: 0.25, share: 0.999 } }
  })
  t.same(parseOptions({ labels: {} }).labels, {})
  t.equal((parseOptions({ server: { port: 65535 } }).server as { port: number }).port, 65535)
  for (const start of ['listen', 'ready', 'manual']) t.match(parseOptions({ server: { start } }), { server: { start } })
  for (const lastScrapeSeconds of [0, 0.5, 3600]) {
    t.match(parseOptions({ server: { lastScrapeSeconds } }), { server: { lastScrapeSeconds } })
  }
  for (const scrape of [
    { errorHandling: 'continue', concurrency: 1, timeoutSeconds: 3600, created: true },
    { errorHandling: 'fail', concurrency: 2, timeoutSeconds: 0.5, created: false }
  ]) t.same(parseOptions({ scrape }).scrape, scrape)
  for (const name of ['a', ':', 'A9', '_0:']) t.equal(parseOptions({ histogram: { name } }).histogram.name, name)
  const labels = { a: 'route', A9: 'method', le_: 'status', a__: 'scheme', _: 'error_type' }
  t.same(parseOptions({ labels }).labels, labels)
  for (const tokens of [['a', 'b'], ['A.9_~+/-==']]) {
    t.match(parseOptions({ server: { auth: { tokens } } }), { server: { auth: { tokens } } })
  }
})

t.test('the options object is neither changed nor kept', async t => {
  const options = { histogram: { buckets: [1] }, labels: { a: 'route' }, constLabels: { b: 'c' }, server: {} } as const
  const before = structuredClone(options)
  const config = parseOptions(options)
  t.same(options, before)
  ;(options.histogram.buckets as unknown as number[]).push(2)
  t.same(config.histogram.upperBounds, [1])
})

t.test('what Fastify itself puts among the options of a plugin is accepted', async t => {
  t.doesNotThrow(() => parseOptions({ prefix: '/v1', logLevel: 'warn', logSerializers: {} }))
  for (const prefix of [undefined, '']) t.doesNotThrow(() => parseOptions({ prefix }))
})

t.test('a prefix that is meant for names of metrics is refused, and does not reach anything else', async t => {
  for (const prefix of ['myapp_', 'my:', 'v1']) {
    t.throws(() => parseOptions({ prefix }), {
      code: 'FST_LATENCY_ERR_OPTION_INVALID',
      message: /^Option "prefix" must be a path .*; for a prefix of metrics, write "histogram\.name" in full; /
    })
  }
  const app = createApplication(t)
  await app.register(async child => {
    await child.register(latency, { server: false, prefix: '/v2' } as Options)
    t.equal(child.latency.histogram.name, 'http_request_duration_seconds')
    child.get('/users', async () => 'x')
  }, { prefix: 'v1' })
  t.equal((await app.inject('/v1/users')).statusCode, 200)
})

t.test('unknown options are refused by name', async t => {
  const cases: Array<[options: unknown, message: string]> = [
    [{ histogramm: {} }, 'Unknown option "histogramm" (did you mean "histogram"?); known here: histogram, ' +
      'timeToFirstByte, requestSize, responseSize, queueTime, busyTime, labels, constLabels, routes, ignore, ' +
      'knownMethods, seriesLimit, inFlight, abortedStatus, exemplars, registry, processMetrics, server, endpoint, ' +
      'scrape'],
    [{ unheardOf: 1 }, 'Unknown option "unheardOf"; known here: histogram, '],
    [{ 'a\nb': 1 }, 'Unknown option "a\\nb"; known here: histogram, '],
    [{ histogram: { boundaries: [1] } },
      'Unknown option "histogram.boundaries" (did you mean "histogram.buckets"?); known here: name, help, ' +
      'buckets, native, from'],
    [{ histogram: { native: { scheme: 1 } } }, 'Unknown option "histogram.native.scheme" (did you mean "schema"?); ' +
      'known here: schema, maxBuckets'],
    [{ native: true }, 'Unknown option "native" (did you mean "histogram.native"?); known here: histogram, '],
    [{ enableExemplars: true }, 'Unknown option "enableExemplars" (did you mean "exemplars"?); known here: histogram'],
    [
      { server: { prot: 1 } }, 'Unknown option "server.prot" (did you mean "port"?); ' +
        'known here: host, port, socket, group, path, live, start, lastScrapeSeconds, https, auth'
    ],
    [{ server: { auth: { user: {} } } },
      'Unknown option "server.auth.user" (did you mean "users"?); known here: users, tokens'],
    [
      { scrape: { timeout: 1 } }, 'Unknown option "scrape.timeout" (did you mean "scrape.timeoutSeconds"?); ' +
        'known here: errorHandling, concurrency, timeoutSeconds, created'
    ],
    [{ timeToFirstByte: { bucket: [1] } },
      'Unknown option "timeToFirstByte.bucket" (did you mean "buckets"?); known here: name, help, buckets, native']
  ]
  for (const [options, message] of cases) {
    t.throws(() => parseOptions(options), { code: 'FST_LATENCY_ERR_OPTION_UNKNOWN', message })
  }
})

t.test('what is meant by a name that another place or another package has is said', async t => {
  const cases: Array<[options: unknown, meaning: string]> = [
    [{ route: '/metrics' }, '"endpoint", the path of a route that serves the metrics, or "routes", names for routes'],
    [{ buckets: [1] }, '"histogram.buckets"'],
    [{ name: 'x' }, '"histogram.name"'],
    [{ port: 1 }, '"server.port"'],
    [{ prot: 1 }, '"server.port"'],
    [{ path: '/' }, '"server.path", or "endpoint" for a route of the application'],
    [{ https: { key: '', cert: '' } }, '"server.https", with "certFile" and "keyFile", the names of files'],
    [{ server: { https: { cert: '' } } }, '"server.https.certFile", the name of a file'],
    [{ server: { endpoint: '/metrics' } }, '"endpoint", beside "server"'],
    [{ server: { server: {} } }, '"server" itself, with no other "server" in it'],
    [{ server: { https: { https: {} } } }, '"server.https" itself, with no other "https" in it'],
    [{ defaultMetrics: {} },
      '"processMetrics", a boolean; for anything else call collectDefaultMetrics() of prom-client'],
    [{ exclude: [] }, '"routes", a function, or "config: { latency: false }" on the route'],
    [{ Exclude: [] }, '"routes", a function, or "config: { latency: false }" on the route'],
    [{ groupStatusCodes: true }, 'the label source \'status_class\' in "labels"'],
    [{ enabled: false }, '"config: { latency: false }" on a route, or not to register the plugin'],
    [{ server: { enabled: false } }, '"server: false" for no metrics server, and true otherwise'],
    [{ timeToFirstByte: { enabled: true } }, '"timeToFirstByte: true" or false'],
    [{ server: { bearer: 'x' } }, '"server.auth.tokens", an array'],
    [{ server: { route: '/' } }, '"server.path"'],
    [{ histogram: { prefix: 'x_' } }, '"histogram.name" in full; the other metrics have fixed names'],
    [{ promRegistry: {} }, '"registry"'],
    [{ openTelemetry: true }, '"app.register(latency, openTelemetry)": it is a set of options'],
    [{ TimeToFirstbyte: true }, '"timeToFirstByte"'],
    [{ ingore: 1 }, '"ignore"'],
    [{ lables: {} }, '"labels"']
  ]
  for (const [options, meaning] of cases) {
    t.throws(() => parseOptions(options), { message: ` (did you mean ${meaning}?); known here: ` }, meaning)
  }
  t.throws(() => parseOptions({ metricTypes: [] }), {
    message: 'Unknown option "metricTypes" (leave it out: the histogram is all there is, and its count is ' +
      'the counter); '
  })
  for (const name of ['x', '', 'constructor', '__proto__', 'hasOwnProperty', 'statusCodes']) {
    t.throws(() => parseOptions(Object.fromEntries([[name, 1]])), { message: `Unknown option "${name}"; ` }, name)
  }
})

t.test('what is meant by a value of another kind is said', async t => {
  const sources: ReadonlyArray<[source: string, given: string[]]> = [
    ['status', ['status_code', 'statusCode', 'code', 'http.response.status_code', 'Status', 'staus_code']],
    ['status_class', ['statusClass']], ['route', ['path', 'url']], ['method', ['verb', 'mehtod']],
    ['scheme', ['protocol']], ['protocol_version', ['version']]
  ]
  const cases: Array<[options: unknown, meaning: string]> = [
    ...sources.flatMap(([source, given]) =>
      given.map((a): [unknown, string] => [{ labels: { a } }, `'${source}'`])),
    [{ labels: { service: 'shop' } }, '"constLabels", for a fixed value'],
    [{ labels: { a: 1 } }, '"constLabels", for a fixed value'],
    [{ labels: ['method'] }, "{ method: 'method' }"],
    [{ labels: 'method' }, "{ method: 'method' }"],
    [{ labels: new Set(['method']) }, "{ method: 'method' }"],
    [{ labels: ['route', 'status_code', 'tenant'] }, "{ route: 'route', status_code: 'status', tenant: 'a source' }"],
    [{ labels: false }, '{}, no labels'],
    [{ labels: { method: true } }, "'method'"],
    [{ labels: { status_code: true } }, "'status'"],
    [{ labels: { tenant: true } }, 'a function that returns the value'],
    [{ labels: { method: false } }, 'to leave it out'],
    [{ labels: { 'user-id': 'route' } }, "'user_id'"],
    [{ constLabels: { shard: 1 } }, "'1'"],
    [{ constLabels: { shard: null } }, 'to leave it out'],
    [{ constLabels: new Map([['a', 'b']]) }, "{ a: 'b' }"],
    [{ constLabels: ['a'] }, 'an object of names and values'],
    [{ histogram: [1, 2] }, '{ buckets: [ 1, 2 ] }'],
    [{ histogram: 'x_seconds' }, "{ name: 'x_seconds' }"],
    [{ histogram: true }, 'to leave it out'],
    [{ labels: true }, 'to leave it out'],
    [{ scrape: true }, 'to leave it out'],
    [{ server: { path: true } }, 'to leave it out'],
    [{ server: { start: 'onReady' } }, "'ready'"],
    [{ server: { auth: { tokens: 'x' } } }, '[token]'],
    [{ server: { auth: { users: [['a', 'b']] } } }, '{ name: password }'],
    [{ processMetrics: 'x_' },
      "false, and to call collectDefaultMetrics({ prefix: 'x_' }) of prom-client: its global registry is served too"],
    [{ histogram: false }, '"config: { latency: false }" on a route, or not to register the plugin'],
    [{ timeToFirstByte: [1, 2] }, '{ buckets: [ 1, 2 ] }'],
    [{ timeToFirstByte: 'yes' }, 'true'],
    [{ timeToFirstByte: 0 }, 'false'],
    [{ histogram: { name: 'http-request.seconds' } }, "'http_request_seconds'"],
    [{ histogram: { name: 'x_seconds ' } }, "'x_seconds'"],
    [{ histogram: { buckets: ['0.1', '0.5'] } }, '[ 0.1, 0.5 ]'],
    [{ histogram: { buckets: '0.1, 0.5,' } }, '[ 0.1, 0.5 ]'],
    [{ histogram: { buckets: [0.1, '', Symbol('x')] } }, '[ 0.1 ]'],
    [{ histogram: { buckets: 0.5 } }, '[ 0.5 ]'],
    [{ histogram: { buckets: [0.1, 0.5, Infinity] } }, '[ 0.1, 0.5 ]'],
    [{ histogram: { buckets: [0.5, 0.1, 0.5] } }, '[ 0.1, 0.5 ]'],
    [{ histogram: { buckets: new Set([0.1, 0.5]) } }, '[ 0.1, 0.5 ]'],
    [{ timeToFirstByte: { buckets: Float64Array.of(0.1) } }, '[ 0.1 ]'],
    [{ knownMethods: 'GET, PROPFIND' }, "[ 'GET', 'PROPFIND' ]"],
    [{ knownMethods: ['get'] }, "[ 'GET' ]"],
    [{ seriesLimit: '2000' }, '2000'],
    [{ seriesLimit: Infinity },
      'as many as there may be, such as 100000: without a limit, clients could fill the memory'],
    [{ inFlight: 'false' }, 'false'],
    [{ inFlight: 1 }, 'true'],
    [{ abortedStatus: '499' }, '499'],
    [{ abortedStatus: 'Reply' }, "'reply'"],
    [{ endpoint: true }, "a path, such as '/metrics'"],
    [{ endpoint: 'metrics' }, "'/metrics'"],
    [{ endpoint: 'http://localhost:8000/metrics' }, "'/metrics'"],
    [{ routes: [] }, 'a function of a route that returns its name, or "config: { latency: { route } }" on the route'],
    [{ routes: { '/a': 'b' } },
      'a function of a route that returns its name, or "config: { latency: { route } }" on the route'],
    [{ scrape: 'continue' }, "{ errorHandling: 'continue' }"],
    [{ scrape: { timeoutSeconds: '10s' } }, '10'],
    [{ scrape: { timeoutSeconds: 10_000 } }, '10'],
    [{ scrape: { concurrency: [5] } }, '5'],
    [{ server: 9000 }, '{ port: 9000 }'],
    [{ server: '9000' }, '{ port: 9000 }'],
    [{ server: ':9000' }, '{ port: 9000 }'],
    [{ server: '0.0.0.0:9100' }, "{ host: '0.0.0.0', port: 9100 }"],
    [{ server: '*:9100' }, "{ host: '0.0.0.0', port: 9100 }"],
    [{ server: '[::1]:9100' }, "{ host: '::1', port: 9100 }"],
    [{ server: '::1' }, "{ host: '::1' }"],
    [{ server: 'fe80::1:2:34' }, "{ host: 'fe80::1:2:34' }"],
    [{ server: 'user@h:9100' }, "{ host: 'h', port: 9100 }"],
    [{ server: 'h/a@b' }, "{ host: 'h', path: '/a@b' }"],
    [{ server: 'http://localhost:9100/m' }, "{ host: 'localhost', port: 9100, path: '/m' }"],
    [{ server: '/metrics' }, "{ path: '/metrics' }"],
    [{ server: 'off' }, 'false'],
    [{ server: { port: '9100' } }, '9100'],
    [{ server: { port: 'tcp://10.0.0.1:9100' } }, '9100'],
    [{ server: { port: false } }, '"server: false"'],
    [{ server: { host: true } }, "'0.0.0.0', every address"],
    [{ server: { host: 'http://0.0.0.0' } }, "'0.0.0.0'"],
    [{ server: { host: '0.0.0.0:9100' } }, "'0.0.0.0', and 9100 as \"server.port\""],
    [{ server: { host: '[::1]' } }, "'::1'"],
    [{ server: { path: 'metrics' } }, "'/metrics'"],
    [{ server: { live: '/live' } }, 'true: its path is /live'],
    [{ server: { live: { objective: [0.25, 0.9] } } }, '{ latency: 0.25, share: 0.9 }'],
    [{ server: { live: { objective: 0.25 } } }, '{ latency: 0.25, share: 0.99 }'],
    [{ server: { live: { objective: { latency: '250ms', share: 0.9 } } } }, '0.25'],
    [{ server: { live: { objective: { latency: 250, share: 0.9 } } } }, '0.25'],
    [{ server: { live: { objective: { latency: 0.25, share: '99%' } } } }, '0.99'],
    [{ server: { live: { objective: { latency: 0.25, share: 99 } } } }, '0.99'],
    [{ server: { live: { traceUrl: 'traces.example/{trace_id}' } } }, "'https://traces.example/{trace_id}'"],
    [{ server: { live: { traceUrl: 'https://traces.example/' } } }, "'https://traces.example/{trace_id}'"],
    [{ server: { live: { traceUrl: 'http://x/:trace_id' } } }, "'http://x/{trace_id}'"],
    [{ server: { live: { traceUrl: 'x/{{traceId}}' } } }, "'https://x/{traceId}'"],
    [{ server: { start: true } }, "'listen'"],
    [{ server: { start: false } }, "'manual'"],
    [{ server: { start: 'Ready' } }, "'ready'"],
    [{ server: { lastScrapeSeconds: '20' } }, '20'],
    [{ server: { https: true } }, '{ certFile, keyFile }, the names of files'],
    [{ server: { https: false } }, 'to leave it out'],
    [{ server: { https: '' } }, 'to leave it out'],
    [{ server: { auth: 'hunter2' } }, '{ tokens: [token] }'],
    [{ server: { auth: null } }, 'to leave it out'],
    [{ labels: { a: 'constructor' } }, '"constLabels", for a fixed value'],
    [{ processMetrics: { enabled: false } }, 'false'],
    [{ processMetrics: { enabled: 'x' } },
      "false, and to call collectDefaultMetrics({ enabled: 'x' }) of prom-client: its global registry is served too"],
    [{ processMetrics: { enabled: true, a: 1 } }, 'false, and to call collectDefaultMetrics({ enabled: true, a: 1 }) ' +
      'of prom-client: its global registry is served too'],
    [{ processMetrics: { prefix: 'x_' } },
      "false, and to call collectDefaultMetrics({ prefix: 'x_' }) of prom-client: its global registry is served too"],
    [{ registry: { register: new Registry() } }, 'the property "register" of it'],
    [{ registry: Registry }, 'an object that is made with new'],
    [{ registry: 'global' }, '"register" of prom-client, an object'],
    [{ registry: true }, '"register" of prom-client, an object'],
    [{ registry: false }, 'to leave it out']
  ]
  for (const ignore of ['/health', ['/health'], /health/]) {
    cases.push([{ ignore }, '"routes", a function, or "config: { latency: false }" on the route'])
  }
  for (const [options, meaning] of cases) {
    t.throws(() => parseOptions(options),
      { code: 'FST_LATENCY_ERR_OPTION_INVALID', message: '; received ' }, JSON.stringify(options))
    t.throws(() => parseOptions(options), { message: ` (did you mean ${meaning}?)` }, meaning)
  }
  for (const server of [{ port: Number(process.env.UNSET) }, { lastScrapeSeconds: NaN }]) {
    t.throws(() => parseOptions({ server }), { message: /received NaN \(Number\(\) makes it of undefined, / })
  }
  for (const options of [
    { server: { port: 'http' } }, { server: { port: 9_100_000 } },
    { labels: { a: ['code'] } }, { labels: 1 }, { registry: {} }, { server: 'x:y:z' }, { server: { host: 'a b' } },
    { server: { start: 1 } }, { endpoint: '/:id' }, { routes: 1 }, { server: { live: { objective: 'x' } } },
    { server: 'x::1' }, { server: '::1x' }, { server: '1:x:3' }, { server: '9http://h' },
    { processMetrics: 5 }
  ]) {
    t.throws(() => parseOptions(options), { message: /; received [^(]+$/ }, JSON.stringify(options))
  }
})

t.test('the same value as a text is recognized, and one that stands for nothing is to be left out', async t => {
  const defaults = parseOptions({})
  const texts: Array<[option: string, value: unknown]> = [
    ...Object.entries(defaults), ...Object.entries(defaultServer).map(([name, value]) => [`server.${name}`, value]),
    ...Object.entries(defaultScrape).map(([name, value]) => [`scrape.${name}`, value])
  ] as never
  const told = texts.filter(([, value]) => ['number', 'boolean'].includes(typeof value))
  t.equal(told.length, 11)
  for (const [option, value] of told) {
    t.throws(() => parseOptions(nest(option, ` ${value}`)), { message: ` (did you mean ${value}?)` }, option)
  }
  for (const [option] of texts.filter(([option]) => !['labels', 'seriesLimit'].includes(option))) {
    const message = '; received null (did you mean to leave it out?)'
    t.throws(() => parseOptions(nest(option, null)), { message }, option)
  }
})

/** `server.port` and 1 to `{ server: { port: 1 } }`. */
function nest (path: string, value: unknown): unknown {
  return path.split('.').reduceRight((inner, key) => ({ [key]: inner }), value)
}

/** The options with this value at this path. What an option needs beside it is there. */
function optionsWith (path: string, value: unknown): unknown {
  if (path === 'options') return value
  const beside: Record<string, object> = { 'server.https': { certFile: 'c', keyFile: 'k' } }
  return path.split('.').reduceRight<unknown>(
    (inner, key, index, keys) => ({ ...beside[keys.slice(0, index).join('.')], [key]: inner }), value
  )
}

t.test('wrong values are refused: the error names the option, the rule and the value', async t => {
  t.throws(() => parseOptions({ histogram: { buckets: [1, 1] } }), {
    name: 'FastifyError',
    code: 'FST_LATENCY_ERR_OPTION_INVALID',
    message: /^Option "histogram\.buckets" must be an array of at least one finite number, strictly increasing \(\+Inf is added by itself\); received \[ 1, 1 \] \(did you mean \[ 1 \]\?\)$/
  })
  const object = 'an object'
  const boolean = 'a boolean'
  const text = 'a string that is not empty'
  const name = 'a metric name, [a-zA-Z_:][a-zA-Z0-9_:]*'
  const labelNames = 'keyed by label names, [a-zA-Z_][a-zA-Z0-9_]*, not beginning with __ and not "le"'
  const count = 'an integer from 1'
  const path = 'a literal path that begins with / (no parameter, wildcard, query, fragment, escape or dot segment)'
  const file = 'the name of a file'
  const registry = { registerMetric () {}, getSingleMetric () {}, removeSingleMetric () {}, getMetricsAsArray () {} }
  const cases: Array<[option: string, rule: string, ...wrong: unknown[]]> = [
    ['options', object, 'x', null, []],
    ['histogram', object, null, [], 1],
    ['histogram.name', name, '', '1a', 'a-b', '-a', 'a ', 1, ['a']],
    ['histogram.help', text, '', 1],
    ['histogram.buckets', 'an array of at least one finite number, strictly increasing (+Inf is added by itself)',
      [], [1, Infinity], null],
    ['histogram.native', 'a boolean or an object', null, 1, 'true', []],
    ['histogram.native.schema', 'an integer from -4 to 8', -5, 9, 1.5, '3', null],
    ['histogram.native.maxBuckets', 'an integer from 10 to 1000', 9, 1001, 10.5, Infinity, null],
    ['labels', object, null, ['a'], 'a'],
    ['labels.a',
      "'method', 'route', 'status', 'status_class', 'matched_route', 'sent_status', 'error_type', 'scheme', " +
      "'protocol_version' or a function",
      'url', '', undefined, null],
    ['constLabels', object, 1, null, new Map(), new Date()],
    ['constLabels.a', 'a string', 1, undefined],
    ['constLabels.route', 'a name that is not in "labels" too', 'x'],
    ['ignore', 'a function', true, {}],
    ['knownMethods', "an array of at least one method in capital letters, such as 'PROPFIND'", 'GET', [],
      ['get'], [''], [1], {}, null],
    ['seriesLimit', count, 0, -1, 1.5, Infinity, 2 ** 53, '1'],
    ['inFlight', boolean, 1, 'true', null],
    ['abortedStatus', "a status code from 100 to 599, or 'reply'", 99, 600, 200.5, '499', ''],
    ['exemplars', 'a boolean or a function', null, 1, 'true', {}],
    ['timeToFirstByte', 'a boolean or an object', null, 1, 'yes', []],
    ['routes', 'a function', {}, '/'],
    ['histogram.from', "'router' or 'arrival'", 'client', true],
    ['queueTime', 'a boolean or an object', null, 'yes', []],
    ['queueTime.buckets', 'an array of at least one finite number, strictly increasing (+Inf is added by itself)', []],
    ['queueTime.labels', object, null, ['a']],
    ['queueTime.labels.a',
      "'method', 'route', 'status', 'status_class', 'matched_route', 'sent_status', 'error_type', 'scheme', " +
      "'protocol_version' or a function", 'url'],
    ['queueTime.header', "the name of a header, such as 'x-request-start'",
      '', ':path', 'x request', 'é', 1, null, [], {}],
    ['busyTime', boolean, 1, {}],
    ['timeToFirstByte.name', name, ''],
    ['registry',
      'an object with the methods registerMetric, getSingleMetric, removeSingleMetric, getMetricsAsArray, ' +
      'getMetricsAsJSON',
      {}, null, registry, { ...registry, getMetricsAsJSON: true }, 'x'],
    ['processMetrics', boolean, 'yes'],
    ['endpoint', path, 'metrics', '', 'a/b', '/:id', '/*', '/a?b', '/a#b', '/a b', '/a%20b', '/%zz', '/a/../b', '/.', 1,
      ['/a']],
    ['scrape', object, true, null],
    ['scrape.errorHandling', "'fail' or 'continue'", 'ignore', ''],
    ['scrape.concurrency', count, 0, 1.5],
    ['scrape.timeoutSeconds', 'a number above 0 and at most 3600', 0, -1, 3600.1, NaN, '1'],
    ['scrape.created', boolean, 1],
    ['server', 'a boolean or an object', 8000, null],
    ['server.host', 'an address or a name, without scheme, port or path',
      '', 1, 'http://0.0.0.0', '0.0.0.0:9100', 'localhost/', 'a b', '[::1]', '*', 'user@host', 'C:\\x'],
    ['server.port', 'an integer from 0 to 65535', -1, 65536, 1.5, '8000'],
    ['server.path', path, '/a?b'],
    ['server.path', 'another path than /healthz and /readyz, with which the metrics server answers probes',
      '/healthz', '/readyz'],
    ['server.path', 'another path than that of the page at /live, unless "server.live" is false',
      '/live', '/live/data'],
    ['server.live', 'a boolean or an object', 'yes', null],
    ['server.live.objective', object, true, null],
    ['server.live.objective.latency', 'a number of seconds above 0', undefined, 0, -1, Infinity, NaN, '1'],
    ['server.live.traceUrl',
      'an http or https URL with {trace_id} or the name of another label in braces behind the host',
      '', 1, null, 'https://x/', '/{trace_id}', '//x/{trace_id}', 'ftp://x/{trace_id}', 'https://{trace_id}/',
      'https://{trace_id}.x/{trace_id}', 'javascript://x/%0a{trace_id}', 'https://user@x/{trace_id}', 'https://x\\@y/{trace_id}',
      'https://x:y/{trace_id}', 'https://x/{a-b}', 'https://x/{trace_id} ', ' https://x/{trace_id}'],
    ['server.start', "'listen', 'ready' or 'manual'", 'now', ''],
    ['server.lastScrapeSeconds', 'a number from 0 to 3600', -1, 3600.1, NaN, '0'],
    ['server.https', object, true],
    ['server.https.certFile', file, undefined, '', 1],
    ['server.https.keyFile', file, undefined, ''],
    ['server.https.clientCaFile', file, false, ''],
    [
      'server.auth', 'an object with either "users" or "tokens"', null, 'x', ['x'], {},
      { users: { a: 'b' }, tokens: ['t'] }
    ],
    ['server.auth.users', 'an object of at least one user name and its password', {}, [], 'x'],
    ['server.auth.tokens', 'an array of at least one token', [], 'x', { 0: 'x' }]
  ]
  for (const [option, rule, ...wrong] of cases) {
    for (const value of wrong) refused(optionsWith(option, value), option, rule)
  }
  for (const label of ['a-b', '-a', 'a ', '1a', '', '__name__', 'le']) {
    refused({ labels: { [label]: 'route' } }, 'labels', labelNames)
    refused({ constLabels: { [label]: 'x' } }, 'constLabels', labelNames)
  }

  for (const share of [undefined, 0, 1, 99, '0.99']) {
    refused({ server: { live: { objective: { latency: 1, share } } } }, 'server.live.objective.share',
      'a number above 0 and below 1')
  }
  refused({ histogram: { buckets: [0.1, 0.2] }, server: { live: { objective: { latency: 0.25, share: 0.99 } } } },
    'server.live.objective.latency', 'one of histogram.buckets: 0.1, 0.2')

  function refused (options: unknown, option: string, rule: string): void {
    t.throws(() => parseOptions(options),
      { code: 'FST_LATENCY_ERR_OPTION_INVALID', message: `Option "${option}" must be ${rule}; received ` },
      `${option}: ${JSON.stringify(options)}`)
  }
})

t.test('what is wrong with a secret, and where, is said without showing it', async t => {
  const token = 'a token, [A-Za-z0-9._~+/-]+=* (RFC 6750)'
  const name = 'a string that is not empty and has neither colons nor control characters'
  const password = 'a string that is not empty and has no control characters'
  const file = 'the name of a file'
  const base64 = 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj'
  const cases: Array<[server: unknown, option: string, rule: string, received: string]> = [
    [{ auth: { tokens: [process.env.UNSET] } }, 'server.auth.tokens[0]', token, 'undefined'],
    [{ auth: { tokens: ['hunter2', ''] } }, 'server.auth.tokens[1]', token, "''"],
    [{ auth: { tokens: ['hunter2', 'hunter3\n'] } }, 'server.auth.tokens[1]', token,
      'a string with a line break at its end'],
    [{ auth: { tokens: ['hun\r\nter'] } }, 'server.auth.tokens[0]', token, 'a string with a line break'],
    [{ auth: { tokens: ['hunter\t2'] } }, 'server.auth.tokens[0]', token, 'a string with a control character'],
    [{ auth: { tokens: ['hunter 2'] } }, 'server.auth.tokens[0]', token, 'a string with a space'],
    [{ auth: { tokens: ['=hunter2'] } }, 'server.auth.tokens[0]', token, 'a string with = before its end'],
    [{ auth: { tokens: ['hunter=2='] } }, 'server.auth.tokens[0]', token, 'a string with = before its end'],
    [{ auth: { tokens: ['hünter'] } }, 'server.auth.tokens[0]', token, 'a string with a character of another kind'],
    [{ auth: { tokens: [2] } }, 'server.auth.tokens[0]', token, 'a number'],
    [{ auth: { tokens: [['hunter2']] } }, 'server.auth.tokens[0]', token, 'an object'],
    [{ auth: { users: { hunter: '2', '': 'hunter2' } } }, 'server.auth.users (name 2)', name, "''"],
    [{ auth: { users: { 'hunter:2': 'x' } } }, 'server.auth.users (name 1)', name, 'a string with a colon'],
    [{ auth: { users: { 'hunter2\n': 'x' } } }, 'server.auth.users (name 1)', name,
      'a string with a line break at its end'],
    [{ auth: { users: { a: 'b c', b: '' } } }, 'server.auth.users (password 2)', password, "''"],
    [{ auth: { users: { hunter: undefined } } }, 'server.auth.users (password 1)', password, 'undefined'],
    [{ auth: { users: { a: 'hunter2\n' } } }, 'server.auth.users (password 1)', password,
      'a string with a line break at its end'],
    [{ https: { certFile: `${base64}=` } }, 'server.https.certFile', file, 'a string with the contents of a file'],
    [{ https: { certFile: `${base64}\n${base64}\n` } }, 'server.https.certFile', file,
      'a string with the contents of a file'],
    [{ https: { certFile: 'tls.crt\n' } }, 'server.https.certFile', file, 'a string with a line break at its end'],
    [{ https: { certFile: 'c', keyFile: Buffer.from('hunter2') } }, 'server.https.keyFile', file, 'bytes']
  ]
  for (const [server, option, rule, received] of cases) {
    t.throws(() => parseOptions({ server }), {
      code: 'FST_LATENCY_ERR_OPTION_INVALID', message: `Option "${option}" must be ${rule}; received ${received}`
    }, received)
    t.throws(() => parseOptions({ server }), { message: /^(?!.*(h.nter|MII)).*received [^(]*(?: \([a-z][^']*\))?$/ }, received)
  }
  const shapes: Array<[auth: unknown, received: string]> = [
    ['hunter2', 'a string'], [['hunter2'], 'an object'], [{}, 'neither'],
    [{ users: { a: 'hunter2' }, tokens: ['hunter2'] }, 'both'], [{ tokens: 'hunter2' }, 'a string'],
    [{ tokens: [] }, 'an empty array'], [{ users: ['hunter2'] }, 'an object'], [{ users: {} }, 'an empty object']
  ]
  for (const [auth, received] of shapes) {
    const message = new RegExp(`; received ${received}( \\(.*)?$`)
    t.throws(() => parseOptions({ server: { auth } }), { message }, received)
    t.throws(() => parseOptions({ server: { auth } }), { message: /^(?!.*hunter)/ }, received)
  }
})

t.test('what a newcomer wrote is told what was meant', async t => {
  const cases: Array<[options: object, hint: string]> = [
    [{ endpoint: null }, 'received null (did you mean to leave it out?)'],
    [{ endpoint: { path: '/metrics' } }, "received { path: '/metrics' } (did you mean '/metrics'?)"],
    [{ endpoint: { url: '/m', method: 'GET' } }, "(did you mean '/m'?)"],
    [{ endpoint: {} }, "(did you mean a path, such as '/metrics'?)"],
    [{ endpoint: () => '/metrics' }, '(did you mean what this function returns: it has to be called?)'],
    [{ routeMetrics: { routeBlacklist: ['/health'] } },
      'Unknown option "routeMetrics": "routeBlacklist" (did you mean "routes", a function,'],
    [{ routeMetrics: { enabled: false, invalidRouteGroup: 'x' } },
      '"enabled" (did you mean "config: { latency: false }" on routes, or not to register the plugin?), ' +
      '"invalidRouteGroup" (leave it out:'],
    [{ routeMetrics: { nothing: 1 } }, 'Unknown option "routeMetrics" (did you mean "histogram" and "labels"?)'],
    [{ routeMetrics: true }, 'Unknown option "routeMetrics" (did you mean "histogram" and "labels"?)'],
    [{ histogram: { buckets: linearBuckets } },
      '(did you mean what this function returns, as linearBuckets(0.1, 0.1, 10) of prom-client?)'],
    [{ timeToFirstByte: { buckets: exponentialBuckets } }, '(did you mean what this function returns'],
    [{ histogram: { buckets: { start: 1, width: 2, count: 3 } } }, 'linearBuckets(1, 2, 3) of prom-client'],
    [{ histogram: { buckets: { start: 1, factor: 2, count: 3 } } }, 'exponentialBuckets(1, 2, 3) of prom-client'],
    [{ histogram: { native: { factor: 1.1 } } },
      '"histogram.native.factor" (did you mean "histogram.native.schema", where 3 is a factor of 1.09'],
    [{ labels: () => ({}) }, '(did you mean what this function returns: it has to be called?)'],
    [{ seriesLimit: Promise.resolve(1) }, '(did you mean what this promise resolves to: write await before it?)'],
    [{ server: { https: { certFile: Buffer.from('x'), keyFile: 'k' } } },
      'received bytes (did you mean the name of the file, which is read here, and again when it has changed?)'],
    [{ server: { https: { certFile: '-----BEGIN', keyFile: 'k' } } }, '(did you mean the name of the file'],
    [{ server: { https: { certFile: new URL('file:///c'), keyFile: 'k' } } }, 'fileURLToPath() of node:url'],
    [{ server: { https: { certFile: 'c', keyFile: Promise.resolve('k') } } }, 'what this promise resolves to'],
    [{ server: { https: { certFile: 'c' } } }, 'undefined (such as an environment variable that is not set?)'],
    [{ server: { https: { certFile: 'c', keyFile: true } } }, 'the name of a file; received true'],
    [{ server: { auth: { tokens: [undefined] } } }, 'undefined (such as an environment variable that is not set?)'],
    [{ server: { auth: { users: { a: '' } } } }, "'' (such as an environment variable that is not set?)"]
  ]
  for (const [options, message] of cases) t.throws(() => parseOptions(options), { message }, message)
})

t.test('the config of a route is checked in the same way', async t => {
  t.same(parseRouteConfig(undefined), { recorded: true, route: undefined })
  t.same(parseRouteConfig({}), { recorded: true, route: undefined })
  t.same(parseRouteConfig({ latency: false }), { recorded: false, route: undefined })
  t.same(parseRouteConfig({ latency: { route: 'a' } }), { recorded: true, route: 'a' })
  const cases: Array<[config: unknown, message: string]> = [
    [true, 'Option "config.latency" must be false or an object; received true (did you mean to leave it out?)'],
    [null, 'Option "config.latency" must be false or an object; received null (did you mean false?)'],
    ['off', 'Option "config.latency" must be false or an object; received \'off\' (did you mean false?)'],
    ['a', 'Option "config.latency" must be false or an object; received \'a\' (did you mean { route: \'a\' }?)'],
    [1, 'Option "config.latency" must be false or an object; received 1'],
    [{ latency: false }, 'Unknown option "config.latency.latency" (did you mean "config: { latency: false }"?); '],
    [{}, 'Option "config.latency.route" must be a string that is not empty; received undefined'],
    [{ route: false }, 'Option "config.latency.route" must be a string that is not empty; received false ' +
      '(did you mean "config: { latency: false }"?)'],
    [{ route: '' }, 'Option "config.latency.route" must be a string that is not empty; received \'\''],
    [{ name: 'x' }, 'Unknown option "config.latency.name" (did you mean "route"?); known here: route'],
    [{ ignore: true },
      'Unknown option "config.latency.ignore" (did you mean "config: { latency: false }"?); known here: route'],
    [{ labels: {} },
      'Unknown option "config.latency.labels" (did you mean "labels" among the options of the plugin?); '],
    [{ rout: 'x' }, 'Unknown option "config.latency.rout" (did you mean "route"?); known here: route'],
    [{ metricTypes: [] }, 'Unknown option "config.latency.metricTypes"; known here: route']
  ]
  for (const [latency, message] of cases) {
    t.throws(() => parseRouteConfig({ latency: latency as false }), { message }, message)
  }
})

t.test('a config of a route that cannot be read is refused', async t => {
  const thrown = new Error('boom')
  const config = Object.defineProperty({}, 'latency', { get () { throw thrown } })
  t.throws(() => parseRouteConfig(config), {
    code: 'FST_LATENCY_ERR_OPTION_INVALID',
    message: 'Option "config.latency" must be a value that can be read; received one that throws: boom',
    cause: thrown
  })
})

t.test('a private key in place of the name of its file is not shown', async t => {
  const key = '-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n'
  const files = { certFile: 'c', keyFile: 'k' }
  for (const https of [
    key, Buffer.from(key), { ...files, keyFile: key }, { ...files, keyFile: Buffer.from(key) },
    { ...files, certFile: key }, { ...files, clientCaFile: key }
  ]) {
    t.throws(() => parseOptions({ server: { https } }), {
      code: 'FST_LATENCY_ERR_OPTION_INVALID',
      message: /^Option "server\.https[.\w]*" must be (?!.*(hunter2|PRIVATE)).*; received (an? (object|string)|bytes)/
    })
  }
})

t.test('in a worker of a node:cluster without a group the metrics server has no default port', async t => {
  const worker = loadInWorker(t, () => require('../lib/server/options') as typeof import('../lib/server/options'))
  t.equal(worker.defaultServer.port, 8000)
  t.match(worker.parseServerOptions({ group: 'x' }), { port: 8000, group: 'x' })
  t.match(worker.parseServerOptions({ group: false }), { port: undefined, group: false })
  t.match(worker.parseServerOptions({ group: false, port: 1 }), { port: 1 })
})

t.test('on Windows a worker of a node:cluster has no group, and no default port', async t => {
  t.intercept(process, 'platform', { value: 'win32' })
  const worker = loadInWorker(t, () => require('../lib/server/options') as typeof import('../lib/server/options'))
  t.match(worker.defaultServer, { port: undefined, group: false })
  t.match(worker.parseServerOptions({}), { port: undefined, group: false })
  t.match(worker.parseServerOptions({ port: 1 }), { port: 1, group: false })
  t.match(worker.parseServerOptions({ group: 'x' }), { port: 8000, group: 'x' })
})

t.test('a value is shown on one line, and a long one is cut', async t => {
  t.throws(() => parseOptions({ ignore: { a: { b: { c: 1 } } } }), {
    message: /received \{ a: \{ b: \[Object\] \} \}$/
  })
  t.throws(() => parseOptions({ ignore: Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`key${n}`, n])) }), {
    message: /^.{1,300}…$/
  })
})

t.test('bounds that look like milliseconds are warned of, and used', async t => {
  const cases: Array<[buckets: number[], warned: boolean]> = [
    [[5, 10, 100, 500], true], [[1, 100], true], [[0.9, 100], false], [[1, 5, 60], false], [[100], true], [[99], false]
  ]
  const warnings = collectWarnings(t)
  for (const [buckets, warned] of cases) {
    for (const option of ['histogram', 'timeToFirstByte']) {
      const app = createApplication(t)
      await app.register(latency, { server: false, [option]: { buckets } })
      await setImmediate()
      const message = `Option "${option}.buckets" received [ ${buckets.join(', ')} ], and the histogram is in ` +
        'seconds; if these are milliseconds, divide them by a thousand'
      t.match(warnings.splice(0), warned ? [{ code: 'FST_LATENCY_ERR_UNIT', message }] : [])
    }
  }
})

t.test('a name of a histogram that ends in another unit is warned of, and used', async t => {
  const cases: Array<[name: string, warned: boolean]> = [
    ['http_ms', true], ['http_msec', true], ['http_millis', true], ['http_milliseconds', true], ['httpMs', true],
    ['http_us', true], ['http_nanoseconds', true], ['http_duration_minutes', true], ['http_MILLISECOND', true],
    ['http_seconds', false], ['http_ms_seconds', false], ['http_requests', false], ['items', false], ['ms', true],
    ['http_forms', false], ['http_latency', false]
  ]
  const warnings = collectWarnings(t)
  for (const [name, warned] of cases) {
    for (const option of ['histogram', 'timeToFirstByte']) {
      const app = createApplication(t)
      await app.register(latency, { server: false, [option]: { name } })
      await setImmediate()
      const message = `Option "${option}.name" received '${name}', and the histogram is in seconds; ` +
        'end the name in "_seconds"'
      t.match(warnings.splice(0), warned ? [{ code: 'FST_LATENCY_ERR_UNIT', message }] : [], name)
    }
  }
})

t.test('registration rejects with the error', async t => {
  const app = Fastify()
  app.register(latency, { histogram: { buckets: [] } } satisfies Options)
  await t.rejects(async () => await app.ready(), { code: 'FST_LATENCY_ERR_OPTION_INVALID' })
  await app.close()
})
