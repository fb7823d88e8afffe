import t from 'tap'
import { changeOf, changesOf, least, shiftOf, sinceWhen } from '../../lib/pages/browser/changes'
import { hangsOf } from '../../lib/pages/browser/hanging'
import type { Sample } from '../../lib/pages/browser/feed'
import {
  formatBound, formatBucket, formatCount, formatCounts, formatEstimate, formatPercentage, formatRate, formatSeconds,
  formatShare, formatTotal, formatWindow
} from '../../lib/pages/browser/format'
import { History, roomFor } from '../../lib/pages/browser/history'
import { estimateQuantile } from '../../lib/pages/browser/quantile'
import { busyShareOf, labelsOf, requestsOf, rowKey, statusClass, waitsOf, type Row } from '../../lib/pages/browser/rows'
import { historyOf, rowWith, Server, upperBounds } from './histories'

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

const bucketsOf = ({ rows }: { rows: ReadonlyMap<string, Row> }): Record<string, number[]> =>
  Object.fromEntries([...rows.values()].map(({ route, counts }) => [route, counts.buckets]))

t.test('before the first answer nothing is known', async t => {
  const history = new History(upperBounds, 600)
  t.equal(history.over(60), undefined)
  t.equal(history.sinceStart(), undefined)
  t.same(history.points([0.5], 10, 300), [])
  t.same(history.marks(), [])
  t.same(history.known, { generation: '', last: -1 })
  t.ok(Number.isNaN(history.time))
  t.equal(history.beforeSamples(), undefined)
})

t.test('what was counted before the page was opened is known since the start, and is in no window', async t => {
  const { history } = historyOf([0, 5, 2, 1, 3, 9.5, 4, 6, 11, 3], { counts: [1, 2, 3, 0.5, 14, 2] })
  const all = history.sinceStart()!
  t.equal(all.seconds, 500)
  t.equal(all.busy, 0.25)
  t.same(bucketsOf(all), { '/a': [5, 7, 8], '/b': [0, 0, 0] })
  const statuses = { 200: 6, 404: 2 }
  t.same(all.total.counts, { buckets: [5, 7, 8], native: [], sum: 10, statuses, aborted: {}, busy: 0 })
  t.same(all.rejected, { bad_url: 3 })
  const window = history.over(60)!
  t.equal(window.seconds, 1)
  t.same(bucketsOf(window), { '/a': [0, 2, 2], '/b': [0, 0, 0] })
  t.same(window.total.counts, { buckets: [0, 2, 2], native: [], sum: 0.5, statuses: { 404: 2 }, aborted: {}, busy: 0 })
  t.same(window.rejected, {})
})

t.test('a first answer may bring the samples of minutes, whose counts are in its total already', async t => {
  const server = new Server(0)
  const history = new History(upperBounds, 600)
  const samples = [0, 1, 2].map(() => server.sample({ counts: [0, 1] }))
  history.add(server.all(samples), 7)
  t.equal(requestsOf(history.sinceStart()!.total), 3)
  t.equal(requestsOf(history.over(10)!.total), 3)
  t.same(history.known, { generation: 'one', last: 3 })
  t.equal(requestsOf(history.beforeSamples()!.total), 0)
  // The same, as when the page has missed too many samples.
  history.add(server.all(samples), 7)
  t.equal(requestsOf(history.over(10)!.total), 3)
  history.add(server.all([server.sample({ counts: [0, 1] })]), 8)
  t.equal(requestsOf(history.over(10)!.total), 1)
  t.equal(requestsOf(history.beforeSamples()!.total), 3)
  t.equal(history.seenSince, 7)
})

t.test('rows and cells may be new in a sample', async t => {
  const { history, server } = historyOf([])
  const sample = server.sample({ counts: [25, 2, 28, 0.1, 29, 2] })
  history.add(server.answer([{ ...sample, rows: [['PUT', '/c', 25]], cells: [[29, 2, 'status', '201']] }]), 1001)
  const { counts } = history.over(60)!.rows.get(rowKey('PUT', '/c'))!
  t.same(counts, { buckets: [2, 2, 2], native: [], sum: 0.1, statuses: { 201: 2 }, aborted: {}, busy: 0 })
})

t.test('gauges are those of the last answer', async t => {
  const { history, server } = historyOf([])
  history.add(server.answer([server.sample({})], { gauges: [12, 4, 13, 2, 15, 7.5, 16, 0.5] }), server.time)
  for (const { rows, total } of [history.over(60)!, history.sinceStart()!]) {
    t.match([...rows.values()], [
      { inFlight: 4, oldest: 7.5, longLived: {} }, { inFlight: 0, oldest: 0.5, longLived: { stream: 2 } }
    ])
    t.match(total, { inFlight: 4, oldest: 7.5, longLived: { stream: 2 } })
  }
  history.add(server.answer([server.sample({})]), server.time)
  t.match(history.over(60)!.total, { inFlight: 0, oldest: 0, longLived: {} })
})

t.test('a window holds the samples of its time, and the oldest are forgotten', async t => {
  const { history } = historyOf([], ...Array.from({ length: 700 }, (_second, index) => ({ counts: [0, index] })))
  for (const seconds of [10, 60, 300]) {
    const increase = history.over(seconds)!
    t.equal(increase.seconds, seconds)
    const sum = (first: number, length: number): number =>
      Array.from({ length }, (_second, index) => first + index).reduce((a, b) => a + b)
    t.equal(requestsOf(increase.total), sum(700 - seconds, seconds))
    t.equal(requestsOf(history.over(seconds, seconds)!.total), sum(700 - 2 * seconds, seconds))
  }
  t.equal(history.over(1000)!.seconds, 600)
  t.equal(history.over(10, 1000), undefined)
  t.equal(history.points([0.5], 10, 300).length, 300)
})

t.test('the points of one row are of its requests alone', async t => {
  const { history } = historyOf([], { counts: [0, 3, 3, 0.5, 4, 3, 7, 1, 9, 1, 11, 1] }, { counts: [10, 2, 14, 1] })
  const rates = (key?: string): unknown => history.points([], 10, 300, key).map(({ rates }) => rates)
  t.same(rates(), [
    { all: 4, '4xx': 0, '5xx': 1, aborted: 0, rejected: 1 }, { all: 0, '4xx': 1, '5xx': 0, aborted: 2, rejected: 0 }
  ])
  t.same(rates(rowKey('GET', '/b')), [
    { all: 1, '4xx': 0, '5xx': 1, aborted: 0, rejected: 0 }, { all: 0, '4xx': 0, '5xx': 0, aborted: 0, rejected: 0 }
  ])
  t.same(rates(rowKey('GET', '/a')), [
    { all: 3, '4xx': 0, '5xx': 0, aborted: 0, rejected: 0 }, { all: 0, '4xx': 1, '5xx': 0, aborted: 2, rejected: 0 }
  ])
  t.match(rates('nobody'), [{ all: 0 }, { all: 0 }])
})

t.test('a point is of the second before it, and its quantiles are of more', async t => {
  const { history } = historyOf([], { counts: [0, 4], seconds: 2 }, { counts: [1, 10, 2, 2] }, {}, {})
  const [first, second, third, fourth] = history.points([0.5, 1], 1, 300)
  t.match(first, { from: 1001, time: 1003, bucketCounts: [4, 0, 0], rates: { all: 2 }, busy: 0.5, stall: 0 })
  t.match(second, { from: 1003, time: 1004, bucketCounts: [0, 10, 2], rates: { all: 12 } })
  t.same(second!.quantiles, [
    { value: 0.1 + 0.9 * 0.6, lower: 0.1, upper: 1 }, { value: 1, lower: 1, upper: Infinity }
  ])
  t.same(third!.quantiles, [{ value: NaN, lower: NaN, upper: NaN }, { value: NaN, lower: NaN, upper: NaN }])
  t.match(fourth, { bucketCounts: [0, 0, 0] })
})

t.test('a stall is marked where it was, and what was counted after it is drawn', async t => {
  const { history } = historyOf([], { counts: [0, 2] }, { seconds: 4.6, stall: 3.9 }, { counts: [2, 5] })
  t.match(history.marks(), [{ kind: 'stall', time: 1006.6 }])
  t.equal(history.over(5.6)!.loopWait, 0.5 * 3.9 * 4.6 / 5.6)
  t.ok(Math.abs(history.marks()[0]!.from - 1002.7) < 1e-9)
  t.match(history.points([0.99], 10, 300).map(({ bucketCounts }) => bucketCounts), [[2, 0, 0], [0, 0, 0], [0, 0, 5]])
  t.equal(history.points([0.99], 10, 300).at(-1)!.quantiles[0]!.upper, Infinity)
})

t.test('short delays of the event loop are not marked', async t => {
  t.same(historyOf([], { stall: 0.3 }, { seconds: 1.4 }).history.marks(), [])
})

t.test('a time of which nobody knows is marked as such', async t => {
  const { history, server } = historyOf([], {}, {})
  server.sample({ seconds: 9 })
  history.add(server.answer([server.sample({})]), server.time + 1000)
  t.same(history.marks(), [{ from: 1003, time: 1012, kind: 'unknown' }])
})

t.test('when the server has started again, its counts begin anew and the windows go on', async t => {
  const { history } = historyOf([0, 10], { counts: [0, 2] })
  const next = new Server(5, 'two')
  history.add(next.all([]), next.time + 1000)
  t.equal(requestsOf(history.over(60)!.total), 2)
  history.add(next.answer([next.sample({ counts: [1, 4, 5, 1] })]), next.time + 1000)
  t.same(bucketsOf(history.over(60)!), { '/a': [2, 6, 6], '/b': [1, 1, 1] })
  t.same(bucketsOf(history.sinceStart()!), { '/a': [0, 4, 4], '/b': [1, 1, 1] })
  t.same(history.marks(), [{ from: 1002, time: 1005, kind: 'restart' }])
  t.same(history.known, { generation: 'two', last: 1 })
  t.match(history.points([], 10, 300, rowKey('GET', '/b')), [{ bucketCounts: [0, 0, 0] }, { bucketCounts: [1, 0, 0] }])
})

t.test('what a server counted between its start and the first answer is in the windows too', async t => {
  const { history } = historyOf([0, 10], { counts: [0, 2] })
  const next = new Server(100, 'two')
  next.sample({ counts: [0, 3] })
  const seen = next.sample({ counts: [0, 1, 1, 0] })
  history.add(next.all([seen], { uptime: 20 }), next.time + 1000)
  t.equal(requestsOf(history.over(300)!.total), 6)
  t.same(history.marks(), [{ from: 1002, time: 1082, kind: 'restart' }])
  t.match(history.points([], 10, 300).map(({ bucketCounts: [count], from }) => [from, count]), [
    [1001, 2], [1082, 3], [1101, 1]
  ])
  t.same(history.points([], 10, 300).map(({ busy }) => busy), [0.5, 4.5 / 19, 0.5])

  const { history: other } = historyOf([0, 10], { counts: [0, 2] })
  const third = new Server(100, 'three')
  third.sample({ counts: [0, 3] })
  other.add(third.all([], { uptime: 20 }), third.time + 1000)
  t.equal(requestsOf(other.over(300)!.total), 5)
})

t.test('the times of samples are those of the fastest answer', async t => {
  const { history, server } = historyOf([], {})
  t.equal(history.time, 1002)
  history.add(server.answer([server.sample({})]), server.time + 1007)
  t.equal(history.time, 1003)
})

t.test('how busy the loop was is told of each row, and what requests waited of all', async t => {
  const { history, server } = historyOf([])
  const sample = server.sample({ counts: [2, 4, 3, 8, 25, 2, 26, 1, 27, 3, 28, 5.5] })
  const cells: Sample['cells'] = [
    [25, 0, 'busy', ''], [26, -1, 'waited', '1'], [27, -1, 'waited', '2'], [28, -1, 'waited', 'sum']
  ]
  history.add(server.answer([{ ...sample, cells }]), 1001)
  const { total, rows, waited } = history.over(60)!
  t.equal(busyShareOf(total), 0.25)
  t.same([...rows.values()].map(busyShareOf), [0.25, NaN])
  t.same(waitsOf([0.1, 1], waited), { mean: 5.5 / 4, buckets: [0, 1, 4] })
  t.same(waitsOf([1], {}), { mean: NaN, buckets: [0, 0] })
  t.match(history.points([], 10, 300), [{ rates: { all: 4, rejected: 0 } }])
})

t.test('without labels there is one row, and no status', async t => {
  const history = new History([0.1], 600)
  const counts = [0, 1, 1, 1, 2, 0.5, 3, 2]
  history.add({
    ...new Server(0).answer([]), all: { rows: [[null, null, 0]], cells: [[3, 0, 'aborted', 'in_reply']], counts }
  }, 1)
  t.same([...history.sinceStart()!.rows.values()], [{
    method: undefined,
    route: undefined,
    counts: { buckets: [1, 2], native: [], sum: 0.5, statuses: {}, aborted: { in_reply: 2 }, busy: 0 },
    inFlight: 0,
    oldest: 0,
    longLived: {}
  }])
  t.same(labelsOf(rowKey(undefined, undefined)), {})
  t.same(labelsOf(), {})
  t.same(labelsOf(rowKey('GET', '/a')), { method: 'GET', route: '/a' })
  const sample = { id: 2, from: 0, time: 1, busy: 0, stall: 0, rows: [], cells: [], counts: [0, 2] }
  history.add(new Server(1).answer([sample]), 2)
  t.match(history.points([], 10, 300, rowKey(undefined, undefined)), [{ bucketCounts: [2, 0] }])
})

t.test('a few slow requests in a short time are chance, if there are as many in a long one', t => {
  const weightOf = (slow: number, requests: number, slowBefore: number, requestsBefore: number): number => {
    const [now, before] = [[requests - slow, requests], [requestsBefore - slowBefore, requestsBefore]]
      .map(([fast, all]) => rowWith([fast!, fast!, all!]))
    return shiftOf(now, before)!.weight
  }
  t.ok(weightOf(3, 50, 3, 1500) < least)
  t.ok(weightOf(2, 20, 1, 600) < least)
  t.ok(weightOf(12, 50, 3, 1500) > least)
  t.ok(weightOf(300, 5000, 1500, 150_000) > least)
  t.end()
})

t.test('what stands out against the window before is told, and chance is not', async t => {
  const steady = rowWith([90, 100, 100], { 200: 99, 500: 1 })
  const cases: Array<[what: string, now: Row, before: Row | undefined, text: string | undefined]> = [
    ['nothing', steady, steady, undefined],
    ['a little', rowWith([86, 102, 104], { 200: 101, 500: 3 }), steady, undefined],
    ['failures', rowWith([90, 100, 100], { 200: 60, 500: 40 }), steady, '5xx 1 % → 40 %'],
    ['refusals', rowWith([90, 100, 100], { 200: 50, 401: 50 }), steady, '4xx 0 % → 50 %'],
    ['aborts', rowWith([90, 100, 100], {}, 50), steady, 'aborted 0 % → 50 %'],
    ['slow requests', rowWith([10, 90, 100], { 200: 99, 500: 1 }), steady, 'p99 910 ms → > 1.00 s'],
    ['many requests', rowWith([900, 1000, 1000], { 200: 990, 500: 10 }), steady, '10 × the requests'],
    ['few requests', rowWith([2, 2, 2], { 200: 2 }), steady, '2 % of the requests'],
    ['fewer requests', rowWith([60, 60, 60]), steady, undefined],
    ['none any more', rowWith([0, 0, 0]), rowWith([900, 1000, 1000]), 'no more requests'],
    ['a new route', rowWith([90, 100, 100]), undefined, 'new'],
    ['a new route with few requests', rowWith([1, 2, 3]), undefined, undefined],
    ['fewer of many', rowWith([200, 200, 200]), rowWith([900, 1000, 1000]), '20 % of the requests']
  ]
  for (const [what, now, before, text] of cases) t.equal(changeOf(upperBounds, now, before, 1)?.text, text, what)
  t.equal(changeOf(upperBounds, rowWith([10, 10, 10]), rowWith([100, 100, 100]), 0.1), undefined)
})

t.test('rows are compared only if the window before is known', async t => {
  const seconds = [{ counts: [0, 100, 4, 100] }, { counts: [0, 100, 14, 100] }, { counts: [0, 100, 14, 100] }]
  const { history } = historyOf([], ...seconds)
  t.same([...changesOf(upperBounds, history.over(1)!, history.over(1, 2))].map(([key, { text }]) => [key, text]),
    [[rowKey('GET', '/a'), '4xx 0 % → 100 %']])
  t.equal(changesOf(upperBounds, history.over(60)!, history.over(60, 60)).size, 0)
  t.equal(changesOf(upperBounds, history.over(3)!, history.over(1, 2)).size, 0)
})

t.test('a request hangs that is open for much longer than its route takes in the mean', async t => {
  const hung: Array<[gauges: number[], before: number[], text: string | undefined]> = [
    [[12, 2, 15, 32], [], '2 open, the oldest for 32.0 s'],
    [[12, 2, 15, 9], [], undefined],
    [[12, 1, 15, 32], [2, 1, 3, 30], undefined]
  ]
  for (const [gauges, counts, text] of hung) {
    const { history, server } = historyOf([])
    history.add(server.answer([server.sample({ counts })], { gauges }), server.time + 1000)
    t.equal(hangsOf(history.sinceStart()!, upperBounds).get(rowKey('GET', '/a'))?.text, text)
  }
})

t.test('since when a share has been another one is the point that divides the others best', async t => {
  const before = Array.from({ length: 30 }, () => ({ counts: [0, 10, 4, 10] }))
  const failing = Array.from({ length: 9 }, () => ({ counts: [5, 4, 9, 4, 0, 6, 4, 6] }))
  const { history } = historyOf([], ...before, ...failing)
  t.equal(sinceWhen(history.points([], 10, 300), ({ rates }) => rates['5xx']), 1031)
  t.equal(sinceWhen(history.points([], 10, 300), ({ rates }) => rates['4xx']), undefined)
  t.equal(sinceWhen([], ({ rates }) => rates['4xx']), undefined)
  const slow = historyOf([], ...before, ...Array.from({ length: 9 }, () => ({ counts: [2, 10, 4, 10] }))).history
  const { part } = changesOf(upperBounds, slow.over(9)!, slow.over(9, 9)).get(rowKey('GET', '/a'))!
  t.equal(sinceWhen(slow.points([], 10, 300), part!), 1031)
  const { part: failed } = changesOf(upperBounds, history.over(9)!, history.over(9, 9)).get(rowKey('GET', '/b')) ?? {}
  t.equal(failed, undefined, 'a new row has no share that was another one before')
  const { history: refusing } = historyOf([], { counts: [0, 100, 4, 100] }, { counts: [0, 100, 14, 100] })
  const { part: refused } = changesOf(upperBounds, refusing.over(1)!, refusing.over(1, 1)).get(rowKey('GET', '/a'))!
  t.equal(sinceWhen(refusing.points([], 10, 300), refused!), 1002)
})

t.test('a change to less has its time too', async t => {
  const failing = Array.from({ length: 30 }, () => ({ counts: [5, 10, 9, 6] }))
  const { history } = historyOf([], ...failing, ...Array.from({ length: 30 }, () => ({ counts: [5, 10] })))
  const changes = changesOf(upperBounds, history.over(30)!, history.over(30, 30))
  const { text, part, falls } = changes.get(rowKey('GET', '/b'))!
  t.equal(text, '5xx 60 % → 0 %')
  t.equal(sinceWhen(history.points([], 10, 300), part!, { falls }), 1031)
})

t.test('of marks that are close, the longest has a name', async t => {
  t.same([...roomFor([
    { seconds: 0.5, left: 10, width: 50 }, { seconds: 2, left: 40, width: 50 }, { seconds: 1, left: 95, width: 50 }
  ])], [[1, 40], [2, 95]])
})

t.test('what usually takes short hangs after ten seconds, even if the mean has become long', async t => {
  const { history, server } = historyOf([0, 30, 2, 6, 3, 180])
  history.add(server.answer([server.sample({})], { gauges: [12, 1, 15, 12] }), server.time + 1000)
  t.ok(hangsOf(history.sinceStart()!, upperBounds).has(rowKey('GET', '/a')))
})

t.test('a class of statuses is told by the first digit', async t => {
  const row = rowWith([0, 0, 9], { 401: 3, 429: 4, '4xx': 1, 500: 1 })
  t.equal(statusClass(row, '4'), 8)
  t.equal(statusClass(row, '2'), 0)
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
  t.same([0, 0.0028, 0.25, 99.94, 99.96, 1234.5].map(formatRate), ['0.0', '0.0028', '0.3', '99.9', '100', '1,235'])
  t.equal(formatCount(1234567), '1,234,567')
  t.same([[0, 0], [1, 1e6], [1, 3], [999_999, 1e6], [5, 5]].map(([part, whole]) => formatShare(part!, whole!)), [
    '0 %', '< 0.01 %', '33.3 %', '> 99.9 %', '100 %'
  ])
  t.same([10, 59.4, 60, 90, 300, 5400, 86_400].map(formatWindow),
    ['10 s', '59 s', '1 min', '1.5 min', '5 min', '1.5 h', '24 h'])
  t.same([0.5, 12, 90, 5400, 400_000].map(formatTotal), ['500 ms', '12.0 s', '1.50 min', '1.50 h', '111 h'])
  t.same([0, 0.5, 0.999, NaN].map(formatPercentage), ['0 %', '50 %', '100 %', '–'])
  t.equal(formatCounts({ 401: 2, bad_url: 3, 500: 0 }), 'bad url: 3, 401: 2')
})
