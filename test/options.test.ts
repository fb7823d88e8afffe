import t from 'tap'
import Fastify from 'fastify'
import { Registry } from 'prom-client'
import type { Options } from '..'
import latency from '../lib'
import { defaultServer, parseOptions } from '../lib/config'

t.test('every option has a default', async t => {
  t.same(parseOptions({}), {
    histogram: {
      name: 'http_request_duration_seconds',
      help: 'Time from receiving a request to handing its reply to the operating system, in seconds.',
      upperBounds: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
    },
    labels: { method: 'method', route: 'route', status_code: 'status' },
    constLabels: {},
    ignore: undefined,
    seriesLimit: 2000,
    inFlight: true,
    abortedStatus: 499,
    timeToFirstByte: undefined,
    registry: undefined,
    route: undefined,
    processMetrics: undefined,
    server: undefined
  })
  t.same(parseOptions(undefined), parseOptions({}))
  t.same(parseOptions({ server: {} }).server, defaultServer)
  t.same(parseOptions({ scrape: {} }).scrape, { errorHandling: 'fail', concurrency: 40, timeoutSeconds: 10, created: false })
  t.same(parseOptions({ server: true }).server, defaultServer)
  const firstByte = {
    name: 'http_request_first_byte_seconds',
    help: 'Time from receiving a request to sending the headers of its reply, in seconds.',
    upperBounds: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
  }
  t.same(parseOptions({ timeToFirstByte: true }).timeToFirstByte, firstByte)
  t.same(parseOptions({ timeToFirstByte: {} }).timeToFirstByte, firstByte)
  t.equal(parseOptions({ timeToFirstByte: false }).timeToFirstByte, undefined)
  t.same(defaultServer, { host: undefined, port: 8000, path: '/metrics', live: true, start: 'listen', lastScrapeSeconds: 0, https: undefined, auth: undefined })
})

t.test('legitimate values at the edges are kept', async t => {
  const registry = new Registry()
  const tenant = (): string => 'x'
  const config = parseOptions({
    histogram: { name: 'a:b', help: '\n', buckets: [-1, 0] },
    labels: { _a: 'status_class', tenant },
    constLabels: { empty: '' },
    seriesLimit: 1,
    inFlight: false,
    abortedStatus: 599,
    timeToFirstByte: { name: 'ttfb_seconds', buckets: [1] },
    processMetrics: false,
    registry,
    route: '/',
    server: {
      host: '::1', port: 0, path: '/a/b', live: false, start: 'manual', lastScrapeSeconds: 3600, https: { certFile: 'c', keyFile: 'k' }, auth: { tokens: ['t'] }
    }
  })
  t.same(config.histogram, { name: 'a:b', help: '\n', upperBounds: [-1, 0] })
  t.same(config.labels, { _a: 'status_class', tenant })
  t.same(config.constLabels, { empty: '' })
  t.equal(config.seriesLimit, 1)
  t.equal(config.inFlight, false)
  t.equal(config.abortedStatus, 599)
  t.equal(parseOptions({ abortedStatus: 100 }).abortedStatus, 100)
  t.equal(parseOptions({ abortedStatus: 'reply' }).abortedStatus, undefined)
  t.match(config.timeToFirstByte, { name: 'ttfb_seconds', upperBounds: [1] })
  t.equal(config.processMetrics, false)
  t.equal(config.registry, registry)
  t.equal(config.route, '/')
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
  t.match(parseOptions({ server: { https: { certFile: 'c', keyFile: 'k', clientCaFile: 'a' }, auth: { users: { ü: ' ' } } } }).server,
    { https: { clientCaFile: 'a' }, auth: { users: { ü: ' ' }, tokens: undefined } })
  t.equal(parseOptions({ server: false }).server, false)
  t.same(parseOptions({ labels: {} }).labels, {})
  t.equal((parseOptions({ server: { port: 65535 } }).server as { port: number }).port, 65535)
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
})

t.test('unknown options are refused by name', async t => {
  const cases: Array<[options: unknown, message: string]> = [
    [{ histogramm: {} }, 'Unknown option "histogramm"; known here: histogram, labels, constLabels, ignore, seriesLimit, inFlight, ' +
      'abortedStatus, timeToFirstByte, registry, processMetrics, server, route'],
    [{ histogram: { boundaries: [1] } }, 'Unknown option "histogram.boundaries"; known here: name, help, buckets'],
    [{ server: { prot: 1 } }, 'Unknown option "server.prot"; known here: host, port, path, live, start, lastScrapeSeconds, https, auth'],
    [{ server: { https: { cert: '' } } }, 'Unknown option "server.https.cert"; known here: certFile, keyFile, clientCaFile'],
    [{ server: { auth: { user: {} } } }, 'Unknown option "server.auth.user"; known here: users, tokens'],
    [{ timeToFirstByte: { bucket: [1] } }, 'Unknown option "timeToFirstByte.bucket"; known here: name, help, buckets']
  ]
  for (const [options, message] of cases) t.throws(() => parseOptions(options), { code: 'FST_LATENCY_ERR_OPTION_UNKNOWN', message })
})

t.test('wrong values are refused: the error names the option, the rule and the value', async t => {
  t.throws(() => parseOptions({ histogram: { buckets: [1, 1] } }), {
    name: 'FastifyError',
    code: 'FST_LATENCY_ERR_OPTION_INVALID',
    message: 'Option "histogram.buckets" must be an array of at least one finite number, strictly increasing (+Inf is added by itself); received [ 1, 1 ]'
  })
  const cases: Array<[option: string, options: unknown]> = [
    ['options', 'x'], ['options', null], ['options', []],
    ['histogram', null], ['histogram', []],
    ['histogram.name', { histogram: { name: '' } }], ['histogram.name', { histogram: { name: '1a' } }], ['histogram.name', { histogram: { name: 'a-b' } }],
    ['histogram.name', { histogram: { name: 1 } }], ['histogram.help', { histogram: { help: '' } }], ['histogram.help', { histogram: { help: 1 } }],
    ['histogram.buckets', { histogram: { buckets: [] } }], ['histogram.buckets', { histogram: { buckets: [1, Infinity] } }],
    ['histogram.buckets', { histogram: { buckets: null } }],
    ['labels', { labels: null }], ['labels', { labels: ['a'] }], ['labels.a', { labels: { a: 'url' } }], ['labels.a', { labels: { a: undefined } }],
    ['labels', { labels: { 'a-b': 'route' } }], ['labels', { labels: { __name__: 'route' } }], ['labels', { labels: { le: 'route' } }],
    ['labels', { labels: { '': 'route' } }],
    ['constLabels', { constLabels: 1 }], ['constLabels', { constLabels: { le: 'x' } }], ['constLabels.a', { constLabels: { a: 1 } }],
    ['constLabels.route', { constLabels: { route: 'x' } }],
    ['ignore', { ignore: true }], ['seriesLimit', { seriesLimit: 0 }], ['seriesLimit', { seriesLimit: 1.5 }], ['seriesLimit', { seriesLimit: Infinity }],
    ['inFlight', { inFlight: 1 }], ['abortedStatus', { abortedStatus: 99 }], ['abortedStatus', { abortedStatus: 600 }],
    ['abortedStatus', { abortedStatus: '499' }], ['timeToFirstByte', { timeToFirstByte: null }], ['timeToFirstByte.name', { timeToFirstByte: { name: '' } }],
    ['registry', { registry: {} }], ['registry', { registry: null }],
    ['processMetrics', { processMetrics: 'yes' }], ['route', { route: 'metrics' }], ['route', { route: '/:id' }], ['route', { route: '/*' }],
    ['server', { server: 8000 }], ['server', { server: null }], ['server.host', { server: { host: '' } }],
    ['server.port', { server: { port: -1 } }], ['server.port', { server: { port: 65536 } }], ['server.port', { server: { port: 1.5 } }],
    ['server.port', { server: { port: '8000' } }], ['server.path', { server: { path: '/a?b' } }], ['server.live', { server: { live: 'yes' } }], ['server.start', { server: { start: 'now' } }],
    ['server.lastScrapeSeconds', { server: { lastScrapeSeconds: -1 } }],
    ['server.https', { server: { https: true } }], ['server.https.certFile', { server: { https: { keyFile: 'k' } } }],
    ['server.https.keyFile', { server: { https: { certFile: 'c', keyFile: '' } } }],
    ['server.https.clientCaFile', { server: { https: { certFile: 'c', keyFile: 'k', clientCaFile: false } } }],
    ['server.auth', { server: { auth: null } }], ['server.auth', { server: { auth: {} } }], ['server.auth.users', { server: { auth: { users: {} } } }],
    ['server.auth.tokens', { server: { auth: { tokens: [] } } }],
    ['scrape', { scrape: true }], ['scrape.errorHandling', { scrape: { errorHandling: 'ignore' } }], ['scrape.concurrency', { scrape: { concurrency: 0 } }],
    ['scrape.timeoutSeconds', { scrape: { timeoutSeconds: 0 } }], ['scrape.timeoutSeconds', { scrape: { timeoutSeconds: 3600.1 } }],
    ['scrape.timeoutSeconds', { scrape: { timeoutSeconds: NaN } }], ['scrape.created', { scrape: { created: 1 } }]
  ]
  for (const [option, value] of cases) {
    const options = option === 'histogram' && (value === null || Array.isArray(value)) ? { histogram: value } : value
    t.throws(() => parseOptions(options), { code: 'FST_LATENCY_ERR_OPTION_INVALID', message: new RegExp(`^Option "${option}" must be `) },
      `${option}: ${JSON.stringify(value)}`)
  }
})

t.test('a value is shown on one line, and a long one is cut', async t => {
  t.throws(() => parseOptions({ ignore: { a: { b: { c: 1 } } } }), { message: /received \{ a: \{ b: \[Object\] \} \}$/ })
  t.throws(() => parseOptions({ ignore: Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`key${n}`, n])) }), { message: /^.{1,300}…$/ })
})

t.test('registration rejects with the error', async t => {
  const app = Fastify()
  app.register(latency, { histogram: { buckets: [] } } satisfies Options)
  await t.rejects(async () => await app.ready(), { code: 'FST_LATENCY_ERR_OPTION_INVALID' })
  await app.close()
})
