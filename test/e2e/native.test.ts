import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import type { Options } from '../..'
import { createListening } from '../helpers/application'
import { familyOf, observe } from '../helpers/histogram'
import { type Prometheus, root, temporaryFolder, until, withEach } from './programs'

const name = 'http_request_duration_seconds'

function scrapeConfig (app: FastifyInstance, more = ''): string {
  const { host } = new URL(app.latency.url!)
  return `global: { scrape_interval: 1s }\nscrape_configs:\n  - job_name: x\n${more}` +
    `    static_configs: [{ targets: ['${host}'] }]\n`
}

/** Resolves when a scrape has been answered, so that the next one is nearly a second away. */
async function scraped (app: FastifyInstance): Promise<void> {
  await once(app.server, 'scraped')
}

/** An application whose server emits `scraped` at the end of each scrape. */
async function createScraped (t: Test, options: Options = {}): Promise<{ app: FastifyInstance, address: string }> {
  return createListening(t, options, app => {
    app.get('/', async () => 'x')
    app.get('/broken', async (_request, reply) => reply.code(500).send('x'))
    app.latency.server!.addHook('onResponse', async () => { app.server.emit('scraped') })
  })
}

/** What was added to a series over exactly the time from its first sample to its last. */
async function increaseOf (prometheus: Prometheus, series: string): Promise<number> {
  const [history] = await prometheus.query<{ values: Array<[time: number, value: string]> }>(`${series}[1h]`)
  const times = history!.values.map(([time]) => time)
  const [first, last] = [times[0]!, times.at(-1)!]
  // A range begins after its first moment in Prometheus 3.
  const range = Math.ceil(1000 * (last - first)) + 1
  return (await prometheus.value(`increase(${series}[${range}ms])`, last))!
}

t.test('the first request of a series is an increase, ' +
  'with start times', withEach(['prometheus'], async (t, installation) => {
  const { app, address } = await createScraped(t)
  const prometheus = await installation.start(t, scrapeConfig(app), ['created-timestamp-zero-ingestion'])
  await scraped(app)
  await fetch(`${address}/broken`)
  await scraped(app)
  for (let count = 0; count < 3; count++) await fetch(address)
  const series = (status: number): string => `${name}_count{status_code="${status}"}`
  await until('both series', async () =>
    await prometheus.value(series(200)) === 3 && await prometheus.value(series(500)) === 1)
  await scraped(app)
  await scraped(app)
  for (const [status, count] of [[500, 1], [200, 3]] as const) {
    const increase = await increaseOf(prometheus, series(status))
    t.ok(Math.abs(increase - count) < 1e-9, `${status}: ${increase}`)
  }
}, [2, 50]))

/** A seeded generator, so that the distributions are always the same ones. */
function createRandom (seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return (state + 0.5) / 2 ** 32
  }
}

function normal (random: () => number): number {
  return Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random())
}

/** Distributions of latencies in seconds. */
const distributions: Record<string, (random: () => number) => number> = {
  lognormal: random => 0.012 * Math.exp(0.6 * normal(random)),
  bimodal: random => random() < 0.8 ? 0.003 * Math.exp(0.3 * normal(random)) : 0.18 * Math.exp(0.2 * normal(random)),
  fast: random => 0.0008 * Math.exp(0.25 * normal(random)),
  'long tail': random => 0.02 * random() ** -0.5
}

const values = 50_000
const quantiles = [0.5, 0.9, 0.95, 0.99, 0.999]

t.test('native histograms have the count, the sum and the quantiles ' +
  'of what was observed', withEach(['prometheus'], async (t, installation) => {
  const { app } = await createScraped(t, { histogram: { native: true }, labels: { of: () => 'x' } })
  const family = familyOf(app)
  const exact = new Map<string, number[]>()
  for (const [name, distribution] of Object.entries(distributions)) {
    const random = createRandom(1)
    const observed = Array.from({ length: values }, () => distribution(random))
    for (const value of observed) observe(family, [name], value)
    exact.set(name, observed.sort((a, b) => a - b))
  }
  const prometheus = await installation.start(t, scrapeConfig(app), ['native-histograms'])
  for (const [of, sorted] of exact) {
    const series = `${name}{of="${of}"}`
    await until(series, async () => await prometheus.value(`histogram_count(${series})`) === values)
    const sum = sorted.reduce((sum, value) => sum + value, 0)
    t.ok(Math.abs(await prometheus.value(`histogram_sum(${series})`) as number / sum - 1) < 1e-9, `${of}: sum`)
    for (const quantile of quantiles) {
      const expected = sorted[Math.ceil(quantile * values) - 1]!
      const error = (await prometheus.value(`histogram_quantile(${quantile}, ${series})`))! / expected - 1
      t.ok(Math.abs(error) < 0.05, `${of}: p${100 * quantile} is off by ${(100 * error).toFixed(2)} %`)
    }
  }
  t.equal(await prometheus.value(`${name}_count`), undefined, 'there is no classic series beside it')
}))

t.test('the queries of docs/native-histograms.md have answers', withEach(['prometheus'], async (t, installation) => {
  const text = readFileSync(join(root, 'docs', 'native-histograms.md'), 'utf8')
  const queries = [...text.matchAll(/^```promql\n([^]*?)^```$/gm)].flatMap(([, block]) =>
    block!.split(/\n(?! )/).filter(line => line !== '' && !line.startsWith('#')))
  t.ok(queries.length >= 7)
  const { app, address } = await createScraped(t, { histogram: { native: true } })
  const prometheus = await installation.start(t, scrapeConfig(app), ['native-histograms'])
  await fetch(address)
  await scraped(app)
  await fetch(address)
  for (const query of queries) await t.test(query, () => until(query, () => prometheus.value(query)))
}, [2, 52]))

/** The classic series of all histograms, with all of their labels. */
async function classicSeries (prometheus: Prometheus): Promise<string[]> {
  const found = await prometheus.query<{ metric: Record<string, string> }>('{__name__=~"http_.*_(bucket|count|sum)"}')
  return found.map(({ metric }) => JSON.stringify(Object.entries(metric).sort())).sort()
}

t.test('a Prometheus that begins and ceases to ask for Protocol Buffers ' +
  'loses and doubles nothing', withEach(['prometheus'], async (t, installation) => {
  const { app, address } = await createScraped(t)
  const folder = temporaryFolder(t)
  let sent = 0
  let before: string[] | undefined
  for (const features of [[], ['native-histograms'], []]) {
    const prometheus = await installation.start(t, scrapeConfig(app), features, folder)
    for (let count = 0; count < 5; count++) await fetch(address)
    sent += 5
    await until(`a count of ${sent}`, async () => await prometheus.value(`${name}_count`) === sent)
    before ??= await classicSeries(prometheus)
    t.same(await classicSeries(prometheus), before)
    t.equal(await prometheus.value(`resets(${name}_count[1h])`), 0)
    await prometheus.stop()
  }
}))

t.test('a target that goes from text to Protocol Buffers and back loses and doubles nothing, ' +
  'classic or native', withEach(['prometheus'], async (t, installation) => {
  const { app, address } = await createScraped(t, { timeToFirstByte: { native: true } })
  const classic = installation.isAtLeast(3, 0) ? 'always_scrape_classic_histograms' : 'scrape_classic_histograms'
  const inFormat = (protocol: string): string =>
    scrapeConfig(app, `    scrape_protocols: [${protocol}]\n    ${classic}: true\n`)
  const prometheus = await installation.start(t, inFormat('PrometheusText0.0.4'), ['native-histograms'])
  let sent = 0
  const send = async (): Promise<void> => {
    for (let count = 0; count < 5; count++) await fetch(address)
    sent += 5
    await until(`a count of ${sent}`, async () => await prometheus.value(`${name}_count`) === sent)
  }
  await send()
  const before = await classicSeries(prometheus)
  for (const protocol of ['PrometheusProto', 'OpenMetricsText1.0.0', 'PrometheusProto', 'PrometheusText0.0.4']) {
    prometheus.reload(inFormat(protocol))
    await send()
    if (protocol === 'PrometheusProto') {
      await until('native buckets', async () =>
        await prometheus.value('histogram_count(http_request_first_byte_seconds)') === sent)
    }
    t.same(await classicSeries(prometheus), before, `the same series from ${protocol}`)
  }
  t.equal(await prometheus.value(`resets(${name}_count[1h])`), 0)
}, [2, 53]))

t.test('classic histograms that Prometheus converts arrive whole, ' +
  'from any format', withEach(['prometheus'], async (t, installation) => {
  const { app, address } = await createScraped(t)
  for (let count = 0; count < 7; count++) await fetch(address)
  for (const protocol of ['PrometheusProto', 'OpenMetricsText1.0.0', 'PrometheusText0.0.4']) {
    const prometheus = await installation.start(t, scrapeConfig(app,
      `    scrape_protocols: [${protocol}]\n    convert_classic_histograms_to_nhcb: true\n`), ['native-histograms'])
    await until(protocol, async () => await prometheus.value(`histogram_count(${name})`) === 7)
    t.ok((await prometheus.value(`histogram_quantile(0.5, ${name})`))! <= 0.25, protocol)
  }
}, [3, 0]))

interface StoredExemplar {
  readonly labels: Record<string, string>
  readonly timestamp: number
}

t.test('exemplars are stored with the traces and times that they had, ' +
  'of classic histograms and of native ones', withEach(['prometheus'], async (t, installation) => {
  const { app, address } = await createScraped(t, {
    exemplars: true, histogram: { native: true }, timeToFirstByte: true
  })
  const features = ['exemplar-storage', 'native-histograms']
  const prometheus = await installation.start(t, scrapeConfig(app), features)
  const ids = ['1', '2', '3'].map(digit => digit.repeat(32))
  for (const id of ids) {
    await fetch(address, { headers: { traceparent: `00-${id}-${'a'.repeat(16)}-01` } })
    await scraped(app)
    await scraped(app)
  }
  const now = Date.now() / 1000
  for (const query of [name, 'http_request_first_byte_seconds_bucket']) {
    const stored = await until(query, async () => {
      const found = await prometheus.get<Array<{ exemplars: StoredExemplar[] }>>(
        'query_exemplars', { query, start: String(now - 600), end: String(now + 60) }
      )
      const exemplars = found.flatMap(({ exemplars }) => exemplars)
      return exemplars.length >= ids.length && exemplars
    })
    t.same([...new Set(stored.map(({ labels }) => labels.trace_id))].sort(), ids, query)
    t.ok(stored.every(({ labels }) => labels.span_id === 'a'.repeat(16)))
    t.ok(stored.every(({ timestamp }) => Math.abs(timestamp - now) < 120))
  }
}))
