import t from 'tap'
import { bucketIndex, defaultUpperBounds, isUpperBounds } from '../lib/histogram/bounds'
import { allocateSegment, Column, segmentSlots } from '../lib/histogram/columns'
import { HistogramFamily } from '../lib/histogram/family'
import { SeriesIndex } from '../lib/histogram/series-index'
import { ValueFamily } from '../lib/histogram/values'
import type { HistogramPoints } from '../lib/snapshot'
import { createHistogram, observe } from './helpers/histogram'

function family (labelNames: string[] = [], upperBounds: readonly number[] = [1, 2]): HistogramFamily {
  return createHistogram({ name: 'h', help: 'h', labelNames, upperBounds })
}

function countsOf (snapshot: HistogramPoints): number[] {
  return [...snapshot.counts]
}

/** The next representable number in the given direction. */
function next (value: number, direction: 1 | -1): number {
  const bits = new BigInt64Array(1)
  const double = new Float64Array(bits.buffer)
  double[0] = value
  bits[0]! += BigInt(value > 0 ? direction : -direction)
  return double[0]!
}

t.test('a bound is inclusive: on it and just under it is inside, just over it is in the next bucket', async t => {
  const bounds = Float64Array.from(defaultUpperBounds)
  defaultUpperBounds.forEach((bound, index) => {
    t.equal(bucketIndex(bounds, next(bound, -1)), index, `just under ${bound}`)
    t.equal(bucketIndex(bounds, bound), index, `on ${bound}`)
    t.equal(bucketIndex(bounds, next(bound, 1)), index + 1, `just over ${bound}`)
  })
  t.equal(bucketIndex(bounds, 0), 0)
  t.equal(bucketIndex(bounds, -0), 0)
  t.equal(bucketIndex(bounds, 1e9), bounds.length, 'beyond the last bound is +Inf')
  t.equal(bucketIndex(Float64Array.of(3), 3), 0)
  t.equal(bucketIndex(Float64Array.of(3), 4), 1)
})

t.test('with many bounds, which are searched in another way, a bound is inclusive too', async t => {
  for (const length of [60, 61, 500]) {
    const bounds = Float64Array.from({ length }, (_, index) => (index + 1) / 7)
    bounds.forEach((bound, index) => {
      const found = [next(bound, -1), bound, next(bound, 1)].map(value => bucketIndex(bounds, value))
      if (found.join() !== [index, index, index + 1].join()) t.fail(`${bound} of ${length}: ${found.join()}`)
    })
    t.equal(bucketIndex(bounds, 0), 0)
    t.equal(bucketIndex(bounds, 1e9), length)
  }
})

t.test('upper bounds are finite and strictly increasing', async t => {
  const good: unknown[] = [[1], [0.1, 0.2], [-1, 0, 1], [Number.MIN_VALUE, Number.MAX_VALUE]]
  const bad: unknown[] = [
    undefined, 1, 'x', {}, [], [2, 1], [1, 1], [0, -0], [NaN], [1, NaN], [1, Infinity], [-Infinity, 1], ['1'], [1, '2'],
    [1n]
  ]
  for (const bounds of good) t.ok(isUpperBounds(bounds), String(bounds))
  for (const bounds of bad) t.notOk(isUpperBounds(bounds), String(bounds))
})

t.test('three requests of 2, 4 and 9 seconds: count 3, sum 15', async t => {
  const histogram = family([], [2, 4, 8])
  for (const seconds of [2, 4, 9]) histogram.observe(histogram.index.slot([]), seconds)
  const snapshot = histogram.snapshot()
  t.same(countsOf(snapshot), [1, 1, 0, 1])
  t.same([...snapshot.sums], [15])
})

t.test('a duration that is none is counted, and corrupts neither counts nor sum', async t => {
  const cases: Array<[seconds: number, counts: number[], sum: number]> = [
    [NaN, [0, 0, 1], 0],
    [Infinity, [0, 0, 1], 0],
    [-Infinity, [0, 0, 1], 0],
    [-5, [1, 0, 0], 0],
    [-0, [1, 0, 0], 0],
    [Number.MAX_VALUE, [0, 0, 1], Number.MAX_VALUE]
  ]
  for (const [seconds, counts, sum] of cases) {
    const histogram = family()
    histogram.observe(0, seconds)
    t.same(countsOf(histogram.snapshot()), counts, `${seconds}`)
    t.same([...histogram.snapshot().sums], [sum], `${seconds}`)
  }
})

t.test('a histogram without labels is there from the start, at zero', async t => {
  t.same(countsOf(family().snapshot()), [0, 0, 0])
  t.same(family().snapshot().labelSets, [[]])
  t.same(family(['a']).snapshot().labelSets, [])
})

t.test('the same label values always find the same series, and others never do', async t => {
  const histogram = family(['a', 'b'])
  const values = ['', ',', ':', '|', '"', '\\', '\n', 'a', 'a,b', 'a|b', '\u0000', '__proto__', 'constructor']
  const slots = new Map<string, number>()
  for (const a of values) for (const b of values) slots.set(JSON.stringify([a, b]), observe(histogram, [a, b]))
  t.equal(new Set(slots.values()).size, values.length ** 2)
  for (const a of values) {
    for (const b of values) t.equal(histogram.index.slot([a, b]), slots.get(JSON.stringify([a, b])))
  }
  t.equal(histogram.snapshot().labelSets.length, values.length ** 2)
})

t.test('the array of label values may be used again by the caller', async t => {
  const histogram = family(['a'])
  const values = ['one']
  observe(histogram, values)
  values[0] = 'two'
  observe(histogram, values)
  t.same(histogram.snapshot().labelSets, [['one'], ['two']])
})

t.test('counts survive the growth of the columns', async t => {
  const histogram = family(['n'])
  for (let round = 1; round <= 2; round++) {
    for (let n = 0; n < 1000; n++) histogram.observe(histogram.index.slot([String(n)]), n % 3)
  }
  const { counts, sums, labelSets } = histogram.snapshot()
  const expected = Array.from({ length: 1000 }, (_, n) => n % 3)
  t.same(labelSets, expected.map((_, n) => [String(n)]))
  t.same([...sums], expected.map(seconds => 2 * seconds))
  t.same([...counts], expected.flatMap(seconds => seconds === 2 ? [0, 2, 0] : [2, 0, 0]))
})

t.test('a snapshot is plain data that later observations do not change', async t => {
  const histogram = family(['a'])
  histogram.observe(histogram.index.slot(['x']), 1)
  const snapshot = histogram.snapshot()
  const copy = structuredClone(snapshot)
  histogram.observe(histogram.index.slot(['x']), 1)
  histogram.index.slot(['y'])
  t.same(snapshot, copy)
  t.same(countsOf(snapshot), [1, 0, 0])
})

t.test('a reset forgets every series, tells so, and counting goes on', async t => {
  const histogram = family(['a'])
  const { epoch } = histogram.index
  histogram.observe(histogram.index.slot(['x']), 1)
  histogram.reset()
  t.not(histogram.index.epoch, epoch)
  t.same(histogram.snapshot().labelSets, [])
  histogram.observe(histogram.index.slot(['y']), 2)
  t.same(countsOf(histogram.snapshot()), [0, 1, 0])
})

t.test('histograms beside one index have the same slots, ' +
  'and each shows only the series that it has counted in', async t => {
  const index = new SeriesIndex(['a'])
  const [first, second] = ['first', 'second'].map(name =>
    new HistogramFamily({ name, help: 'h', unit: 'seconds', upperBounds: [1] }, index)
  ) as [HistogramFamily, HistogramFamily]
  const slots = Array.from({ length: 200 }, (_, n) => observe(first, [String(n)]))
  second.observe(slots[150]!, 3)
  t.equal(first.snapshot().labelSets.length, 200)
  t.match(second.snapshot(), { labelSets: [['150']], counts: Float64Array.of(0, 1), sums: Float64Array.of(3) })
  const late = new HistogramFamily({ ...first.definition, name: 'late' }, index)
  late.observe(slots[199]!, 1)
  t.same(late.snapshot().labelSets, [['199']])

  first.reset()
  t.same(first.snapshot().labelSets, [])
  t.equal(index.size, 200, 'others still count in these series')
  first.observe(index.slot(['7']), 1)
  t.ok(first.snapshot().startSeconds![0]! >= second.snapshot().startSeconds![0]!, 'it began anew')
  for (const family of [first, second, late]) family.reset()
  t.equal(index.size, 0)
})

t.test('a histogram that has left its index still counts, and no longer keeps series', async t => {
  const index = new SeriesIndex(['n'])
  const definition = { name: 'h', help: 'h', unit: 'seconds', upperBounds: [1] }
  const [stays, leaves] = [new HistogramFamily(definition, index), new HistogramFamily(definition, index)]
  observe(leaves, ['first'], 2)
  leaves.dispose()
  // The last one is the first of its segment.
  const last = Array.from({ length: 3 * segmentSlots }, (_, n) => observe(stays, [String(n)])).at(-1)!
  t.same(leaves.snapshot().labelSets, [['first']])
  leaves.observe(last, 3)
  t.same([...leaves.snapshot().sums], [2, 3])
  stays.reset()
  t.equal(index.size, 0)
})

t.test('segments are handed in, and are never moved', async t => {
  const segments: Float64Array[] = []
  const index = new SeriesIndex(['n'], length => {
    segments.push(new Float64Array(new SharedArrayBuffer(length * Float64Array.BYTES_PER_ELEMENT)))
    return segments.at(-1)!
  })
  const family = new HistogramFamily({ name: 'h', help: 'h', unit: 'seconds', upperBounds: [1] }, index)
  observe(family, ['first'], 5)
  const row = segments.find(segment => segment.includes(5))!
  for (let n = 0; n < 1000; n++) observe(family, [String(n)], 1)
  observe(family, ['first'], 7)
  t.ok(row.includes(12), 'a reader of the first segment sees what is counted later')
  t.equal(family.snapshot().sums.reduce((sum, value) => sum + value), 1012)
})

t.test('a snapshot of many series is taken in steps, and each series in it is as at one instant', async t => {
  const histogram = family(['n'])
  const observeAll = (): void => {
    for (let n = 0; n < 25_000; n++) histogram.observe(histogram.index.slot([String(n)]), 1)
  }
  observeAll()
  const steps = histogram.snapshotInSteps()
  for (let step = 0; step < 2; step++) {
    t.notOk(steps.next().done)
    observeAll()
    observe(histogram, [`new ${step}`])
  }
  const { value, done } = steps.next()
  t.equal(done, true)
  const { counts, sums, labelSets } = value as HistogramPoints
  t.equal(labelSets.length, 25_000)
  t.same([counts[0], counts[3 * 10_000], counts[3 * 20_000]], [1, 2, 3])
  t.same(sums.filter((sum, slot) => sum !== counts[3 * slot]), [])
  t.equal(histogram.snapshot().labelSets.length, 25_002)
})

t.test('a snapshot that is interrupted by a reset is of what came after', async t => {
  const histogram = family(['n'])
  for (let n = 0; n < 20_000; n++) observe(histogram, [String(n)])
  const steps = histogram.snapshotInSteps()
  steps.next()
  histogram.reset()
  observe(histogram, ['new'])
  t.match(steps.next(), { done: true, value: { labelSets: [['new']] } })
})

t.test('the first number of each series of a column is the one that is read and changed', async t => {
  const column = new Column(3, allocateSegment)
  column.reserve(segmentSlots)
  t.equal(column.segments.length, 1, 'no more segments than the series need')
  column.set(1, 5)
  column.add(1, 2)
  t.equal(column.get(1), 7)
  t.same(column.segments[0]!.slice(0, 7), [0, 0, 0, 7, 0, 0, 0])
  t.ok(column.isZero(0) && !column.isZero(1) && column.isZero(2))
})

t.test('the series without labels is the first', async t => {
  const index = new SeriesIndex([])
  t.equal(index.find([]), 0)
  t.equal(index.slot([]), 0)
  t.equal(index.size, 1)
})

t.test('of several values a gauge keeps the greatest, and a family may be emptied', async t => {
  const family = new ValueFamily('gauge', { name: 'oldest', help: 'x' })
  for (const value of [2, 3, 1]) family.raise({ route: '/' }, value)
  family.add({}, 1)
  t.same(family.snapshot().map(({ labelSets, values }) => [labelSets, [...values]]), [[[['/']], [3]], [[[]], [1]]])
  family.zero()
  t.same(family.snapshot().map(({ values }) => [...values]), [[0], [0]])
  family.reset()
  t.same(family.snapshot().map(({ labelSets }) => labelSets), [[]])
})
