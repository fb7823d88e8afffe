import fc from 'fast-check'
import t from 'tap'
import { merge, mergeInSteps } from '../lib/gather/merge'
import type {
  Aggregator, Exemplar, HistogramPoints, Labels, NativePoints, Points, SummaryPoints, ValuePoints
} from '../lib/snapshot'

const upperBounds = [0.5, 1]

/** Multiples of an eighth add up without rounding, in whichever order. */
const amount = fc.integer({ min: 0, max: 1000 }).map(eighths => eighths / 8)
const labelValue = fc.constantFrom('', 'a', 'b', '"')
const labelSet = fc.tuple(fc.option(labelValue, { nil: undefined }), labelValue)

interface Series {
  readonly labels: readonly [string | undefined, string]
  readonly numbers: readonly number[]
  readonly start: number
  readonly exemplars: ReadonlyArray<{
    readonly bucket: number
    readonly value: number
    readonly timestampSeconds: number | undefined
  }>
}

const exemplar = fc.record({
  bucket: fc.nat({ max: 2 }), value: amount, timestampSeconds: fc.option(fc.nat({ max: 3 }), { nil: undefined })
})

const series: fc.Arbitrary<Series[]> = fc.uniqueArray(fc.record({
  labels: labelSet,
  numbers: fc.array(amount, { minLength: 5, maxLength: 5 }),
  start: fc.oneof(fc.nat({ max: 9 }), fc.constant(NaN)),
  exemplars: fc.uniqueArray(exemplar, { selector: ({ bucket }) => bucket, maxLength: 3 })
}), { selector: ({ labels }) => JSON.stringify(labels.map(value => value ?? '')), maxLength: 5 })

/** What points of every type have, with their labels in one order or the other, or one of them shared by all series. */
function common (all: readonly Series[], help: string, layout: number): Omit<Points, 'type'> {
  const exemplars = all.flatMap(({ exemplars }, index): Exemplar[] =>
    [...exemplars]
      .sort((a, b) => a.bucket - b.bucket)
      .map(exemplar => ({ ...exemplar, series: index, labels: { id: String(exemplar.value) } })))
  const rest = {
    name: 'x',
    help,
    unit: layout === 3 ? undefined : 'seconds',
    startSeconds: layout === 3 ? undefined : Float64Array.from(all, ({ start }) => start),
    exemplars
  }
  if (layout === 1) {
    return { ...rest, labelNames: ['q', 'p'], labelSets: all.map(({ labels: [p, q] }) => [q, p]), sharedLabels: {} }
  }
  if (layout === 2) {
    return { ...rest, labelNames: ['p', 'q'], labelSets: all.map(({ labels }) => labels), sharedLabels: { zone: 'eu' } }
  }
  return { ...rest, labelNames: ['p', 'q'], labelSets: all.map(({ labels }) => labels), sharedLabels: {} }
}

/** The first numbers of each series as counts of native buckets, at resolutions that differ. */
function nativeOf (all: readonly Series[]): NativePoints {
  const buckets = all.map(({ numbers, start }) => {
    const first = Math.round(7 * numbers[4]!) - 3000
    const counts = numbers.slice(0, 4).map(Math.floor)
    const indexes = counts.map((count, place) => first + place * (1 + count % 3))
    return { schema: 3 - (start || 0) % 4, zeroCount: counts[0]!, indexes, counts }
  })
  return {
    schemas: Int8Array.from(buckets, ({ schema }) => schema),
    zeroCounts: Float64Array.from(buckets, ({ zeroCount }) => zeroCount),
    ends: Uint32Array.from(buckets, (_, index) => 4 * (index + 1)),
    indexes: Int32Array.from(buckets.flatMap(({ indexes }) => indexes)),
    counts: Float64Array.from(buckets.flatMap(({ counts }) => counts))
  }
}

type Build = (all: readonly Series[], help: string, layout: number) => Points

const kinds: Readonly<Record<string, Build>> = {
  histogram: (all, help, layout): HistogramPoints => ({
    ...common(all, help, layout),
    type: 'histogram',
    upperBounds,
    counts: Float64Array.from(all.flatMap(({ numbers }) => numbers.slice(0, 3).map(Math.floor))),
    sums: Float64Array.from(all, ({ numbers }) => numbers[3]!),
    native: layout === 3 ? undefined : nativeOf(all)
  }),
  summary: (all, help, layout): SummaryPoints => ({
    ...common(all, help, layout),
    type: 'summary',
    quantiles: [0.5],
    quantileValues: Float64Array.from(all, ({ numbers }) => numbers[0]!),
    counts: Float64Array.from(all, ({ numbers }) => numbers[1]!),
    sums: Float64Array.from(all, ({ numbers }) => numbers[2]!)
  }),
  ...Object.fromEntries((['counter', 'gauge', 'unknown'] as const).map((type): [string, Build] => [
    type,
    (all, help, layout): ValuePoints => ({
      ...common(all, help, layout),
      type,
      aggregator: 'sum',
      values: Float64Array.from(all, ({ numbers }) => numbers[0]!)
    })
  ]))
}

/** What points say of each label set, whatever the order of labels and series. */
function told (points: Points): unknown {
  const columns: Float64Array[] = points.type === 'histogram' || points.type === 'summary'
    ? [points.counts, points.sums]
    : [points.values]
  const entries = points.labelSets.map((labelSet, index) => {
    const own = points.labelNames
      .map((name, position) => [name, labelSet[position]] as const)
      // To Prometheus, a label that is empty is one that is not there.
      .filter(([, value]) => value !== undefined && value !== '')
    const labels = JSON.stringify([...own, ...Object.entries(points.sharedLabels)].sort())
    const numbers = columns.map(column => {
      const width = column.length / points.labelSets.length
      return [...column.subarray(index * width, (index + 1) * width)]
    })
    const exemplars = points.exemplars
      .filter(({ series }) => series === index)
      .map(({ series, ...exemplar }) => exemplar)
    const native = points.type === 'histogram' && points.native !== undefined && toldOfNative(points.native, index)
    return [labels, { numbers, native, start: points.startSeconds?.[index] ?? NaN, exemplars }] as const
  })
  return {
    type: points.type,
    help: points.help,
    unit: points.unit,
    series: Object.fromEntries(entries.sort(([a], [b]) => a < b ? -1 : 1))
  }
}

function toldOfNative ({ schemas, zeroCounts, ends, indexes, counts }: NativePoints, series: number): unknown {
  const [first, end] = [ends[series - 1] ?? 0, ends[series]]
  return {
    schema: schemas[series],
    zeroCount: zeroCounts[series],
    indexes: [...indexes.subarray(first, end)],
    counts: [...counts.subarray(first, end)]
  }
}

const part = fc.tuple(series, fc.constantFrom('one help', 'another help'), fc.nat({ max: 3 }))

for (const [kind, build] of Object.entries(kinds)) {
  t.test(`${kind}: to merge is commutative and associative, and adds everything up`, async t => {
    fc.assert(fc.property(part, part, part, (...parts) => {
      const [a, b, c] = parts.map(([all, help, layout]) => build(all, help, layout)) as [Points, Points, Points]
      const before = structuredClone([a, b, c])
      t.strictSame(told(merge(a, b)), told(merge(b, a)))
      t.strictSame(told(merge(merge(a, b), c)), told(merge(a, merge(b, c))))
      t.strictSame(told(merge(merge(a, b), c)), told(merge(a, b, c)))
      t.strictSame([a, b, c], before, 'nothing is changed')
      const total = (points: Points): number => (
        points.type === 'histogram' || points.type === 'summary' ? points.sums : points.values
      ).reduce((sum, value) => sum + value, 0)
      t.equal(total(merge(merge(a, b), c)), total(a) + total(b) + total(c))
      if (kind === 'histogram') {
        const { native: counted } = merge(merge(a, b), c) as HistogramPoints
        const counting = [a, b, c].filter(({ labelSets }) => labelSets.length > 0)
        const parts = (counting.length > 0 ? counting : [a, b, c]).map(points => (points as HistogramPoints).native)
        const totalOf = (native: NativePoints): number => native.counts.reduce((sum, count) => sum + count, 0)
        if (parts.includes(undefined)) t.equal(counted, undefined)
        else t.equal(totalOf(counted!), parts.reduce((sum, native) => sum + totalOf(native!), 0))
      }
      t.strictSame(structuredClone(merge(a, b)), merge(a, b), 'it can be cloned')
    }), { numRuns: 60 })
  })
}

t.test('of the same bucket the latest exemplar stays, and a series began when the first of its parts did', async t => {
  const at = (timestampSeconds: number | undefined, start: number): HistogramPoints => kinds.histogram!([{
    labels: ['a', 'b'],
    numbers: [1, 0, 0, 0.25, 0],
    start,
    exemplars: [{ bucket: 0, value: timestampSeconds ?? 0, timestampSeconds }]
  }], 'h', 0) as HistogramPoints
  const merged = merge(at(5, 3), at(7, 2)) as HistogramPoints
  t.same(merged.exemplars, [{ series: 0, bucket: 0, labels: { id: '7' }, value: 7, timestampSeconds: 7 }])
  t.same([...merged.startSeconds!], [2])
  t.same(merge(at(undefined, NaN), at(7, 2)).exemplars, merged.exemplars)
  t.same([...merge(at(undefined, NaN), at(7, 2)).startSeconds!], [2])
})

t.test('of exemplars of the same time one stays, the same in whichever order', async t => {
  const exemplarOf = (value: number, id: string): HistogramPoints => ({
    ...kinds.histogram!([
      { labels: ['a', 'b'], numbers: [1, 0, 0, 0, 0], start: 1, exemplars: [] }
    ], 'h', 0) as HistogramPoints,
    exemplars: [{ series: 0, bucket: 0, labels: { id }, value, timestampSeconds: 5 }]
  })
  const cases = [
    [exemplarOf(1, 'x'), exemplarOf(2, 'y'), 'y'],
    [exemplarOf(1, 'x'), exemplarOf(1, 'y'), 'y']
  ] as const
  for (const [a, b, id] of cases) {
    for (const merged of [merge(a, b), merge(b, a)]) t.match(merged.exemplars, [{ labels: { id } }])
  }
})

t.test('native buckets of other resolutions are added up at the coarser one', async t => {
  const points = (native: Pick<NativePoints, 'indexes' | 'counts'>, schema: number): HistogramPoints => ({
    ...kinds.histogram!([
      { labels: ['a', 'b'], numbers: [1, 0, 0, 0, 0], start: 1, exemplars: [] }
    ], 'h', 0) as HistogramPoints,
    native: {
      schemas: Int8Array.of(schema),
      zeroCounts: Float64Array.of(1),
      ends: Uint32Array.of(native.counts.length),
      ...native
    }
  })
  const fine = points({
    indexes: Int32Array.of(-5, -4, -3, 0, 1, 4, 5), counts: Float64Array.of(1, 2, 4, 8, 16, 32, 64)
  }, 3)
  const coarse = points({ indexes: Int32Array.of(0, 2), counts: Float64Array.of(100, 200) }, 1)
  for (const merged of [merge(fine, coarse), merge(coarse, fine)]) {
    t.same(toldOfNative((merged as HistogramPoints).native!, 0), {
      // The buckets -7 to -4 of schema 3 are the bucket -1 of schema 1, and so on.
      schema: 1, zeroCount: 2, indexes: [-1, 0, 1, 2], counts: [3, 112, 48, 264]
    })
  }
})

t.test('any number of series is merged, in steps', async t => {
  const size = 1200
  const points: HistogramPoints = {
    ...kinds.histogram!(Array.from({ length: size }, (_, index) => (
      { labels: [String(index), 'b'], numbers: [1, 2, 3, 4, 5], start: 1, exemplars: [] }
    )), 'h', 0) as HistogramPoints,
    native: {
      schemas: new Int8Array(size),
      zeroCounts: new Float64Array(size),
      ends: Uint32Array.from({ length: size }, (_, index) => index + 1),
      indexes: new Int32Array(size).fill(1),
      counts: new Float64Array(size).fill(2)
    }
  }
  const steps = mergeInSteps([points, points])
  let count = 0
  let step = steps.next()
  for (; step.done !== true; step = steps.next()) count++
  t.ok(count > 20, `${count} steps`)
  const { labelSets, sums, native } = step.value as HistogramPoints
  t.same(labelSets, points.labelSets)
  t.same(sums, points.sums.map(sum => 2 * sum))
  t.same(native!.counts, new Float64Array(size).fill(4))
})

t.test('quantiles of summaries are left out, since they cannot be merged', async t => {
  const summary = kinds.summary!([{ labels: ['a', 'b'], numbers: [1, 2, 3, 0, 0], start: 1, exemplars: [] }], 'h', 0)
  t.match(merge(summary, summary), { quantiles: [], counts: Float64Array.of(4), sums: Float64Array.of(6) })
})

t.test('what is not of the same kind is refused', async t => {
  const series = [{ labels: ['a', 'b'] as const, numbers: [1, 2, 3, 0, 0], start: 1, exemplars: [] }]
  const [histogram, counter] = [kinds.histogram!(series, 'h', 0), kinds.counter!([], 'h', 0)]
  t.throws(() => merge(histogram, counter), { message: 'A histogram and a counter cannot be merged' })
  t.throws(() => merge(counter, kinds.gauge!([], 'h', 0)), { message: 'A counter and a gauge cannot be merged' })
  const other = { ...histogram, upperBounds: [0.5, 2] } as HistogramPoints
  t.throws(() => merge(histogram, other), { message: 'Histograms with other buckets cannot be merged' })
  t.throws(() => merge(histogram, { ...other, upperBounds: [0.5] } as HistogramPoints), { message: /other buckets/ })
})

t.test('a histogram without series may have any bounds, and hides no native buckets', async t => {
  const native = { schemas: Int8Array.of(3), zeroCounts: Float64Array.of(0), ends: Uint32Array.of(1) }
  const histogram: HistogramPoints = {
    ...kinds.histogram!([{ labels: ['a', 'b'], numbers: [1, 2, 3, 0, 0], start: 1, exemplars: [] }], 'h', 0) as
      HistogramPoints,
    native: { ...native, indexes: Int32Array.of(0), counts: Float64Array.of(6) }
  }
  const empty = { ...kinds.histogram!([], 'h', 0) as HistogramPoints, upperBounds: [], native: undefined }
  for (const merged of [merge(empty, histogram), merge(histogram, empty)]) {
    t.match(merged, { upperBounds, counts: histogram.counts, native: { counts: Float64Array.of(6) } })
  }
  t.match(merge(empty, empty), { upperBounds: [], labelSets: [], native: undefined })
  const [numbers, places] = [new Float64Array(0), new Int32Array(0)]
  const emptyNative: NativePoints = {
    schemas: new Int8Array(0), zeroCounts: numbers, ends: new Uint32Array(0), indexes: places, counts: numbers
  }
  const both = { ...empty, upperBounds, native: emptyNative }
  t.match(merge(both, both), { labelSets: [], native: { counts: numbers, indexes: places } })
})

t.test('a label may have the name of what every object inherits', async t => {
  const counter = (labels: Labels): Points => ({
    ...kinds.counter!([{ labels: ['a', 'b'], numbers: [1], start: 1, exemplars: [] }], 'h', 0),
    labelNames: Object.keys(labels),
    labelSets: [Object.values(labels)]
  })
  const merged = merge(counter({ a: 'x' }), counter({ a: 'x', constructor: 'y', toString: 'z' }))
  t.strictSame(merged.labelNames, ['a', 'constructor', 'toString'])
  t.strictSame(merged.labelSets, [['x', undefined, undefined], ['x', 'y', 'z']])
})

t.test('values become one as the aggregator says, in the series where there are several', t => {
  const of = (aggregator: Aggregator, a: number, ...rest: number[]): Points => ({
    ...common([], 'h', 0),
    type: 'gauge',
    aggregator,
    startSeconds: undefined,
    labelSets: [a, ...rest].map((_, series) => ['x', String(series)]),
    values: Float64Array.of(a, ...rest)
  })
  const expected: Array<[aggregator: Aggregator, first: number]> =
    [['sum', 9], ['min', 2], ['max', 4], ['average', 3], ['first', 3], ['omit', 3]]
  for (const [aggregator, first] of expected) {
    const merged = merge(of(aggregator, 3), of(aggregator, 4, 5), of(aggregator, 2)) as ValuePoints
    t.strictSame([...merged.values], [first, 5], aggregator)
    t.equal(merged.aggregator, aggregator)
  }
  t.end()
})
