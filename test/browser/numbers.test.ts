import t from 'tap'
import {
  formatBound, formatBucket, formatCount, formatEstimate, formatRate, formatSeconds, formatShare, formatWindow
} from '../../lib/pages/browser/format'
import { History } from '../../lib/pages/browser/history'
import { estimateQuantile } from '../../lib/pages/browser/quantile'
import { familyNames, Reader, type Counts, type Reading } from '../../lib/pages/browser/reader'

const bounds = [0.1, 0.2, 0.5]

t.test('a quantile is what histogram_quantile makes of the same counts', async t => {
  const cases: Array<[
    what: string, q: number, upperBounds: number[], cumulative: number[], value: number, lower: number, upper: number
  ]> = [
    ['evenly spread within a bucket', 0.5, bounds, [0, 10, 10, 10], 0.15, 0.1, 0.2],
    ['the lowest bucket begins at 0', 0.5, bounds, [10, 10, 10, 10], 0.05, 0, 0.1],
    ['a rank on a bound is that bound', 0.5, bounds, [5, 10, 10, 10], 0.1, 0, 0.1],
    ['beyond the last bound it is that bound', 0.99, bounds, [0, 0, 0, 3], 0.5, 0.5, Infinity],
    ['empty buckets are skipped', 0.75, bounds, [2, 2, 4, 4], 0.35, 0.2, 0.5],
    ['a lowest bound that is not above 0 is the answer', 0.5, [-1, 0, 1], [4, 4, 4, 4], -1, -Infinity, -1],
    ['the smallest', 0, bounds, [10, 10, 10, 10], 0, 0, 0.1],
    ['the largest', 1, bounds, [1, 2, 3, 3], 0.5, 0.2, 0.5],
    ['nothing counted', 0.5, bounds, [0, 0, 0, 0], NaN, NaN, NaN]
  ]
  for (const [what, q, upperBounds, cumulative, value, lower, upper] of cases) {
    const estimate = estimateQuantile(q, upperBounds, cumulative)
    t.ok(Object.is(estimate.value, value) || Math.abs(estimate.value - value) < 1e-12, `${what}: ${estimate.value}`)
    t.same([estimate.lower, estimate.upper], [lower, upper], what)
  }
})

const labelled = {
  name: 'x_seconds', upperBounds: [0.1, 1], methodLabel: 'verb', routeLabel: 'route', statusLabel: 'code'
}

function series (labels: string, ...[first, second, all]: number[]): string {
  return `x_seconds_bucket{${labels},le="0.1"} ${first}\nx_seconds_bucket{${labels},le="1.0"} ${second}\n` +
    `x_seconds_bucket{${labels},le="+Inf"} ${all}\nx_seconds_sum{${labels}} 1.5\nx_seconds_count{${labels}} ${all}\n`
}

t.test('an answer is read into a row per method and route, statuses added up', async t => {
  const reader = new Reader(labelled)
  const page = '# HELP x_seconds Text.\n# TYPE x_seconds histogram\n' +
    series('verb="GET",route="/a",code="200"', 1, 2, 3) + series('verb="GET",route="/a",code="503"', 0, 1, 1) +
    series('verb="GET",route="/\\"\\\\\\n,{}",code="200"', 0, 0, 1) +
    'http_requests_in_flight{method="GET",route="/a"} 2\nhttp_requests_in_flight{method="GET",route="/b"} 1\n' +
    'http_requests_aborted_total{method="GET",route="/a",phase="in_reply"} 4\n' +
    'http_requests_aborted_total{method="GET",route="/a",phase="before_reply"} 1\n' +
    'http_requests_rejected_total{reason="bad_url"} 5\nhttp_requests_rejected_total{reason="closing"} 1\n' +
    'something_else 7\n'
  for (let time = 0; time < 2; time++) {
    const { rows, rejected } = reader.read(page)
    t.equal(rejected, 6)
    t.same([...rows.values()], [
      { method: 'GET', route: '/a', counts: { buckets: [1, 3, 4], errors: 1, aborted: 5 }, inFlight: 2 },
      { method: 'GET', route: '/"\\\n,{}', counts: { buckets: [0, 0, 1], errors: 0, aborted: 0 }, inFlight: 0 },
      { method: 'GET', route: '/b', counts: { buckets: [0, 0, 0], errors: 0, aborted: 0 }, inFlight: 1 }
    ])
  }
})

t.test('it asks for four families, of which one is the histogram', async t => {
  t.same(familyNames(labelled), [
    'x_seconds', 'http_requests_in_flight', 'http_requests_aborted_total', 'http_requests_rejected_total'
  ])
})

t.test('without labels there is one row, and no errors are told', async t => {
  const { rows } = new Reader({ name: 'x_seconds', upperBounds: [0.1] }).read('# TYPE x_seconds histogram\n' +
    'x_seconds_bucket{le="0.1"} 1\nx_seconds_bucket{le="+Inf"} 2\n' +
    'http_requests_aborted_total{method="GET",route="/",phase="in_reply"} 1\n' +
    'http_requests_aborted_total{method="PUT",route="/",phase="in_reply"} 1\n')
  t.same(
    [...rows.values()],
    [{ method: undefined, route: undefined, counts: { buckets: [1, 2], errors: 0, aborted: 2 }, inFlight: 0 }]
  )
})

t.test('a series that lacks a label has it empty', async t => {
  const { rows } = new Reader({ ...labelled, upperBounds: [] }).read(
    '# TYPE x_seconds histogram\nx_seconds_bucket{le="+Inf"} 2\n'
  )
  t.match([...rows.values()], [{ method: '', route: '', counts: { buckets: [2], errors: 0 } }])
})

t.test('an answer of a server with other options is refused', async t => {
  const reader = new Reader(labelled)
  t.throws(() => reader.read('# TYPE y_seconds histogram\n'), { message: 'x_seconds is not served any more' })
  t.throws(() => reader.read('# TYPE x_seconds histogram\nx_seconds_bucket{le="0.3"} 1\n'), {
    message: 'x_seconds has other buckets now'
  })
})

const upperBounds = [0.1, 1]

function reading (
  rows: Record<string, [buckets: number[], errors?: number, aborted?: number, inFlight?: number]>, rejected = 0
): Reading {
  return {
    rejected,
    rows: new Map(Object.entries(rows).map(([route, [buckets, errors = 0, aborted = 0, inFlight = 0]]) =>
      [route, { method: 'GET', route, counts: { buckets, errors, aborted }, inFlight }]))
  }
}

function historyOf (...readings: Array<[time: number, reading: Reading]>): History {
  const history = new History(upperBounds, 300)
  for (const [time, reading] of readings) history.add(time, reading)
  return history
}

const routesOf = (history: History, seconds = 60): Record<string, Counts> =>
  Object.fromEntries([...history.over(seconds)!.rows.values()].map(({ route, counts }) => [route, counts]))

t.test('before the second answer nothing is known of any time', async t => {
  t.equal(historyOf().over(60), undefined)
  t.equal(historyOf([0, reading({ a: [[5, 5, 5]] })]).over(60), undefined)
  t.same(historyOf().points([0.5], 10), [])
})

t.test('what was counted before the page was opened is not shown', async t => {
  const history = historyOf(
    [100, reading({ a: [[5, 6, 7], 1, 1] }, 3)], [101, reading({ a: [[6, 8, 10], 2, 3, 4] }, 5)]
  )
  t.same(history.over(60), {
    seconds: 1,
    rows: new Map([
      ['a', { method: 'GET', route: 'a', counts: { buckets: [1, 2, 3], errors: 1, aborted: 2 }, inFlight: 4 }]
    ]),
    total: { buckets: [1, 2, 3], errors: 1, aborted: 2 },
    rejected: 2
  })
})

t.test('a route that is new counts from its first request', async t => {
  const history = historyOf(
    [0, reading({})], [1, reading({ a: [[1, 1, 1]] })], [2, reading({ a: [[1, 1, 1]], b: [[0, 0, 2]] })]
  )
  t.same(routesOf(history), {
    a: { buckets: [1, 1, 1], errors: 0, aborted: 0 }, b: { buckets: [0, 0, 2], errors: 0, aborted: 0 }
  })
  t.same(history.over(60)!.total.buckets, [1, 1, 3])
})

t.test('a window holds the answers of its time, and those outside are forgotten', async t => {
  const history = historyOf(...Array.from(
    { length: 400 }, (_reading, second): [number, Reading] => [second, reading({ a: [[second, second, second]] })]
  ))
  for (const seconds of [10, 60, 300]) {
    const increase = history.over(seconds)!
    t.same([increase.seconds, increase.total.buckets], [seconds, [seconds, seconds, seconds]])
  }
  t.equal(history.over(1000)!.seconds, 300)
  t.equal(history.points([0.5], 10).length, 300)
})

t.test('the points of one row are of its requests alone', async t => {
  const history = historyOf([0, reading({})], [1, reading({ a: [[1, 1, 1]], b: [[0, 0, 2], 1] })],
    [2, reading({ a: [[4, 4, 4]], b: [[0, 0, 2], 1] })])
  t.same(history.points([], 10).map(({ rate, errorRate }) => [rate, errorRate]), [[3, 1], [3, 0]])
  t.same(history.points([], 10, 'a').map(({ rate, errorRate }) => [rate, errorRate]), [[1, 0], [3, 0]])
  t.same(history.points([], 10, 'nobody').map(({ rate }) => rate), [0, 0])
})

t.test('when the server has started again, counting goes on', async t => {
  const history = historyOf(
    [0, reading({ a: [[10, 10, 10], 1, 1], b: [[3, 3, 3]] }, 4)],
    [1, reading({ a: [[12, 12, 12], 1, 1], b: [[3, 3, 3], 0, 0, 2] }, 5)],
    [2, reading({ a: [[0, 0, 3], 0, 0] }, 1)],
    [3, reading({ a: [[0, 0, 3], 0, 0], b: [[9, 9, 9]] }, 1)])
  t.same(routesOf(history), {
    a: { buckets: [2, 2, 5], errors: 0, aborted: 0 }, b: { buckets: [9, 9, 9], errors: 0, aborted: 0 }
  })
  t.equal(history.over(60)!.rejected, 2)
})

t.test('a route that the server has no more has nothing in flight', async t => {
  const history = historyOf([0, reading({ a: [[1, 1, 1], 0, 0, 5] })], [1, reading({})])
  t.match([...history.over(60)!.rows.values()], [{ route: 'a', counts: { buckets: [0, 0, 0] }, inFlight: 0 }])
})

t.test('a point of the charts is of the second before it, its quantiles of more', async t => {
  const history = historyOf([0, reading({ a: [[0, 0, 0]] })], [2, reading({ a: [[4, 4, 4], 1] })],
    [3, reading({ a: [[4, 14, 16], 1] })], [4, reading({ a: [[4, 14, 16], 1] })])
  const [first, second, third] = history.points([0.5, 1], 1)
  t.same(first, { time: 2, from: 0, rate: 2, errorRate: 0.5, bucketCounts: [4, 0, 0], quantiles: [null, null] })
  t.same(second, {
    time: 3, from: 2, rate: 12, errorRate: 0, bucketCounts: [0, 10, 2], quantiles: [0.1 + 0.9 * 0.6, 1]
  })
  t.same(third, { time: 4, from: 3, rate: 0, errorRate: 0, bucketCounts: [0, 0, 0], quantiles: [null, null] })
})

t.test('of a time without answers the charts know nothing', async t => {
  const history = historyOf(
    [0, reading({ a: [[0, 0, 0]] })], [60, reading({ a: [[9, 9, 9]] })], [61, reading({ a: [[10, 10, 10]] })]
  )
  t.match(history.points([0.5], 10), [
    { time: 60, from: 0, rate: null, errorRate: null, bucketCounts: null, quantiles: [null] }, { rate: 1 }
  ])
})

t.test('numbers keep their width, and say no more than is known', async t => {
  t.same([0.0000531, 0.0012, 0.01234, 0.9994, 0.9996, 12.345, NaN].map(formatSeconds), [
    '0.0531 ms', '1.20 ms', '12.3 ms', '999 ms', '1.00 s', '12.3 s', '–'
  ])
  t.same([{ value: 0.0012, upper: 0.0025 }, { value: 10, upper: Infinity }].map(formatEstimate), [
    '1.20 ms', '> 10.0 s'
  ])
  t.same([0.0001, 0.25, 1, 2.5].map(formatBound), ['0.1 ms', '250 ms', '1 s', '2.5 s'])
  t.equal(formatBucket(0.0002, 0.0005), '0.2 to 0.5 ms')
  t.equal(formatBucket(0, 1), '0 to 1 s')
  t.equal(formatBucket(0.5, 1), '500 ms to 1 s')
  t.equal(formatBucket(10, Infinity), 'more than 10 s')
  t.equal(formatBucket(-Infinity, 0), 'at most 0 ms')
  t.same([0, 0.25, 99.94, 99.96, 1234.5].map(formatRate), ['0.0', '0.3', '99.9', '100', '1,235'])
  t.equal(formatCount(1234567), '1,234,567')
  t.same([[0, 0], [1, 1e6], [1, 3], [999_999, 1e6], [5, 5]].map(([part, whole]) => formatShare(part!, whole!)), [
    '0 %', '< 0.01 %', '33.3 %', '> 99.9 %', '100 %'
  ])
  t.same([10, 59.4, 60, 90, 300].map(formatWindow), ['10 s', '59 s', '1 min', '1.5 min', '5 min'])
})
