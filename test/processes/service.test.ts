import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import t, { type Test } from 'tap'
import { anyPort, scrape } from '../helpers/application'
import { Service } from '../helpers/service'

const start = (t: Test, server: object): Service =>
  new Service(t, 'service', { OPTIONS: JSON.stringify({ labels: {}, server }) })

t.test('in a rolling restart the new process serves at once, and takes the metrics port over when the old one ' +
  'lets go', async t => {
  const old = start(t, anyPort)
  const url = await old.told('url')
  const port = Number(new URL(url).port)

  const next = start(t, { ...anyPort, port })
  t.equal(await next.told('warning'), 'FST_LATENCY_ERR_SERVER_LISTEN')
  t.equal((await fetch(await next.told('address'))).status, 200)
  t.equal((await scrape(url)).value('http_request_duration_seconds_count'), 0, 'the old process is scraped')

  t.equal(await old.terminate(), 0)
  t.equal(await next.told('url'), url)
  t.equal((await scrape(url)).value('http_request_duration_seconds_count'), 1, 'the new process is scraped')
  t.equal(await next.terminate(), 0)
})

t.test("with start: 'ready' the new process does not start while the old one has the port", async t => {
  const old = start(t, anyPort)
  const next = start(t, { ...anyPort, port: Number(new URL(await old.told('url')).port), start: 'ready' })
  t.equal(await next.told('failure'), 'FST_LATENCY_ERR_SERVER_LISTEN')
})

t.test('workers of a node:cluster that are no group do not share a metrics port', async t => {
  const cluster = new Service(t, 'cluster', {
    WORKERS: JSON.stringify([
      { server: { group: false } },
      { server: { start: 'ready', group: false } },
      { labels: {}, server: anyPort },
      { labels: {}, server: anyPort }
    ])
  })
  t.equal(await cluster.told('warning', 1), 'FST_LATENCY_ERR_CLUSTER_PORT', 'without a port of its own there is none')
  t.equal((await fetch(await cluster.told('address', 1))).status, 200, 'the application serves all the same')
  t.equal(await cluster.told('failure', 2), 'FST_LATENCY_ERR_CLUSTER_PORT')
  const urls = [await cluster.told('url', 3), await cluster.told('url', 4)]
  for (const url of urls) {
    const scrapes = []
    for (let n = 0; n < 5; n++) {
      scrapes.push((await scrape(url)).value('fastify_latency_scrapes_total', { code: '200' }))
    }
    t.same(scrapes, [0, 1, 2, 3, 4], 'a port leads to one worker')
  }
})

t.test('on SIGTERM under traffic and scrapes no request is lost, and the last scrape has them all', async t => {
  const service = start(t, { ...anyPort, lastScrapeSeconds: 20 })
  const [address, url] = [await service.told('address'), await service.told('url')]
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())

  let answered = 0
  let turnedAway = 0
  let halfway = (): void => {}
  const busy = new Promise<void>(resolve => { halfway = resolve })
  const send = async (): Promise<void> => {
    const response = await new Promise<IncomingMessage>((resolve, reject) =>
      get(address, { agent }, resolve).on('error', reject))
    await once(response.resume(), 'end')
    if (response.statusCode === 200) answered++
    else turnedAway++
    if (answered === 1000) halfway()
  }
  const last = { count: 0, closing: 0 }
  const read = async (): Promise<void> => {
    const page = await scrape(url)
    last.count = Math.max(last.count, page.value('http_request_duration_seconds_count')!)
    last.closing = Math.max(last.closing, page.value('http_requests_rejected_total', { reason: 'closing' })!)
  }
  const clients = [...Array<() => Promise<void>>(10).fill(send), ...Array<() => Promise<void>>(3).fill(read)]
    .map(forever)
  await busy
  const exit = service.terminate()
  await Promise.all(clients)
  t.equal(await exit, 0)
  t.equal(last.count, answered)
  t.equal(last.closing, turnedAway)
  t.ok(answered >= 1000)
})

/** Does it again and again, until it fails because there is nobody any more. */
async function forever (act: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      await act()
    } catch (error) {
      const { code } = ((error as Error).cause ?? error) as NodeJS.ErrnoException
      if (code === 'ECONNREFUSED') return
      if (code !== 'ECONNRESET' && code !== 'EPIPE' && code !== 'UND_ERR_SOCKET') throw error
    }
  }
}
