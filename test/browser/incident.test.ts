import t from 'tap'
import { busiestOf, causeOf, causeOfHanging, describeBusiest, describeLoop } from '../../lib/pages/browser/cause'
import { History, type Increase } from '../../lib/pages/browser/history'
import { guessSince, IncidentWatch, lateRequests, slowerThan, type Incident } from '../../lib/pages/browser/incident'
import { Lasting } from '../../lib/pages/browser/lasting'
import { emptyRow, rowKey } from '../../lib/pages/browser/rows'
import { historyOf, increaseOf, Server, upperBounds } from './histories'

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
    kind: 'slower', key: rowKey('GET', '/a'), text: 'mean 50.0 ms → 500 ms', since: 1031, slowSinceStart: undefined
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

t.test('if nobody looked when requests became slower, it is said about when, as far as counts tell', async t => {
  const first = (fast: number, slow: number): number[] =>
    [0, fast, 1, slow, 3, 0.05 * fast + 0.8 * slow, 4, fast + slow]
  const { history } = historyOf(first(36_000, 100), ...slow(10))
  t.match(look(new IncidentWatch(), history), {
    text: 'mean 52.1 ms → 800 ms', since: 990, slowSinceStart: 200
  })
  // More than can have come in the time since the start.
  const unknown = look(new IncidentWatch(), historyOf(first(400_000, 5000), ...slow(10)).history)
  t.match(unknown, { kind: 'slower', since: undefined, slowSinceStart: undefined })
  t.equal(look(new IncidentWatch(), historyOf(first(1000, 4000), ...slow(10)).history), undefined,
    'what was slow most of the time')
  // It has begun to be slow after the first answer.
  t.match(look(new IncidentWatch(), historyOf(first(36_000, 0), ...fast(4), ...slow(9)).history), {
    since: 1005, slowSinceStart: undefined
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
  t.same(guessSince(history, rowKey('GET', '/a')), { since: 300, slow: 7090 })
})

t.test('requests that hang are told since when, whatever else is slow', async t => {
  const { history, server } = historyOf([], ...fast(30), ...slow(9))
  history.add(server.answer([], { gauges: [12, 3, 15, 32.5] }), server.time + 1000)
  t.same(look(new IncidentWatch(), history), {
    kind: 'hang',
    key: rowKey('GET', '/a'),
    text: '3 open, the oldest for 32.5 s',
    since: history.time - 32.5,
    slowSinceStart: undefined,
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
