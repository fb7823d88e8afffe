import { createHash } from 'node:crypto'
import t from 'tap'
import latency from '../lib'
import { anyPort, createApplication, createListening, listen } from './helpers/application'
import { Files, createAuthority, issue } from './helpers/certificates'

const { version } = require('fastify-latency/package.json') as { version: string }

/** The options that a page shows, by table and name. */
function readTables (page: string): Record<string, Record<string, string>> {
  const tables = [...page.matchAll(/<table>\n<caption>(.*)<\/caption>\n([^]*?)<\/table>/g)]
  return Object.fromEntries(tables.map(([, caption, rows]) => [decode(caption!),
    Object.fromEntries(
      [...rows!.matchAll(/<th scope="row">(.*)<td>(.*)/g)].map(([, name, value]) => [decode(name!), decode(value!)])
    )]))
}

function decode (text: string): string {
  return text.replace(/&#(\d+);/g, (_match, code) => String.fromCharCode(Number(code)))
}

t.test('the page at / says what this is, and leads to the metrics and the probes', async t => {
  const { app } = await createListening(t, { server: { ...anyPort, path: '/internal/metrics' } })
  const response = await fetch(new URL('/', app.latency.url!))
  t.equal(response.status, 200)
  t.equal(response.headers.get('content-type'), 'text/html; charset=utf-8')
  t.equal(response.headers.get('x-content-type-options'), 'nosniff')
  t.equal(response.headers.get('cache-control'), 'no-store')
  const page = await response.text()
  t.match(page, `fastify-latency ${version}`)
  const links = [...page.matchAll(/href="(.*?)"/g)].map(match => match[1]!)
  t.same(links, ['/internal/metrics', '/live', '/healthz', '/readyz'])
  for (const link of links) t.equal((await fetch(new URL(link, app.latency.url!))).status, 200, link)
})

t.test('its Content-Security-Policy allows its own style, and no script or outside host', async t => {
  const { app } = await createListening(t, {})
  const response = await fetch(new URL('/', app.latency.url!))
  const page = await response.text()
  const hash = createHash('sha256').update(/<style>([^]*)<\/style>/.exec(page)![1]!).digest('base64')
  t.equal(response.headers.get('content-security-policy'),
    `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`)
  t.notMatch(page, /<script|style=|https?:|src=|@import|url\(/)
})

t.test('it shows the options in effect, and no secret', async t => {
  const ca = await createAuthority('ca')
  const files = new Files(t)
  const { cert, key } = await issue(ca, 'x')
  const app = createApplication(t)
  await app.register(latency, {
    server: {
      port: 0,
      auth: { users: { somebody: 'hunter2' } },
      https: {
        certFile: files.write('cert', cert), keyFile: files.write('key', key), clientCaFile: files.write('ca', ca.cert)
      }
    },
    histogram: { help: '<script>alert("&")</script>' },
    labels: { route: 'route', tenant: () => 'x' },
    constLabels: { a: '<b>' },
    abortedStatus: 'reply',
    scrape: { concurrency: 3 },
    processMetrics: false
  })
  await app.register(latency, {
    histogram: { name: 'second_seconds', buckets: [1, 2.5] }, labels: {}, ignore: () => false, timeToFirstByte: true
  })
  const page = (await app.latency.server!.inject({
    url: '/', headers: { authorization: `Basic ${Buffer.from('somebody:hunter2').toString('base64')}` }
  })).payload
  t.notMatch(page, /hunter2|somebody|PRIVATE|<script|<b>/)
  t.same(readTables(page), {
    'Histogram http_request_duration_seconds': {
      help: '<script>alert("&")</script>',
      buckets: '0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10',
      native: 'none',
      labels: 'route: route, tenant: a function',
      constLabels: 'a: <b>',
      routes: 'none',
      ignore: 'none',
      knownMethods: 'GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH, QUERY',
      seriesLimit: '2000',
      inFlight: 'true',
      abortedStatus: 'reply',
      from: 'router',
      exemplars: 'false',
      timeToFirstByte: 'none',
      requestSize: 'none',
      responseSize: 'none',
      queueTime: 'none',
      busyTime: 'false',
      endpoint: 'none'
    },
    'Histogram second_seconds': {
      help: 'Time from receiving a request to handing its reply to the operating system, in seconds.',
      buckets: '1, 2.5',
      native: 'none',
      labels: 'none',
      constLabels: 'none',
      routes: 'none',
      ignore: 'a function',
      knownMethods: 'GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH, QUERY',
      seriesLimit: '2000',
      inFlight: 'true',
      abortedStatus: '499',
      from: 'router',
      exemplars: 'false',
      timeToFirstByte: 'http_request_first_byte_seconds',
      requestSize: 'none',
      responseSize: 'none',
      queueTime: 'none',
      busyTime: 'false',
      endpoint: 'none'
    },
    'Metrics server': {
      host: 'where the application listens',
      port: '0',
      group: 'workers and threads by themselves',
      path: '/metrics',
      live: 'true',
      start: 'listen',
      lastScrapeSeconds: '0',
      https: 'TLS, with client certificates',
      auth: 'users'
    },
    Scrapes: {
      errorHandling: 'fail', concurrency: '3', timeoutSeconds: '10', created: 'false', processMetrics: 'false'
    }
  })
})

t.test('with TLS and tokens it says so', async t => {
  const files = new Files(t)
  const { cert, key } = await issue(await createAuthority('ca'), 'x')
  const app = createApplication(t)
  await app.register(latency, {
    server: {
      port: 0,
      auth: { tokens: ['hunter2'] },
      https: { certFile: files.write('cert', cert), keyFile: files.write('key', key) }
    }
  })
  const page = (await app.latency.server!.inject({ url: '/', headers: { authorization: 'Bearer hunter2' } })).payload
  t.match(readTables(page), { 'Metrics server': { https: 'TLS', auth: 'tokens' } })
  t.notMatch(page, 'hunter2')
})

t.test('a page of the user, or the metrics, at / take its place', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  app.latency.server!.get('/', async () => 'mine')
  await listen(app)
  t.equal(await (await fetch(new URL('/', app.latency.url!))).text(), 'mine')

  const { app: other } = await createListening(t, { server: { ...anyPort, path: '/' } })
  t.match((await fetch(other.latency.url!)).headers.get('content-type'), 'text/plain')
})
