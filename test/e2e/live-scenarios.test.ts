/**
 * What the live page shows of applications in trouble: the numbers are those that the client has counted, and those
 * that Prometheus answers to the queries that the page copies. With a folder in the environment variable `PICTURES`,
 * each scenario leaves pictures of the page in it.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { openPage, startBrowser } from './browser'
import { copied, isLive, live, number, row, send, shows, state } from './live-page'
import { installations, missing, noPrometheus, Program, type Prometheus, until } from './programs'

const skip = missing('chromium') || noPrometheus()
const { PICTURES: pictures } = process.env

/** How the page is looked at. */
const looks: Readonly<Record<string, BrowserContextOptions>> = {
  light: { colorScheme: 'light', viewport: { width: 1280, height: 900 } },
  dark: { colorScheme: 'dark', viewport: { width: 1280, height: 900 } },
  phone: { colorScheme: 'light', viewport: { width: 390, height: 844 }, isMobile: true }
}

/** What the client has counted, by what the page calls it. */
type Counted = Readonly<Record<string, number>>

interface Scene {
  readonly t: Test
  readonly page: Page
  readonly address: string
  readonly metrics: string
  readonly prometheus: Prometheus
  /** What the application is asked to do, beside requests that are counted. */
  readonly order: (what: string) => Promise<unknown>
  /** Ends the application, and starts it again at the same addresses. */
  readonly restart: () => Promise<void>
}

interface Scenario {
  readonly env?: Readonly<Record<string, string>>
  /**
   * Requests that are sent before the page and Prometheus look. Every series is there then, with so many requests that
   * Prometheus estimates alike for all buckets what was at the ends of its window.
   */
  readonly before: (address: string) => Promise<unknown>
  /** Makes trouble. Resolves to what the client has counted since the page was opened. */
  readonly run: (scene: Scene) => Promise<Counted>
  /** Looks at what else the page shows. */
  readonly check: (scene: Scene) => Promise<void>
  /** Whether the application that runs at the end is another one, which knows nothing of the first. */
  readonly isAnother?: boolean
}

/** Sends requests at a rate, however long they take. */
async function sendAtRate (perSecond: number, seconds: number, addressOf: (index: number) => string): Promise<number> {
  const sent: Array<Promise<unknown>> = []
  const start = performance.now()
  while (sent.length < perSecond * seconds) {
    await sleep(Math.max(start + 1000 * sent.length / perSecond - performance.now(), 0))
    sent.push(fetch(addressOf(sent.length)).then(response => response.text()))
  }
  await Promise.all(sent)
  return sent.length
}

/** Sends some requests to each of these paths. */
function warmUp (...paths: string[]): Scenario['before'] {
  return async address => { for (const path of paths) await send(20, address + path) }
}

/** Sends requests, and leaves before they are answered. */
async function leave (times: number, address: string, path: string): Promise<void> {
  const { hostname, port } = new URL(address)
  for (let index = 0; index < times; index++) {
    const socket = connect(Number(port), hostname)
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`, () => socket.destroy())
    await once(socket, 'close')
  }
}

const tenant = (address: string, index: number): string => `${address}/tenants/${index}/orders`

const trouble = async (page: Page): Promise<string> =>
  (await page.locator('#trouble').innerText()).replaceAll(/\s+/g, ' ')
/** What the clock of the page has shown so many seconds ago, or a second before or after that. */
const clockAt = async (page: Page, secondsAgo: number): Promise<string> => {
  const times = await page.evaluate(`[-1, 0, 1].map(more => new Date(
    Date.parse(document.querySelector('#clock').dateTime) - 1000 * (${secondsAgo} + more)).toLocaleTimeString())`)
  return `(?:${(times as string[]).join('|')})`
}
const changes = (page: Page): Promise<string> => page.locator('#changes').innerText()

const scenarios: Readonly<Record<string, Scenario>> = {
  steady: {
    before: warmUp('/', '/items/1'),
    run: async ({ address }) => ({
      'status-2': await sendAtRate(40, 8, index => `${address}${index % 2 === 0 ? '/' : `/items/${index}`}`)
    }),
    check: async ({ t, page }) => {
      t.match(await state(page), /^Live/)
      t.match(await row(page, '/items/:id'), { Requests: '160', '4xx': '0', '5xx': '0' })
    }
  },

  'a stall of 4 s': {
    before: warmUp('/', '/checkout'),
    run: async ({ t, page, address, metrics, order }) => {
      const counted = await sendAtRate(20, 3, () => `${address}/`)
      await order('database')
      const slow = sendAtRate(100, 0.05, () => `${address}/checkout`)
      await until('them to be open', async () =>
        /in_flight{.*checkout"} [1-9]/.test(await (await fetch(metrics)).text()))
      const stall = order('stall?ms=4000')
      await shows(page, 'that there is no answer', async () =>
        /^No answer: the application does not turn, or cannot be reached for \d s$/.test(await state(page)))
      t.equal(await page.locator('#state').getAttribute('data-state'), 'lost')
      if (pictures !== undefined) await page.screenshot({ path: join(pictures, 'a stall, while it lasts.png') })
      await stall
      return { 'status-2': counted + await slow + await sendAtRate(20, 3, () => `${address}/`) }
    },
    check: async ({ t, page }) => {
      t.match(await state(page), /^Live; the event loop did not turn for [34]\.\d+ s until /)
      t.match(await page.locator('#loop-busy small').innerText(), /^\d+ % now; stall [34]\.\d+ s$/)
      const { p99 } = (await row(page, '/checkout'))!
      t.match(p99, /^[3-9]\.\d+ s$/, 'what was open is slow')
    }
  },

  'a storm of 401': {
    before: warmUp('/', '/login'),
    run: async ({ address }) => {
      const good = await sendAtRate(20, 2, () => `${address}/`)
      return { 'status-2': good, 'status-4': await sendAtRate(100, 3, () => `${address}/login`) }
    },
    check: async ({ t, page }) => {
      t.equal(await page.locator('#status-4 small').innerText(), '88.2 %; 401: 300')
      t.match(await row(page, '/login'), { '4xx': '300', '5xx': '0' })
    }
  },

  'a storm of 429': {
    before: warmUp('/', '/search'),
    run: async ({ page, address }) => {
      await page.getByRole('radio', { name: '10 s' }).check()
      const good = await sendAtRate(20, 12, () => `${address}/`)
      const refused = await sendAtRate(60, 5, () => `${address}/search`)
      await shows(page, 'what has changed', async () => (await changes(page)).includes('GET /search: '))
      return { 'status-2': good, 'status-4': refused }
    },
    check: async ({ t, page }) => {
      t.equal(await page.locator('#status-4 small').innerText(), '55.6 %; 429: 300')
    }
  },

  'a route that hangs': {
    before: warmUp('/'),
    run: async ({ page, address }) => {
      for (let index = 0; index < 3; index++) fetch(`${address}/hangs`).catch(() => {})
      const counted = await sendAtRate(20, 4, () => `${address}/`)
      const hang = /^Requests hang since \d.* GET \/hangs: 3 open, the oldest for 1\d\.\d s It is not the CPU: they wait/
      await shows(page, 'that it hangs', async () => hang.test(await trouble(page)))
      return { 'status-2': counted, 'in-flight': 3 }
    },
    check: async ({ t, page }) => {
      t.ok(await number(page, 'oldest') > 10)
      t.equal(await page.locator('#oldest small').innerText(), 'GET /hangs')
      const since = await clockAt(page, await number(page, 'oldest'))
      t.match(await trouble(page), new RegExp(`^Requests hang since ${since}`))
      t.match(await page.locator('#late').innerText(), /1 to 3\s+the oldest for \d\d\.\d s/)
      t.equal(await number(page, 'burn-300'), 0)
      t.notMatch(await page.locator('#changed').innerText(), 'chance')
      t.match(await row(page, '/hangs'), { Requests: '0', Open: '3', Oldest: /^\d\d\.\d s$/ })
      await page.getByRole('columnheader', { name: 'Oldest' }).getByRole('button').click()
      t.equal(await page.locator('#routes tbody th button').first().textContent(), '/hangs')
    }
  },

  'a route that fails one in a hundred': {
    // The hundredth fails.
    before: warmUp(...Array.from({ length: 10 }, () => '/flaky')),
    run: async ({ address }) => ({
      'status-2': await sendAtRate(100, 4, () => `${address}/flaky`) - 4, 'status-5': 4
    }),
    check: async ({ t, page }) => {
      t.equal(await page.locator('#status-5 small').innerText(), '1 %; 500: 4')
      t.match(await row(page, '/flaky'), { Requests: '400', '5xx': '4' })
    }
  },

  'a deploy': {
    // Each takes a known time at least, so that the sum of the next one begins below that of the one before.
    before: warmUp('/checkout'),
    isAnother: true,
    run: async ({ page, address, prometheus, restart }) => {
      const counted = await sendAtRate(20, 3, () => `${address}/checkout`)
      await shows(page, 'them', async () => await number(page, 'status-2') === counted)
      await until('the last scrape', async () =>
        await prometheus.value('sum(http_request_duration_seconds_count)') === 20 + counted)
      await restart()
      return { 'status-2': counted + await sendAtRate(20, 3, () => `${address}/checkout`) }
    },
    check: async ({ t, page }) => {
      t.match(await state(page), /^Live/)
      await page.getByRole('radio', { name: 'Since start' }).check()
      t.equal(await number(page, 'status-2'), 60, 'those of the one that runs')
    }
  },

  '500 routes': {
    env: { ROUTES: '500' },
    before: async address => { for (let index = 0; index < 500; index++) await send(1, tenant(address, index)) },
    run: async ({ address }) => ({
      'status-2': await sendAtRate(200, 5, index => tenant(address, index % 500))
    }),
    check: async ({ t, page }) => {
      await page.locator('#filter').fill('/tenants/49')
      const texts = await page.locator('#routes tbody th button').allTextContents()
      t.equal(texts.length, 11)
      t.match(await row(page, '/tenants/499/orders'), { Requests: '2' })
      await page.locator('#filter').fill('')
    }
  },

  'clients that leave': {
    before: async address => {
      await warmUp('/')(address)
      await leave(10, address, '/hangs')
    },
    run: async ({ address }) => {
      await sendAtRate(20, 2, () => `${address}/`)
      await leave(25, address, '/hangs')
      return { 'status-2': 40, aborted: 25, 'status-4': 25 }
    },
    check: async ({ t, page }) => {
      t.match(await page.locator('#aborted small').innerText(), '38.5 %; before reply: 25')
      t.match(await row(page, '/hangs'), { Requests: '25', Aborted: '25', '4xx': '25' })
    }
  },

  '10 requests an hour': {
    env: { UPTIME: '3600' },
    before: async address => send(1, address),
    run: async ({ page, address }) => {
      await page.getByRole('radio', { name: '10 s' }).check()
      await sendAtRate(3, 3, () => `${address}/`)
      await shows(page, 'that there are no requests', async () => (await state(page)) === 'Live; no requests')
      return { 'status-2': 9 }
    },
    check: async ({ t, page }) => {
      await page.getByRole('radio', { name: 'Since start' }).check()
      t.match(await page.locator('#rate').innerText(), /0\.0028\s+10 in all/)
      await page.getByRole('radio', { name: '10 s' }).check()
      t.match(await page.locator('#rate').innerText(), /0\.0\s+0 in all/)
      t.equal(await page.locator('#p99 data').innerText(), '–')
    }
  }
}

/**
 * By how much a number may differ from what Prometheus says: by a share of it, and by an amount. `increase` and `rate`
 * estimate what was at the ends of the window, and the two read what changes at different times.
 */
type Tolerances = Readonly<Record<string, readonly [share: number, amount: number]>>

const counts = ['status-2', 'status-3', 'status-4', 'status-5', 'aborted', 'rejected', 'in-flight']
const latencies = ['mean', 'p50', 'p90', 'p99']

const tolerances = (ofCounts: number, ofLatencies: number): Tolerances => ({
  ...Object.fromEntries(counts.map(id => [id, [ofCounts, 0]])),
  ...Object.fromEntries(latencies.map(id => [id, [ofLatencies, 0]])),
  oldest: [0, 4],
  'loop-busy': [0, 0.1]
})

const estimated = tolerances(0.2, 0.05)
const exact: Tolerances = { ...tolerances(0, 1e-9), rate: [0.1, 0] }

/** Compares numbers of the page with what Prometheus answers to the queries that are copied. */
async function compare ({ t, page }: Scene, prometheus: Prometheus, tolerances: Tolerances): Promise<void> {
  for (const [id, [share, amount]] of Object.entries(tolerances)) {
    const query = await copied(page, id)
    let text = ''
    await until(`the answer of ${prometheus.name}`, async () => {
      // What is not there is 0 on one side or the other.
      const [value, shown] = (await Promise.all([prometheus.value(query), number(page, id)])).map(one => one || 0)
      text = `${id}: ${query} is ${value}, shown is ${shown}`
      return Math.abs(value! - shown!) <= share * Math.abs(shown!) + amount
    }).then(() => t.pass(text), () => t.fail(text))
  }
}

async function startTroubled (
  t: Test, env: NodeJS.ProcessEnv
): Promise<{ application: Program, address: string, metrics: string }> {
  const application = new Program(t, process.execPath, ['dist/test/fixtures/troubled.js'], {
    env: { ...process.env, ...env }
  })
  const [, address, metrics] = await application.printed(/(http:\S+)\s+(http:\S+)/)
  return { application, address: address!, metrics: metrics! }
}

/** Leaves pictures of a page in all looks. */
async function takePictures (browser: Browser, page: Page, name: string): Promise<void> {
  for (const [look, options] of Object.entries(looks)) {
    const { page: other } = await openPage(browser, page.url(), options)
    await isLive(other)
    // All of it has to be in the window, because rows that are not are not drawn.
    const height = await other.evaluate('document.documentElement.scrollHeight') as number
    await other.setViewportSize({ width: options.viewport!.width, height: Math.min(height, 2500) })
    await other.screenshot({ path: join(pictures!, `${name}, ${look}.png`) })
    await other.close()
  }
}

t.test('the numbers are those of the client and of Prometheus', { skip }, async t => {
  const browser = await startBrowser(t)
  t.jobs = 4
  await Promise.all(Object.entries(scenarios).map(([name, scenario]) => t.test(name, async t => {
    const { env, before, run, check, isAnother } = scenario
    const { application, address, metrics } = await startTroubled(t, { ...env })
    await before(address)
    const prometheus = await installations[0]!.start(t, 'global: { scrape_interval: 1s }\n' +
      `scrape_configs: [{ job_name: x, static_configs: [{ targets: ['${new URL(metrics).host}'] }] }]\n`)
    await until('a first scrape', () => prometheus.value('sum(http_request_duration_seconds_count)'))
    const { page, complaints } = await openPage(browser, live(metrics), looks.light)
    await isLive(page)
    const scene: Scene = {
      t,
      page,
      address,
      metrics,
      prometheus,
      order: async what => fetch(`${address}/-/${what}`),
      restart: async () => {
        await application.stop('SIGTERM')
        await startTroubled(t, { PORT: new URL(address).port, METRICS_PORT: new URL(metrics).port })
      }
    }

    const counted = await run(scene)
    await page.getByRole('radio', { name: '5 min' }).check()
    for (const [id, count] of Object.entries(counted)) {
      await shows(page, `${count} ${id}`, async () => await number(page, id) === count)
    }
    if (pictures !== undefined) await takePictures(browser, page, name)
    await check(scene)
    await page.getByRole('radio', { name: '5 min' }).check()
    await compare(scene, prometheus, estimated)
    if (isAnother !== true) {
      await page.getByRole('radio', { name: 'Since start' }).check()
      await compare(scene, prometheus, exact)
    }
    t.same(complaints.filter(complaint => !/ERR_(CONNECTION|EMPTY)/.test(complaint)), [])
    await page.close()
  })))
})

t.test('the page says which route is in trouble, since when, and whether it is the CPU', { skip }, async t => {
  const { address, metrics } = await startTroubled(t, {})
  const { page, complaints } = await openPage(await startBrowser(t), `${live(metrics)}#window=10`, looks.light)
  await isLive(page)
  const paths = ['/', '/items/1', '/checkout']
  const timer = setInterval(() => {
    for (const path of paths) fetch(address + path).then(response => response.text()).catch(() => {})
  }, 50)
  t.teardown(() => clearInterval(timer))
  await shows(page, 'two windows of traffic', async () => Number(await plotValue(page, 'aria-valuemax')) >= 22)

  // The database becomes slow.
  const began = Date.now()
  await fetch(`${address}/-/database`)
  const change = /^GET \/checkout: p99 \S+ \S+ → \S+ \S+ since (.+)$/m
  await shows(page, 'what is slow', async () => change.test(await changes(page)))
  t.comment(`after ${Math.round((Date.now() - began) / 1000)} s: ${await changes(page)}; ` +
    `event loop busy ${await page.locator('#loop-busy data').innerText()}`)
  const [, since] = change.exec(await changes(page))!
  const times = await page.evaluate(`Array.from({ length: 8 }, (_second, index) =>
    new Date(${began} + 1000 * (index - 3)).toLocaleTimeString())`) as string[]
  t.ok(times.includes(since!), `${since!} is one of ${times.join(', ')}`)
  t.ok(await number(page, 'loop-busy') < 0.6, 'it is not the CPU')
  const why = 'It is not the CPU: they wait for something else, such as a database, another service, ' +
    'or a promise that does not settle\\.$'
  const means = 'mean \\S+ \\S+ → \\S+ \\S+'
  // The mean of ten seconds changes later than the quantile.
  const first = new RegExp(`^Slower since ${since!} GET /checkout: ${means} ${why}`)
  await shows(page, 'that it is not the CPU', async () => first.test(await trouble(page)))
  t.match(await page.locator('#loop-line').innerText(), new RegExp('^The event loop was busy \\d+ % of the last 10 s ' +
    '\\(\\d+ % before\\), \\S+ m?s; the longest wait for it was .* requests of GET /checkout took \\S+ \\S+ ' +
    'together: computing was at most \\d+ % of that, the rest waiting, for the event loop or something else\\.'))
  t.notMatch(await state(page), 'busy')
  await page.getByRole('button', { name: change }).click()
  t.equal(await page.locator('#chosen').innerText(), 'GET /checkout only')
  if (pictures !== undefined) await page.screenshot({ path: join(pictures, 'an incident, the database.png') })

  // The window before is one in which it was slow already.
  await shows(page, 'two windows of trouble', async () => Number(await plotValue(page, 'aria-valuemax')) >= 48)
  t.match(await trouble(page), `Slower since ${since!} GET /checkout: `)
  await page.getByRole('radio', { name: '1 min' }).check()
  await page.getByRole('radio', { name: '10 s' }).check()
  t.match(await trouble(page), `Slower since ${since!} GET /checkout: `)
  t.equal(await page.locator('#state').getAttribute('data-state'), 'busy')

  // Something computes for long, between short turns.
  fetch(`${address}/-/stall?ms=300&times=40`).catch(() => {})
  await shows(page, 'that it is the CPU', async () =>
    (await state(page)) === 'Live; the event loop is busy all the time, and every request waits for it')
  t.comment(await state(page))
  await shows(page, 'the cause', async () => /^Slower .* It is the CPU: this process computes,.*\.$/.test(await trouble(page)))
  if (pictures !== undefined) await page.screenshot({ path: join(pictures, 'an incident, the CPU.png') })
  t.same(complaints, [])
})

t.test('a page that is opened in an incident says what is slow, about since when, and why', { skip }, async t => {
  const browser = await startBrowser(t)
  for (const [order, path, why] of [
    ['database', '/checkout', 'It is not the CPU'], ['computing', '/report', 'It is the CPU']
  ] as const) {
    const { address, metrics } = await startTroubled(t, { BUSY_TIME: 'true' })
    const paths = ['/', '/items/1', '/checkout', '/report']
    await Promise.all(paths.map(path => send(150, address + path)))
    let sent = 0
    const timer = setInterval(() => {
      fetch(address + paths[++sent % paths.length]!).then(response => response.text()).catch(() => {})
    }, 50)
    t.teardown(() => clearInterval(timer))
    const began = Date.now()
    await fetch(`${address}/-/${order}`)
    await sleep(8000)
    const { page, complaints } = await openPage(browser, live(metrics), looks.light)
    const first = new RegExp(`^Slower since some time between .* GET ${path}: mean .* ${why}: .* Nobody looked ` +
      'before .*\\. \\d+ requests were as slow before: at the present rate they take that long to come\\. If .*\\.$')
    await shows(page, 'what is slow', async () => first.test(await trouble(page)))
    t.comment(`${Date.now() - began} ms: ${await trouble(page)} ${await page.locator('#loop-line').innerText()}`)
    const [, earliest] = / between (.+?) and .+? GET/.exec(await trouble(page))!
    const times = await page.evaluate(`Array.from({ length: 41 }, (_second, index) =>
      new Date(${began} + 1000 * (index - 30)).toLocaleTimeString())`) as string[]
    t.ok(times.includes(earliest!), `${earliest!} is little before ${new Date(began).toISOString()}`)
    t.notMatch(await page.locator('#unchanged').innerText(), 'chance')
    if (order === 'computing') {
      await shows(page, 'what computes', async () =>
        /GET \/report stands out: while .* open, the event loop was busy for \S+ m?s, \d+ %/.test(await page.locator('#loop-line').innerText()))
    }
    await shows(page, 'that something is wrong', async () =>
      await page.locator('#state').getAttribute('data-state') === 'busy')
    // The clock names its zone.
    t.match(await page.locator('#clock').innerText(), /^\d+:\d\d:\d\d.* [A-Z]{3}|GMT/)
    t.same(complaints, [])
    clearInterval(timer)
    await page.close()
  }
})

t.test('a route that fails is told since when, as long as it fails', { skip }, async t => {
  const { address, metrics } = await startTroubled(t, {})
  await send(50, `${address}/flaky`)
  const { page, complaints } = await openPage(await startBrowser(t), `${live(metrics)}#window=10`, looks.light)
  await isLive(page)
  const dot = async (): Promise<string | null> => page.locator('#state').getAttribute('data-state')
  await sendAtRate(10, 4, () => `${address}/`)
  await fetch(`${address}/-/failing`)
  const sending = sendAtRate(10, 75, index => address + (index % 2 === 0 ? '/' : '/flaky'))
  const text = /^Failing since (\d.*) GET \/flaky: \S+ % of requests \(500: \d+ of \d+ in \d+ \S+\)$/
  await shows(page, 'what fails', async () => text.test(await trouble(page)))
  const [, since] = text.exec(await trouble(page))!
  await shows(page, 'that something is wrong', async () => await dot() === 'busy')
  await sleep(65_000)
  t.equal(text.exec(await trouble(page))?.[1], since)
  t.equal(await dot(), 'failing')
  t.notMatch(await page.locator('#changed').innerText(), 'chance')
  if (pictures !== undefined) await page.screenshot({ path: join(pictures, 'a route that fails.png') })
  await sending
  t.same(complaints, [])
})

async function plotValue (page: Page, name: string): Promise<string> {
  return (await page.locator('#rates .plot').getAttribute(name))!
}
