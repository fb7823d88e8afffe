import fs from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import latency from '../lib'
import type { Answer, PageData, Sample } from '../lib/pages/browser/feed'
import type { Facts } from '../lib/pages/facts'
import { Budget } from '../lib/pages/objective'
import { objectiveQueries, queries } from '../lib/pages/promql'
import { RecentSamples } from '../lib/pages/recent-samples'
import { slowestOf } from '../lib/pages/slowest'
import { style } from '../lib/pages/style'
import { Tally } from '../lib/pages/tally'
import { keepMs } from '../lib/pages/watch'
import type { Points } from '../lib/snapshot'
import { TimeSlices } from '../lib/time-slices'
import { anyPort, createApplication, createListening, listen, registryOf } from './helpers/application'
import { Gate } from './helpers/gate'
import { familyOf, observe } from './helpers/histogram'
import { root } from './helpers/repository'
import { until } from './helpers/until'

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
  t.same(files.sort(), ['live/icon.svg', 'live/page', 'live/page.css', 'live/uplot.js'])
  for (const file of files) {
    const part = await fetch(new URL(file, app.latency.url!))
    t.equal(part.status, 200, file)
    t.match(part.headers.get('content-type'), /css|javascript|svg/, file)
    t.equal(part.headers.get('x-content-type-options'), 'nosniff', file)
    t.equal(part.headers.get('cache-control'), 'no-store', file)
  }
})

t.test('its scripts and style, uPlot included, are less than 120 kB before compression', async t => {
  const { app } = await createListening(t, {})
  let bytes = 0
  for (const file of ['uplot.js', 'page', 'page.css']) {
    const response = await fetch(new URL(`/live/${file}`, app.latency.url!))
    bytes += (await response.arrayBuffer()).byteLength
  }
  t.ok(bytes < 120_000, `${bytes} bytes`)
})

/** How lines of one chart are coloured, by the custom properties of the style. */
const lineColours = [['p50', 'p90', 'p99'], ['status-5', 'status-4', 'aborted', 'rejected']]

/**
 * What people who lack one kind of cone see of a colour, as linear RGB: Machado, Oliveira and Fernandes, "A
 * Physiologically-based Model for Simulation of Color Vision Deficiency", 2009, for a severity of 1.
 */
const eyes: Readonly<Record<string, number[][]>> = {
  usual: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritanopia: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]
}

function multiply (matrix: number[][], vector: number[]): number[] {
  return matrix.map(row => row.reduce((sum, factor, index) => sum + factor * vector[index]!, 0))
}

function linearRgb (colour: string): number[] {
  return [1, 3, 5].map(index => parseInt(colour.slice(index, index + 2), 16) / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
}

/** The coordinates L*, a* and b* of CIELAB, in which distances are about those that people see. */
function lab (rgb: number[]): number[] {
  const xyz = multiply([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
    rgb.map(value => Math.min(Math.max(value, 0), 1)))
  const [x, y, z] = xyz.map((value, index) => value / [0.9505, 1, 1.089][index]!)
    .map(value => value > 0.008856 ? Math.cbrt(value) : 7.787 * value + 16 / 116) as [number, number, number]
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)]
}

/** The custom properties of the style, in light and in dark. */
const schemes = [...style.matchAll(/:root \{[^}]*\}/g)].map(([rules]) =>
  new Map([...rules.matchAll(/--([\w-]+): (#[0-9a-f]{3,8});/g)].map(([, name, colour]) => [name!, colour!])))

t.test('every colour has a value in light and in dark, and is used', async t => {
  t.equal(schemes.length, 2)
  const [light, dark] = schemes.map(scheme => [...scheme.keys()].sort())
  t.same(light, dark)
  const folder = path.join(root, 'dist/lib/pages/browser')
  const charts = await fs.readFile(path.join(folder, 'charts.js'), 'utf8')
  const inCharts = [...charts.matchAll(/colour\('--([\w-]+)'\)/g)].map(([, name]) => name!)
  // What is set by a rule of the style itself is no colour of the page.
  const own = new Set([...style.replaceAll(/:root \{[^}]*\}/g, '').matchAll(/--([\w-]+):/g)].map(([, name]) => name!))
  const inStyle = [...style.matchAll(/var\(--([\w-]+)\)/g)].map(([, name]) => name!)
    .filter(name => !own.has(name) && name !== 'columns')
  t.same([...new Set([...inStyle, ...inCharts, ...lineColours.flat()])].sort(), light)
})

t.test('the lines of a chart differ in colour for everybody, in light and dark', async t => {
  for (const [scheme, colours] of schemes.entries()) {
    for (const [eye, matrix] of Object.entries(eyes)) {
      for (const names of lineColours) {
        const seen = names.map(name => lab(multiply(matrix, linearRgb(colours.get(name)!))))
        seen.forEach((one, index) => seen.slice(0, index).forEach((other, otherIndex) => {
          const distance = Math.hypot(...one.map((value, axis) => value - other[axis]!))
          // From about 10 on, two colours are told apart at a glance. Thin lines need more.
          t.ok(distance >= 20, `${scheme} ${eye} ${names[otherIndex]!} ${names[index]!}: ${distance.toFixed(1)}`)
        }))
      }
    }
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
  t.match(page, 'href="./internal/&#34;metrics&#34;"')
  t.same(dataOf(page), {
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

  const { app: other } = await createListening(t, { server: { ...anyPort, path: '/live', live: false } })
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

async function ask (
  app: FastifyInstance, { generation = '', last = -1 } = {}, histogram = 'http_request_duration_seconds'
): Promise<Answer> {
  const query = new URLSearchParams({ histogram, generation, last: String(last) })
  const response = await fetch(new URL(`/live/data?${query}`, app.latency.url!))
  if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`)
  return await response.json() as Answer
}

/** What an answer has under readable names: of rows the buckets and the sum, and of cells the count. */
function read ({ all, samples, gauges }: Answer, buckets: number): Record<string, number> {
  const names = new Map<number, string>()
  const routes: string[] = []
  for (const { rows, cells } of [...all === undefined ? [] : [all], ...samples]) {
    for (const [method, route, first] of rows) {
      const index = routes.push(`${method} ${route}`) - 1
      for (let bucket = 0; bucket <= buckets; bucket++) {
        names.set(first + bucket, `${routes[index]!} ${bucket === buckets ? 'sum' : bucket}`)
      }
    }
    for (const [id, row, ...words] of cells) names.set(id, [routes[row] ?? 'application', ...words].join(' '))
  }
  const values: Record<string, number> = {}
  const counts = all === undefined ? samples.flatMap(({ counts }) => counts) : all.counts
  for (const numbers of [counts, gauges]) {
    for (let index = 0; index < numbers.length; index += 2) {
      const name = names.get(numbers[index]!) ?? String(numbers[index])
      values[name] = (values[name] ?? 0) + numbers[index + 1]!
    }
  }
  return values
}

/** Asks for more samples until they satisfy a condition. */
async function askUntil (
  app: FastifyInstance, known: Answer, condition: (samples: Sample[]) => boolean
): Promise<Sample[]> {
  const samples: Sample[] = []
  let last = known.last
  return until('the samples', async () => {
    const answer = await ask(app, { generation: known.generation, last })
    if (answer.all !== undefined) throw new Error('The samples do not continue')
    last = answer.last
    samples.push(...answer.samples)
    return condition(samples) && samples
  })
}

t.test('its data begin with everything since the start, of every kind of ending', async t => {
  const held = new Gate()
  const { app, address } = await createListening(t, { constLabels: { service: 'shop' } }, app => {
    app.get('/a', async () => 'x')
    app.get('/fails', async () => { throw new Error('not today') })
    app.get('/held', async () => held.passed())
    app.get('/left', () => {})
    app.get('/events', (_request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
      reply.raw.write('data: 1\n\n')
    })
  })
  for (const path of ['/a', '/a', '/fails', '/nowhere', '/%']) await (await fetch(address + path)).text()
  const leaving = new AbortController()
  const answers = [
    ...['/held', '/held'].map(path => fetch(address + path)),
    fetch(`${address}/left`, { signal: leaving.signal }).catch(() => {})
  ]
  const listening = new AbortController()
  await fetch(`${address}/events`, { signal: listening.signal, headers: { accept: 'text/event-stream' } })
  await until('all of them', async () => {
    const values = read(await ask(app), 12)
    if (values['GET /left in flight '] === 1) leaving.abort()
    return values['GET /held in flight '] === 2 && values['GET /left aborted before_reply'] === 1 &&
      values['GET /left status 499'] === 1 && values['GET /events long lived stream'] === 1
  })
  const answer = await ask(app)
  const values = read(answer, 12)
  t.match(values, {
    'GET /a status 200': 2,
    'GET /fails status 500': 1,
    'GET unmatched status 404': 1,
    'GET /left aborted before_reply': 1,
    'GET /left status 499': 1,
    'application rejected bad_url': 1,
    'GET /held in flight ': 2
  })
  t.ok(values['GET /held oldest ']! > 0)
  t.ok(answer.busy > 0 && answer.busy <= 1, String(answer.busy))
  t.ok(values['GET /a sum']! > 0)
  t.ok(answer.uptime > 0 && answer.nextMs <= 1000)
  t.equal((await ask(app, { generation: answer.generation, last: answer.last })).all, undefined)
  held.open()
  listening.abort()
  await Promise.all(answers)
})

t.test('its data have what requests waited, of all routes together, and how busy the loop was, by route', async t => {
  const { app, address } = await createListening(t, {
    queueTime: { buckets: [10, 20], labels: { path: 'route' } }, busyTime: true, timeToFirstByte: true
  }, app => {
    for (const path of ['/a', '/b']) {
      app.get(path, async () => {
        for (const end = performance.now() + 5; performance.now() < end;);
        return 'x'
      })
    }
  })
  for (const path of ['/a', '/a', '/b']) await (await fetch(address + path)).text()
  const values = read(await ask(app), 12)
  t.match(values, { 'application waited 0': 3, 'application waited 1': undefined, 'application waited 2': undefined })
  t.ok(values['application waited sum']! < 10)
  for (const [path, seconds] of [['/a', 0.01], ['/b', 0.005]] as const) {
    t.ok(values[`GET ${path} busy `]! >= seconds, path)
    t.ok(values[`GET ${path} busy `]! <= values[`GET ${path} sum`]!, path)
  }
  const page = await (await fetch(new URL('/live', app.latency.url!))).text()
  t.match(dataOf(page), {
    histograms: [
      { waits: { name: 'http_request_queue_seconds', upperBounds: [10, 20] }, hasBusyTime: true },
      { name: 'http_request_first_byte_seconds', waits: undefined, hasBusyTime: undefined },
      { name: 'http_request_queue_seconds', waits: undefined, hasBusyTime: undefined }
    ]
  })
})

t.test('samples say what has changed, once, and are shared by all who look', async t => {
  const { app, address } = await createListening(t, { histogram: { buckets: [10] } }, app => {
    app.get('/a', async () => 'x')
  })
  const first = await ask(app)
  t.same(read(first, 2), {})
  for (let request = 0; request < 3; request++) await (await fetch(`${address}/a`)).text()
  const samples = await askUntil(app, first, samples =>
    samples.length > 1 && samples.some(({ counts }) => counts.length > 0))
  t.match(read({ ...first, all: undefined, samples } as unknown as Answer, 2), {
    'GET /a 0': 3, 'GET /a status 200': 3
  })
  t.same(samples.map(({ id }) => id), samples.map((_sample, index) => first.last + 1 + index))
  for (const { from, time, busy, stall } of samples) {
    t.ok(time > from && busy >= 0 && busy <= 1 && stall >= 0, `${from} ${time} ${busy} ${stall}`)
  }
  const other = await ask(app)
  t.equal(other.generation, first.generation)
  t.same(other.samples.slice(0, samples.length), samples)
  t.match(read(other, 2), { 'GET /a 0': 3 })
})

t.test('for how long the event loop did not turn is told', async t => {
  const { app } = await createListening(t, {})
  const first = await ask(app)
  const end = performance.now() + 600
  while (performance.now() < end);
  const samples = await askUntil(app, first, samples => samples.length > 0)
  const longest = Math.max(...samples.map(({ stall }) => stall))
  t.ok(longest > 0.4 && longest < 5, String(longest))
})

t.test('when counts have been reset, another generation begins', async t => {
  const { app } = await createListening(t, { labels: {} })
  await app.inject('/')
  const first = await ask(app)
  app.latency.histogram.reset()
  const next = await until('another generation', async () => {
    const answer = await ask(app, first)
    return answer.generation !== first.generation && answer
  })
  t.same(next.all!.counts, [])
})

t.test('when nobody has looked for minutes, sampling stops, and begins anew with the next look', async t => {
  const { app } = await createListening(t, {})
  const first = await ask(app)
  const { now } = performance
  performance.now = () => now.call(performance) + keepMs
  t.teardown(() => { performance.now = now })
  // The next sample is not taken any more. Until it would be due, the question finds the old ones.
  await new Promise(resolve => setTimeout(resolve, first.nextMs + 100))
  t.not((await ask(app)).generation, first.generation)
})

t.test('a page that was loaded before the application had other buckets is told so', async t => {
  const { app } = await createListening(t, { histogram: { buckets: [0.1, 1] } })
  const page = await (await fetch(new URL('/live', app.latency.url!))).text()
  const { histograms: [histogram] } = dataOf(page) as PageData
  const statusOf = async (shown: unknown): Promise<number> => {
    const query = new URLSearchParams({ histogram: histogram!.name, shown: JSON.stringify(shown) })
    return (await fetch(new URL(`/live/data?${query}`, app.latency.url!))).status
  }
  t.equal(await statusOf(histogram), 200)
  t.equal(await statusOf({ ...histogram, upperBounds: [0.1, 2] }), 409)
  t.equal(await statusOf({ ...histogram, routeLabel: 'path' }), 409)
})

t.test('what is not there is refused: an unknown histogram, and one that cannot be read', async t => {
  const { app } = await createListening(t, {})
  await t.rejects(ask(app, {}, 'nobody'), { message: '404: There is no such histogram\n' })
  await t.rejects(ask(app, {}, '__proto__'), { message: /^404/ })
  t.intercept(app.latency.histogram as unknown as { readInSteps: unknown }, 'readInSteps', {
    value () { throw new Error('no') }
  })
  await t.rejects(ask(app), { message: '503: The metrics could not be read\n' })
})

t.test('closing does not wait for the next sample', async t => {
  const { app } = await createListening(t, { server: { ...anyPort, live: { objective: { latency: 1, share: 0.9 } } } })
  await ask(app)
  await app.close()
})

t.test('many series are told in pieces', async t => {
  const { app } = await createListening(t, { seriesLimit: 20_000, labels: { route: 'route', id: () => '1' } }, app => {
    for (let index = 0; index < 3000; index++) app.get(`/${index}`, async () => 'x')
  })
  for (let index = 0; index < 3000; index++) await app.inject(`/${index}`)
  const { all } = await ask(app)
  t.equal(all!.rows.length, 3000)
  t.same(all!.rows[2999]!.slice(0, 2), [null, '/2999'])
})

t.test('series are added up by what the histogram distinguishes', async t => {
  const common = { help: '', unit: undefined, sharedLabels: {}, startSeconds: undefined, exemplars: [] }
  const families: Points[] = [
    {
      ...common,
      type: 'histogram',
      name: 'x',
      labelNames: ['route', 'tenant'],
      labelSets: [['/a', '1'], ['/a', '2'], [undefined, '1']],
      upperBounds: [1],
      counts: Float64Array.of(1, 2, 3, 4, 5, 6),
      sums: Float64Array.of(0.5, 1, 2),
      native: undefined
    },
    {
      ...common,
      type: 'counter',
      aggregator: 'sum',
      name: 'http_requests_aborted_total',
      labelNames: ['method', 'route', 'phase'],
      labelSets: [['GET', '/a', 'in_reply'], ['PUT', '/a', 'in_reply'], ['GET', undefined, undefined]],
      values: Float64Array.of(3, 4, 5)
    },
    {
      ...common,
      type: 'gauge',
      aggregator: 'sum',
      name: 'http_requests_in_flight',
      labelNames: ['method', 'route'],
      labelSets: [['GET', '/a'], ['PUT', '/a']],
      values: Float64Array.of(1, 1)
    },
    {
      ...common,
      type: 'gauge',
      aggregator: 'sum',
      name: 'http_request_oldest_seconds',
      labelNames: ['method', 'route'],
      labelSets: [['GET', '/a'], ['PUT', '/a']],
      values: Float64Array.of(1.5, 1)
    }
  ]
  const tally = new Tally({ name: 'x', upperBounds: [1], routeLabel: 'route' }, new TimeSlices())
  for (let time = 0; time < 2; time++) {
    const { counts, gauges } = await tally.read(families)
    t.same(tally.rows, [[null, '/a', 0], [null, '', 3]])
    t.same(tally.cells, [
      [6, 0, 'aborted', 'in_reply'], [7, 1, 'aborted', ''], [8, 0, 'in flight', ''], [9, 0, 'oldest', '']
    ])
    t.same([...counts], [4, 6, 1.5, 5, 6, 2, 7, 5, 0, 0])
    t.same(gauges, [8, 2, 9, 1.5])
  }
  const plain = new Tally({ name: 'x', upperBounds: [1], methodLabel: 'route' }, new TimeSlices())
  await plain.read(families.slice(1))
  t.same(plain.rows, [['GET', null, 0], ['PUT', null, 4]])
})

t.test('samples are remembered for some time, and not beyond some bytes', async t => {
  const json = Buffer.alloc(10)
  const recent = new RecentSamples({ keepSeconds: 5, mostBytes: 40 })
  t.equal(recent.first, undefined)
  for (let id = 1; id <= 3; id++) recent.add({ id, time: id, json })
  t.equal(recent.after(1).length, 2)
  for (let id = 4; id <= 10; id++) recent.add({ id, time: id, json })
  t.equal(recent.first, 7)
  recent.add({ id: 11, time: 13, json })
  t.equal(recent.first, 9)
  recent.add({ id: 12, time: 14, json: Buffer.alloc(41) })
  t.equal(recent.first, undefined)
})

t.test('an objective is shown with its name, and how fast its budget is used up is in the data', async t => {
  const { app } = await createListening(t, {
    server: { ...anyPort, live: { objective: { latency: 0.25, share: 0.99 } } }, labels: {}
  }, app => {
    app.get('/', async () => 'x')
  })
  const page = await (await fetch(new URL('/live', app.latency.url!))).text()
  t.match(page, 'Objective: 99 % of requests take 0.25 s or less')
  t.match(dataOf(page), { objective: { latency: 0.25, share: 0.99, histogram: 'http_request_duration_seconds' } })
  const about = 'histogram=http_request_duration_seconds&window=60'
  const asked = await fetch(new URL(`/live/queries?${about}`, app.latency.url!))
  const burn = '(1 - sum(rate(http_request_duration_seconds_bucket{le="0.25"}[3600s])) / ' +
    'sum(rate(http_request_duration_seconds_count[3600s]))) / (1 - 0.99)'
  const late = 'sum(http_requests_in_flight and http_request_oldest_seconds > 0.25)'
  t.match(await asked.json(), { 'burn-300': '[300s]', 'burn-3600': burn, budget: `1 - ${burn}`, late })
  t.match(page, 'Late already')
  const { app: other } = await createListening(t, {
    server: { ...anyPort, live: { objective: { latency: 0.25, share: 0.99 } } }, labels: {}, inFlight: false
  })
  const withoutOpen = await fetch(new URL('/live', other.latency.url!))
  t.notMatch(await withoutOpen.text(), 'Late already')
  const queries = await fetch(new URL(`/live/queries?${about}`, other.latency.url!))
  t.notHas(await queries.json(), { late })
  observe(familyOf(app), [], 0.25)
  observe(familyOf(app), [], 0.26)
  t.match((await ask(app)).objective, [{ seconds: 300, requests: 2, slow: 1 }, { seconds: 3600, requests: 2, slow: 1 }])
  registryOf(app).clear()
  t.match(await new Budget({
    objective: { latency: 0.25, share: 0.99 },
    histogram: { name: 'x', upperBounds: [0.25] },
    gather: async () => ({ families: [], failures: [], leftOut: [] })
  }).windows(), [{ requests: 0 }, { requests: 0 }])
})

t.test('counts that cannot be read end neither the process nor the reading', async t => {
  let readings = 0
  const budget = new Budget({
    objective: { latency: 0.25, share: 0.99 },
    histogram: { name: 'x', upperBounds: [0.25] },
    gather: async () => {
      readings++
      budget.close()
      throw new Error('too many open files')
    }
  })
  await budget.keepReading()
  t.equal(readings, 1)
})

t.test('the windows of an objective are of their time, and go on when counts are reset', async t => {
  const budget = new Budget({
    objective: { latency: 0.25, share: 0.99 },
    histogram: { name: 'x', upperBounds: [0.25] },
    gather: async () => ({ families: [], failures: [], leftOut: [] })
  })
  const begin = performance.now() + 10_000_000
  for (let reading = 0; reading <= 400; reading++) {
    budget.add({ time: begin + 10_000 * reading, requests: 10 * reading, slow: reading })
  }
  const end = begin + 4_000_000
  t.match(budget.windowsUntil({ time: end + 9_000_000, requests: 5000, slow: 0 }), [
    { observedSeconds: 0, requests: 0 }, { observedSeconds: 0 }
  ])
  t.same(budget.windowsUntil({ time: end, requests: 4000, slow: 400 }), [
    { seconds: 300, observedSeconds: 300, requests: 300, slow: 30 },
    { seconds: 3600, observedSeconds: 3600, requests: 3600, slow: 360 }
  ])
  budget.add({ time: end + 10_000, requests: 5, slow: 1 })
  t.match(budget.windowsUntil({ time: end + 10_000, requests: 5, slow: 1 }), [
    { seconds: 300, observedSeconds: 10, requests: 5, slow: 1 }, { seconds: 3600, requests: 5, slow: 1 }
  ])
})

t.test('the page says how to turn on what it does not show', async t => {
  const pageOf = async (options: object): Promise<string> => {
    const { app } = await createListening(t, options)
    return (await fetch(new URL('/live', app.latency.url!))).text()
  }
  const little = await pageOf({ labels: {}, inFlight: false })
  const hints = [
    'native: true', 'exemplars: true', 'timeToFirstByte: true', 'queueTime: true', 'busyTime: true', 'inFlight: true'
  ]
  t.match(little, 'What could be here too')
  for (const text of [...hints, 'tells 4xx and 5xx apart', 'objective']) {
    t.match(little, text)
  }
  t.notMatch(little, /id="status-4"|id="in-flight"/)
  const all = await pageOf({
    histogram: { native: true },
    exemplars: true,
    timeToFirstByte: true,
    queueTime: true,
    busyTime: true,
    server: { ...anyPort, live: { objective: { latency: 1, share: 0.5 } } }
  })
  t.match(all, /id="waited"[^]*but "Waited"[^]*Loop busy/)
  t.notMatch(little, /id="waited"|Loop busy/)
  t.match(all, /id="buckets".*id="slowest"|id="slowest"[^]*id="buckets"/)
  t.notMatch(little, /id="buckets"|id="slowest"|Several processes/)
  t.notMatch(all, 'What could be here too')
})

t.test('a native query comes before the classic one, and bounds are written as in the exposition', async t => {
  const histogram = { name: 'x', upperBounds: [1], routeLabel: 'route', native: { schema: 3, option: 'histogram' } }
  const scope = { histogram, route: '/a', seconds: 60, processMetrics: true }
  const { p99, quantiles, 'classic-p99': classic } = queries(scope)
  t.equal(classic, 'histogram_quantile(0.99, sum by (le) (rate(x_bucket{route="/a"}[60s])))')
  t.equal(p99, `histogram_quantile(0.99, sum(rate(x{route="/a"}[60s]))) or ${classic!}`)
  t.match(quantiles, 'label_replace(histogram_quantile(0.5, sum(rate(x{route="/a"}[10s]))) or histogram_quantile(0.5, ')
  t.match(queries({ histogram, seconds: undefined, processMetrics: true }).p50, 'histogram_quantile(0.5, sum(x)) or ')
  const facts = { histograms: [histogram], objective: { latency: 1, share: 0.99 } } as unknown as Facts
  t.match(objectiveQueries(facts)['burn-300'], 'x_bucket{le="1.0"}[300s]')
})

t.test('queries name the histogram, its labels and the window', async t => {
  const upperBounds = [0.1, 1]
  const histogram = { name: 'x_seconds', upperBounds, methodLabel: 'verb', routeLabel: 'path', statusLabel: 'code' }
  const row = queries({ histogram, method: 'GET', route: '/"\\\n', seconds: 60, processMetrics: true })
  t.equal(row.p99,
    'histogram_quantile(0.99, sum by (le) (rate(x_seconds_bucket{verb="GET",path="/\\"\\\\\\n"}[60s])))')
  t.equal(row['status-4'], 'sum(increase(x_seconds_count{verb="GET",path="/\\"\\\\\\n",code=~"4.*"}[60s]))')
  t.equal(row.aborted, 'sum(increase(http_requests_aborted_total{method="GET",route="/\\"\\\\\\n"}[60s]))')
  t.equal(row.rejected, undefined)

  t.equal(row.oldest, 'max(http_request_oldest_seconds{method="GET",route="/\\"\\\\\\n"})')
  t.equal(row['loop-busy'], 'sum(rate(nodejs_eventloop_active_seconds_total[60s])) / ' +
    '(sum(rate(nodejs_eventloop_active_seconds_total[60s])) + sum(rate(nodejs_eventloop_idle_seconds_total[60s])))')
  t.equal(row.waited, undefined)
  const waiting = { histogram: { ...histogram, waits: { name: 'w', upperBounds } }, processMetrics: true, route: '/' }
  t.equal(queries({ ...waiting, seconds: 60 }).waited, 'sum(rate(w_sum[60s])) / sum(rate(w_count[60s]))')
  t.equal(queries({ ...waiting, seconds: undefined }).waited, 'sum(w_sum) / sum(w_count)')
  t.equal(row.loop, 'sum(irate(nodejs_eventloop_active_seconds_total[5m]))')
  t.notMatch(row.failures, 'rejected')

  const all = queries({ histogram, seconds: undefined, processMetrics: true })
  t.equal(all.rate, 'sum(x_seconds_count) / (time() - max(process_start_time_seconds))')
  t.equal(all.failures, 'sum by (code) (irate(x_seconds_count{code=~"[45].*"}[5m])) or ' +
    'label_replace(sum(irate(http_requests_aborted_total[5m])), "ending", "aborted", "", "") or ' +
    'label_replace(sum(irate(http_requests_rejected_total[5m])), "ending", "rejected", "", "")')
  t.equal(all.mean, 'sum(x_seconds_sum) / sum(x_seconds_count)')
  t.equal(all.rejected, 'sum(http_requests_rejected_total)')
  t.equal(all['in-flight'], 'sum(http_requests_in_flight)')

  const plain = queries({ histogram: { name: 'y', upperBounds }, seconds: 10, processMetrics: false })
  t.equal(plain.rate, 'sum(rate(y_count[10s]))')
  t.equal(plain['status-5'], undefined)
  t.notMatch(plain.failures, 'y_count')
  t.equal(plain['loop-busy'], undefined)
  t.equal(queries({ histogram, seconds: undefined, processMetrics: false }).rate, undefined)
})

t.test('the queries of the numbers are those of a histogram and a window that there are', async t => {
  const { app } = await createListening(t, {})
  const ask = async (query: string): Promise<Response> => fetch(new URL(`/live/queries?${query}`, app.latency.url!))
  const name = 'histogram=http_request_duration_seconds'
  t.match(await (await ask(`${name}&window=10&method=GET&route=%2Fa`)).json(), {
    p99: 'rate(http_request_duration_seconds_bucket{method="GET",route="/a"}[10s])'
  })
  t.match(await (await ask(`${name}&window=start`)).json(), { mean: 'sum(http_request_duration_seconds_sum) / ' })
  for (const query of [
    '', name, `${name}&window=1d`, 'histogram=nobody&window=10', `${name}&window=10&window=60`,
    `${name}&window=10&route=a&route=b`
  ]) {
    t.equal((await ask(query)).status, 404, query)
  }
})

t.test('a histogram of how long requests waited can be chosen', async t => {
  const { app } = await createListening(t, {
    histogram: { native: { schema: 5 } }, queueTime: { native: true, buckets: [1], labels: { path: 'route' } }
  })
  const page = await (await fetch(new URL('/live', app.latency.url!))).text()
  t.match(dataOf(page), {
    histograms: [
      { name: 'http_request_duration_seconds', native: { schema: 5, option: 'histogram' } },
      { name: 'http_request_queue_seconds', routeLabel: 'path', native: { schema: 3, option: 'queueTime' } }
    ]
  })
  t.match(await ask(app, {}, 'http_request_queue_seconds'), { samples: [] })
})

type NativeBucket = [schema: number, index: number | null, count: number]

/** The native buckets in all counts of an answer, by method and route. */
function readNative ({ all }: Answer): Record<string, NativeBucket[]> {
  const counts = new Map<number, number>()
  all!.counts.forEach((id, index, numbers) => { if (index % 2 === 0) counts.set(id, numbers[index + 1]!) })
  const found: ReturnType<typeof readNative> = {}
  for (const [first, row, schema, ...indexes] of all!.natives!) {
    const ofRow = found[all!.rows[row]!.slice(0, 2).join(' ')] ??= []
    indexes.forEach((index, place) => ofRow.push([schema, index, counts.get(first + place) ?? 0]))
  }
  return found
}

t.test('native buckets are told, and go on when the resolution of a series is halved', async t => {
  const { app } = await createListening(t, { histogram: { native: { maxBuckets: 10 } }, labels: { route: 'route' } })
  const family = familyOf(app)
  for (const value of [0, 1, 1, 1.05]) observe(family, ['/a'], value)
  const first = await ask(app)
  t.same(readNative(first), { ' /a': [[3, null, 1], [3, 0, 2], [3, 1, 1]] })
  observe(family, ['/a'], 1)
  observe(family, ['/b'], 2)
  const samples = await askUntil(app, first, samples => samples.some(({ rows }) => rows.length > 0))
  t.same(samples.flatMap(({ natives = [] }) => natives.map(([, ...rest]) => rest)), [[1, 3, 8]])
  const second = await ask(app)
  t.equal(second.generation, first.generation)
  t.same(readNative(second), { ' /a': [[3, null, 1], [3, 0, 3], [3, 1, 1]], ' /b': [[3, 8, 1]] })
  // More buckets than there may be.
  for (let index = 0; index < 11; index++) observe(family, ['/a'], 1.02 * 2 ** (index / 8))
  const halved = await until('another resolution', async () => {
    const answer = await ask(app)
    return readNative(answer)[' /a']!.some(([schema]) => schema === 2) && answer
  })
  t.equal(halved.generation, first.generation, 'the windows go on')
  const counts = readNative(halved)[' /a']!
  t.equal(counts.reduce((sum, [,, count]) => sum + count, 0), 16)
  t.equal(counts.filter(([schema, index]) => schema === 3 && index !== null).every(([,, count]) => count === 0), true)
  const changes = halved.samples.flatMap(({ counts }) => counts.filter((_number, index) => index % 2 === 1))
  t.ok(changes.some(change => change < 0), 'what has moved is told as such')
})

t.test('the slowest requests of the last minutes are told with their traces, once', async t => {
  const traceUrl = 'https://traces.example/{trace_id}?span={span_id}'
  const { app, address } = await createListening(t, {
    exemplars: true, histogram: { buckets: [1e-9, 10] }, server: { ...anyPort, live: { traceUrl } }
  }, app => {
    app.get('/a', async () => 'x')
  })
  const trace = '0af7651916cd43dd8448eb211c80319c'
  const send = async (span: string): Promise<unknown> =>
    (await fetch(`${address}/a`, { headers: { traceparent: `00-${trace}-${span}-01` } })).text()
  await send('b7ad6b7169203331')
  const first = await ask(app)
  t.match(first.slowest, [{
    method: 'GET',
    route: '/a',
    labels: { trace_id: trace, span_id: 'b7ad6b7169203331' },
    url: `https://traces.example/${trace}?span=b7ad6b7169203331`
  }])
  const { time, seconds } = first.slowest![0]!
  t.ok(Math.abs(time - Date.now() / 1000) < 30 && seconds > 0 && seconds < 10)
  t.equal((await ask(app, first)).slowest, undefined)
  await send('00f067aa0ba902b7')
  const next = await until('the other one', async () => {
    const answer = await ask(app, first)
    return answer.slowest !== undefined && answer
  })
  t.match(next.slowest, [{ labels: { span_id: '00f067aa0ba902b7' } }])
  t.equal((await ask(app, next)).slowest, undefined)
})

t.test('of exemplars only the slowest and latest are told, and labels decide nothing but parts of links', async t => {
  const labels = { user: 'a/../"b" <c>?#&\ud800', trace_id: 'x' }
  const exemplars = Array.from({ length: 6000 }, (_exemplar, index) =>
    ({ series: index % 2, bucket: 0, labels, value: index, timestampSeconds: index === 5999 ? 1000 : 1500 }))
  const { app } = await createListening(t, {})
  const points = {
    ...familyOf(app).snapshot(), labelNames: ['route'], labelSets: [['/a'], [undefined]], exemplars
  }
  const slices = new TimeSlices()
  const histogram = { name: 'x', upperBounds: [1], routeLabel: 'route' }
  const slowest = await slowestOf(points, 1500, { histogram, traceUrl: 'http://x/{user}/{trace_id}', slices })
  t.same(slowest.map(({ seconds }) => seconds), Array.from({ length: 10 }, (_slow, index) => 5998 - index))
  t.same(slowest[0], {
    time: 1500,
    seconds: 5998,
    method: null,
    route: '/a',
    labels,
    url: 'http://x/a%2F..%2F%22b%22%20%3Cc%3E%3F%23%26%EF%BF%BD/x'
  })
  t.equal(slowest[1]!.route, '')
  for (const traceUrl of [undefined, 'http://x/{span_id}', 'http://x/{constructor}/{trace_id}']) {
    const [other] = await slowestOf(points, 1500, { histogram, traceUrl, slices })
    t.equal(other!.url, undefined)
  }
})
