import { Counter, Gauge, Histogram, Registry, Summary } from 'prom-client'
import t from 'tap'
import { collectFacts } from '../lib/application-facts'
import { parseOptions } from '../lib/config'
import { createWarnOnce } from '../lib/errors'
import {
  fromClientMetric, fromClientMetricInSteps, type ClientMetric, type ClientSample, toClientSamples
} from '../lib/exposition/client-samples'
import { defaultScrape } from '../lib/scrape/options'
import { defaultServer } from '../lib/server/options'
import type { GatherRequest, Points, ValuePoints } from '../lib/snapshot'
import { TimeSlices } from '../lib/time-slices'
import { createApplication, createListening, registryOf, scrape } from './helpers/application'
import { gathererOf } from './helpers/member'

t.test('what crosses from counting to showing can be cloned: requests, points of every type, failures', async t => {
  const registry = new Registry()
  const registers = [registry]
  new Counter({ name: 'c_total', help: 'h', registers, labelNames: ['a'] }).inc({ a: 'x' }, 2)
  new Gauge({ name: 'g', help: 'h', registers }).set(1.5)
  new Histogram({ name: 'h', help: 'h', registers, buckets: [1] }).observe(0.5)
  new Summary({ name: 's', help: 'h', registers, percentiles: [0.5] }).observe(2)
  new Gauge({ name: 'broken', help: 'h', registers, collect () { throw new Error('no') } }).set(1)
  const { app } = await createListening(t, { registry })
  const gather = gathererOf(registry, new TimeSlices(), createWarnOnce(createApplication(t).log))
  const request: GatherRequest = { names: undefined, timeoutMs: 10_000 }
  t.strictSame(structuredClone(request), request)
  const gathered = await gather(request)
  t.strictSame(structuredClone(gathered), gathered)
  t.ok(gathered.families.some(({ name }) => name === app.latency.histogram.name))
  t.same([...new Set(gathered.families.map(({ type }) => type))].sort(), ['counter', 'gauge', 'histogram', 'summary'])
  t.same(gathered.failures, [{ name: 'broken', message: 'Metric "broken" could not be read: no' }])
  t.same(gathered.families.find(({ name }) => name === 'c_total'), {
    type: 'counter',
    aggregator: 'sum',
    name: 'c_total',
    help: 'h',
    unit: undefined,
    labelNames: ['a'],
    labelSets: [['x']],
    sharedLabels: {},
    startSeconds: undefined,
    exemplars: [],
    values: Float64Array.of(2)
  })
})

t.test('the options of the metrics server and of scrapes can be cloned, and so can what the pages tell', async t => {
  const config = parseOptions({
    labels: { tenant: () => 'x' },
    ignore: () => false,
    server: { https: { certFile: 'c', keyFile: 'k' }, auth: { tokens: ['secret'] } },
    scrape: { created: true }
  })
  for (const options of [config.server, config.scrape, defaultServer, defaultScrape]) {
    t.strictSame(structuredClone(options), options)
  }
  const facts = collectFacts({
    server: { ...defaultServer, auth: { users: { somebody: 'secret' }, tokens: undefined } },
    scrape: defaultScrape,
    isGroup: false,
    processMetrics: true,
    registrations: [{ config, histograms: [{ name: 'h', upperBounds: [1], methodLabel: undefined }] }]
  })
  t.strictSame(structuredClone(facts), facts)
  t.notMatch(JSON.stringify(facts), /secret|somebody/)
})

function metric (type: string, values: ClientSample[], name = 'm'): ClientMetric {
  return { name, help: 'h', type, values }
}

t.test('samples of a client library become points of their series', async t => {
  const bucket = (a: string, le: unknown, value: number): ClientSample =>
    ({ metricName: 'm_bucket', labels: { a, le }, value })
  const end = (a: string, sum: number, count: number): ClientSample[] =>
    [{ metricName: 'm_sum', labels: { a }, value: sum }, { metricName: 'm_count', labels: { a }, value: count }]
  const histogram = fromClientMetric(metric('histogram', [
    bucket('x', 1, 2), bucket('x', 2, 2), bucket('x', '+Inf', 5), ...end('x', 9, 5),
    bucket('y', '1', 0), bucket('y', '2', 1), bucket('y', Infinity, 1), ...end('y', 1.5, 1)
  ]))
  t.match(histogram, {
    type: 'histogram',
    labelNames: ['a'],
    labelSets: [['x'], ['y']],
    upperBounds: [1, 2],
    counts: Float64Array.of(2, 0, 3, 0, 1, 0),
    sums: Float64Array.of(9, 1.5)
  })
  t.match(fromClientMetric(metric('summary', [
    { labels: { quantile: 0.5 }, value: 1 },
    { labels: { quantile: 0.9 }, value: 3 },
    ...end('x', 0, 0).map(sample => ({ ...sample, labels: {} }))
  ])), {
    type: 'summary',
    quantiles: [0.5, 0.9],
    quantileValues: Float64Array.of(1, 3),
    sums: Float64Array.of(0),
    counts: Float64Array.of(0)
  })
  t.match(fromClientMetric(metric('gauge', [
    { labels: { a: 1 }, value: '3' }, { labels: null, value: 4 }, { value: 5, labels: { b: 'x' } }
  ])), {
    type: 'gauge',
    labelNames: ['a', 'b'],
    labelSets: [['1', undefined], [undefined, undefined], [undefined, 'x']],
    values: Float64Array.of(3, 4, 5)
  })
  t.match(fromClientMetric(metric('untyped', [])), { type: 'unknown', labelSets: [] })
  t.match(fromClientMetric(metric('gauge', [{ labels: { le: 5 }, value: 1 }, { labels: { le: '5' }, value: 1 }])), {
    labelSets: [['5.0'], ['5']]
  })
  t.match(fromClientMetric(metric('gauge', [{ labels: { quantile: 1, at: 1 }, value: 1 }])), {
    labelSets: [['1.0', '1']]
  })
  t.match(fromClientMetric(metric('histogram', [])), { type: 'histogram', labelSets: [], upperBounds: [] })
})

t.test('how values of several processes become one is told, and they are added up otherwise', async t => {
  for (const aggregator of ['sum', 'min', 'max', 'average', 'first', 'omit']) {
    t.match(fromClientMetric({ ...metric('gauge', []), aggregator }), { aggregator })
  }
  for (const aggregator of [undefined, '', 'median', {}]) {
    t.match(fromClientMetric({ ...metric('gauge', []), aggregator }), { aggregator: 'sum' })
  }
})

t.test('points become samples that have the labels of their series, and no others', async t => {
  const points = fromClientMetric(metric('gauge', [{ labels: { a: 'x' }, value: 1 }, { labels: { b: 'y' }, value: 2 }]))
  t.strictSame(toClientSamples(points as ValuePoints), [
    { labels: {}, sharedLabels: { a: 'x' }, value: 1 }, { labels: {}, sharedLabels: { b: 'y' }, value: 2 }
  ])
})

t.test('a metric whose samples are not those of its type cannot be read, ' +
  'and no text of it gets onto a page', async t => {
  const count: ClientSample[] = [{ metricName: 'm_sum', value: 1 }, { metricName: 'm_count', value: 1 }]
  const infinity: ClientSample = { metricName: 'm_bucket', labels: { le: '+Inf' }, value: 1 }
  const bad: Array<[metric: ClientMetric, message: string]> = [
    [metric('gauge', [{ metricName: 'other', value: 1 }]), 'the type gauge has no sample other'],
    [metric('untyped', [{ metricName: 'm_total', value: 1 }]), 'the type unknown has no sample m_total'],
    [metric('histogram', [{ metricName: 'm_max', value: 1 }]), 'the type histogram has no sample m_max without le'],
    [
      metric('histogram', [{ metricName: 'm_bucket', value: 1 }]),
      'the type histogram has no sample m_bucket without le'
    ],
    [metric('summary', [{ value: 1 }]), 'the type summary has no sample m without quantile'],
    [metric('histogram', [{ ...infinity, labels: { le: 1 } }, ...count]), 'its last bucket is not +Inf'],
    [metric('histogram', [infinity]), 'a series has no sum or no count'],
    [metric('summary', count.slice(0, 1)), 'a series has no sum or no count'],
    [metric('histogram', [infinity, infinity, ...count]), 'two samples are the same'],
    [metric('histogram', [infinity, ...count, ...count]), 'two samples are the same'],
    [metric('summary', [...count, count[0]!]), 'two samples are the same'],
    [metric('summary', [...count, count[1]!]), 'two samples are the same'],
    [
      metric('histogram', [infinity, ...count, ...count.map(sample => ({ ...sample, labels: { a: 'x' } }))]),
      'its series have different buckets'
    ]
  ]
  for (const [metric, message] of bad) t.throws(() => fromClientMetric(metric), { name: 'TypeError', message }, message)

  const injected = {
    name: 'injected',
    help: 'h',
    type: 'gauge',
    aggregator: 'sum',
    get: async () => metric('gauge', [{ value: '1\nhttp_injected 1' }], 'injected')
  }
  const { app } = await createListening(t, {})
  app.latency.registry.registerMetric(injected)
  const page = await scrape(app.latency.url)
  t.same(page.samples('http_injected'), [])
  t.notOk(page.families.has('injected'))
})

t.test('what readers would refuse of a metric of a client library is said', t => {
  const sum = { metricName: 'm_sum', value: 1 }
  const count = { metricName: 'm_count', value: 1 }
  const bucket = (le: unknown, value: unknown): object => ({ metricName: 'm_bucket', labels: { le }, value })
  const end = bucket('+Inf', 1)
  const quantile = (quantile: unknown): object => ({ labels: { quantile }, value: 1 })
  const of = (samples: object[], labels: object): object[] =>
    samples.map(sample => ({ ...sample, labels: { ...labels, ...(sample as ClientSample).labels } }))
  const wrong: Array<[problem: string, type: string, samples: unknown]> = [
    ['its samples are not in an array', 'gauge', {}],
    ["a value is ''", 'gauge', [{ value: '' }]],
    ["a value is 'x'", 'gauge', [{ value: 'x' }]],
    ['a value is true', 'gauge', [{ value: true }]],
    ['a count is -1', 'counter', [{ value: -1 }]],
    ['a count is NaN', 'counter', [{ value: NaN }]],
    ["a label is named 'a-b'", 'gauge', [{ labels: { 'a-b': 'x' }, value: 1 }]],
    ["two series have the labels { b: 'x' }", 'gauge', [
      { labels: { a: '', b: 'x' }, value: 1 }, { labels: { b: 'x' }, value: 1 }
    ]],
    ["two series have the labels { a: '1' }", 'gauge', of([{ value: 1 }, { value: 2 }], { a: '1' })],
    ['two samples are the same', 'histogram', [bucket(1, 1), bucket('1.0', 1), end, sum, count]],
    ['a series has no sum or no count', 'histogram', [end, count]],
    ['the bounds of its buckets do not increase', 'histogram', [bucket(2, 1), bucket(1, 1), end, sum, count]],
    ['its first bucket is -Inf', 'histogram', [bucket('-Infinity', 0), end, sum, count]],
    ['its series have different buckets', 'histogram', [
      ...of([bucket(1, 1), end, sum, count], { a: 'x' }), ...of([end, sum, count], { a: 'y' })
    ]],
    ['its series have different quantiles', 'summary', [
      ...of([quantile(0.5), quantile(0.9), sum, count], { a: 'x' }), ...of([quantile(0.5), sum, count], { a: 'y' })
    ]],
    ['its series have different quantiles', 'summary', [
      ...of([quantile(0.5), sum, count], { a: 'x' }), ...of([quantile(0.9), sum, count], { a: 'y' })
    ]],
    ['its series have different quantiles', 'summary', [
      ...of([quantile(0.5), sum, count], { a: 'x' }), ...of([quantile(0.5), quantile(0.9), sum, count], { a: 'y' })
    ]],
    ['the type histogram has no sample m_max without le', 'histogram', [
      { ...end, metricName: 'm_max' }, end, sum, count
    ]],
    ['a quantile is not in 0 to 1', 'summary', [quantile(-0.1), sum, count]],
    ['a quantile is not in 0 to 1', 'summary', [quantile(1.1), sum, count]],
    ['the type summary has no sample m_bucket without quantile', 'summary', [
      { metricName: 'm_bucket', labels: { quantile: 0.5 }, value: 1 }, sum, count
    ]]
  ]
  const read = (type: string, samples: unknown): Points => fromClientMetric(metric(type, samples as ClientSample[]))
  for (const [problem, type, samples] of wrong) {
    t.throws(() => read(type, samples), { name: 'TypeError', message: problem }, problem)
  }
  const cause = new Error('no')
  t.throws(() => read('gauge', [{ value: 1, get labels () { throw cause } }]), { message: 'no', cause })
  // The ends of what is allowed.
  t.match(read('summary', []), { labelSets: [], quantiles: [] })
  t.match(read('summary', [count, sum, quantile(1)]), { quantiles: [1] })
  const [x, y] = ['x', 'y'].map(a => of([quantile(0.5), sum, count], { a })) as [ClientSample[], ClientSample[]]
  t.match(read('summary', x.flatMap((sample, index) => [sample, y[index]])), { labelSets: [['x'], ['y']] })
  t.match(read('summary', [quantile(0), quantile(1), sum, count]), { quantiles: [0, 1] })
  t.match(read('summary', [{ ...quantile(0.5), value: -1 }, sum, count]), { quantileValues: Float64Array.of(-1) })
  t.match(read('gauge', [{ labels: { quantile: 0.5, size: 2 }, value: 1 }]),
    { labelNames: ['quantile', 'size'], labelSets: [['0.5', '2']] })
  t.match(read('histogram', [{ ...end, exemplar: null }, sum, count]), { exemplars: [] })
  t.end()
})

t.test("exemplars of the user's own metrics are on the OpenMetrics page, and not in the text format", async t => {
  const { app } = await createListening(t, {})
  const registers = [registryOf(app)]
  // prom-client takes exemplars only in a registry that it believes to write OpenMetrics itself; what there is of them
  // is served all the same.
  const counter = new Counter({ name: 'orders_total', help: 'h', registers: [], enableExemplars: true })
  const histogram = new Histogram({
    name: 'order_seconds', help: 'h', registers: [], buckets: [1, 2], labelNames: ['kind'], enableExemplars: true
  })
  for (const metric of [counter, histogram]) registers[0]!.registerMetric(metric as never)
  counter.inc({ value: 2, exemplarLabels: { trace_id: 'counted' } })
  histogram.observe({ labels: { kind: 'a' }, value: 1.5, exemplarLabels: { trace_id: 'slow', user: 'x"\n' } } as never)
  histogram.observe({ labels: { kind: 'b' }, value: 9, exemplarLabels: { trace_id: 'x'.repeat(120) } } as never)

  const read = async (accept: string): Promise<string> =>
    (await fetch(app.latency.url!, { headers: { accept } })).text()
  const lines = (await read('application/openmetrics-text')).split('\n').filter(line => line.startsWith('order'))
  const time = '\\d{10}\\.?\\d*'
  t.match(
    lines.find(line => line.startsWith('orders_total')),
    new RegExp(`^orders_total 2 # {trace_id="counted"} 2 ${time}$`)
  )
  t.match(
    lines.find(line => line.includes('kind="a",le="2.0"')),
    new RegExp(`^order_seconds_bucket{kind="a",le="2.0"} 1 # {trace_id="slow",user="x\\\\"\\\\n"} 1.5 ${time}$`)
  )
  t.match(
    lines.find(line => line.includes('kind="b",le="+Inf"')),
    new RegExp(`^order_seconds_bucket{kind="b",le="\\+Inf"} 1 # {trace_id="x{120}"} 9 ${time}$`)
  )
  t.equal(lines.filter(line => line.includes('#')).length, 3)
  t.notMatch(await read('text/plain'), 'trace_id')
})

t.test('an exemplar that OpenMetrics has no room for is left out, and one may be without a time', async t => {
  const sample = (trace: string): ClientSample => ({ value: 1, exemplar: { labelSet: { trace_id: trace }, value: 1 } })
  const { app } = await createListening(t, {})
  const traces = [
    ['long_total', 'é'.repeat(121)], ['fits_total', 'é'.repeat(120)], ['none_total', undefined]
  ] as const
  for (const [name, trace] of traces) {
    const values = trace === undefined ? [{ value: 1, exemplar: null }] : [sample(trace)]
    app.latency.registry.registerMetric({
      name, help: 'h', type: 'counter', aggregator: 'sum', get: async () => metric('counter', values, name)
    })
  }
  const page = await (await fetch(app.latency.url!, { headers: { accept: 'application/openmetrics-text' } })).text()
  t.match(page, '\nlong_total 1\n')
  t.match(page, `\nfits_total 1 # {trace_id="${'é'.repeat(120)}"} 1\n`)
  t.match(page, '\nnone_total 1\n')
})

t.test('points are what the registry tells, whatever the order of its labels', async t => {
  const points = fromClientMetric(metric('gauge', [
    { labels: { a: 'x', b: 'y' }, value: 1 }, { labels: { b: 'z', a: 'x' }, value: 2 }
  ])) as Points
  t.same(points.labelSets, [['x', 'y'], ['x', 'z']])
})

t.test('what is not an exemplar never gets onto a page, and never takes its metric with it', async t => {
  const bad: unknown[] = [
    { labelSet: {}, value: null }, { labelSet: null, value: 1 }, { labelSet: undefined, value: 1 }, { value: 1 },
    { labelSet: { 'trace-id': 'x' }, value: 1 }, { labelSet: { a: 'x', 'b-c': 'x' }, value: 1 },
    { labelSet: { __name__: 'x' }, value: 1 },
    { labelSet: { a: 'x' }, value: 1, timestamp: NaN }, 'x', 1
  ]
  for (const exemplar of bad) {
    const points = fromClientMetric(metric('counter', [{ value: 1, exemplar } as ClientSample]))
    t.same(points.exemplars, [], JSON.stringify(exemplar))
  }
  const { app } = await createListening(t, {})
  const counter = new Counter({ name: 'c_total', help: 'h', registers: [], enableExemplars: true })
  app.latency.registry.registerMetric(counter)
  t.throws(() => counter.inc({ exemplarLabels: { trace: 'x'.repeat(200) } }), 'prom-client has stored half of it')
  const page = await (await fetch(app.latency.url!, { headers: { accept: 'application/openmetrics-text' } })).text()
  t.match(page, '\nc_total 1\n')
})

t.test('metrics of many series are read in steps', async t => {
  const values = Array.from({ length: 2000 }, (_, n) => ({ labels: { n }, value: n }))
  t.ok([...fromClientMetricInSteps(metric('gauge', values), 'm')].length >= 4)
  const buckets = values.flatMap(({ labels, value }): ClientSample[] => [
    { metricName: 'm_bucket', labels: { ...labels, le: '+Inf' }, value: 1 }, { metricName: 'm_sum', labels, value },
    { metricName: 'm_count', labels, value: 1 }
  ])
  t.ok([...fromClientMetricInSteps(metric('histogram', buckets), 'm')].length >= 12)
  // Samples of two series by turns, whose labels are told in other orders.
  const mixed = fromClientMetric(metric('summary', [
    { metricName: 'm_sum', labels: { a: 1, b: 2 }, value: 1 }, { metricName: 'm_sum', labels: { a: 1 }, value: 2 },
    { metricName: 'm_count', labels: { b: '2', a: '1' }, value: 3 },
    { metricName: 'm_count', labels: { a: 1 }, value: 4 }
  ]))
  t.match(mixed, { labelSets: [['1', '2'], ['1', undefined]], counts: Float64Array.of(3, 4) })
})
