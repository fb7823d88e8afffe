import { once } from 'node:events'
import { Gauge, Registry } from 'prom-client'
import t from 'tap'
import latency from '../lib'
import { anyPort, createApplication, createListening, listen, scrape } from './helpers/application'
import { exchange } from './helpers/connection'
import { Gate } from './helpers/gate'

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
