import t from 'tap'
import { canonicalFloat, sampleValue } from '../lib/exposition/float'
import { writeText } from '../lib/exposition/text'
import { HistogramFamily } from '../lib/histogram/family'
import type { MetricFamily, SampleSnapshot } from '../lib/snapshot'
import { Exposition } from './helpers/exposition'

function text (families: readonly MetricFamily[]): string {
  return Buffer.concat([...writeText(families)]).toString()
}

t.test('bounds are written in the canonical form of OpenMetrics', async t => {
  const cases: Array<[value: number, text: string]> = [
    [0, '0.0'], [-0, '0.0'], [1, '1.0'], [10, '10.0'], [-1, '-1.0'], [0.005, '0.005'], [2.5, '2.5'], [0.1, '0.1'],
    [0.001, '0.001'], [0.0001, '0.0001'], [0.0002, '0.0002'], [0.00001, '1e-05'], [0.000015, '1.5e-05'], [1e-9, '1e-09'], [1e-10, '1e-10'],
    [100000, '100000.0'], [123456, '123456.0'], [123456.75, '123456.75'], [1e6, '1e+06'], [1234567, '1.234567e+06'], [1e21, '1e+21'], [1e100, '1e+100'],
    [Infinity, '+Inf'], [-Infinity, '-Inf'], [NaN, 'NaN']
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
  const family = new HistogramFamily({ name: 'h_seconds', help: 'Back\\slash and\nline "feed".', labelNames: ['method', 'route'], upperBounds: [0.5, 1] })
  family.observe(family.slot(['GET', '/']), 0.25)
  family.observe(family.slot(['GET', '/']), 1)
  family.observe(family.slot(['POST', '/a"b\\c\nd']), 3)

  const page = text([{ ...family.snapshot(), defaultLabels: { app: 'x', route: 'not this one' } }])
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
  const family = new HistogramFamily({ name: 'h', help: 'help', labelNames: [], upperBounds: [1] })
  t.equal(text([family.snapshot()]),
    '# HELP h help\n# TYPE h histogram\nh_bucket{le="1.0"} 0\nh_bucket{le="+Inf"} 0\nh_sum 0\nh_count 0\n')
})

t.test('families of a client library, whole', async t => {
  const gauge: SampleSnapshot = {
    layout: 'samples',
    type: 'gauge',
    name: 'g',
    help: 'g',
    samples: [{ name: 'g', labels: {}, value: -1.5 }, { name: 'g', labels: { a: 'x"', n: 2 }, value: Infinity }]
  }
  const summary: SampleSnapshot = {
    layout: 'samples',
    type: 'summary',
    name: 's',
    help: 's',
    samples: [{ name: 's', labels: { quantile: 1 }, value: NaN }, { name: 's_sum', labels: {}, value: 0 }, { name: 's_count', labels: {}, value: 0 }]
  }
  t.equal(text([gauge, summary]),
    '# HELP g g\n# TYPE g gauge\ng -1.5\ng{a="x\\"",n="2"} +Inf\n' +
    '# HELP s s\n# TYPE s summary\ns{quantile="1.0"} NaN\ns_sum 0\ns_count 0\n')
})

t.test('a series may be larger than the pages it is written in', async t => {
  const route = 'ü'.repeat(100_000)
  const family = new HistogramFamily({ name: 'h', help: 'h', labelNames: ['route'], upperBounds: Array.from({ length: 50 }, (_, index) => index) })
  family.observe(family.slot([route]), 48.5)
  const read = new Exposition(text([family.snapshot()]))
  t.equal(read.samples('h_bucket').length, 51)
  for (const [le, count] of [['48.0', 0], ['49.0', 1], ['+Inf', 1]] as const) t.equal(read.value('h_bucket', { route, le }), count)
})

t.test('any label value comes back as it went in', async t => {
  const values = ['', '\\', '\\n', '\n', '"', '\\"', '}', '{', ',', '=', '\r', '\u2028', 'ü', '😀', 'le="1"', '# HELP h', ' ']
  const family = new HistogramFamily({ name: 'h', help: 'h', labelNames: ['a', 'b'], upperBounds: [1] })
  for (const a of values) for (const b of values) family.observe(family.slot([a, b]), 0.5)
  const read = new Exposition(text([family.snapshot()]))
  for (const a of values) for (const b of values) t.equal(read.value('h_count', { a, b }), 1)
})
