import fs from 'node:fs/promises'
import t from 'tap'
import latency from '../lib'
import { anyPort, createApplication, createListening, listen } from './helpers/application'

function dataOf (page: string): unknown {
  const [, text] = /data-page="(.*?)"/.exec(page)!
  return JSON.parse(text!.replace(/&#(\d+);/g, (_match, code) => String.fromCharCode(Number(code))))
}

t.test('/live is a page that loads nothing but what the metrics server has', async t => {
  const { app } = await createListening(t, {})
  const response = await fetch(new URL('/live', app.latency.url!))
  t.equal(response.status, 200)
  t.equal(response.headers.get('content-type'), 'text/html; charset=utf-8')
  t.equal(response.headers.get('content-security-policy'),
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
    "form-action 'none'; frame-ancestors 'none'")
  const page = await response.text()
  t.notMatch(page, /<style|style=|<script>|\son\w+=|https?:|\/\//)
  const files = [...page.matchAll(/(?:src|href)="(live\/.*?)"/g)].map(match => match[1]!)
  t.same(files.sort(), ['live/icon.svg', 'live/page', 'live/page.css', 'live/uplot.css', 'live/uplot.js'])
  for (const file of files) {
    const part = await fetch(new URL(file, app.latency.url!))
    t.equal(part.status, 200, file)
    t.match(part.headers.get('content-type'), /css|javascript|svg/, file)
    t.equal(part.headers.get('x-content-type-options'), 'nosniff', file)
    t.equal(part.headers.get('cache-control'), 'no-store', file)
  }
})

t.test('where only a bundle of the application is, the page says why it does nothing', async t => {
  const { app } = await createListening(t, {})
  t.intercept(fs, 'readFile', { value: async () => { throw new Error('there are no files') } })
  for (const script of ['/live/page', '/live/uplot.js']) {
    const response = await fetch(new URL(script, app.latency.url!))
    t.match(response.headers.get('content-type'), 'javascript')
    t.match(await response.text(), /#state.*Is the application bundled\? Leave fastify-latency out of the bundle/)
  }
  t.equal((await fetch(new URL('/live/uplot.css', app.latency.url!))).status, 200)
})

t.test('it knows where the metrics are, and what is in which label, of every histogram once', async t => {
  const { app } = await createListening(t, {
    server: { ...anyPort, path: '/internal/"metrics"' },
    labels: { verb: 'method', path: 'route', class: 'status_class', tenant: () => 'secret' },
    constLabels: { service: '<script>' },
    inFlight: false,
    timeToFirstByte: { buckets: [1] }
  }, app => {
    app.register(async child => {
      await child.register(latency, { histogram: { name: 'b_seconds', buckets: [2] }, labels: {}, inFlight: false })
    })
    app.register(async child => {
      await child.register(latency, { histogram: { name: 'b_seconds', buckets: [2] }, labels: {}, inFlight: false })
    })
  })
  const page = await (await fetch(new URL('/live', app.latency.url!))).text()
  t.notMatch(page, /secret|<script>/)
  t.same(dataOf(page), {
    path: './internal/"metrics"',
    histograms: [
      {
        name: 'http_request_duration_seconds',
        upperBounds: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
        methodLabel: 'verb',
        routeLabel: 'path',
        statusLabel: 'class'
      },
      {
        name: 'http_request_first_byte_seconds',
        upperBounds: [1],
        methodLabel: 'verb',
        routeLabel: 'path',
        statusLabel: 'class'
      },
      { name: 'b_seconds', upperBounds: [2] }
    ],
    inFlight: false
  })
})

t.test('with live: false it is not there, and / does not lead to it', async t => {
  const { app } = await createListening(t, { server: { ...anyPort, live: false } })
  for (const path of ['/live', '/live/page', '/live/uplot.js']) {
    t.equal((await fetch(new URL(path, app.latency.url!))).status, 404, path)
  }
  t.notMatch(await (await fetch(new URL('/', app.latency.url!))).text(), 'href="/live"')
})

t.test('a page of the user, or the metrics, at /live take its place', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  app.latency.server!.get('/live', async () => 'mine')
  await listen(app)
  t.equal(await (await fetch(new URL('/live', app.latency.url!))).text(), 'mine')
  t.notMatch(await (await fetch(new URL('/', app.latency.url!))).text(), 'href="/live"')

  const { app: other } = await createListening(t, { server: { ...anyPort, path: '/live' } })
  t.match((await fetch(other.latency.url!)).headers.get('content-type'), 'text/plain')
})

t.test('it asks for the same credentials as the metrics', async t => {
  const { app } = await createListening(t, { server: { ...anyPort, auth: { users: { somebody: 'hunter2' } } } })
  const headers = { authorization: `Basic ${Buffer.from('somebody:hunter2').toString('base64')}` }
  for (const path of ['/live', '/live/page.css', '/live/uplot.js']) {
    t.equal((await fetch(new URL(path, app.latency.url!))).status, 401, path)
    const response = await fetch(new URL(path, app.latency.url!), { headers })
    t.equal(response.status, 200, path)
    t.notMatch(await response.text(), /somebody|hunter2/)
  }
})
