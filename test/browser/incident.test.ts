import t from 'tap'
import { busiestOf, causeOf, causeOfHanging, describeBusiest, describeLoop } from '../../lib/pages/browser/cause'
import { sinceWhen } from '../../lib/pages/browser/changes'
import type { Sample } from '../../lib/pages/browser/feed'
import { History, type Increase, type Point } from '../../lib/pages/browser/history'
import {
  describeIncident, guessSince, IncidentWatch, lateRequests, slowerThan, type Incident
} from '../../lib/pages/browser/incident'
import { Lasting } from '../../lib/pages/browser/lasting'
import { emptyRow, rowKey } from '../../lib/pages/browser/rows'
import { historyOf, increaseOf, Server, upperBounds, type Second } from './histories'

t.test('of rows that are slower, the one that takes most time more is looked at first', async t => {
  const slower = (now: Increase, before?: Increase, ratio = 1.3): string[] | undefined => {
    const { key, text, surest: [surest] = [''] } = slowerThan(now, before, ratio) ?? {}
    return key === undefined ? undefined : [key, text!, surest]
  }
  const before = increaseOf({ victim: [[100, 100, 100], 1], culprit: [[0, 50, 50], 10] })
  t.equal(slower(before, before), undefined)
  t.equal(slower(before), undefined)
  const failing = increaseOf({ victim: [[100, 100, 100], 1, { 500: 50 }], culprit: [[0, 50, 50], 10] })
  t.equal(slower(failing, before), undefined)
  t.same(slower(increaseOf({ victim: [[50, 100, 100], 40], culprit: [[0, 40, 50], 60] }), before),
    ['culprit', 'mean 200 ms → 1.20 s', 'victim'])
  t.same(slower(increaseOf({ victim: [[50, 100, 100], 40], culprit: [[0, 50, 50], 10] }), before),
    ['victim', 'mean 10.0 ms → 400 ms', 'victim'])
  t.same(slower(increaseOf({ victim: [[50, 100, 100], 40, { 500: 100 }], culprit: [[0, 50, 50], 10] }), before),
    ['victim', 'mean 10.0 ms → 400 ms', 'victim'], 'even if it fails too')
  t.same(slower(increaseOf({ victim: [[50, 100, 100], 40], another: [[0, 0, 80], 90] }), before),
    ['another', 'mean 1.13 s', 'victim'], 'a new one')
  t.same(slower(increaseOf({ victim: [[500, 1000, 1000], 300], culprit: [[0, 25, 50], 60] }), before),
    ['culprit', 'mean 200 ms → 1.20 s', 'victim'], 'of frequent requests, each of which waits for one that is rare')
  t.same(slower(increaseOf({ victim: [[50, 100, 100], 40], culprit: [[0, 500, 500], 100] }), before),
    ['victim', 'mean 10.0 ms → 400 ms', 'victim'], 'more requests take more time, and are not slower')
  t.same(slower(increaseOf({ victim: [[50, 100, 100], 40], few: [[0, 0, 19], 90] }), before),
    ['victim', 'mean 10.0 ms → 400 ms', 'victim'], 'a few requests of a new one name nothing')
  const rare = increaseOf({ victim: [[100, 100, 100], 1], rare: [[7, 7, 7], 0.1] })
  t.same(slower(increaseOf({ victim: [[50, 100, 100], 40], rare: [[0, 0, 30], 90] }), rare),
    ['victim', 'mean 10.0 ms → 400 ms', 'victim'], 'nor does what is compared with a few')
  t.equal(slower(increaseOf({ culprit: [[0, 20, 50], 19] }), before, 2), undefined, 'not by as much as it takes')
  t.equal(slower(increaseOf({ victim: [[100, 100, 100], 1], culprit: [[50, 50, 50], 1] }), before), undefined, 'faster')
})

/** Seconds in each of which GET /a has 10 requests, which take 50 or 800 ms each. */
const fast = (seconds: number): Array<{ counts: number[] }> =>
  Array.from({ length: seconds }, () => ({ counts: [0, 10, 3, 0.5, 4, 10] }))
const slow = (seconds: number): Array<{ counts: number[] }> =>
  Array.from({ length: seconds }, () => ({ counts: [1, 10, 3, 8, 4, 10] }))

function look (watch: IncidentWatch, history: History, mostSeconds = 60): Incident | undefined {
  Array.from(watch.look(history, mostSeconds))
  return watch.incident
}

t.test('nothing is wrong before there is an answer, and while requests take as long as before', async t => {
  const watch = new IncidentWatch()
  t.equal(look(watch, new History(upperBounds, 600)), undefined)
  t.equal(look(watch, historyOf([]).history), undefined)
  t.equal(look(watch, historyOf([], ...fast(90)).history, 300), undefined)
  t.equal(look(watch, historyOf([0, 5000, 3, 250, 4, 5000], ...fast(9)).history), undefined)
  t.equal(watch.calm, undefined)
})

t.test('requests are slower until they are as fast as before, and since when is known if somebody looked', async t => {
  const { history, server } = historyOf([], ...fast(30), ...slow(6))
  const watch = new IncidentWatch()
  const incident = {
    kind: 'slower', key: rowKey('GET', '/a'), text: 'mean 50.0 ms → 500 ms', since: 1031
  }
  t.same(look(watch, history), { ...incident, cause: 'waits' })
  const add = (seconds: Array<{ counts: number[] }>): void => {
    for (const second of seconds) history.add(server.answer([server.sample(second)]), server.time + 1000)
  }
  // The time that is remembered is one in which they were slow.
  add(slow(700))
  t.match(look(watch, history), { ...incident, text: 'mean 50.0 ms → 800 ms' })
  add(fast(30))
  t.match(look(watch, history), { since: 1031 })
  add(fast(31))
  t.equal(look(watch, history), undefined)
  t.equal(watch.calm, undefined)
})

t.test('each row that is looked at first has a time of its own since when it is slower', async t => {
  const { history, server } = historyOf([], ...Array.from({ length: 30 }, () =>
    ({ counts: [0, 10, 3, 0.5, 5, 10, 8, 0.5] })))
  const watch = new IncidentWatch()
  const add = (seconds: number, counts: number[]): void => {
    for (let second = 0; second < seconds; second++) {
      history.add(server.answer([server.sample({ counts })]), server.time + 1000)
    }
  }
  add(6, [1, 10, 3, 1.5, 5, 10, 8, 0.5])
  t.match(look(watch, history), { key: rowKey('GET', '/a'), since: 1031 })
  add(6, [1, 10, 3, 1.5, 6, 10, 8, 8])
  t.match(look(watch, history), { key: rowKey('GET', '/b'), since: 1037 })
})

t.test('if nobody looked when requests became slower, it is said since when at the earliest', async t => {
  const first = (fast: number, slow: number): number[] =>
    [0, fast, 1, slow, 3, 0.05 * fast + 0.8 * slow, 4, fast + slow]
  const { history } = historyOf(first(36_000, 100), ...slow(10))
  t.match(look(new IncidentWatch(), history), {
    text: 'mean 52.1 ms → 800 ms', since: undefined, earliest: 990, unseen: 100
  })
  // More than can have come in the time since the start.
  const unknown = look(new IncidentWatch(), historyOf(first(400_000, 5000), ...slow(10)).history)
  t.match(unknown, { kind: 'slower', since: undefined, earliest: undefined, unseen: undefined })
  t.equal(look(new IncidentWatch(), historyOf(first(1000, 4000), ...slow(10)).history), undefined,
    'what was slow most of the time')
  // It has begun to be slow after the first answer.
  t.match(look(new IncidentWatch(), historyOf(first(36_000, 0), ...fast(4), ...slow(9)).history), {
    since: 1005, earliest: undefined
  })
})

t.test('nobody can tell when a row became slower that was so from the beginning, or in no other bucket', async t => {
  for (const before of [[], [1, 100, 3, 30, 4, 100]]) {
    t.equal(guessSince(historyOf(before, ...slow(10)).history, rowKey('GET', '/a')), undefined)
  }
  const { history, server } = historyOf([])
  const sample = server.sample({ counts: [25, 30] })
  history.add(server.answer([{ ...sample, rows: [['PUT', '/c', 25]] }]), 1002)
  t.equal(guessSince(history, rowKey('PUT', '/c')), undefined, 'a new one')
})

t.test('an incident of many minutes is told in minutes', async t => {
  const [history, server] = [new History(upperBounds, 600), new Server(0)]
  server.sample({ counts: [0, 360_000, 1, 6990, 3, 23_592, 4, 366_990] })
  history.add(server.all([], { uptime: 36_000 }), server.time + 1000)
  for (const second of slow(10)) {
    const sample = server.sample(second)
    history.add(server.answer([sample], { uptime: 36_000 + server.time - 1 }), server.time + 1000)
  }
  // 7,090 requests, 10 of them in a second.
  t.same(guessSince(history, rowKey('GET', '/a')), { earliest: 300, unseen: 6990 })
})

t.test('requests that hang are told since when, whatever else is slow', async t => {
  const { history, server } = historyOf([], ...fast(30), ...slow(9))
  history.add(server.answer([], { gauges: [12, 3, 15, 32.5] }), server.time + 1000)
  t.same(look(new IncidentWatch(), history), {
    kind: 'hang',
    key: rowKey('GET', '/a'),
    text: '3 open, the oldest for 32.5 s',
    since: history.time - 32.5,
    weight: 1e6 + 32.5,
    cause: 'waits'
  })
})

t.test('it is the CPU if the event loop is busy, or has become busier by as much as requests are slower', async t => {
  /** Ten seconds of rows, with what all of them are together. */
  const windowOf = (busy: number, rows: Parameters<typeof increaseOf>[0]): Increase => {
    const increase = { ...increaseOf(rows), busy }
    for (const { counts } of increase.rows.values()) increase.total.counts.buckets[2]! += counts.buckets[2]!
    return increase
  }
  const before = windowOf(0.1, { a: [[0, 100, 100], 20] })
  for (const [busy, busyNow, cause] of [
    [0.1, 0.1, 'waits'], [0.3, 0.3, 'waits'], [0.5, 0.5, 'either'], [0.65, 0.65, 'computes'], [0.1, 0.85, 'computes'],
    [0.05, 0.05, 'waits']
  ] as const) {
    // Its requests take 10 seconds more.
    t.equal(causeOf(windowOf(busy, { a: [[0, 100, 100], 30] }), before, 'a', busyNow), cause, `${busy}`)
    const fresh = windowOf(busy, { a: [[0, 50, 50], 10], fresh: [[0, 0, 50], 10] })
    t.equal(causeOf(fresh, before, 'fresh', busyNow), cause, `new: ${busy}`)
    const busier = windowOf(2 * busy, { a: [[0, 200, 200], 60] })
    t.equal(causeOf(busier, before, 'a', busyNow), cause, `with twice as many requests: ${busy}`)
    const idle = windowOf(busy, { a: [[0, 50, 50], 10], fresh: [[0, 0, 50], 10] })
    t.equal(causeOf(idle, windowOf(0.1, { a: [[0, 100, 100], 20], fresh: [[0, 0, 0], 0] }), 'fresh', busyNow), cause)
  }
  const beside = windowOf(0.2, { a: [[0, 100, 100], 30] })
  t.equal(causeOf({ ...beside, loopWait: 0.05 }, before, 'a', 0.2), 'either', 'each waits for what somebody computes')
  t.equal(causeOf({ ...beside, loopWait: 0.05 }, { ...before, loopWait: 0.06 }, 'a', 0.2), 'waits', 'and did before')
  const row = windowOf(0.2, { a: [[0, 100, 100], 30] })
  row.rows.get('a')!.counts.busy = 25
  t.equal(causeOf(row, before, 'a', 0.2), 'computes', 'it was busy while they were open')
  t.same([0.1, 0.9, NaN].map(causeOfHanging), ['waits', 'computes', 'waits'])
})

t.test('it is said how much of the time of requests was computing, at most', async t => {
  const describe = (busy: number, sum: number, busyBefore?: number): string => {
    const now: Increase = { ...increaseOf({ a: [[0, 100, 100], sum] }), busy }
    return describeLoop({
      increase: now,
      window: 'the last 10 s',
      wait: 'the longest wait for it was 21.0 ms',
      row: now.rows.get('a')!,
      name: busyBefore === undefined ? 'GET /a' : undefined,
      busyBefore
    })
  }
  const loop = 'The event loop was busy 50 % of the last 10 s, 5.00 s; the longest wait for it was 21.0 ms.'
  t.equal(describe(0.5, 25), `${loop} 100 requests of GET /a took 25.0 s together: ` +
    'computing was at most 20 % of that, the rest waiting, for the event loop or something else.')
  t.equal(describe(0.5, 4), `${loop} 100 requests of GET /a took 4.00 s together: computing may have been all of that.`)
  t.equal(describe(0.5, 0), loop)
  t.equal(describe(0.5, 4, 0.06), `${loop.replace('10 s,', '10 s (6 % before),')} 100 requests took 4.00 s together: ` +
    'computing may have been all of that.')
})

t.test('the row that computes is told from those that wait, for it or for something else', async t => {
  /** Rows by their requests, their time, and for how long the event loop was busy meanwhile, at 30 %. */
  const busiest = (rows: Record<string, [requests: number, seconds: number, busy: number]>): string | undefined => {
    const increase = { ...increaseOf({}), busy: 0.3 }
    for (const [key, [requests, sum, busy]] of Object.entries(rows)) {
      const row = emptyRow([], 'GET', key)
      row.counts.buckets[0] = requests
      Object.assign(row.counts, { sum, busy })
      increase.rows.set(key, row)
    }
    return busiestOf(increase)?.[0]
  }
  t.equal(busiest({}), undefined)
  t.equal(busiest({ none: [0, 0, 0] }), undefined)
  t.equal(busiest({ one: [10, 1, 0.9], another: [10, 1, 0.9] }), undefined, 'none more than another')
  t.equal(busiest({ one: [10, 1, 0.9], another: [10, 1, 0.8], a: [10, 1, 0.3] }), undefined, 'not by much')
  t.equal(busiest({ one: [10, 1, 0.9], another: [10, 1, 0.5], a: [10, 1, 0.3] }), 'one')
  t.equal(busiest({ one: [10, 1, 0.1] }), 'one')
  t.equal(busiest({ waits: [40, 32, 10], computes: [40, 3, 2.8], victim: [40, 0.8, 0.6] }), 'computes')
  t.equal(busiest({ victims: [1000, 45, 45], computes: [10, 3.45, 3.45] }), 'computes')
  t.equal(busiest({ computes: [2000, 24, 24], victim: [36, 0.3, 0.3] }), 'computes')
  const row = emptyRow([])
  row.counts.buckets[0] = 40
  Object.assign(row.counts, { sum: 3, busy: 2.7 })
  t.equal(describeBusiest('GET /a', row),
    'GET /a stands out: while one of its requests was open, the event loop was busy for 67.5 ms, 90 % of that time.')
})

/** Adds seconds to a history, and looks after each. */
function follow (
  { history, server }: { history: History, server: Server }, watch: IncidentWatch, seconds: Second[]
): Array<Incident | undefined> {
  return seconds.map(second => {
    history.add(server.answer([server.sample(second)]), server.time + 1000)
    return look(watch, history)
  })
}

/** Seconds in each of which GET /b has so many requests, of which some fail with 503. */
const failing = (seconds: number, all: number, failed: (second: number) => number): Second[] =>
  Array.from({ length: seconds }, (_second, index) =>
    ({ counts: [5, all, 8, 0.05 * all, ...failed(index) > 0 ? [9, failed(index)] : []] }))
const none = (): number => 0
const b = rowKey('GET', '/b')

t.test('failures are told as long as they last, with what was before they began', async t => {
  const [one, watch] = [historyOf([], ...failing(100, 10, none)), new IncidentWatch()]
  t.equal(look(watch, one.history), undefined)
  const told = follow(one, watch, failing(900, 10, () => 5))
  t.match(told[0], { kind: 'failing', key: b, text: '5 % of requests (503: 5 of 100 in 10 s)', since: 1101 })
  t.same(told.map(incident => incident?.since), told.map(() => 1101), 'though all that is remembered failed')
  t.match(told.at(-1), { text: '50 % of requests (503: 300 of 600 in 1 min)' })
  t.match(watch.changes.get(b), { text: '50 % of requests (503: 300 of 600 in 1 min)' })
  t.equal(watch.incident?.cause, undefined)
  const after = follow(one, watch, failing(70, 10, none))
  t.equal(after.at(-1), undefined)
  t.equal(watch.changes.size, 0)
  t.match(follow(one, watch, failing(5, 10, () => 5)).at(-1), { since: 2071 }, 'another time')
  t.equal(follow(one, watch, failing(70, 10, none)).at(-1), undefined)
  t.match(look(watch, one.history, 300), { kind: 'failing' }, 'in a longer window it is there')
})

t.test('some failures are no chance, and one is', async t => {
  const first = (seconds: Second[], before = failing(100, 3, none), allowed?: number): Incident | undefined =>
    follow(historyOf([], ...before), new IncidentWatch(allowed), seconds).find(incident => incident !== undefined)
  const thirty = failing(10, 3, second => second < 6 ? 2 : 0)
  t.match(first(thirty, failing(10, 3, none)), { kind: 'failing', since: 1011 }, '12 of 30')
  t.match(first(thirty, failing(10, 3, none), 0.1), { kind: 'failing' }, 'of which a tenth may fail')
  for (const perSecond of [2, 3, 5, 10]) {
    const twentieth = failing(60, perSecond, second => second * perSecond % 20 < perSecond ? 1 : 0)
    const normal = failing(100, perSecond, none)
    t.match(first(twentieth, normal), { kind: 'failing' }, `1 in 20, ${perSecond} per second`)
  }
  t.equal(first(failing(60, 5, second => second === 30 ? 1 : 0)), undefined, '1 of 300')
  const usual = (second: number): number => second % 20 === 0 ? 1 : 0
  t.equal(first(failing(60, 100, usual), failing(100, 100, none)), undefined, '1 of 2,000')
  t.equal(first(failing(200, 10, usual), failing(100, 10, usual)), undefined, '1 of 200, as before')
  const more = failing(60, 100, () => 1)
  t.match(first(more, failing(100, 100, usual), 0.05), { text: /^0\.8 %/ }, 'fewer than may, but more than before')
  t.match(first(failing(60, 3, () => 3), []), { text: '100 % of requests (503: 3 of 3 in 1 s)', since: 1001 })
})

t.test('the row with most failures is named, or all if none has enough of them', async t => {
  const two = historyOf([])
  const cells: Sample['cells'] = [[17, 0, 'status', '500']]
  const sample = { ...two.server.sample({ counts: [0, 20, 17, 2, 5, 20, 9, 2] }), cells }
  two.history.add(two.server.answer([sample]), two.server.time + 1000)
  const watch = new IncidentWatch()
  t.match(look(watch, two.history), { key: undefined, text: '10 % of requests (500: 2, 503: 2 of 40 in 1 s)' })
  t.equal(watch.changes.size, 0)
  follow(two, watch, [{ counts: [0, 20, 17, 2, 5, 20, 9, 5] }])
  t.equal(watch.incident?.key, b)
  t.equal(watch.changes.size, 2)
})

t.test('failures that nobody saw beginning are told with what is known of when they began', async t => {
  const opened = (before: number[], seconds: Second[], after: Second[] = []): Incident | undefined =>
    follow(historyOf(before), new IncidentWatch(), [...seconds, ...after]).at(-1)
  const unseen = opened([5, 10_000, 9, 5000], failing(20, 10, () => 5))
  t.match(unseen, { kind: 'failing', since: undefined, earliest: undefined }, 'it may have done so since the start')
  t.match(opened([5, 3000, 9, 100], failing(20, 10, () => 5)), { since: undefined, earliest: 980, unseen: 100 })
  t.match(opened([5, 3000, 9, 100], failing(5, 10, none), failing(9, 10, () => 5)), { since: 1006 })
  // Slow requests that are new come first.
  const fail = ({ counts }: { counts: number[] }): Second => ({ counts: [...counts, 5, 4, 9, 2] })
  const both = historyOf([0, 1000, 5, 1000, 9, 500], ...fast(30).map(fail))
  const watch = new IncidentWatch()
  look(watch, both.history)
  t.match(follow(both, watch, slow(6).map(fail)).at(-1), { kind: 'slower' })
  t.match(watch.changes.get(b), { text: /^50 %/ })
})

t.test('since when it is told in words, as far as it is known', async t => {
  const words = (incident: Partial<Incident>): string[] => Object.values(describeIncident(
    { kind: 'slower', key: b, text: '', ...incident }, 1000, String))
  t.same(words({ kind: 'hang', since: 990 }), ['Requests hang since 990', ''])
  t.same(words({ kind: 'stall', since: 990 }), ['Slower for a moment at 990', ''])
  t.same(words({ earliest: 700, unseen: 6990 }), ['Slower since some time between 700 and 1000',
    'Nobody looked before 1000. 6,990 requests were as slow before: at the present rate they take that long ' +
    'to come. If some of them are usual, it began later.'])
  t.match(words({ kind: 'failing', earliest: 700, unseen: 70 })[1], / 70 requests failed before: at /)
  t.same(words({}), ['Slower than since the start', 'Nobody looked before 1000: since when is not known.'])
  t.same(words({ kind: 'failing' })[0], 'Failing since before 1000')
})

t.test('of a process that has run for a week, usual slow requests do not tell when it became slower', async t => {
  for (const [usual, latest] of [[0.01, 600], [0.05, undefined]] as const) {
    const [history, server, up] = [new History(upperBounds, 600), new Server(0), 7 * 86_400]
    const slowOnes = Math.round(2 * usual * (up - 600) + 1.2 * 600)
    server.sample({ counts: [0, 2 * up - slowOnes, 1, slowOnes, 3, 0.05 * 2 * up + 0.75 * slowOnes, 4, 2 * up] })
    history.add(server.all([], { uptime: up }), server.time + 1000)
    for (let second = 0; second < 20; second++) {
      const slowOne = second % 5 === 0 ? 2 : 1
      const sample = server.sample({ counts: [0, 2 - slowOne, 1, slowOne, 3, 0.8 * slowOne] })
      history.add(server.answer([sample], { uptime: up + second }), server.time + 1000)
    }
    const incident = look(new IncidentWatch(), history)!
    t.equal(incident.since, undefined)
    t.ok(latest === undefined ? incident.earliest === undefined : incident.earliest! <= history.time - latest)
  }
})

t.test('requests are slower since when they became so, and not since they became faster', async t => {
  const seconds = (length: number, slowOnes: number): Second[] => Array.from({ length }, () => ({
    counts: [0, 7 - slowOnes, 1, slowOnes, 3, 0.003 * (7 - slowOnes) + 0.17 * slowOnes]
  }))
  for (const begin of [1, 2, 3, 5]) {
    const one = historyOf([], ...seconds(begin, 6), ...seconds(100, 0))
    const told = follow(one, new IncidentWatch(), seconds(60, 5)).filter(incident => incident !== undefined)
    t.same(new Set(told.map(({ since }) => since)), new Set([1101 + begin]))
  }
  // What was slow before, and was over, is something else, however long it took.
  for (const length of [5, 30, 60]) {
    const one = historyOf([], ...seconds(100, 0), ...seconds(length, 6), ...seconds(100, 0))
    const told = follow(one, new IncidentWatch(), seconds(60, 5)).filter(incident => incident !== undefined)
    t.same(new Set(told.map(({ since }) => since)), new Set([1201 + length]))
  }
  const { history } = historyOf([], ...seconds(30, 6), ...seconds(30, 0))
  const share = ({ bucketCounts, time, from }: Point): number => bucketCounts[1]! / (time - from)
  t.equal(sinceWhen(history.points([], 10, 300), share), undefined)
  t.equal(sinceWhen(history.points([], 10, 300), share, { falls: true }), 1031)
})

t.test('one stall that explains why requests took longer is told, and no route is named', async t => {
  const normal = [0, 10, 3, 0.2, 5, 10, 8, 0.2]
  const waiting = [0, 5, 1, 10, 3, 4.5, 5, 15, 8, 0.3]
  const one = historyOf([], ...Array.from({ length: 60 }, () => ({ counts: normal })))
  const watch = new IncidentWatch()
  const told = follow(one, watch, [{ counts: waiting, seconds: 1.5, stall: 0.539 }, { counts: normal }])
  t.match(told.at(-1), { kind: 'stall', key: undefined, text: 'there was one stall of 539 ms', since: 1061.961 })
  t.equal(watch.calm, undefined)
  t.equal(follow(one, watch, Array.from({ length: 70 }, () => ({ counts: normal }))).at(-1), undefined)
  // What takes longer than the stall waits for something else.
  const slowOnes = [0, 5, 1, 10, 3, 9, 5, 15, 8, 0.3]
  t.match(follow(one, watch, [{ counts: slowOnes, stall: 0.539 }]), [{ kind: 'slower' }])
  const two = historyOf([], ...Array.from({ length: 60 }, () => ({ counts: normal })))
  const stalls = [1, 2].flatMap(() => [{ counts: waiting, stall: 0.5 }, { counts: normal }, { counts: normal }])
  t.match(follow(two, new IncidentWatch(), stalls).at(-1), { kind: 'slower' }, 'more than one')
  const first = historyOf([0, 5000, 3, 100])
  t.match(follow(first, new IncidentWatch(), [{ counts: [1, 30, 3, 6], stall: 0.5 }]), [{ kind: 'stall' }])
})

t.test('requests hang since the first of them did, and clients that give up end nothing', async t => {
  const bounds = [0.1, 10]
  const [history, server] = [new History(bounds, 600), new Server(0)]
  history.add(server.all(), 1000)
  let open: number[] = []
  const hangs = (watch: IncidentWatch, from: number, to: number, ends: (second: number) => boolean): string[] => {
    const told: string[] = []
    for (let second = from; second < to; second++) {
      if (ends(second)) open.push(second)
      const left = open.filter(begun => second - begun >= 30)
      open = open.filter(begun => !left.includes(begun))
      const counts = [0, 3, 3, 0.06 + 30 * left.length, 2, left.length, 10, left.length]
      const gauges = [12, open.length, 15, open.length > 0 ? second + 1 - open[0]! : 0]
      history.add(server.answer([server.sample({ counts })], { gauges }), server.time + 1000)
      const incident = look(watch, history)
      told.push(incident === undefined ? '' : `${incident.kind} ${incident.since! - 1000}: ${incident.text}`)
    }
    return told
  }
  const watch = new IncidentWatch()
  const told = hangs(watch, 0, 200, second => second >= 100 && second % 10 === 0)
  t.equal(told[108], '')
  t.equal(told[109], 'hang 100: 1 open, the oldest for 10.0 s')
  t.ok(told.slice(109).every(text => text.startsWith('hang 100: ')))
  t.equal(told.at(-1), 'hang 100: 3 open, the oldest for 30.0 s; given up after 10.0 s or more: 7')
  t.equal(look(new IncidentWatch(), history)?.since, 1121, 'to somebody who has not seen them open')
  const after = hangs(watch, 200, 350, () => false)
  t.equal(after[100], 'hang 100: none open now; given up after 10.0 s or more: 4')
  t.equal(look(new IncidentWatch(), history), undefined)
  t.equal(after.at(-1), '')
  // What comes later is something else.
  t.equal(hangs(watch, 350, 470, () => false).at(-1), '')
  t.equal(hangs(watch, 470, 490, second => second === 470).at(-1), 'hang 470: 1 open, the oldest for 20.0 s')
  hangs(watch, 490, 510, () => false)
  t.equal(look(new IncidentWatch(), history)?.since, 1491)
})

t.test('a hang that has ended is remembered for two minutes', async t => {
  const one = historyOf([], ...fast(3))
  const watch = new IncidentWatch()
  const answer = (seconds: number, age: number): Incident | undefined => {
    const sample = one.server.sample({ counts: [0, 9], seconds })
    one.history.add(one.server.answer([sample], { gauges: [12, 1, 15, age] }), one.server.time + 1000)
    return look(watch, one.history)
  }
  t.equal(answer(1, 11)?.since, 994)
  t.equal(answer(60, 1), undefined)
  t.equal(answer(11, 12)?.since, 994)
  t.equal(answer(121, 1), undefined)
  t.equal(answer(11, 11)?.since, one.history.time - 11)
})

t.test('open requests that are later than an objective allows are told, with the oldest', async t => {
  const { history, server } = historyOf([])
  history.add(server.answer([server.sample({})], { gauges: [12, 4, 15, 7.5, 16, 0.2] }), server.time + 1000)
  t.same(lateRequests(history.sinceStart()!, 0.25), { most: 4, oldest: 7.5 })
  t.same(lateRequests(history.sinceStart()!, 8), { most: 0, oldest: 0 })
})

t.test('a condition lasts for some seconds', async t => {
  const lasting = new Lasting(10)
  t.same([[0, false], [1, true], [2, false], [10.9, false], [11, false], [12, true], [13, false]]
    .map(([time, isSo]) => lasting.at(time as number, isSo as boolean)), [false, true, true, true, false, true, true])
})
