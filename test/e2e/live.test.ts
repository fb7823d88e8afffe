import { request } from 'node:http'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import type { Options } from '../..'
import { missing, noPrometheus, Program, startEach, startExample, until } from './programs'
import latency from '../../lib'
import { openPage, startBrowser } from './browser'

const skip = missing('chromium')

const live = (metrics: string): string => new URL('/live', metrics).href

async function number (page: Page, id: string): Promise<number> {
  return Number(await page.locator(`#${id} data`).getAttribute('value'))
}

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

/** Waits for the page to show something. */
async function shows (page: Page, what: string, check: () => Promise<boolean>): Promise<void> {
  try {
    await until(what, check)
  } catch (error) {
    throw new Error(`${(error as Error).message}; the page shows: ${await page.locator('body').innerText()}`)
  }
}

async function send (requests: number, address: string, options?: RequestInit): Promise<void> {
  for (let index = 0; index < requests; index++) await (await fetch(address, options)).text()
}

/** The cells of the row that begins with these. */
async function row (page: Page, ...beginning: string[]): Promise<string[]> {
  const rows = (await page.locator('#routes tbody tr').all()).map(row => row.locator('th, td').allInnerTexts())
  return (await Promise.all(rows)).find(cells => beginning.every((text, index) => cells[index] === text)) ?? []
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
    await shows(page, 'two answers', async () => await number(page, 'rate') === 0)

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
          const route = await row(page, '/users/:id', 'GET')
          const value = (await prometheus.value(`histogram_quantile(0.99, sum by (le) (${grown.slice(1, -1)} and ` +
            `${metric}_bucket{route="/users/:id"}))`))!
          t.equal(route[5], `${(value * 1000).toPrecision(3)} ms`)
        }
      })
    }
    if (name === 'hello-world') {
      t.match(await row(page, 'all requests'), ['all requests', /^\d/, await page.locator('#p50 data').innerText()])
    }
    t.same(complaints, [])
  }
})

t.test('it moves, and tells routes apart', { skip }, async t => {
  const { address, metrics } = await startExample(t, 'routes')
  const { page, complaints } = await openPage(await startBrowser(t), live(metrics))
  await shows(page, 'an answer', async () => (await page.locator('#state').innerText()).startsWith('Live'))
  t.ok(await page.getByText('No requests yet').isVisible())
  t.match(await page.title(), 'Latency')

  await send(10, `${address}/users/1`)
  await shows(page, 'ten requests', async () => (await page.locator('#rate small').innerText()) === '10 in all')
  t.equal((await row(page, '/users/:id'))[1], 'GET')
  await send(5, `${address}/orders`, { method: 'POST' })
  await shows(page, 'the other route', async () => (await row(page, '/orders', 'POST')).length > 0)

  t.same(await page.locator('#routes thead th').allInnerTexts(), [
    'Route', 'Method', 'Requests/s', 'p50', 'p90', 'p99', 'Errors', 'Aborted', 'In flight'
  ])
  await shows(page, 'something in the heat map', async () => /[1-9]/.test(await page.locator('#heat data').innerText()))
  t.match(await page.locator('#state').innerText(), /^Live/)
  t.match(await page.locator('.notes').innerText(), /Quantiles are estimates/)
  t.match(await page.locator('#p50 small').innerText(), /^bucket .* to .* ms$/)
  t.same(complaints, [])
})

t.test('the charts are of the row that is chosen, by a click or the keyboard, and of all again', { skip }, async t => {
  const { address, metrics } = await startExample(t, 'routes')
  await send(1, `${address}/users/1`)
  await send(1, `${address}/orders`, { method: 'POST' })
  const { page, complaints } = await openPage(await startBrowser(t), live(metrics))
  await shows(page, 'two answers', async () => await number(page, 'rate') === 0)
  await send(20, `${address}/users/1`)
  await send(6, `${address}/orders`, { method: 'POST' })
  await shows(page, 'all requests', async () => (await page.locator('#rate small').innerText()) === '26 in all')
  await page.locator('#pause').click()
  const [, ...quantiles] = (await row(page, '/orders', 'POST')).slice(2, 6)

  /** What the last point says of the last 10 seconds. */
  const last = async (): Promise<string[]> =>
    Promise.all(['p50', 'p90', 'p99'].map(key => page.locator(`[data-key=${key}] b`).innerText()))
  const chosen = page.locator('#chosen')
  const orders = page.getByRole('button', { name: '/orders' })
  const all = await last()
  await page.getByRole('cell', { name: 'POST' }).click()
  t.equal(await chosen.innerText(), 'Charts of POST /orders only')
  t.equal(await orders.getAttribute('aria-pressed'), 'true')
  t.same(await last(), quantiles)
  t.notSame(quantiles, all)
  t.equal(await page.locator('#rate small').innerText(), '26 in all')

  for (const [key, text] of [
    ['Enter', 'Charts of all requests'], ['Space', 'Charts of POST /orders only'], ['Escape', 'Charts of all requests']
  ] as const) {
    await orders.focus()
    await page.keyboard.press(key)
    t.equal(await chosen.innerText(), text, key)
  }
  t.same(await last(), all)
  t.equal(await orders.getAttribute('aria-pressed'), 'false')
  t.same(complaints, [])
})

t.test('it can be used with the keyboard alone', { skip }, async t => {
  const { address, metrics } = await startExample(t, 'routes')
  const { page, complaints } = await openPage(await startBrowser(t), live(metrics))
  await shows(page, 'an answer', async () => (await page.locator('#state').innerText()).startsWith('Live'))
  await send(20, `${address}/users/1`)
  await send(5, `${address}/orders`, { method: 'POST' })
  await shows(page, 'both routes', async () => await page.locator('#routes tbody tr').count() === 2)

  const reached: string[] = []
  for (let tabs = 0; tabs < 20; tabs++) {
    await page.keyboard.press('Tab')
    reached.push(await page.evaluate('document.activeElement.id || document.activeElement.closest("[id]")?.id || ' +
      'document.activeElement.className') as string)
  }
  for (const id of ['pause', 'window', 'heat', 'quantiles', 'rates', 'routes']) {
    t.ok(reached.includes(id), `Tab reaches ${id}`)
  }

  await page.getByRole('radio', { name: '1 min' }).focus()
  await page.keyboard.press('ArrowRight')
  await shows(page, 'another time', async () => (await page.locator('#routes caption').innerText()).endsWith('5 min'))

  const plot = page.locator('#quantiles .plot')
  await shows(page, 'three points', async () => Number(await plot.getAttribute('aria-valuemax')) >= 2)
  await page.locator('#pause').focus()
  await page.keyboard.press('Space')
  t.match(await page.locator('#state').innerText(), /^Paused at/)
  t.equal(await page.locator('#pause').getAttribute('aria-pressed'), 'true')

  await plot.focus()
  await page.keyboard.press('Home')
  t.equal(await plot.getAttribute('aria-valuenow'), '0')
  const first = await plot.getAttribute('aria-valuetext')
  await page.keyboard.press('ArrowRight')
  t.equal(await plot.getAttribute('aria-valuenow'), '1')
  t.not(await plot.getAttribute('aria-valuetext'), first)
  t.match(first, /requests per second, p50 /)

  const routes = page.locator('#routes tbody th')
  t.same(await routes.allInnerTexts(), ['/orders', '/users/:id'])
  await page.getByRole('button', { name: 'Requests/s' }).focus()
  await page.keyboard.press('Enter')
  t.same(await routes.allInnerTexts(), ['/users/:id', '/orders'])
  t.same(complaints, [])
})

t.test('it fits a phone, and follows light and dark', { skip }, async t => {
  const { address, metrics } = await startExample(t, 'routes')
  const { page, complaints } = await openPage(await startBrowser(t), live(metrics), {
    viewport: { width: 375, height: 700 }, isMobile: true
  })
  await send(5, `${address}/users/1`)
  await shows(page, 'the route', async () => (await row(page, '/users/:id')).length > 0)
  t.equal(await page.evaluate('document.documentElement.scrollWidth'), 375)
  const background = (): Promise<unknown> => page.evaluate('getComputedStyle(document.body).backgroundColor')
  const pixel = (): Promise<unknown> => page.evaluate('document.querySelector("#quantiles canvas").toDataURL()')
  await page.emulateMedia({ colorScheme: 'light' })
  const light = [await background(), await pixel()]
  await page.emulateMedia({ colorScheme: 'dark' })
  t.not(await background(), light[0])
  await shows(page, 'charts in other colours', async () => await pixel() !== light[1])
  t.same(complaints, [])
})

t.test('what changes once a second moves nothing else', { skip }, async t => {
  const { address, metrics } = await startExample(t, 'routes')
  await send(5, `${address}/users/1`)
  const { page } = await openPage(await startBrowser(t), live(metrics))
  await shows(page, 'the route', async () => (await row(page, '/users/:id')).length > 0)
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
  await shows(page, 'two answers', async () => await number(page, 'rate') === 0)
  await example.stop('SIGKILL')
  await shows(page, 'that there is no answer', async () =>
    /^No answer since .*; asking again$/.test(await page.locator('#state').innerText()))

  const again = new Program(t, process.execPath, ['dist/example/hello-world.js'], {
    env: { ...process.env, PORT: new URL(address).port, METRICS_PORT: new URL(metrics).port }
  })
  await again.printed(/http:\S+\/metrics/)
  await send(3, address)
  await shows(
    page, 'what the new one has counted', async () => (await page.locator('#rate small').innerText()) === '3 in all'
  )
  t.equal(await page.locator('#state').getAttribute('data-state'), 'live')
})

t.test('a page that nobody sees asks for nothing', { skip }, async t => {
  const { metrics } = await startExample(t, 'hello-world')
  const { page } = await openPage(await startBrowser(t), live(metrics))
  await shows(page, 'two answers', async () => await number(page, 'rate') === 0)
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
  await shows(page, 'two answers', async () => await number(page, 'rate') === 0)
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
    (await Promise.all(['errors', 'aborted', 'rejected', 'in-flight'].map(id => number(page, id)))).join() ===
      '3,1,1,1')
  t.equal(await page.locator('#errors small').innerText(), '75 % of requests')
  t.same((await row(page, '/fails')).slice(-3), ['3', '0', '0'])
  t.same((await row(page, '/never')).slice(-3), ['0', '1', '1'])
  never[1]!.destroy()
  await shows(page, 'the end of the last', async () => (await row(page, '/never')).slice(-2).join() === '2,0')
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
  await shows(page, 'two answers', async () => await number(page, 'rate') === 0)
  t.equal(await page.locator('#in-flight data').innerText(), '–')
  await page.locator('#histogram').selectOption('first_byte_seconds')
  await shows(page, 'two answers', async () => await number(page, 'rate') === 0)
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
  await shows(page, 'two answers', async () => await number(page, 'rate') === 0)
  t.same(complaints.filter(complaint => !complaint.includes('401')), [])
  t.equal((await fetch(new URL('/refuse', app.latency.url!), { headers })).status, 200)
  await shows(page, 'that it is refused',
    async () => (await page.locator('#state').innerText()) === 'Refused with status 401: reload this page to sign in')
  let asked = 0
  page.on('request', () => { asked++ })
  await page.waitForTimeout(2500)
  t.equal(asked, 0)
})
