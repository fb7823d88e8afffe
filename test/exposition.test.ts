import t from 'tap'
import { canonicalFloat, sampleValue } from '../lib/exposition/float'
import { writeOpenMetrics } from '../lib/exposition/openmetrics'
import { familyName, isAskedFor, namesOf } from '../lib/exposition/sample-names'
import { writeText } from '../lib/exposition/text'
import { fromClientMetric, type ClientMetric } from '../lib/exposition/client-samples'
import type { Labels, Points, ValuePoints } from '../lib/snapshot'
import { Exposition } from './helpers/exposition'
import { createHistogram, observe } from './helpers/histogram'

function text (families: readonly Points[]): string {
  return Buffer.concat([...writeText(families)]).toString()
}

function openMetrics (families: readonly Points[], withCreated = false): string {
  return Buffer.concat([...writeOpenMetrics(families, { created: withCreated })]).toString()
}

/** A family of one sample, as a client library reports it. */
function metric (type: 'counter' | 'gauge' | 'untyped', name: string, startSeconds?: number): ValuePoints {
  const points = fromClientMetric({ type, name, help: 'help', values: [{ value: 1 }] }) as ValuePoints
  return { ...points, startSeconds: startSeconds === undefined ? undefined : Float64Array.of(startSeconds) }
}

t.test('bounds are written in the canonical form of OpenMetrics', async t => {
  const cases: Array<[value: number, text: string]> = [
    [0, '0.0'], [-0, '0.0'], [1, '1.0'], [10, '10.0'], [-1, '-1.0'], [0.005, '0.005'], [2.5, '2.5'], [0.1, '0.1'],
    [0.001, '0.001'], [0.0001, '0.0001'], [0.0002, '0.0002'], [0.00001, '1e-05'], [0.000015, '1.5e-05'],
    [1e-9, '1e-09'], [1e-10, '1e-10'],
    [100000, '100000.0'], [123456, '123456.0'], [123456.75, '123456.75'], [1e6, '1e+06'], [1234567, '1.234567e+06'],
    [1e21, '1e+21'], [1e100, '1e+100'], [Infinity, '+Inf'], [-Infinity, '-Inf'], [NaN, 'NaN']
  ]
  for (const [value, text] of cases) t.equal(canonicalFloat(value), text)
})

t.test('sample values keep every digit', async t => {
  const cases: Array<[value: number, text: string]> = [
    [0, '0'], [3, '3'], [0.1 + 0.2, '0.30000000000000004'], [1e21, '1e+21'], [2 ** 53, '9007199254740992'],
    [Infinity, '+Inf'], [-Infinity, '-Inf'], [NaN, 'NaN']
  ]
  for (const [value, text] of cases) t.equal(sampleValue(value), text)
})

t.test('a histogram with labels, whole', async t => {
  const family = createHistogram({
    name: 'h_seconds', help: 'Back\\slash and\nline "feed".', labelNames: ['method', 'route'], upperBounds: [0.5, 1]
  })
  observe(family, ['GET', '/'], 0.25)
  observe(family, ['GET', '/'], 1)
  observe(family, ['POST', '/a"b\\c\nd'], 3)

  const page = text([{ ...family.snapshot(), sharedLabels: { app: 'x' } }])
  t.equal(page, [
    '# HELP h_seconds Back\\\\slash and\\nline "feed".',
    '# TYPE h_seconds histogram',
    'h_seconds_bucket{method="GET",route="/",app="x",le="0.5"} 1',
    'h_seconds_bucket{method="GET",route="/",app="x",le="1.0"} 2',
    'h_seconds_bucket{method="GET",route="/",app="x",le="+Inf"} 2',
    'h_seconds_sum{method="GET",route="/",app="x"} 1.25',
    'h_seconds_count{method="GET",route="/",app="x"} 2',
    'h_seconds_bucket{method="POST",route="/a\\"b\\\\c\\nd",app="x",le="0.5"} 0',
    'h_seconds_bucket{method="POST",route="/a\\"b\\\\c\\nd",app="x",le="1.0"} 0',
    'h_seconds_bucket{method="POST",route="/a\\"b\\\\c\\nd",app="x",le="+Inf"} 1',
    'h_seconds_sum{method="POST",route="/a\\"b\\\\c\\nd",app="x"} 3',
    'h_seconds_count{method="POST",route="/a\\"b\\\\c\\nd",app="x"} 1',
    ''
  ].join('\n'))
})

t.test('a histogram without labels has no braces but those of le', async t => {
  const family = createHistogram({ name: 'h', help: 'help', labelNames: [], upperBounds: [1] })
  t.equal(text([family.snapshot()]),
    '# HELP h help\n# TYPE h histogram\nh_bucket{le="1.0"} 0\nh_bucket{le="+Inf"} 0\nh_sum 0\nh_count 0\n')
})

t.test('labels that a registry adds are the only ones of a histogram that has none', async t => {
  const family = createHistogram({ name: 'h', help: 'help', labelNames: [], upperBounds: [1] })
  t.equal(text([{ ...family.snapshot(), sharedLabels: { app: 'x"y', zone: '1' } }]),
    '# HELP h help\n# TYPE h histogram\nh_bucket{app="x\\"y",zone="1",le="1.0"} 0\n' +
    'h_bucket{app="x\\"y",zone="1",le="+Inf"} 0\nh_sum{app="x\\"y",zone="1"} 0\nh_count{app="x\\"y",zone="1"} 0\n')
})

t.test('OpenMetrics, whole', async t => {
  const family = createHistogram({
    name: 'h_seconds', help: 'Back\\slash and "quote"', labelNames: ['a'], upperBounds: [1]
  })
  observe(family, ['x'], 0.5)
  const snapshot = { ...family.snapshot(), startSeconds: Float64Array.of(12.5) }
  const families = [
    snapshot, metric('counter', 'jobs_total', 3.5), metric('counter', 'ageless_total'),
    metric('counter', 'unsuffixed', 3.5), metric('gauge', 'size_bytes'), metric('untyped', 'u')
  ]
  const lines = (withCreated: boolean): string[] => [
    '# HELP h_seconds Back\\\\slash and \\"quote\\"', '# TYPE h_seconds histogram', '# UNIT h_seconds seconds',
    'h_seconds_bucket{a="x",le="1.0"} 1', 'h_seconds_bucket{a="x",le="+Inf"} 1', 'h_seconds_sum{a="x"} 0.5',
    'h_seconds_count{a="x"} 1',
    ...withCreated ? ['h_seconds_created{a="x"} 12.5'] : [],
    '# HELP jobs help', '# TYPE jobs counter', 'jobs_total 1',
    ...withCreated ? ['jobs_created 3.5'] : [],
    '# HELP ageless help', '# TYPE ageless counter', 'ageless_total 1',
    '# HELP unsuffixed help', '# TYPE unsuffixed unknown', 'unsuffixed 1',
    '# HELP size_bytes help', '# TYPE size_bytes gauge', '# UNIT size_bytes bytes', 'size_bytes 1',
    '# HELP u help', '# TYPE u unknown', 'u 1',
    '# EOF', ''
  ]
  for (const withCreated of [true, false]) t.same(openMetrics(families, withCreated).split('\n'), lines(withCreated))
})

t.test('in OpenMetrics a type has only the lines that are allowed for it', async t => {
  const exemplars = [{ series: 0, bucket: 0, labels: { a: 'x' }, value: 1, timestampSeconds: undefined }]
  const page = (type: 'counter' | 'gauge' | 'untyped', name: string, unit?: string): string =>
    openMetrics([{ ...metric(type, name, 7), exemplars, unit }], true)
  t.equal(page('counter', 'a_bytes_total', 'bytes'),
    '# HELP a_bytes help\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n' +
    'a_bytes_total 1 # {a="x"} 1\na_bytes_created 7\n# EOF\n')
  t.equal(page('counter', 'a', 'bytes'), '# HELP a help\n# TYPE a unknown\na 1\n# EOF\n')
  t.equal(page('gauge', 'a_bytes', 'seconds'), '# HELP a_bytes help\n# TYPE a_bytes gauge\na_bytes 1\n# EOF\n')
  t.equal(page('gauge', 'a'), '# HELP a help\n# TYPE a gauge\na 1\n# EOF\n')
  t.equal(page('untyped', 'a'), '# HELP a help\n# TYPE a unknown\na 1\n# EOF\n')
  t.equal(page('gauge', 'a_undefined'), '# HELP a_undefined help\n# TYPE a_undefined gauge\na_undefined 1\n# EOF\n')
})

t.test('in OpenMetrics a counter is named without _total, unless that name or its _created is taken', async t => {
  const types = (...families: ValuePoints[]): string[] =>
    [...openMetrics(families).matchAll(/^# TYPE (.*)$/gm)].map(([, type]) => type!)
  t.same(types(metric('counter', 'a_total'), metric('gauge', 'b')), ['a counter', 'b gauge'])
  t.same(types(metric('counter', 'a_total'), metric('gauge', 'a')), ['a_total unknown', 'a gauge'])
  t.same(types(metric('counter', 'a_total'), metric('gauge', 'a_created')), ['a_total unknown', 'a_created gauge'])
  t.same(types(metric('counter', 'total_a'), metric('gauge', 'b_total')), ['total_a unknown', 'b_total gauge'])
})

t.test('a family takes the names of its samples, in any format', async t => {
  t.same(namesOf({ name: 'x', type: 'histogram' }), ['x', 'x_bucket', 'x_sum', 'x_count', 'x_created'])
  t.same(namesOf({ name: 'x', type: 'summary' }), ['x', 'x_sum', 'x_count', 'x_created'])
  for (const type of ['counter', 'gauge', 'unknown', undefined]) t.same(namesOf({ name: 'x', type }), ['x'])
})

t.test('the family of a counter has a name without _total, if that is a name of one', async t => {
  const cases: Array<[name: string, family: string | undefined]> = [
    ['x_total', 'x'], ['x', undefined], ['_total', undefined], ['x_total_total', undefined],
    ['_total_x_total', '_total_x'], ['x_total_y', undefined]
  ]
  for (const [name, family] of cases) t.equal(familyName({ name, type: 'counter' }), family, name)
  t.equal(familyName({ name: 'x_total', type: 'gauge' }), undefined)
})

t.test('a family is asked for by its name, by those of its samples, and by what OpenMetrics calls it', async t => {
  const asks = (name: string, type: string): string[] => ['x', 'x_total', 'x_sum', 'x_bucket', 'x_max']
    .filter(asked => isAskedFor({ name, type }, new Set([asked, 'other'])))
  t.same(asks('x', 'histogram'), ['x', 'x_sum', 'x_bucket'])
  t.same(asks('x', 'summary'), ['x', 'x_sum'])
  t.same(asks('x_total', 'counter'), ['x', 'x_total'])
  t.same(asks('x_total', 'gauge'), ['x_total'])
})

t.test('in OpenMetrics a unit at the end of a name is told', async t => {
  const told = (name: string): string | undefined => /^# UNIT (.*)$/m.exec(openMetrics([metric('gauge', name)]))?.[1]
  for (const unit of ['seconds', 'bytes', 'joules', 'grams', 'meters', 'ratio', 'volts', 'amperes', 'celsius']) {
    t.equal(told(`x_${unit}`), `x_${unit} ${unit}`)
    t.equal(told(unit), undefined, `a metric that is called ${unit}`)
  }
  for (const name of ['x', 'x_days', 'x_', 'seconds_x', 'xseconds']) t.equal(told(name), undefined, name)
})

t.test('counts of any size are written in full', async t => {
  const sizes = [0, 1, 9, 10, 11, 99, 100, 1234567890, 2 ** 31 - 1, 2 ** 31, 2 ** 53]
  const family = createHistogram({ name: 'h', help: 'h', labelNames: ['n'], upperBounds: [1] })
  for (const size of sizes) observe(family, [String(size)])
  const read = new Exposition(
    text([{ ...family.snapshot(), counts: Float64Array.from(sizes.flatMap(size => [size, 0])) }])
  )
  for (const size of sizes) t.equal(read.value('h_count', { n: String(size) }), size)
})

t.test('a page comes in pieces of about 64 KiB', async t => {
  const family = createHistogram({ name: 'h', help: 'h', labelNames: ['n'], upperBounds: [1] })
  for (let n = 0; n < 3000; n++) observe(family, [String(n)])
  const values = Array.from({ length: 20_000 }, (_, n) => ({ labels: { n }, value: n }))
  for (const families of [[family.snapshot()], [fromClientMetric({ type: 'gauge', name: 'g', help: 'g', values })]]) {
    const pieces = [...writeText(families)]
    t.ok(pieces.length > 3)
    for (const piece of pieces.slice(0, -1)) t.ok(piece.length > 60_000 && piece.length < 65_536, `${piece.length}`)
    const whole = Buffer.concat(pieces).toString()
    t.equal(
      new Exposition(whole).samples(families[0]!.name === 'g' ? 'g' : 'h_count').length,
      families[0]!.name === 'g' ? 20_000 : 3000
    )
  }
})

t.test('families of a client library, whole', async t => {
  const gauge: ClientMetric = {
    type: 'gauge',
    name: 'g',
    help: 'g',
    values: [{ labels: {}, value: -1.5 }, { labels: { a: 'x"', n: 2 }, value: Infinity }]
  }
  const summary: ClientMetric = {
    type: 'summary',
    name: 's',
    help: 's',
    values: [
      { labels: { quantile: 1 }, value: NaN }, { metricName: 's_sum', labels: {}, value: 0 },
      { metricName: 's_count', labels: {}, value: 0 }
    ]
  }
  const histogram: ClientMetric = {
    type: 'histogram',
    name: 'h',
    help: 'h',
    values: [
      { metricName: 'h_bucket', labels: { le: 1 }, value: 2 },
      { metricName: 'h_bucket', labels: { le: '+Inf' }, value: 5 },
      { metricName: 'h_sum', labels: {}, value: 7.5 }, { metricName: 'h_count', labels: {}, value: 5 }
    ]
  }
  t.equal(text([gauge, summary, histogram].map(metric => fromClientMetric(metric))),
    '# HELP g g\n# TYPE g gauge\ng -1.5\ng{a="x\\"",n="2"} +Inf\n' +
    '# HELP s s\n# TYPE s summary\ns{quantile="1.0"} NaN\ns_sum 0\ns_count 0\n' +
    '# HELP h h\n# TYPE h histogram\nh_bucket{le="1.0"} 2\nh_bucket{le="+Inf"} 5\nh_sum 7.5\nh_count 5\n')
})

t.test('a series may be larger than the pages it is written in', async t => {
  const route = '€'.repeat(30_000)
  const family = createHistogram({
    name: 'h', help: 'h', labelNames: ['route'], upperBounds: Array.from({ length: 8 }, (_, index) => index)
  })
  observe(family, [route], 6.5)
  const read = new Exposition(text([family.snapshot()]))
  t.equal(read.samples('h_bucket').length, 9)
  for (const [le, count] of [['6.0', 0], ['7.0', 1], ['+Inf', 1]] as const) {
    t.equal(read.value('h_bucket', { route, le }), count)
  }
})

t.test('wherever in a series a page is at its end, nothing of it is lost', async t => {
  const lost: number[] = []
  for (let length = 65_440; length < 65_500; length++) {
    const n = 'x'.repeat(length)
    const family = createHistogram({ name: 'h', help: 'h', labelNames: ['n'], upperBounds: [1] })
    observe(family, [n])
    const page = text([{ ...family.snapshot(), counts: Float64Array.of(1234567890, 1) }])
    const expected = `# HELP h h\n# TYPE h histogram\nh_bucket{n="${n}",le="1.0"} 1234567890\n` +
      `h_bucket{n="${n}",le="+Inf"} 1234567891\nh_sum{n="${n}"} 0\nh_count{n="${n}"} 1234567891\n`
    if (page !== expected) lost.push(length)
  }
  t.same(lost, [])
})

t.test('any label value comes back as it went in', async t => {
  const values = [
    '', '\\', '\\n', '\n', '"', '\\"', '}', '{', ',', '=', '\r', '\u2028', 'ü', '😀', 'le="1"', '# HELP h', ' '
  ]
  const family = createHistogram({ name: 'h', help: 'h', labelNames: ['a', 'b'], upperBounds: [1] })
  for (const a of values) for (const b of values) observe(family, [a, b], 0.5)
  const read = new Exposition(text([family.snapshot()]))
  t.same(values.flatMap(a => values.filter(b => read.value('h_count', { a, b }) !== 1)), [])
})

t.test('each series of a summary has its own quantiles', async t => {
  const series = (a: string, [first, second, sum]: readonly number[]): object[] => [
    { labels: { a, quantile: 0.5 }, value: first },
    { labels: { a, quantile: 0.9 }, value: second },
    { metricName: 's_sum', labels: { a }, value: sum },
    { metricName: 's_count', labels: { a }, value: 2 }
  ]
  const values = [...series('x', [1, 2, 3]), ...series('y', [4, 5, 9])] as NonNullable<ClientMetric['values']>
  const read = new Exposition(text([fromClientMetric({ type: 'summary', name: 's', help: 's', values })]))
  const told = ['x', 'y'].map(a => ['0.5', '0.9'].map(quantile => read.value('s', { a, quantile })))
  t.same(told, [[1, 2], [4, 5]])
})

t.test('series may tell their quantiles and buckets in another order than the first', async t => {
  type Steps = ReadonlyArray<[step: number, value: number]>
  function series (a: string, name: string, label: string, steps: Steps): object[] {
    return [
      ...steps.map(([step, value]) => ({ metricName: name, labels: { a, [label]: step }, value })),
      { metricName: 'm_sum', labels: { a }, value: 1 },
      { metricName: 'm_count', labels: { a }, value: 9 }
    ]
  }
  function told (type: string, name: string, label: string, steps: Steps): unknown {
    const values = [...series('x', name, label, steps), ...series('y', name, label, [...steps].reverse())]
    const read = new Exposition(text([fromClientMetric({ type, name: 'm', help: 'm', values } as ClientMetric)]))
    return ['x', 'y'].map(a => steps.map(([step]) => read.value(name, { a, [label]: sampleValue(step) })))
  }
  t.same(told('summary', 'm', 'quantile', [[0.5, 1], [0.9, 2]]), [[1, 2], [1, 2]])
  t.same(told('histogram', 'm_bucket', 'le', [[0.5, 1], [2.5, 3], [Infinity, 9]]), [[1, 3, 9], [1, 3, 9]])
})

t.test('an exemplar of more characters than OpenMetrics allows is left out', async t => {
  const told = (labels: Labels): string => {
    const exemplars = [{ series: 0, bucket: 0, labels, value: 1, timestampSeconds: undefined }]
    return openMetrics([{ ...metric('counter', 'c_total'), exemplars }])
  }
  t.match(told({ a: 'x'.repeat(127) }), `c_total 1 # {a="${'x'.repeat(127)}"} 1\n`)
  t.match(told({ a: '😀'.repeat(60), b: 'x'.repeat(66) }), ' # {', 'characters, and not the bytes of one')
  for (const labels of [{ a: 'x'.repeat(128) }, { a: '😀'.repeat(60), b: 'x'.repeat(67) }]) {
    t.match(told(labels), 'c_total 1\n')
  }
})

t.test('series of one family need not have the same labels, and a registry may add others', async t => {
  const summary = fromClientMetric({
    type: 'summary',
    name: 's',
    help: 's',
    values: [
      { labels: { a: 'x', quantile: 0.5 }, value: 1 },
      { metricName: 's_sum', labels: { a: 'x' }, value: 2 },
      { metricName: 's_count', labels: { a: 'x' }, value: 3 },
      { labels: { quantile: 0.5 }, value: 4 },
      { metricName: 's_sum', labels: {}, value: 5 },
      { metricName: 's_count', labels: {}, value: 6 }
    ]
  })
  const lines = 's{a="x",quantile="0.5"} 1\ns_sum{a="x"} 2\ns_count{a="x"} 3\ns{quantile="0.5"} 4\ns_sum 5\ns_count 6\n'
  t.equal(text([summary]), `# HELP s s\n# TYPE s summary\n${lines}`)
  t.equal(openMetrics([{ ...summary, startSeconds: Float64Array.of(7, NaN) }], true),
    `# HELP s s\n# TYPE s summary\n${lines.replace('s{quantile', 's_created{a="x"} 7\ns{quantile')}# EOF\n`)
  const count = (labels: object): object[] => [
    { metricName: 'h_bucket', labels: { ...labels, le: '+Inf' }, value: 1 },
    { metricName: 'h_sum', labels, value: 1 },
    { metricName: 'h_count', labels, value: 1 }
  ]
  const histogram = fromClientMetric({
    type: 'histogram', name: 'h', help: 'h', values: [...count({ a: 'x', b: 'y' }), ...count({ b: 'z' })] as never
  })
  t.equal(text([{ ...histogram, sharedLabels: { zone: 'eu' } }]), '# HELP h h\n# TYPE h histogram\n' +
    'h_bucket{a="x",b="y",zone="eu",le="+Inf"} 1\nh_sum{a="x",b="y",zone="eu"} 1\nh_count{a="x",b="y",zone="eu"} 1\n' +
    'h_bucket{b="z",zone="eu",le="+Inf"} 1\nh_sum{b="z",zone="eu"} 1\nh_count{b="z",zone="eu"} 1\n')
  t.equal(text([metric('untyped', 'u')]), '# HELP u help\n# TYPE u untyped\nu 1\n')
})

t.test('a summary of many series comes in pieces too', async t => {
  const values = Array.from({ length: 3000 }, (_, n) => {
    const labels = { n }
    return [
      { metricName: 's_sum', labels, value: n },
      { metricName: 's_count', labels, value: 1 },
      { labels: { n, quantile: 0.5 }, value: n }
    ]
  }).flat()
  const pieces = [...writeText([fromClientMetric({ type: 'summary', name: 's', help: 's', values })])]
  t.ok(pieces.length > 2)
  t.equal(new Exposition(Buffer.concat(pieces).toString()).samples('s_count').length, 3000)
})
