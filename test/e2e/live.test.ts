import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { Options } from '../..'
import { missing, noPrometheus, Program, startEach, startExample, until, withEach } from './programs'
import { familyOf, observe } from '../helpers/histogram'
import latency from '../../lib'
import { openPage, startBrowser } from './browser'
import { copied, isLive, live, number, row, send, shows, state } from './live-page'

const skip = missing('chromium')

/** An application with the plugin as it was built, which has the modules that browsers get. */
async function startApplication (
  t: Test, options: Options, declare: (app: FastifyInstance) => void
): Promise<{ app: FastifyInstance, address: string }> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(latency, { server: { host: '127.0.0.1', port: 0 }, ...options })
  declare(app)
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  await app.latency.start()
  return { app, address }
}

t.test('the numbers on the page are those of histogram_quantile in Prometheus for the same requests', {
  skip: skip || noPrometheus()
}, async t => {
  const browser = await startBrowser(t)
  for (const [name, metric, paths] of [
    ['hello-world', 'hello_world_latency_seconds', ['/']],
    ['routes', 'http_request_duration_seconds', ['/', '/users/1', '/users/bob', '/v2/users/1', '/nowhere']]
  ] as const) {
    const { address, metrics } = await startExample(t, name)
    // Every series is there before Prometheus and the page see the first of them: neither counts what was before.
    for (const path of paths) await send(2, new URL(path, address).href)
    const started = await startEach(t,
      'global: { scrape_interval: 1s }\n' +
      `scrape_configs: [{ job_name: x, static_configs: [{ targets: ['${new URL(metrics).host}'] }] }]\n`)
    const scraped = await Promise.all(started.map(async prometheus => ({
      prometheus,
      before: await until(`a first scrape by ${prometheus.name}`, () => prometheus.value(`timestamp(${metric}_count)`))
    })))
    const { page, complaints } = await openPage(browser, live(metrics))
    await page.getByRole('radio', { name: '5 min' }).check()
    await isLive(page)

    for (const path of paths) await send(200, new URL(path, address).href)
    await shows(page, 'all requests', async () =>
      (await page.locator('#rate small').innerText()) === `${(200 * paths.length).toLocaleString('en')} in all`)
    for (const { prometheus, before } of scraped) {
      await t.test(`${name}: ${prometheus.name}`, async t => {
        const grown = `(${metric}_bucket - ${metric}_bucket @ ${before})`
        await until('all requests in Prometheus', async () =>
          await prometheus.value(`sum(${metric}_count - ${metric}_count @ ${before})`) === 200 * paths.length)
        for (const [id, q] of [['p50', 0.5], ['p90', 0.9], ['p99', 0.99]] as const) {
          t.equal(await number(page, id), await prometheus.value(`histogram_quantile(${q}, sum by (le) ${grown})`), id)
        }
        if (name === 'routes') {
          const { p99 } = (await row(page, '/users/:id', 'GET'))!
          const value = (await prometheus.value(`histogram_quantile(0.99, sum by (le) (${grown.slice(1, -1)} and ` +
            `${metric}_bucket{route="/users/:id"}))`))!
          t.equal(p99, `${(value * 1000).toPrecision(3)} ms`)
        }
      })
    }
    if (name === 'hello-world') {
      t.match(await row(page, 'all requests'), { p50: await page.locator('#p50 data').innerText() })
    }
    t.same(complaints, [])
  }
})

t.test('it moves, and tells routes apart', { skip }, async t => {
  const { address, metrics } = await startExample(t, 'routes')
  const { page, complaints } = await openPage(await startBrowser(t), live(metrics))
  await isLive(page)
  t.ok(await page.getByText('No requests yet').isVisible())
  t.match(await page.title(), 'Latency')

  await send(10, `${address}/users/1`)
  await shows(page, 'ten requests', async () => (await page.locator('#rate small').innerText()) === '10 in all')
  t.equal((await row(page, '/users/:id'))!.Method, 'GET')
  await send(5, `${address}/orders`, { method: 'POST' })
  await shows(page, 'the other route', async () => await row(page, '/orders', 'POST') !== undefined)

  t.same(await page.locator('#routes thead th').allInnerTexts(), [
    'Route', 'Method', 'Requests', 'Time in total', 'Mean', 'p50', 'p90', 'p99', 'Loop busy', '3xx', '4xx', '5xx',
    'Aborted', 'Open', 'Oldest'
  ])
  await shows(page, 'something in the heat map', async () => /[1-9]/.test(await page.locator('#heat data').innerText()))
  t.match(await page.locator('.notes').innerText(), /Quantiles are estimates/)
  t.match(await page.locator('#p50 small').innerText(), /^bucket .* to .* ms$/)
  t.same(complaints, [])
})

t.test('the charts are of the row that is chosen, by a click or the keyboard, and of all again', { skip }, async t => {
  const { address, metrics } = await startExample(t, 'routes')
  await send(1, `${address}/users/1`)
  await send(1, `${address}/orders`, { method: 'POST' })
  const { page, complaints } = await openPage(await startBrowser(t), live(metrics))
  await isLive(page)
  await send(20, `${address}/users/1`)
  await send(6, `${address}/orders`, { method: 'POST' })
  await shows(page, 'all requests', async () => (await page.locator('#rate small').innerText()) === '26 in all')
  await page.locator('#pause').click()
  const { p50, p90, p99 } = (await row(page, '/orders', 'POST'))!

  /** What the last point says of the last 10 seconds. */
  const last = async (): Promise<string[]> =>
    Promise.all(['p50', 'p90', 'p99'].map(key => page.locator(`[data-key=${key}] b`).innerText()))
  const chosen = page.locator('#chosen')
  const orders = page.getByRole('button', { name: '/orders' })
  const all = await last()
  await page.getByRole('cell', { name: 'POST' }).click()
  t.equal(await chosen.innerText(), 'POST /orders only')
  t.equal(await orders.getAttribute('aria-pressed'), 'true')
  t.same(await last(), [p50, p90, p99])
  t.notSame(await last(), all)
  t.equal(await page.locator('#rate small').innerText(), '6 in all')

  for (const [key, text] of [
    ['Enter', 'All requests'], ['Space', 'POST /orders only'], ['Escape', 'All requests']
  ] as const) {
    await orders.focus()
    await page.keyboard.press(key)
    t.equal(await chosen.innerText(), text, key)
  }
  t.same(await last(), all)

  // Escape shows all requests wherever the focus is, and so does a button.
  await orders.click()
  await page.locator('#filter').focus()
  await page.keyboard.press('Escape')
  t.equal(await chosen.innerText(), 'All requests')
  await orders.click()
  await page.getByRole('button', { name: 'Show all requests' }).click()
  t.equal(await chosen.innerText(), 'All requests')
  t.equal(await orders.getAttribute('aria-pressed'), 'false')
  t.same(complaints, [])
})

t.test('it can be used with the keyboard alone', { skip }, async t => {
  const { address, metrics } = await startExample(t, 'routes')
  const { page, complaints } = await openPage(await startBrowser(t), live(metrics))
  await isLive(page)
  await send(20, `${address}/users/1`)
  await send(5, `${address}/orders`, { method: 'POST' })
  await shows(page, 'both routes', async () => await page.locator('#routes tbody tr').count() === 2)

  const reached: string[] = []
  for (let tabs = 0; tabs < 60; tabs++) {
    await page.keyboard.press('Tab')
    reached.push(await page.evaluate('document.activeElement.id || document.activeElement.closest("[id]")?.id || ' +
      'document.activeElement.className') as string)
  }
  for (const id of ['pause', 'window', 'heat', 'quantiles', 'rates', 'failures', 'loop', 'filter', 'routes']) {
    t.ok(reached.includes(id), `Tab reaches ${id}`)
  }

  await page.getByRole('radio', { name: '1 min' }).focus()
  await page.keyboard.press('ArrowRight')
  await shows(page, 'another time', async () => (await page.locator('#routes-name').innerText()).endsWith('5 min'))

  const plot = page.locator('#quantiles .plot')
  await shows(page, 'three points', async () => Number(await plot.getAttribute('aria-valuemax')) >= 2)
  await page.locator('#pause').focus()
  await page.keyboard.press('Space')
  t.match(await state(page), /^Paused at/)
  t.equal(await page.locator('#pause').getAttribute('aria-pressed'), 'true')
  const pausedAt = await state(page)
  // The answers go on, and what is shown does not.
  for (let answers = 0; answers < 3; answers++) await page.waitForResponse(/live\/data/)
  t.equal(await state(page), pausedAt)

  await plot.focus()
  await page.keyboard.press('Home')
  t.equal(await plot.getAttribute('aria-valuenow'), '0')
  const first = await plot.getAttribute('aria-valuetext')
  await page.keyboard.press('ArrowRight')
  t.equal(await plot.getAttribute('aria-valuenow'), '1')
  t.not(await plot.getAttribute('aria-valuetext'), first)
  t.match(first, /requests per second, p50 /)

  const routes = page.locator('#routes tbody th button')
  t.same(await routes.allTextContents(), ['/orders', '/users/:id'])
  await page.getByRole('button', { name: 'Requests', exact: true }).focus()
  await page.keyboard.press('Enter')
  t.same(await routes.allTextContents(), ['/users/:id', '/orders'])
  t.same(complaints, [])
})

t.test('it fits a phone, and follows light and dark', { skip }, async t => {
  const { address, metrics } = await startExample(t, 'routes')
  const { page, complaints } = await openPage(await startBrowser(t), live(metrics), {
    viewport: { width: 390, height: 844 }, isMobile: true
  })
  await send(5, `${address}/users/1`)
  await shows(page, 'the route', async () => await row(page, '/users/:id') !== undefined)
  t.equal(await page.evaluate('document.documentElement.scrollWidth'), 390)
  // Every number of a row is within the screen, and named.
  for (const cell of await page.locator('#routes tbody td:visible').all()) {
    const { x, width } = (await cell.boundingBox())!
    t.ok(x >= 0 && x + width <= 390, await cell.innerText())
  }
  const background = (): Promise<unknown> => page.evaluate('getComputedStyle(document.body).backgroundColor')
  const pixel = (): Promise<unknown> => page.evaluate('document.querySelector("#quantiles canvas").toDataURL()')
  await page.emulateMedia({ colorScheme: 'light' })
  const light = [await background(), await pixel()]
  await page.emulateMedia({ colorScheme: 'dark' })
  t.not(await background(), light[0])
  await shows(page, 'charts in other colours', async () => await pixel() !== light[1])
  t.same(complaints, [])
})

t.test('it fits every window, and 60 routes with long names', { skip }, async t => {
  const { app } = await startApplication(t, { busyTime: true }, app => {
    for (let index = 0; index < 60; index++) app.get(`/organizations/:organization/bills-${index}/:id`, async () => 'x')
  })
  for (let index = 0; index < 60; index++) await app.inject(`/organizations/acme/bills-${index}/1`)
  const browser = await startBrowser(t)
  for (const width of [390, 768, 1024, 1280, 1440, 2560]) {
    const { page } = await openPage(browser, `${live(app.latency.url!)}#window=start`, {
      viewport: { width, height: 900 }
    })
    await isLive(page)
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), width)
    const names = page.locator('#routes tbody th button')
    t.equal(await names.count(), 60)
    // What is cut off is wider than its box.
    const cutOff = await page.evaluate(`[...document.querySelectorAll('#routes tbody th button, dt, dt span')]
      .filter(one => one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1).map(one => one.innerText)`)
    t.same(cutOff, [], String(width))
    // From here on, every column is seen.
    const hidden = await page.locator('.scroll').evaluate(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)
    if (width >= 1280) t.equal(hidden, 0, String(width))
    // A picture of all of the page, or a printed one, has the rows that are not on the screen.
    const visibility = await page.locator('#routes tbody tr').last().evaluate(row =>
      row.ownerDocument.defaultView!.getComputedStyle(row).contentVisibility)
    t.equal(visibility, 'visible')
    await page.close()
  }
})

t.test('what changes once a second moves nothing else', { skip }, async t => {
  const { address, metrics } = await startExample(t, 'routes')
  await send(5, `${address}/users/1`)
  const { page } = await openPage(await startBrowser(t), live(metrics))
  await shows(page, 'the route', async () => await row(page, '/users/:id') !== undefined)
  await page.evaluate('window.moved = []; new PerformanceObserver(list => { ' +
    'window.moved = window.moved.concat(list.getEntries().flatMap(entry => ' +
    'entry.sources.map(({ node }) => (node?.parentElement ?? node)?.outerHTML))) ' +
    '}).observe({ type: "layout-shift" })')
  await send(300, `${address}/users/1`)
  await shows(page, 'all requests', async () => (await page.locator('#rate small').innerText()) === '300 in all')
  t.same(await page.evaluate('window.moved'), [])
})

t.test('a server that is gone is missed, and welcome when it is back, with its counts from 0', { skip }, async t => {
  const browser = await startBrowser(t)
  const { example, address, metrics } = await startExample(t, 'hello-world')
  await send(10, address)
  const { page } = await openPage(browser, live(metrics))
  await isLive(page)
  await example.stop('SIGKILL')
  await shows(page, 'that there is no answer', async () => /^No answer since .*; asking again/.test(await state(page)))

  const again = new Program(t, process.execPath, ['dist/example/hello-world.js'], {
    env: { ...process.env, PORT: new URL(address).port, METRICS_PORT: new URL(metrics).port }
  })
  await again.printed(/http:\S+\/metrics/)
  await send(3, address)
  await shows(
    page, 'what the new one has counted', async () => (await page.locator('#rate small').innerText()) === '3 in all'
  )
  t.equal(await page.locator('#state').getAttribute('data-state'), 'live')
  await page.getByRole('radio', { name: 'Since start' }).check()
  t.equal(await page.locator('#rate small').innerText(), '3 in all')
})

t.test('a page that nobody sees asks for nothing', { skip }, async t => {
  const { metrics } = await startExample(t, 'hello-world')
  const { page } = await openPage(await startBrowser(t), live(metrics))
  await isLive(page)
  let asked = 0
  page.on('request', () => { asked++ })
  await page.evaluate('Object.defineProperty(document, "hidden", { value: true, configurable: true })')
  // One question may have been on its way. After it none come, for three times the interval.
  await page.waitForTimeout(1500)
  asked = 0
  await page.waitForTimeout(3000)
  t.equal(asked, 0)
  await page.evaluate('delete document.hidden; document.dispatchEvent(new Event("visibilitychange"))')
  await shows(page, 'a question', async () => asked > 0)
})

t.test('it knows errors, the aborted, the rejected and those in flight, whatever the labels are called', {
  skip
}, async t => {
  let reached = (): void => {}
  const { app, address } = await startApplication(t, {
    labels: { verb: 'method', where: 'route', class: 'status_class' }
  }, app => {
    app.get('/fails', async () => { throw new Error('not today') })
    app.get('/never', () => { reached() })
  })
  const { page, complaints } = await openPage(await startBrowser(t), live(app.latency.url!))
  await isLive(page)
  await send(3, `${address}/fails`)
  await send(1, `${address}/%`)
  const never = [0, 1].map(() => request(`${address}/never`).on('error', () => {}))
  for (const one of never) {
    await new Promise<void>(resolve => {
      reached = resolve
      one.end()
    })
  }
  never[0]!.destroy()
  await shows(page, 'all of it', async () =>
    (await Promise.all(['status-5', 'aborted', 'rejected', 'in-flight'].map(id => number(page, id)))).join() ===
      '3,1,1,1')
  t.equal(await page.locator('#status-5 small').innerText(), '75 %; 5xx: 3')
  t.equal(await page.locator('#aborted small').innerText(), '25 %; before reply: 1')
  t.equal(await page.locator('#rejected small').innerText(), 'bad url: 1')
  t.match(await row(page, '/fails'), { '5xx': '3', Aborted: '0', Open: '0' })
  t.match(await row(page, '/never'), { '4xx': '1', Aborted: '1', Open: '1' })
  never[1]!.destroy()
  await shows(page, 'the end of the last', async () => {
    const never = await row(page, '/never')
    return never?.Aborted === '2' && never.Open === '0'
  })
  t.same(complaints, [])
})

t.test('it shows what requests waited beside what they took, and which routes the event loop was busy for', {
  skip
}, async t => {
  const beBusy = (): void => { for (const end = performance.now() + 50; performance.now() < end;); }
  const { app, address } = await startApplication(t, { queueTime: true, busyTime: true }, app => {
    app.get('/computes', async () => {
      beBusy()
      return 'x'
    })
    app.get('/waits', async () => sleep(300, 'x'))
  })
  const { page, complaints } = await openPage(await startBrowser(t), live(app.latency.url!))
  await isLive(page)
  // All but the first wait for the others.
  await Promise.all(Array.from({ length: 8 }, async () => send(1, `${address}/computes`)))
  await send(1, `${address}/waits`)
  await shows(page, 'the requests', async () => (await page.locator('#rate small').innerText()) === '9 in all')
  t.ok(await number(page, 'waited') > 0.05, `${await number(page, 'waited')} s`)
  t.match(await page.locator('#waited small').innerText(), /^p99 .* m?s$/)
  t.ok(parseFloat((await row(page, '/computes'))!['Loop busy']!) > 90)
  t.ok(parseFloat((await row(page, '/waits'))!['Loop busy']!) < 30)
  t.match(await copied(page, 'waited'), 'sum(rate(http_request_queue_seconds_sum[60s]))')
  t.same(complaints, [])
})

t.test('of several histograms it shows the one that is chosen', { skip }, async t => {
  const { app, address } = await startApplication(
    t,
    { timeToFirstByte: { name: 'first_byte_seconds', buckets: [3, 7] }, inFlight: false },
    app => { app.get('/', async () => 'x') }
  )
  await app.inject('/')
  const { page, complaints } = await openPage(await startBrowser(t), live(app.latency.url!))
  await isLive(page)
  t.equal(await page.locator('#in-flight').count(), 0)
  await page.locator('#histogram').selectOption('first_byte_seconds')
  await isLive(page)
  await send(10, address)
  await shows(page, 'ten requests', async () => (await page.locator('#rate small').innerText()) === '10 in all')
  t.equal(await page.locator('#p50 small').innerText(), 'bucket 0 to 3 s')
  t.equal(await number(page, 'p50'), 1.5)
  t.same(complaints, [])
})

t.test('with a password the browser asks once; when it is refused later, the page says so and stops asking', {
  skip
}, async t => {
  const { app } = await startApplication(t, {
    server: { host: '127.0.0.1', port: 0, auth: { users: { somebody: 'hunter2' } } }
  }, app => {
    let refuse = false
    app.latency.server!.addHook('onRequest', async (request, reply) => {
      if (request.url === '/refuse') refuse = true
      else if (refuse) await reply.code(401).send('No')
    })
    app.latency.server!.get('/refuse', async () => 'From now on')
  })
  const headers = { authorization: `Basic ${Buffer.from('somebody:hunter2').toString('base64')}` }
  const { page, complaints } = await openPage(await startBrowser(t), live(app.latency.url!), {
    httpCredentials: { username: 'somebody', password: 'hunter2' }
  })
  await isLive(page)
  t.same(complaints.filter(complaint => !complaint.includes('401')), [])
  t.equal((await fetch(new URL('/refuse', app.latency.url!), { headers })).status, 200)
  await shows(page, 'that it is refused',
    async () => (await state(page)).startsWith('Refused with status 401: reload this page to sign in'))
  let asked = 0
  page.on('request', () => { asked++ })
  await page.waitForTimeout(2500)
  t.equal(asked, 0)
})

t.test('it says so while the application does not turn, and marks the time afterwards', { skip }, async t => {
  const { app, address } = await startApplication(t, {}, app => {
    app.get('/', async () => 'x')
    app.get('/slow', async () => 'x')
  })
  const { page, complaints } = await openPage(await startBrowser(t), live(app.latency.url!))
  await isLive(page)
  await send(5, address)
  await shows(page, 'five requests', async () => (await page.locator('#rate small').innerText()) === '5 in all')
  // The application runs in the process of this test, which therefore cannot look at the page meanwhile.
  await page.evaluate(`(() => {
    window.seen = []
    new MutationObserver(() => window.seen.push(document.querySelector('#state').innerText))
      .observe(document.querySelector('#state'), { subtree: true, characterData: true, childList: true })
  })()`)
  const waiting = fetch(`${address}/slow`)
  await new Promise(resolve => setImmediate(resolve))
  const end = performance.now() + 4000
  while (performance.now() < end);
  await (await waiting).text()
  await shows(page, 'the stall', async () => /did not turn for [34]\.\d\d s until/.test(await state(page)))
  const seen = await page.evaluate('window.seen') as string[]
  t.ok(seen.some(text => /^No answer: the application does not turn, or cannot be reached for \d s$/.test(text)), seen.join('; '))
  await shows(page, 'the request after it', async () => (await page.locator('#rate small').innerText()) === '6 in all')
  t.match(await page.locator('#loop-busy small').innerText(), /; stall [34]/)
  // The last points of the charts know the time before, the stall, and what came after.
  const plot = page.locator('#loop .plot')
  await plot.focus()
  const texts: string[] = []
  await page.keyboard.press('End')
  for (let index = 0; index < 6; index++) {
    texts.push((await plot.getAttribute('aria-valuetext'))!)
    await page.keyboard.press('ArrowLeft')
  }
  t.ok(texts.some(text => /stalled for [34]/.test(text)), texts.join('; '))
  t.same(complaints, [])
})

t.test('what was before the page was opened is known since the start, and a second page knows all of the first', {
  skip
}, async t => {
  const { app, address } = await startApplication(t, {}, app => {
    app.get('/fails', async () => { throw new Error('not today') })
    app.get('/', async () => 'x')
  })
  await send(300, `${address}/fails`)
  const browser = await startBrowser(t)
  const { page } = await openPage(browser, live(app.latency.url!))
  await isLive(page)
  t.equal(await number(page, 'status-5'), 0)
  await page.getByRole('radio', { name: 'Since start' }).check()
  t.equal(await number(page, 'status-5'), 300)
  await send(7, address)
  await shows(page, 'the others', async () => await number(page, 'status-2') === 7)
  await page.getByRole('radio', { name: '1 min' }).check()
  const { page: other, complaints } = await openPage(browser, page.url())
  await shows(other, 'what the first has seen', async () => await number(other, 'status-2') === 7)
  await page.reload()
  await shows(page, 'what it has seen before', async () => await number(page, 'status-2') === 7)
  t.same(complaints, [])
})

t.test('a storm of 401 and 429 is seen, in the numbers, in the table and in the chart', { skip }, async t => {
  const { app, address } = await startApplication(t, {}, app => {
    app.get('/login', async (_request, reply) => reply.code(401).send('No'))
    app.get('/limited', async (_request, reply) => reply.code(429).send('No'))
  })
  const { page } = await openPage(await startBrowser(t), live(app.latency.url!))
  await isLive(page)
  await send(100, `${address}/login`)
  await send(50, `${address}/limited`)
  await shows(page, 'all of it', async () => await number(page, 'status-4') === 150)
  t.equal(await page.locator('#status-4 small').innerText(), '100 %; 401: 100, 429: 50')
  t.match(await row(page, '/login'), { '4xx': '100', '5xx': '0' })
  t.match(await row(page, '/limited'), { '4xx': '50' })
})

t.test('the table finds a row: by any column, by a text, by its number, and with 500 routes', { skip }, async t => {
  const { app, address } = await startApplication(t, { histogram: { buckets: [0.001, 10] } }, app => {
    for (let index = 0; index < 500; index++) app.get(`/route-${index}`, async () => 'x')
    app.get('/route-7/slow', async () => new Promise(resolve => setTimeout(() => resolve('x'), 500)))
  })
  for (let index = 0; index < 500; index++) await app.inject(`/route-${index}`)
  await send(1, `${address}/route-7/slow`)
  const { page, complaints } = await openPage(await startBrowser(t), live(app.latency.url!))
  await isLive(page)
  await page.getByRole('radio', { name: 'Since start' }).check()
  const routes = page.locator('#routes tbody th button')
  await shows(page, 'rows', async () => await routes.count() === 100)
  t.equal(await routes.first().textContent(), '/route-7/slow')
  t.match(await row(page, '/route-7/slow'), { Requests: '1', p99: /^9/ })
  t.equal(await page.locator('#routes tbody tr').first().locator('td.p99 small').textContent(), '1 ms to 10 s')
  await page.getByRole('columnheader', { name: 'Route' }).getByRole('button').click()
  t.same((await routes.allTextContents()).slice(0, 4), ['/route-0', '/route-1', '/route-2', '/route-3'])
  await page.locator('#filter').fill('get ROUTE-49')
  t.equal(await routes.count(), 11)
  await page.locator('#filter').fill('nothing like that')
  t.match(await page.locator('#empty').innerText(), 'No route or method has this text')
  await page.locator('#filter').fill('')
  await page.getByRole('button', { name: 'Show all 501 rows' }).click()
  t.equal(await routes.count(), 501)
  // What it takes to show an answer, with all rows.
  const longest = await page.evaluate(`new Promise(resolve => {
    let [longest, last, frames] = [0, performance.now(), 0]
    const step = now => {
      longest = Math.max(longest, now - last)
      last = now
      if (++frames < 150) requestAnimationFrame(step)
      else resolve(longest)
    }
    requestAnimationFrame(step)
  })`) as number
  t.comment(`longest frame with 501 rows: ${longest.toFixed(0)} ms`)
  t.same(complaints, [])
})

t.test('an address shows the page as it was: window, order, filter and row', { skip }, async t => {
  const { app, address } = await startApplication(t, {}, app => {
    app.get('/a/:id', async () => 'x')
    app.post('/a/:id', async () => 'x')
    app.get('/b', async () => 'x')
  })
  for (const path of ['/a/1', '/b']) await send(3, address + path)
  await send(2, `${address}/a/1`, { method: 'POST' })
  const browser = await startBrowser(t)
  const { page } = await openPage(browser, live(app.latency.url!))
  await isLive(page)
  await page.getByRole('radio', { name: 'Since start' }).check()
  await page.locator('#filter').fill('/a')
  await page.getByRole('columnheader', { name: 'Requests' }).getByRole('button').click()
  await page.getByRole('cell', { name: 'POST' }).click()
  t.match(page.url(), /#window=start&sort=requests\+descending&filter=%2Fa&method=POST&route=%2Fa%2F%3Aid$/)
  const { page: other } = await openPage(browser, page.url())
  await shows(other, 'the row', async () => (await other.locator('#chosen').innerText()) === 'POST /a/:id only')
  await shows(other, 'its requests', async () => (await other.locator('#rate small').innerText()) === '2 in all')
  t.equal(await other.locator('#filter').inputValue(), '/a')
  t.equal(await other.locator('#routes tbody tr').count(), 2)
  t.equal(await other.getByRole('columnheader', { name: 'Requests' }).getAttribute('aria-sort'), 'descending')
})

t.test('what is copied gives the same numbers in Prometheus', { skip: skip || noPrometheus() }, async t => {
  const { app, address } = await startApplication(t, {}, app => {
    app.get('/a', async () => 'x')
    app.get('/fails', async () => { throw new Error('not today') })
    app.get('/login', async (_request, reply) => reply.code(401).send('No'))
  })
  await send(20, `${address}/a`)
  for (const path of ['/fails', '/login', '/nowhere', '/%']) await send(3, address + path)
  const [prometheus] = await startEach(t, 'global: { scrape_interval: 1s }\n' +
    `scrape_configs: [{ job_name: x, static_configs: [{ targets: ['${new URL(app.latency.url!).host}'] }] }]\n`)
  const { page, complaints } = await openPage(await startBrowser(t), live(app.latency.url!))
  await isLive(page)
  await page.getByRole('radio', { name: 'Since start' }).check()
  for (const id of ['mean', 'p50', 'p90', 'p99', 'status-2', 'status-4', 'status-5', 'aborted', 'rejected']) {
    const query = await copied(page, id)
    const shown = await number(page, id)
    const value = await until('the answer of Prometheus', async () =>
      await prometheus!.value(query) ?? (shown === 0 ? 0 : undefined))
    t.ok(Math.abs(value - shown) <= 1e-9 * Math.abs(shown), `${id}: ${query} is ${value}, shown is ${shown}`)
  }
  await page.getByRole('button', { name: '/login' }).click()
  t.equal(await prometheus!.value(await copied(page, 'status-4')), 3)
  t.same(complaints, [])
})

t.test('what it shows can be saved as JSON and as a picture', { skip }, async t => {
  const { app, address } = await startApplication(t, {}, app => { app.get('/a', async () => 'x') })
  await send(4, `${address}/a`)
  const { page, complaints } = await openPage(await startBrowser(t), live(app.latency.url!))
  await isLive(page)
  await page.getByRole('radio', { name: 'Since start' }).check()
  const save = async (name: string): Promise<Buffer> => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name }).click()])
    return readFileSync(await download.path())
  }
  const json = JSON.parse(String(await save('Save JSON')))
  t.match(json, {
    histogram: { name: 'http_request_duration_seconds' },
    rows: [{ method: 'GET', route: '/a', counts: { statuses: { 200: 4 } } }],
    slowest: [],
    promql: { 'status-2': 'sum(http_request_duration_seconds_count{status_code=~"2.*"})' }
  })
  t.equal((await save('Save PNG')).subarray(1, 4).toString(), 'PNG')
  t.same(complaints, [])
})

t.test('an objective shows how fast its budget is used up, as the alerts have it', { skip }, async t => {
  const { app, address } = await startApplication(t, {
    server: { host: '127.0.0.1', port: 0, live: { objective: { latency: 0.005, share: 0.9 } } },
    histogram: { buckets: [0.005, 1] }
  }, app => {
    app.get('/slow', async () => new Promise(resolve => setTimeout(() => resolve('x'), 30)))
  })
  await send(10, `${address}/slow`)
  const { page, complaints } = await openPage(await startBrowser(t), live(app.latency.url!))
  await shows(page, 'the budget', async () => (await page.locator('#burn-300 data').innerText()) === '10.0 ×')
  t.equal(await page.locator('#budget data').innerText(), 'used up')
  t.equal(await page.locator('#burn-3600 small').innerText().then(text => text.split(' slow')[0]), '10 of 10')
  t.match(await copied(page, 'burn-300'), '(1 - sum(rate(http_request_duration_seconds_bucket{le="0.005"}[300s]))')
  t.equal(await copied(page, 'late'), 'sum(http_requests_in_flight and http_request_oldest_seconds > 0.005)')
  t.equal(await page.locator('#late data').innerText(), '0')
  t.not(await page.locator('#unchanged').innerText(), 'nothing beyond chance')

  // On a phone, what tells of trouble comes before the charts.
  await page.setViewportSize({ width: 390, height: 844 })
  const tops = await Promise.all(['#loop-line', '#objective', '#quantiles'].map(async selector =>
    (await page.locator(selector).boundingBox())!.y))
  t.same(tops, [...tops].sort((a, b) => a - b))
  t.same(complaints, [])
})

t.test('quantiles of native buckets are those of Prometheus 3, ' +
  'of series of different resolution too', { skip }, withEach(['prometheus'], async (t, installation) => {
  const { app } = await startApplication(t, {
    histogram: { native: { maxBuckets: 20 } }, labels: { route: 'route' }
  }, () => {})
  const family = familyOf(app)
  for (let index = 0; index < 1000; index++) {
    observe(family, ['/wide'], 0.001 * 1.009 ** index)
    observe(family, ['/narrow'], 0.02 + 0.00001 * index)
  }
  const prometheus = await installation.start(t, 'global: { scrape_interval: 1s }\n' +
    `scrape_configs: [{ job_name: x, static_configs: [{ targets: ['${new URL(app.latency.url!).host}'] }] }]\n`,
  ['native-histograms'])
  await until('all observations', async () =>
    await prometheus.value('sum(histogram_count(http_request_duration_seconds))') === 2000)
  const { page, complaints } = await openPage(await startBrowser(t), `${live(app.latency.url!)}#window=start`)
  await isLive(page)
  for (const route of [undefined, '/wide', '/narrow']) {
    if (route !== undefined) await page.getByRole('button', { name: route, exact: true }).click()
    for (const id of ['p50', 'p90', 'p99']) {
      const value = await prometheus.value(await copied(page, id))
      t.ok(Math.abs(await number(page, id) / value! - 1) < 1e-9, `${route ?? 'all'} ${id}: ${value}`)
    }
    if (route !== undefined) await page.keyboard.press('Escape')
  }
  t.same(complaints, [])
}, [3, 0]))

t.test('with native buckets and exemplars it says how exact it is, which buckets would be better, and what was slow', {
  skip
}, async t => {
  const times: number[] = []
  const { app, address } = await startApplication(t, {
    server: { host: '127.0.0.1', port: 0, live: { traceUrl: 'http://127.0.0.1:1/trace/{trace_id}' } },
    histogram: { native: true },
    exemplars: request => ({ trace_id: request.headers['x-trace'] as string, user: '<b>"Bob"</b>' })
  }, app => {
    app.addHook('onResponse', async (_request, reply) => { times.push(reply.elapsedTime / 1000) })
    app.get<{ Params: { ms: string } }>('/:ms', async request =>
      new Promise(resolve => setTimeout(() => resolve('x'), Number(request.params.ms))))
  })
  const { page, complaints } = await openPage(await startBrowser(t), live(app.latency.url!))
  await isLive(page)
  t.equal(await page.locator('#buckets').isVisible(), false)
  t.match(await page.locator('#slowest').innerText(), 'None yet')
  for (let index = 0; index < 100; index++) {
    const ms = index < 60 ? 30 : index < 95 ? 70 : 160
    await send(1, `${address}/${ms}`, { headers: { 'x-trace': `/${index}?` } })
  }
  await shows(page, 'all requests', async () => (await page.locator('#rate small').innerText()) === '100 in all')
  await page.locator('#pause').click()
  times.sort((a, b) => a - b)
  for (const [id, q] of [['p50', 0.5], ['p90', 0.9], ['p99', 0.99]] as const) {
    const real = times[Math.ceil(q * 100) - 1]!
    const note = await page.locator(`#${id} small`).innerText()
    const [, error] = /^bucket .* ms ± ([\d.]+) %$/.exec(note)!
    // The most is 2 ** (1 / 8) - 1, which is 9.05 %.
    t.ok(Number(error) <= 9.1, note)
    const value = await number(page, id)
    // The clock of the hook stops a little earlier than that of the histogram.
    t.ok(Math.abs(value / real - 1) < Number(error) / 100 + 0.02, `${id}: ${value}, ${real}`)
    t.match(await page.locator(`[data-key=${id}] b`).innerText(), /ms ± [\d.]+ %$/)
    const classic = await number(page, `classic-${id}`)
    t.match(await page.locator(`#classic-${id} small`).innerText(), classic < value ? /^off by −/ : /^off by \+/)
  }
  t.match((await row(page, '/:ms'))!.p99, await page.locator('#p99 data').innerText())
  t.match(await copied(page, 'p99'), 'histogram_quantile(0.99, sum(rate(http_request_duration_seconds[60s]))) or ')
  const option = await page.locator('#buckets code').innerText()
  t.match(option, /^histogram: \{ buckets: \[[\d., ]+\] \}$/)
  await page.getByRole('button', { name: 'Copy as an option' }).click()
  await shows(page, 'the copy', async () => (await page.locator('#done').textContent()) === 'Copied the buckets')

  const [slowest] = await page.locator('#slowest li').all()
  t.match(await slowest!.innerText(), /\d (?:AM|PM)?\s*\d[\d.]+ m?s\s*GET\s*\/:ms\s*\/9[5-9]\?$/)
  const link = slowest!.getByRole('link')
  t.match(await link.getAttribute('href'), /^http:\/\/127\.0\.0\.1:1\/trace\/%2F9[5-9]%3F$/)
  t.equal(await link.getAttribute('rel'), 'noreferrer')
  t.same(complaints, [])
})

t.test('axe finds nothing to object to, in light and dark, wide and narrow', { skip }, async t => {
  const { app, address } = await startApplication(t, {
    server: {
      host: '127.0.0.1', port: 0, live: { objective: { latency: 0.25, share: 0.9 }, traceUrl: 'http://127.0.0.1/{trace_id}' }
    },
    histogram: { native: true },
    exemplars: () => ({ trace_id: 'x' })
  }, app => {
    app.get('/a', async () => 'x')
    app.get('/fails', async () => { throw new Error('not today') })
    app.get('/login', async (_request, reply) => reply.code(401).send('No'))
  })
  for (const path of ['/a', '/fails', '/login', '/%']) await send(2, address + path)
  const browser = await startBrowser(t)
  const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const width of [390, 1280]) {
      const { page } = await openPage(browser, `${live(app.latency.url!)}#window=start`, {
        colorScheme, viewport: { width, height: 900 }
      })
      await isLive(page)
      await page.evaluate(axe)
      const violations = await page.evaluate('axe.run().then(({ violations }) => JSON.stringify(violations))')
      t.equal(violations, '[]', `${colorScheme} ${width}`)
      await page.close()
    }
  }
})
