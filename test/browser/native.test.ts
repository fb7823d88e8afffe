import t from 'tap'
import type { Answer, Sample } from '../../lib/pages/browser/feed'
import { formatBucketOf, formatDifference, formatFully } from '../../lib/pages/browser/format'
import { History } from '../../lib/pages/browser/history'
import { addUp, countsOf, estimateNative } from '../../lib/pages/browser/native'
import { proposeBounds } from '../../lib/pages/browser/proposal'
import { estimateQuantile, estimateQuantiles } from '../../lib/pages/browser/quantile'
import { rowKey } from '../../lib/pages/browser/rows'

/** What a native histogram counts of these values. */
function count (values: readonly number[], schema = 3): number[] {
  return values.flatMap(value => [schema, value === 0 ? -Infinity : Math.ceil(Math.log2(value) * 2 ** schema), 1])
}

/** Numbers from 0 to 1 that are the same in each run. */
function * random (): Generator<number, never> {
  let state = 1
  while (true) yield (state = state * 48271 % 2147483647) / 2147483647
}

/** Times of three kinds, ascending: around one value, around two, and with a long tail. */
const kinds = Object.entries({
  one: (a: number, b: number) => 0.02 * Math.exp(0.3 * Math.sqrt(-2 * Math.log(a)) * Math.cos(2 * Math.PI * b)),
  two: (a: number, b: number) => (b < 0.97 ? 0.0008 : 0.35) * (1 + 0.4 * a),
  tail: (a: number) => 0.003 * a ** -0.7
}).map(([name, draw]): [string, number[]] => {
  const numbers = random()
  const values = Array.from({ length: 5000 }, () => draw(numbers.next().value, numbers.next().value))
  return [name, values.sort((a, b) => a - b)]
})

function exact (q: number, ascending: readonly number[]): number {
  return ascending[Math.max(Math.ceil(q * ascending.length) - 1, 0)]!
}

/** The cumulative counts of classic buckets. */
function classic (ascending: readonly number[], upperBounds: readonly number[]): number[] {
  return [...upperBounds, Infinity].map(bound => ascending.filter(value => value <= bound).length)
}

t.test('a quantile of native buckets is off by less than its bucket is wide, as it says', async t => {
  for (const [name, values] of kinds) {
    for (const schema of [-1, 0, 3, 5]) {
      const native = addUp(count(values, schema))
      for (const q of [0, 0.1, 0.5, 0.9, 0.99, 0.999, 1]) {
        const { value, lower, upper, error } = estimateNative(q, native)
        const [real, what] = [exact(q, values), `${name} ${schema} ${q}`]
        t.ok(lower < real && real <= upper, what)
        t.ok(Math.abs(value - real) <= error! * value * (1 + 1e-9), what)
      }
    }
  }
})

t.test('a quantile of native buckets is what Prometheus 3 computes', async t => {
  // From 1 to 2 and from 4 to 8 there are two values each.
  const native = addUp([0, 1, 2, 0, 3, 2])
  t.match(estimateNative(0.25, native), { value: 2 ** 0.5, lower: 1, upper: 2 })
  t.equal(estimateNative(0.75, native).value, 4 * 2 ** 0.5)
  // The median is counted from the top, and ends in the upper bucket. What is a little less ends in the lower one.
  t.equal(estimateNative(0.5, native).value, 4)
  t.match(estimateNative(0.4999999, native), { lower: 1, upper: 2 })
  t.same(estimateNative(0.9, addUp([])), { value: NaN, lower: NaN, upper: NaN })
  t.same(estimateNative(0.9, addUp(count([0, 0]))), { value: 0, lower: 0, upper: 0, error: 0 })
})

t.test('series of different resolution are added up at the coarser one', async t => {
  const [, values] = kinds[0]!
  const mixed = values.flatMap((value, index) => count([value], 2 + index % 3))
  t.same(addUp(mixed), addUp(count(values, 2)))
  t.same(addUp(countsOf(addUp(mixed))), addUp(mixed))
  t.equal(estimateQuantiles([0.5], [1], { buckets: [1, 1], native: [] })[0]!.value, 0.5)
  t.equal(estimateQuantiles([0.5], [1], { buckets: [1, 1], native: count([0.001]) })[0]!.error! < 0.05, true)
})

const upperBounds = [1]

function answer (samples: Sample[], more: Partial<Answer> = {}): Answer {
  const last = samples.at(-1)
  return {
    generation: 'one',
    now: last?.time ?? 0,
    nextMs: 0,
    uptime: 1000,
    busy: 0,
    last: last?.id ?? 0,
    gauges: [],
    samples,
    ...more
  }
}

t.test('when the resolution of a series is halved, windows count what was counted in them', async t => {
  const history = new History(upperBounds, 600)
  history.add(answer([], {
    all: { rows: [['GET', '/a', 0]], cells: [], natives: [[3, 0, 3, 8, 9, null]], counts: [0, 7, 3, 4, 4, 2, 5, 1] }
  }), 0)
  const sample = (id: number, more: Partial<Sample>): Sample =>
    ({ id, from: id - 1, time: id, busy: 0, stall: 0, rows: [], cells: [], counts: [], ...more })
  history.add(answer([sample(1, { counts: [0, 2, 3, 2] })]), 1)
  // What was in the buckets 8 and 9 of schema 3 is now in the buckets 4 and 5 of schema 2, and there is one more.
  history.add(answer([sample(2, {
    natives: [[6, 0, 2, 4, 5]], counts: [0, 1, 3, -6, 4, -2, 6, 6, 7, 3]
  })]), 2)
  history.add(answer([sample(3, { counts: [0, 5, 7, 5] })]), 3)
  const of = (seconds: number, ago = 0): number[] =>
    history.over(seconds, ago)!.rows.get(rowKey('GET', '/a'))!.counts.native
  t.same(addUp(of(1)), { schema: 2, buckets: [[5, 5]] })
  t.same(addUp(of(1, 1)), { schema: 2, buckets: [[5, 1]] })
  t.same(addUp(of(1, 2)), { schema: 3, buckets: [[8, 2]] })
  t.same(addUp(of(3)), { schema: 2, buckets: [[4, 2], [5, 6]] })
  t.same(addUp(history.over(3)!.total.counts.native), addUp(of(3)))
  t.same(addUp(history.sinceStart()!.total.counts.native), {
    schema: 2, buckets: [[-Infinity, 1], [4, 6], [5, 8]]
  })
  t.equal(history.offset, 0)
  const points = history.points([0, 1], 10, 300)
  t.match(points.map(({ quantiles }) => quantiles.map(({ upper }) => upper)), [
    [2, 2], [2, 2 ** 1.25], [2, 2 ** 1.25]
  ])
  t.same(history.points([], 10, 300)[0]!.quantiles, [])
})

t.test('bounds are proposed that answer quantiles better than the default ones, as well as is said', async t => {
  const defaults = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
  for (const [name, values] of kinds) {
    for (const schema of [0, 3, 8]) {
      const { upperBounds, error } = proposeBounds(count(values, schema), defaults.length, [])
      t.equal(upperBounds.length, defaults.length)
      t.ok(upperBounds.every((bound, index) => bound > (upperBounds[index - 1] ?? 0)), upperBounds.join(' '))
      t.ok(upperBounds.every(bound => bound === Number(bound.toPrecision(2))), upperBounds.join(' '))
      const worst = (bounds: readonly number[]): number => Math.max(...[0.5, 0.75, 0.9, 0.95, 0.99, 0.999].map(q =>
        Math.abs(estimateQuantile(q, bounds, classic(values, bounds)).value / exact(q, values) - 1)))
      t.ok(worst(upperBounds) < worst(defaults), `${name}: ${worst(upperBounds)}, ${worst(defaults)}`)
      // What is measured in native buckets may be off by as much as these are wide. Those of schema 4 do for this.
      const width = 2 ** (2 ** -Math.min(schema, 4)) - 1
      if (schema > 0) t.ok(worst(upperBounds) < error + width, `${name}: ${worst(upperBounds)}, ${error}`)
    }
  }
})

t.test('there are as many bounds as are wanted if there can be, those among them that have to be there', async t => {
  const native = count([0.1, 0.1, 0.1])
  t.equal(proposeBounds(native, 1, []).upperBounds.length, 1)
  t.ok(proposeBounds(native, 11, []).upperBounds.length < 4)
  t.ok(proposeBounds(native, 1, []).upperBounds[0]! >= 0.1)
  for (const size of [1, 2, 11, 40]) {
    const [, values] = kinds[2]!
    const { upperBounds } = proposeBounds(count(values), size, [0.25])
    t.equal(upperBounds.length, size, upperBounds.join(' '))
    t.ok(upperBounds.includes(0.25))
  }
  t.ok(proposeBounds(native, 1, [0.05]).error > 0.4)
  t.same(proposeBounds(count([0, 0]), 11, []), { upperBounds: [], error: 0 })
  const [, waits] = kinds[0]!
  const { upperBounds, error } = proposeBounds(count([...waits.map(() => 0), ...waits]), 11, [])
  t.ok(upperBounds.length === 11 && upperBounds[0]! > 0.001 && error < 0.1, `${upperBounds.join(' ')}: ${error}`)
})

t.test('an estimate is written with its bucket, and with its error if that is known', async t => {
  const estimate = { value: 0.0105, lower: 0.01, upper: 0.0109 }
  t.equal(formatBucketOf(estimate), '10 to 10.9 ms')
  t.equal(formatBucketOf({ ...estimate, error: 0.0476 }), '10 to 10.9 ms ± 4.8 %')
  t.equal(formatBucketOf({ value: NaN, lower: NaN, upper: NaN }), '')
  t.equal(formatFully({ ...estimate, error: 0.0476 }), '10.5 ms ± 4.8 %')
  t.equal(formatFully(estimate), '10.5 ms')
  t.equal(formatDifference(0.02, 0.01), 'off by +100 %')
  t.equal(formatDifference(0.0098, 0.01), 'off by −2 %')
})
