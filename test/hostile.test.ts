import { once } from 'node:events'
import t from 'tap'
import { createListening, scrape } from './helpers/application'
import { Connection } from './helpers/connection'

const head = 'Host: x\nConnection: close\n'

/** What no client who means well sends, and the statuses of the answers to it. */
const hostile: Array<[request: string, statuses: number[]]> = [
  ['\n', []],
  ['\0\0\0\n\n', [400]],
  ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', [400]],
  ['GET\n\n', [400]],
  ['GET /metrics\n\n', [200]],
  ['GET /metrics HTTP/9.9\n\n', [400]],
  ['GET /metrics HTTP/1.1\n\n', [400]],
  ['GET /metrics HTTP/1.0\n\n', [200]],
  [`GET /metrics HTTP/1.1\nHost: y\n${head}\n`, [200]],
  [`GET /metrics HTTP/1.1\n${head}: x\n\n`, [400]],
  [`GET /metrics HTTP/1.1\n${head}A: \0\n\n`, [400]],
  [`GET /metrics HTTP/1.1\n${head}A: ${'x'.repeat(9000)}\n\n`, [431]],
  [`GET /metrics HTTP/1.1\n${head}${'A: x\n'.repeat(5000)}\n`, [431]],
  [`GET /${'x'.repeat(9000)} HTTP/1.1\n${head}\n`, [431]],
  [`GET /metrics?${'name[]=x&'.repeat(800)} HTTP/1.1\n${head}\n`, [200]],
  [`GET /metrics?name[]=%00%ff%&name[=]&&== HTTP/1.1\n${head}\n`, [200]],
  [`GET /metrics?name[]=__proto__&name[]=constructor HTTP/1.1\n${head}\n`, [200]],
  [`GET /%ff%% HTTP/1.1\n${head}\n`, [400]],
  [`GET /metrics/../../etc/passwd HTTP/1.1\n${head}\n`, [404]],
  [`GET http://elsewhere/metrics HTTP/1.1\n${head}\n`, [200]],
  [`GET * HTTP/1.1\n${head}\n`, [200]],
  [`CONNECT elsewhere:1 HTTP/1.1\n${head}\n`, []],
  [`TRACE /metrics HTTP/1.1\n${head}\n`, [405]],
  [`BREW /metrics HTTP/1.1\n${head}\n`, [400]],
  [`GET /metrics HTTP/1.1\n${head}Upgrade: websocket\nConnection: Upgrade\n\n`, [200]],
  [`GET /metrics HTTP/1.1\n${head}Expect: a miracle\n\n`, [417]],
  [
    `GET /metrics HTTP/1.1\n${head}Accept: ${';,='.repeat(1000)}\nAccept-Encoding: ${'gzip;q=,'.repeat(300)}\n\n`, [200]
  ],
  [`GET /metrics HTTP/1.1\n${head}Accept: application/openmetrics-text;q=1e999;version=\\"\n\n`, [200]],
  [`GET /metrics HTTP/1.1\n${head}X-Prometheus-Scrape-Timeout-Seconds: -1\n\n`, [200]],
  [`GET /metrics HTTP/1.1\n${head}X-Prometheus-Scrape-Timeout-Seconds: 1e999, NaN\n\n`, [200]],
  [`POST /metrics HTTP/1.1\n${head}Content-Type: nonsense\nContent-Length: 3\n\nabc`, [405]],
  [`POST /nowhere HTTP/1.1\n${head}Content-Type: application/json\nContent-Length: 1\n\n{`, [404]],
  [`POST /metrics HTTP/1.1\n${head}Content-Length: 99999999999\n\nabc`, [405]],
  [`POST /metrics HTTP/1.1\n${head}Content-Length: 3\nTransfer-Encoding: chunked\n\nabc`, [400]],
  [`POST /metrics HTTP/1.1\n${head}Transfer-Encoding: chunked\n\nzzz\n`, [405, 400]],
  [`GET /metrics HTTP/1.1\n${head}Content-Type: application/json\nContent-Length: 1\n\n{`, [200]],
  [`GET /metrics HTTP/1.1\n${head}Authorization: ${'Basic '.repeat(1000)}\n\n`, [200]],
  [
    `${'GET /healthz HTTP/1.1\nHost: x\n\n'.repeat(100)}GET /nowhere HTTP/1.1\n${head}\n`,
    [...Array(100).fill(200), 404]
  ]
]

t.test('a hostile request gets a plain answer that tells nothing of the program, and harms nothing', async t => {
  const { app } = await createListening(t, {})
  const { url } = app.latency
  for (const [request, statuses] of hostile) {
    const name = JSON.stringify(request.length < 90 ? request : `${request.slice(0, 90)}…`)
    const connection = await Connection.open(url!)
    connection.send(request)
    if (statuses.length === 0) connection.socket.end()
    if (request.includes('Content-Length: 9999')) {
      await connection.until('\r\n\r\n')
      connection.leave()
    }
    await connection.closed()
    t.same([...connection.received.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(match => Number(match[1])), statuses, name)
    t.notMatch(connection.received,
      /^(server|x-powered-by|via):|node_modules|\.[jt]s:\d|\bat .*\(|fastify\/|node\.?js\/|FST_/im, name)
  }
  t.equal((await scrape(url)).value('fastify_latency_scrapes_total', { code: '500' }), 0)
})

t.test('errors of routes added to it reach the log and not the client', async t => {
  const lines: string[] = []
  const { app } = await createListening(t, {}, app => {
    app.log.error = ((_object: unknown, message: string) => { lines.push(message) }) as never
    app.latency.server!.get('/mine', async () => { throw new Error('secret') })
    app.latency.server!.get('/teapot', async () => { throw Object.assign(new Error('secret'), { statusCode: 499 }) })
    app.latency.server!.post('/mine', async () => 'x')
  })
  const response = await fetch(new URL('/mine', app.latency.url!))
  t.equal(response.status, 500)
  t.equal(await response.text(), 'Internal Server Error\n')
  t.same(lines, ['The metrics server failed to answer'])
  const odd = await fetch(new URL('/teapot', app.latency.url!))
  t.equal(odd.status, 499)
  t.equal(await odd.text(), 'Error\n', 'a status without a name')
  const refused = await fetch(new URL('/mine', app.latency.url!), {
    method: 'POST', body: '{', headers: { 'content-type': 'application/json' }
  })
  t.equal(refused.status, 400)
  t.equal(await refused.text(), 'Bad Request\n')
  t.equal(lines.length, 1)
})

t.test('slow clients have ten seconds for a request, and 256 connections in all', async t => {
  const { app } = await createListening(t, {})
  const { server } = app.latency.server!
  t.match(server, { headersTimeout: 10_000, requestTimeout: 10_000 })
  const connections = await Promise.all(Array.from({ length: 256 }, async () => Connection.open(app.latency.url!)))
  const dropped = once(server, 'drop')
  const one = await Connection.open(app.latency.url!)
  await Promise.all([dropped, one.closed()])
  connections[0]!.send(`GET /metrics HTTP/1.1\n${head}\n`)
  await connections[0]!.closed()
  t.match(connections[0]!.received, /^HTTP\/1.1 200/)
  for (const connection of connections) connection.leave()
})
