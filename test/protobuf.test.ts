import assert from 'node:assert/strict'
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import fc from 'fast-check'
import { Counter, Gauge, Histogram, Summary } from 'prom-client'
import t from 'tap'
import { fromClientMetric } from '../lib/exposition/client-samples'
import { writeProtobuf } from '../lib/exposition/protobuf'
import { merge } from '../lib/gather/merge'
import type { Exemplar, Labels, Points } from '../lib/snapshot'
import { createListening, declareLarge, registryOf, scrape } from './helpers/application'
import { decode } from './helpers/encodings'
import { createHistogram, observe } from './helpers/histogram'
import {
  protobuf, readProtobuf, secondsOf, type Exemplar as ExemplarMessage, type Family, type Metric
} from './helpers/protobuf'

function render (families: readonly Points[]): Family[] {
  return readProtobuf(Buffer.concat([...writeProtobuf(families)]))
}

function labelsOf (pairs: Metric['label']): Labels {
  return Object.fromEntries(pairs.map(({ name, value }) => [name, value]))
}

/** JSON knows neither NaN nor the infinities, nor -0. */
const told = (value: number): string => Object.is(value, -0) ? '-0' : String(value)

const number = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, -0, Infinity, -Infinity, NaN, 2 ** 53, 5e-324))
/** Counts, some of which are none. */
const count = fc.oneof(
  fc.nat(), fc.maxSafeNat(), fc.constantFrom(0, 1, 127, 128, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 63, 2 ** 64),
  fc.constantFrom(0.5, -1, NaN, Infinity)
)
const text = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.constantFrom('', '\\', '"', '\n', '\0', 'ü😀'),
  fc.constantFrom('x'.repeat(127), 'x'.repeat(128), '€'.repeat(6000), 'x'.repeat(40_000))
)
const seconds = fc.oneof(fc.constant(undefined), fc.nat({ max: 4e12 }).map(ms => ms / 1000), fc.constantFrom(-1, 1e300))
const exemplar = fc.record({ bucket: fc.nat({ max: 3 }), label: fc.string({ maxLength: 140 }), value: number, seconds })

const series = fc.record({
  set: fc.tuple(fc.option(text, { nil: undefined }), text),
  counts: fc.array(count, { minLength: 4, maxLength: 4 }),
  value: number,
  start: fc.oneof(fc.constant(NaN), fc.nat({ max: 4e12 }).map(ms => ms / 1000)),
  exemplars: fc.uniqueArray(exemplar, { selector: ({ bucket }) => bucket, maxLength: 2 })
})

type Series = typeof series extends fc.Arbitrary<infer T> ? T : never

function common (all: readonly Series[], help: string, shared: Labels): Omit<Points, 'type'> {
  return {
    name: 'x_seconds',
    help,
    unit: 'seconds',
    labelNames: ['a', 'b'],
    labelSets: all.map(({ set }) => set),
    sharedLabels: shared,
    startSeconds: Float64Array.from(all, ({ start }) => start),
    exemplars: all.flatMap(({ exemplars }, series): Exemplar[] => [...exemplars]
      .sort((a, b) => a.bucket - b.bucket)
      .map(({ bucket, label, value, seconds }) =>
        ({ series, bucket, labels: { label }, value, timestampSeconds: seconds })))
  }
}

const isCount = (count: number): boolean => Number.isInteger(count) && count >= 0 && count < 2 ** 64

t.test('a decoder reads every family as it went in', async () => {
  const upperBounds = [-1, 0.005, 1e300]
  const sharedLabels = fc.constantFrom({}, { zone: 'eu"' })
  fc.assert(fc.property(fc.array(series, { maxLength: 12 }), text, sharedLabels, (all, help, shared) => {
    const base = common(all, help, shared)
    const values = Float64Array.from(all, ({ value }) => value)
    const families: Points[] = [
      {
        ...base,
        type: 'histogram',
        upperBounds,
        counts: Float64Array.from(all.flatMap(({ counts }) => counts)),
        sums: values,
        native: undefined
      },
      {
        ...base,
        type: 'summary',
        quantiles: [0.5, 0.99],
        quantileValues: Float64Array.from(all.flatMap(({ value, counts }) => [value, counts[1]!])),
        counts: Float64Array.from(all, ({ counts }) => counts[0]!),
        sums: values
      },
      ...(['counter', 'gauge', 'unknown'] as const).map(type =>
        ({
          ...base,
          exemplars: base.exemplars.filter(({ bucket }) => bucket === 0),
          type,
          aggregator: 'sum' as const,
          values
        }))
    ]
    const [histogram, summary, ...others] = render(families)
    const exemplarOf = (index: number, bucket: number): unknown => {
      const exemplar = all[index]!.exemplars.find(exemplar => exemplar.bucket === bucket)
      // The name of the label counts too.
      if (exemplar === undefined || [...exemplar.label].length > 123) return undefined
      const isTime = exemplar.seconds !== undefined && exemplar.seconds >= 0 && exemplar.seconds < 1e12
      return [exemplar.label, told(exemplar.value), isTime ? Math.round(exemplar.seconds! * 1000) : undefined]
    }
    const exemplarIn = (exemplar: ExemplarMessage | undefined): unknown => exemplar && [
      exemplar.label[0]!.value, told(exemplar.value),
      exemplar.timestamp && exemplar.timestamp.seconds * 1000 + exemplar.timestamp.nanos / 1e6
    ]
    const labels = all.map(({ set: [a, b] }) => ({ ...a === undefined ? {} : { a }, b, ...shared }))
    for (const family of [histogram!, summary!, ...others]) {
      assert.deepEqual([family.name, family.help, family.unit], ['x_seconds', help, 'seconds'])
      assert.deepEqual(family.metric.map(({ label }) => labelsOf(label)), labels)
    }
    for (const [index, { start }] of all.entries()) {
      const starts = [histogram!, summary!, ...others].map(({ metric }) => {
        const { histogram, summary, counter } = metric[index]!
        const created = (histogram ?? summary ?? counter)?.createdTimestamp
        return created && created.seconds * 1000 + created.nanos / 1e6
      })
      const known = Number.isNaN(start) ? undefined : Math.round(start * 1000)
      assert.deepEqual(starts, [known, known, known, undefined, undefined])
    }
    const counted = (whole: number | undefined, float: number | undefined): string => told(whole ?? float!)
    assert.deepEqual(histogram!.metric.map(({ histogram }) => ({
      buckets: histogram!.bucket.map(bucket => [
        bucket.upperBound, counted(bucket.cumulativeCount, bucket.cumulativeCountFloat), exemplarIn(bucket.exemplar)
      ]),
      count: counted(histogram!.sampleCount, histogram!.sampleCountFloat),
      sum: told(histogram!.sampleSum)
    })), all.map(({ counts, value }, index) => {
      let sum = 0
      const cumulative = counts.map(count => told(sum += count))
      return {
        buckets: [...upperBounds, Infinity].map((bound, bucket) =>
          [bound, cumulative[bucket], exemplarOf(index, bucket)]),
        count: cumulative.at(-1),
        sum: told(value)
      }
    }))
    assert.deepEqual(summary!.metric.map(({ summary }) => [
      summary!.sampleCount, told(summary!.sampleSum),
      ...summary!.quantile.flatMap(({ quantile, value }) => [quantile, told(value)])
    ]), all.map(({ counts, value }) => [
      isCount(counts[0]!) ? counts[0] : 0, told(value), 0.5, told(value), 0.99, told(counts[1]!)
    ]))
    assert.deepEqual(others.map(({ type }) => type), ['COUNTER', 'GAUGE', 'UNTYPED'])
    assert.deepEqual(
      others.map(({ metric }) =>
        metric.map(({ counter, gauge, untyped }) => told((counter ?? gauge ?? untyped)!.value))),
      others.map(() => all.map(({ value }) => told(value)))
    )
    assert.deepEqual(
      others[0]!.metric.map(({ counter }) => exemplarIn(counter!.exemplar)),
      all.map((_series, index) => exemplarOf(index, 0))
    )
  }), { numRuns: 150 })
})

t.test('a unit is told where it is the end of the name', async t => {
  const unitOf = (type: string, name: string): string | undefined =>
    render([fromClientMetric({ type, name, help: 'x', values: [] })])[0]!.unit
  t.equal(unitOf('gauge', 'x_bytes'), 'bytes')
  t.equal(unitOf('counter', 'x_bytes_total'), 'bytes')
  t.equal(unitOf('gauge', 'x_bytes_total'), undefined, 'Prometheus would refuse the scrape')
  t.equal(unitOf('gauge', 'x'), undefined)
  t.equal(unitOf('gauge', 'x_undefined'), undefined)
  t.equal(unitOf('counter', 'x_total_bytes_total'), 'bytes', 'only the end is a suffix')
})

t.test('times that a message can tell are written, from 1970 to the end of the year 9999', async t => {
  const begun = (seconds: number): unknown => {
    const family = createHistogram({ name: 'h', help: 'h', labelNames: [], upperBounds: [1] })
    observe(family, [], 0.5)
    return render([{ ...family.snapshot(), startSeconds: Float64Array.of(seconds) }])[0]!.metric[0]!
      .histogram!.createdTimestamp
  }
  const end = Date.UTC(10_000, 0, 1) / 1000
  for (const seconds of [0, 1.5, end - 1]) t.equal(secondsOf(begun(seconds) as never), seconds)
  for (const seconds of [-1, end, Infinity, NaN]) t.notOk(begun(seconds), `${seconds}`)
})

t.test('a family of any size is one message, and comes in pieces of about 64 KiB', async t => {
  for (const size of [0, 1, 1000, 100_000]) {
    const family = createHistogram({ name: 'h', help: 'h', labelNames: ['n'], upperBounds: [1] })
    for (let n = 0; n < size; n++) observe(family, [String(n)], n)
    const gauge = fromClientMetric({ type: 'gauge', name: 'g', help: 'g', values: [{ value: 1 }] })
    const pieces = [...writeProtobuf([gauge, family.snapshot(), gauge])]
    t.same(pieces.filter(({ length }) => length >= 65_536), [])
    const [before, whole, after] = readProtobuf(Buffer.concat(pieces))
    t.same([before, after], render([gauge, gauge]))
    t.equal(whole!.metric.length, size)
    const wrong = whole!.metric.filter(({ label, histogram }, n) =>
      label[0]!.value !== String(n) || histogram!.sampleSum !== n || histogram!.sampleCount !== 1)
    t.same(wrong, [])
  }
})

t.test('a scrape has all families: of this plugin, of the user, and of the process', async t => {
  const { app, address } = await createListening(t, { processMetrics: true }, app => { app.get('/', async () => 'x') })
  const registers = [registryOf(app)]
  new Counter({ name: 'jobs_total', help: 'x', labelNames: ['queue'], registers }).inc({ queue: 'a"b\\c\nd' }, 2)
  new Gauge({ name: 'level', help: 'x', registers }).set(-Infinity)
  new Histogram({ name: 'job_seconds', help: 'x', buckets: [1, 1e6], registers }).observe(5)
  new Summary({ name: 'rpc_seconds', help: 'x', percentiles: [0.5], registers }).observe(1)
  await fetch(address)
  for (const encoding of ['gzip', 'zstd', 'identity']) {
    const headers = { accept: protobuf, 'accept-encoding': encoding }
    const [response] = await once(get(app.latency.url!, { headers }), 'response') as [IncomingMessage]
    const body = Buffer.concat(await response.toArray())
    t.equal(response.headers['content-type'], protobuf)
    const families = readProtobuf(decode(body, response.headers['content-encoding']))
    const page = await scrape(app.latency.url)
    t.same(families.map(({ name }) => name), [...page.families.keys()])
    const byName = new Map(families.map(family => [family.name, family]))
    t.match(byName.get('jobs_total'), {
      type: 'COUNTER', metric: [{ label: [{ name: 'queue', value: 'a"b\\c\nd' }], counter: { value: 2 } }]
    })
    t.match(byName.get('level'), { type: 'GAUGE', metric: [{ gauge: { value: -Infinity } }] })
    t.match(byName.get('job_seconds'), {
      unit: 'seconds',
      metric: [{
        histogram: { sampleCount: 1, sampleSum: 5, bucket: [{ cumulativeCount: 0 }, { cumulativeCount: 1 }, {}] }
      }]
    })
    t.match(byName.get('rpc_seconds'), { metric: [{ summary: { sampleCount: 1, quantile: [{ value: 1 }] } }] })
    const [requests] = byName.get('http_request_duration_seconds')!.metric
    t.same(labelsOf(requests!.label), { method: 'GET', route: '/', status_code: '200' })
    t.equal(requests!.histogram!.bucket.length, 12)
    t.equal(requests!.histogram!.sampleCount, 1)
  }
})

t.test('pages of more bytes than a connection holds arrive whole', async t => {
  const { app } = await createListening(t, {}, declareLarge)
  const response = await fetch(app.latency.url!, { headers: { accept: protobuf } })
  const families = readProtobuf(new Uint8Array(await response.arrayBuffer()))
  const { metric } = families.find(({ name }) => name === 'http_request_duration_seconds')!
  t.equal(metric.length, 3000)
  t.ok(metric.every(({ histogram }) => histogram!.sampleCount === 1))
})

t.test('each series of this plugin has the time since when it counts', async t => {
  const before = Date.now()
  const { app, address } = await createListening(t, {}, app => { app.get('/', async () => 'x') })
  await fetch(address)
  const read = async (name: string): Promise<number> => {
    const response = await fetch(`${app.latency.url}?name[]=${name}`, { headers: { accept: protobuf } })
    const [{ metric }] = readProtobuf(new Uint8Array(await response.arrayBuffer())) as [Family]
    return 1000 * secondsOf((metric[0]!.histogram ?? metric[0]!.counter)!.createdTimestamp!)
  }
  const began = await read('http_request_duration_seconds')
  t.ok(began >= before && began <= Date.now(), `${began}`)
  const counterBegan = await read('http_requests_rejected_total')
  t.ok(counterBegan >= before && counterBegan <= Date.now(), `${counterBegan}`)
  app.latency.histogram.reset()
  await fetch(address)
  t.ok(await read('http_request_duration_seconds') >= began, 'a reset is a new start')
})

t.test('exemplars of the user are in it', async t => {
  const { app } = await createListening(t, {})
  // prom-client takes exemplars only in a registry that it believes to write OpenMetrics itself.
  const orders = new Counter({ name: 'c_total', help: 'x', enableExemplars: true, registers: [] })
  const duration = new Histogram({ name: 'h', help: 'x', buckets: [1], enableExemplars: true, registers: [] })
  for (const metric of [orders, duration]) registryOf(app).registerMetric(metric as never)
  orders.inc({ value: 2, exemplarLabels: { trace_id: 'abc' } })
  duration.observe({ value: 5, exemplarLabels: { trace_id: 'def' } })
  const response = await fetch(`${app.latency.url}?name[]=c_total&name[]=h`, { headers: { accept: protobuf } })
  const [counter, histogram] = readProtobuf(new Uint8Array(await response.arrayBuffer()))
  t.match(counter!.metric[0]!.counter!.exemplar, { label: [{ name: 'trace_id', value: 'abc' }], value: 2 })
  const { bucket } = histogram!.metric[0]!.histogram!
  t.equal(bucket[0]!.exemplar, undefined)
  t.match(bucket[1]!.exemplar, { label: [{ name: 'trace_id', value: 'def' }], value: 5 })
  const { seconds, nanos } = bucket[1]!.exemplar!.timestamp!
  t.ok(Math.abs(seconds + nanos / 1e9 - Date.now() / 1000) < 60)
})

t.test('what is merged is written too', async t => {
  const family = createHistogram({ name: 'h', help: 'h', labelNames: ['n'], upperBounds: [1] })
  observe(family, ['1'], 0.5)
  const merged = merge(family.snapshot(), family.snapshot())
  t.match(render([merged])[0]!.metric, [{ histogram: { sampleCount: 2, sampleSum: 1 } }])
})
