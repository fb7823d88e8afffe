import syncFs, {
  existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, utimesSync,
  writeFileSync
} from 'node:fs'
import { connect, Socket, type AddressInfo } from 'node:net'
import fs from 'node:fs/promises'
import { get } from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { Counter, Gauge, Histogram, Registry, Summary } from 'prom-client'
import t, { type Test } from 'tap'
import latency from '../lib'
import { encode } from '../lib/group/encoding'
import { mergeFamilies, nothing, type Former, type Share } from '../lib/group/families'
import { Group } from '../lib/group/group'
import { identify } from '../lib/group/identity'
import { countsOfProcess, sinceLeft } from '../lib/group/left-counts'
import { load } from '../lib/group/slot-file'
import { Listener } from '../lib/group/sockets'
import type {
  Aggregator, Gathered, Gatherer, GatherRequest, HistogramPoints, NativePoints, Points, SummaryPoints, ValuePoints
} from '../lib/snapshot'
import { runAtOnce, TimeSlices } from '../lib/time-slices'
import {
  anyPort, createApplication, createListening, listen, lookLikeWorker, scrape, warningOf
} from './helpers/application'
import { createFolder } from './helpers/folder'
import { createMember } from './helpers/member'
import { until } from './helpers/until'

/** What keeps the process alive, which members of a group do not. */
const alive = setInterval(() => {}, 1000)
t.teardown(() => clearInterval(alive))

interface Joined {
  readonly group: Group
  readonly registry: Registry
  readonly counter: Counter
  readonly problems: string[]
}

/** A member with a counter. */
async function join (
  t: Test, directory: string, open = async (): Promise<void> => {}, registry = new Registry()
): Promise<Joined> {
  const problems: string[] = []
  const group = createMember(registry, {
    open: async () => {
      await open()
      mkdirSync(directory, { recursive: true })
      return directory
    },
    failed: (subject, error) => problems.push(`${subject}: ${error.message}`)
  })
  await group.join()
  t.teardown(() => group.leave())
  const counter = registry.getSingleMetric('c_total') as Counter | undefined ??
    new Counter({ name: 'c_total', help: 'h', registers: [registry], labelNames: ['a'] })
  return { group, registry, problems, counter }
}

/** Leaves, and joins with the same metrics, as an application does that is closed and opened again. */
async function joinAgain (t: Test, directory: string, { group, registry }: Joined): Promise<Joined> {
  await group.leave()
  return join(t, directory, undefined, registry)
}

async function read ({ group }: Joined): Promise<Gathered> {
  return group.gather({ names: undefined, timeoutMs: 10_000 })
}

/** The value of each series, by its labels in the order of their names. */
function valuesOf ({ families }: Gathered, name: string): Record<string, number> {
  const points = families.find(points => points.name === name) as ValuePoints | undefined
  return Object.fromEntries(points?.labelSets.map((labelSet, series) =>
    [[...labelSet, ...Object.values(points.sharedLabels)].join(), points.values[series]!]) ?? [])
}

function members (gathered: Gathered): number[] {
  return Object.values(valuesOf(gathered, 'fastify_latency_group_members'))
}

t.test('each member tells what all have counted, and gauges become one as their aggregators say', async t => {
  const directory = createFolder(t)
  const [a, b, c] = [await join(t, directory), await join(t, directory), await join(t, directory)]
  t.same([a, b, c].map(({ group }) => group.slot), [0, 1, 2])
  ;[a, b, c].forEach(({ counter, registry }, index) => {
    const registers = [registry]
    counter.inc({ a: 'all' }, index + 1)
    counter.inc({ a: `own${index}` })
    counter.inc({ a: 'fractions' }, [0.1, 0.1, 0.4][index]!)
    new Gauge({ name: 'sum', help: 'h', registers }).set(index)
    new Gauge({ name: 'max', help: 'h', registers, aggregator: 'max' }).set(index)
    new Gauge({ name: 'omit', help: 'h', registers, aggregator: 'omit' }).set(index)
    new Gauge({ name: 'process_open_fds', help: 'h', registers }).set(10 + index)
    new Histogram({ name: 'h', help: 'h', registers, buckets: [1] }).observe(index)
  })
  for (const member of [a, b, c]) {
    const gathered = await read(member)
    // Added up in another order, the fractions have another sum, and a count would fall when another member serves.
    t.same(valuesOf(gathered, 'c_total'), { all: 6, fractions: 0.1 + 0.1 + 0.4, own0: 1, own1: 1, own2: 1 })
    t.same(valuesOf(gathered, 'sum'), { '': 3 })
    t.same(valuesOf(gathered, 'max'), { '': 2 })
    t.notOk(gathered.families.some(({ name }) => name === 'omit'))
    t.same(valuesOf(gathered, 'process_open_fds'), { 0: 10, 1: 11, 2: 12 })
    t.match(gathered.families.find(({ name }) => name === 'h'), { counts: Float64Array.of(2, 1) })
    t.same(members(gathered), [3, 0, 0])
    t.same(member.problems, [])
  }
  const { families } = await a.group.gather({ names: new Set(['c_total']), timeoutMs: 10_000 })
  t.same(families.map(({ name }) => name), ['c_total'])
})

t.test('what a member has counted outlives it, and is carried on by the next in its slot', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  b.counter.inc({ a: 'x' }, 5)
  new Gauge({ name: 'g', help: 'h', registers: [b.registry] }).set(1)
  t.same(valuesOf(await read(a), 'g'), { '': 1 })
  await b.group.leave()
  const gone = await read(a)
  t.same(valuesOf(gone, 'c_total'), { x: 5 })
  t.same(valuesOf(gone, 'g'), {}, 'it is no more')
  t.same(members(gone), [1, 0, 1])

  const c = await join(t, directory)
  t.equal(c.group.slot, 1)
  t.same(valuesOf(await read(a), 'c_total'), { x: 5 })
  c.counter.inc({ a: 'x' }, 2)
  a.counter.inc({ a: 'x' })
  for (const member of [a, c]) t.same(valuesOf(await read(member), 'c_total'), { x: 8 })
  t.same(members(await read(c)), [2, 0, 0])
  t.same([...a.problems, ...b.problems, ...c.problems], [])
})

t.test('when all have left, nothing is left of the group, and the next one begins at zero', async t => {
  const directory = createFolder(t)
  for (let times = 0; times < 3; times++) {
    mkdirSync(directory, { recursive: true })
    const [a, b] = [await join(t, directory), await join(t, directory)]
    t.same(valuesOf(await read(a), 'c_total'), {})
    a.counter.inc({ a: 'x' })
    t.same(valuesOf(await read(b), 'c_total'), { x: 1 })
    await Promise.all([a.group.leave(), b.group.leave()])
    t.notOk(existsSync(directory))
  }
})

t.test('counts are saved within some time even if nobody asks for them', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  b.counter.inc({ a: 'x' })
  await until('a file', () => existsSync(path.join(directory, '1.points')))
  rmSync(path.join(directory, '1.sock'))
  t.same(valuesOf(await read(a), 'c_total'), { x: 1 }, 'b cannot be asked')
})

/** What is in the file of a slot. */
async function saved (directory: string, slot: number): Promise<Gathered> {
  return await load(path.join(directory, `${slot}.points`), new TimeSlices()) ?? nothing
}

/** Makes a metric that is read when the function is called that is returned. */
function addSlow ({ registry }: Joined): { readonly calls: () => number, readonly release: () => void } {
  let calls = 0
  let release!: () => void
  const released = new Promise<void>(resolve => { release = resolve })
  const slow = new Counter({
    name: 'slow_total',
    help: 'h',
    registers: [registry],
    async collect () {
      calls++
      await released
    }
  })
  slow.inc(7)
  return { calls: () => calls, release }
}

t.test('nobody waits for a metric that takes long but those who ask for it', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  let asked = 0
  const other = await Listener.open(path.join(directory, '7.sock'), socket => {
    asked++
    socket.destroy()
  })
  t.teardown(() => other.close())
  const slow = addSlow(b)
  const first = read(a)
  await until('it to be read', () => slow.calls() === 1)
  const second = read(a)
  const third = read(a)
  await until('the second reading to begin', () => asked === 2)
  b.counter.inc({ a: 'x' })
  await until('b to be saved', async () => valuesOf(await saved(directory, 1), 'c_total').x === 1)
  b.counter.inc({ a: 'x' })
  const { families } = await a.group.gather({ names: new Set(['c_total']), timeoutMs: 10_000 })
  t.same(valuesOf({ ...nothing, families }, 'c_total'), { x: 2 })
  slow.release()
  t.equal(await third, await second, 'who asks before a reading begins shares it')
  for (const reading of [first, second]) {
    t.same(valuesOf(await reading, 'slow_total'), { '': 7 })
    t.same(valuesOf(await reading, 'c_total'), { x: 2 })
  }
})

t.test('a member that leaves does not wait for a metric that takes long, and saves all else', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  const slow = addSlow(b)
  const reading = read(b)
  await until('it to be read', () => slow.calls() === 1)
  b.counter.inc({ a: 'x' })
  await b.group.leave()
  t.same(valuesOf(await read(a), 'c_total'), { x: 1 })
  const c = await join(t, directory)
  await read(c)
  slow.release()
  t.same(valuesOf(await reading, 'slow_total'), { '': 7 })
  t.same(valuesOf(await saved(directory, 1), 'slow_total'), {}, 'the file is that of another one')
  t.same([...a.problems, ...b.problems], [])
})

/** The points of a metric without labels. */
function points (value: number, name = 'c_total', type: ValuePoints['type'] = 'counter'): ValuePoints {
  return {
    type,
    name,
    help: 'h',
    aggregator: 'sum',
    unit: undefined,
    labelNames: [],
    labelSets: [[]],
    sharedLabels: {},
    startSeconds: undefined,
    exemplars: [],
    values: Float64Array.of(value)
  }
}

interface Asked {
  readonly request: GatherRequest
  readonly answer: (families: readonly Points[], others?: Partial<Gathered>) => void
}

/** A member that is told what it has counted. */
async function joinTold (
  t: Test, directory: string, countsAtOnce: () => Points[] = () => []
): Promise<{ readonly group: Group, readonly asked: Asked[], readonly next: () => Promise<Asked> }> {
  const asked: Asked[] = []
  const gather: Gatherer = async request => new Promise(resolve => {
    const answer: Asked['answer'] = (families, others) => resolve({ ...nothing, families, ...others })
    asked.push({ request, answer })
  })
  const group = new Group({
    open: async () => directory,
    gather,
    slices: new TimeSlices(),
    counts: async () => new Set(['saved']),
    ownCounts: () => new Set(['saved']),
    countsAtOnce,
    metrics: () => new Map(),
    isReady: () => true,
    failed: (subject, error) => t.fail(`${subject}: ${error.message}`)
  })
  await group.join()
  const next = async (): Promise<Asked> => {
    for (;;) {
      await until('a reading', () => asked.length > 0)
      const first = asked.shift()!
      // What is read once a second, in order to be saved, is nothing.
      if (first.request.names?.has('saved') !== true) return first
      first.answer([])
    }
  }
  return { group, asked, next }
}

/** Leaves with such a member, which counts nothing any more. */
async function leaveTold (group: Group, asked: Asked[]): Promise<void> {
  const leaving = group.leave()
  await until('it to leave', () => {
    for (const { answer } of asked.splice(0)) answer([])
    return group.slot === undefined
  })
  await leaving
}

/** The points of a histogram with one bucket, and without labels. */
function histogramPoints (count: number): Points {
  const { values, aggregator, ...rest } = points(count, 'h')
  return { ...rest, type: 'histogram', upperBounds: [], counts: values, sums: values, native: undefined }
}

t.test('of readings that overlap, that with less does not replace what was counted in the other', async t => {
  const { group, next, asked } = await joinTold(t, createFolder(t))
  t.teardown(() => leaveTold(group, asked))
  const all = group.gather({ names: undefined, timeoutMs: 10_000 })
  const early = await next()
  const some = group.gather({ names: new Set(['c_total', 'h', 'g', 'new_total']), timeoutMs: 10_000 })
  const late = await next()
  late.answer([points(5), histogramPoints(5), points(5, 'g', 'gauge'), points(1, 'new_total')])
  t.same(valuesOf(await some, 'c_total'), { '': 5 })
  early.answer([points(3), histogramPoints(3), points(3, 'g', 'gauge')])
  t.same(valuesOf(await all, 'c_total'), { '': 5 })
  t.match((await all).families.find(({ name }) => name === 'h'), { counts: Float64Array.of(5) })
  t.same(valuesOf(await all, 'g'), { '': 3 })
  t.same(valuesOf(await all, 'new_total'), { '': 1 }, 'it was not there when the reading began')

  const after = group.gather({ names: undefined, timeoutMs: 10_000 })
  ;(await next()).answer([points(1)])
  t.same(valuesOf(await after, 'c_total'), { '': 1 }, 'it was reset')
  t.same(valuesOf(await after, 'new_total'), {}, 'it is not there any more')
})

t.test('a process that leaves and comes again does not count again what it has left', async t => {
  const directory = createFolder(t)
  const registry = new Registry()
  const again = async (): Promise<Joined> => {
    mkdirSync(directory, { recursive: true })
    return join(t, directory, undefined, registry)
  }
  const a = await join(t, directory)
  let b = await again()
  const registers = [registry]
  const histogram = new Histogram({ name: 'h', help: 'h', registers, buckets: [1] })
  const summary = new Summary({ name: 's', help: 'h', registers, percentiles: [0.5] })
  new Gauge({ name: 'g', help: 'h', registers }).set(1)
  const count = (): void => {
    b.counter.inc({ a: 'x' }, 2)
    b.counter.inc({ a: 'y' })
    histogram.observe(3)
    summary.observe(4)
  }
  const counted = async (): Promise<unknown> => {
    const gathered = await read(a)
    const [h, s] = ['h', 's'].map(name => gathered.families.find(points => points.name === name)) as [
      HistogramPoints, SummaryPoints
    ]
    return [valuesOf(gathered, 'c_total'), valuesOf(gathered, 'g'), [...h.counts, ...h.sums], [...s.counts, ...s.sums]]
  }
  count()
  const once = [{ x: 2, y: 1 }, { '': 1 }, [0, 1, 3], [1, 4]]
  const twice = [{ x: 4, y: 2 }, { '': 1 }, [0, 2, 6], [2, 8]]
  t.same(await counted(), once)
  for (let times = 0; times < 3; times++) {
    await b.group.leave()
    b = await again()
    t.same(await counted(), once)
  }
  count()
  t.same(await counted(), twice)
  await b.group.leave()
  const c = await join(t, directory)
  b = await again()
  t.same([b.group.slot, c.group.slot], [2, 1])
  t.same(await counted(), twice, 'another one carries it on')
  b.counter.remove('y')
  t.match(await counted(), [{ x: 4, y: 2 }])
  b.counter.reset()
  b.counter.inc({ a: 'x' })
  t.match(await counted(), [{ x: 5, y: 2 }])
  b.counter.inc({ a: 'x' }, 10)
  t.match(await counted(), [{ x: 15, y: 2 }], 'a reset is noticed for good')
  for (const { group } of [b, c]) await group.leave()
  await a.group.leave()
  b = await again()
  t.same(valuesOf(await read(b), 'c_total'), { x: 11 }, 'the group has ended')
  t.same([a, b, c].flatMap(({ problems }) => problems), [])
})

t.test('a reading that fails is over, also for whoever asks next', async t => {
  let fails = true
  const failing: Array<() => void> = []
  const directory = createFolder(t)
  const group = new Group({
    open: async () => directory,
    gather: async ({ names }) => {
      if (names?.has('saved') === true) return nothing
      if (fails) await new Promise<void>((_resolve, reject) => failing.push(() => reject(new Error('not now'))))
      return { ...nothing, families: [points(1)] }
    },
    slices: new TimeSlices(),
    counts: async () => new Set(['saved']),
    ownCounts: () => new Set(['saved']),
    countsAtOnce: () => [],
    metrics: () => new Map(),
    isReady: () => true,
    failed: () => {}
  })
  await group.join()
  t.teardown(() => group.leave())
  const gather = async (): Promise<Gathered> => group.gather({ names: undefined, timeoutMs: 10_000 })
  const first = gather()
  await until('it to be read', () => failing.length === 1)
  const second = gather()
  const failed = { code: 'FST_LATENCY_ERR_GROUP_UNKNOWN', message: /\(not now\)/ }
  const fail = async (count: number): Promise<void> => {
    await until('it to be read', () => failing.length > 0)
    failing.shift()!()
    if (count > 1) await fail(count - 1)
  }
  await Promise.all([t.rejects(first, failed), t.rejects(second, failed), fail(2)])
  fails = false
  for (let times = 0; times < 2; times++) t.same(valuesOf(await gather(), 'c_total'), { '': 1 })
})

t.test('native buckets are not counted again either', async t => {
  /** Each series has observations in two native buckets beside the zero bucket. */
  const native = (...counts: number[]): Points => ({
    ...histogramPoints(0) as HistogramPoints,
    labelNames: ['a'],
    labelSets: counts.map((_, series) => [String(series)]),
    counts: Float64Array.from(counts.flatMap(count => [1 + 2 * count])),
    sums: Float64Array.from(counts),
    native: {
      schemas: new Int8Array(counts.length),
      zeroCounts: new Float64Array(counts.length).fill(1),
      ends: Uint32Array.from(counts, (_, series) => 2 * (series + 1)),
      indexes: Int32Array.from(counts.flatMap(() => [0, 1])),
      counts: Float64Array.from(counts.flatMap(count => [count, count]))
    }
  })
  const metrics = new Map([['h', {}]])
  const counts = countsOfProcess('native', 'group')
  counts.left.set(metrics.get('h')!, native(2, 9, 2))
  const [since] = runAtOnce(sinceLeft([native(5, 4, 5)], metrics, counts))
  t.match(since, {
    counts: Float64Array.of(6, 9, 6),
    native: { zeroCounts: Float64Array.of(0, 1, 0), counts: Float64Array.of(3, 3, 4, 4, 3, 3) }
  })
})

t.test('a metric that several members of a process have is counted once, whichever of them come and go', async t => {
  const directory = createFolder(t)
  const registry = new Registry()
  const registers = [registry]
  const other = await join(t, directory)
  other.counter.inc({ a: 'x' }, 1000)
  let member = await join(t, directory, undefined, registry)
  const gauge = new Gauge({ name: 'g', help: 'h', registers })
  const histogram = new Histogram({ name: 'h', help: 'h', registers, buckets: [1] })
  const count = (): void => {
    member.counter.inc({ a: 'x' }, 10)
    gauge.inc()
    histogram.observe(1)
  }
  let counted = 0
  const look = async (...asked: Joined[]): Promise<void> => {
    for (const one of asked) {
      const gathered = await read(one)
      t.same(valuesOf(gathered, 'c_total'), { x: 1000 + 10 * counted })
      t.same(valuesOf(gathered, 'g'), { '': counted })
      t.match(gathered.families.find(({ name }) => name === 'h'), { counts: Float64Array.of(counted, 0) })
    }
  }
  const joined = [other, member]
  for (let times = 0; times < 3; times++) {
    count()
    counted++
    await look(other, member)
    const next = await join(t, directory, undefined, registry)
    joined.push(next)
    await look(next, other, member)
    count()
    counted++
    await look(other, next, member)
    // One of both goes, and reads the counter once more. The other one has not, and is asked for something else first.
    count()
    counted++
    const [leaving, staying] = times === 1 ? [next, member] : [member, next]
    await leaving.group.leave()
    const { families } = await other.group.gather({ names: new Set(['g']), timeoutMs: 10_000 })
    t.same(families.map(({ name }) => name), ['g'])
    await look(other, staying)
    member = staying
  }
  t.same(joined.flatMap(({ problems }) => problems), [])
})

t.test('what could not be saved when a member left is counted by the next one of its process', async t => {
  const directory = createFolder(t)
  const registry = new Registry()
  const a = await join(t, directory)
  const b = await join(t, directory, undefined, registry)
  b.counter.inc({ a: 'x' }, 5)
  t.same(valuesOf(await read(a), 'c_total'), { x: 5 })
  const file = path.join(directory, '1.points')
  rmSync(file)
  mkdirSync(path.join(file, 'in the way'), { recursive: true })
  b.counter.inc({ a: 'x' }, 2)
  await b.group.leave()
  t.match(b.problems, [/^save: /])
  rmSync(file, { recursive: true })
  const families = [{ ...points(5), labelNames: ['a'], labelSets: [['x']] }]
  writeFileSync(file, encode({ ...nothing, families }))
  const c = await join(t, directory, undefined, registry)
  t.same(valuesOf(await read(a), 'c_total'), { x: 7 })
  t.same([...a.problems, ...c.problems], [])
})

t.test('of what was left, each series is counted again that was removed, and no other one', async t => {
  const directory = createFolder(t)
  const registry = new Registry()
  const a = await join(t, directory)
  let b = await join(t, directory, undefined, registry)
  const histogram = new Histogram({ name: 'h', help: 'h', registers: [registry], buckets: [1], labelNames: ['a'] })
  const again = async (): Promise<void> => {
    await read(b)
    b = await joinAgain(t, directory, b)
  }
  const counted = async (): Promise<unknown> => {
    const gathered = await read(a)
    const { labelSets, counts } = gathered.families.find(({ name }) => name === 'h') as HistogramPoints
    const ofHistogram = Object.fromEntries(labelSets.map(([label], series) => [label, counts[2 * series]]))
    return [valuesOf(gathered, 'c_total'), ofHistogram]
  }
  await again()
  for (let count = 0; count < 3; count++) for (const label of ['x', 'y']) histogram.observe({ a: label }, 1)
  b.counter.inc({ a: 'x' }, 1000)
  b.counter.inc({ a: 'y' }, 5)
  t.same(await counted(), [{ x: 1000, y: 5 }, { x: 3, y: 3 }], 'nothing was left of the histogram')
  await again()
  b.counter.remove('y')
  b.counter.inc({ a: 'y' })
  histogram.remove('x')
  histogram.observe({ a: 'x' }, 1)
  for (let times = 0; times < 2; times++) {
    t.same(await counted(), [{ x: 1000, y: 6 }, { x: 4, y: 3 }])
    await again()
  }
  histogram.reset()
  await counted()
  histogram.observe({ a: 'y' }, 1)
  t.same(await counted(), [{ x: 1000, y: 6 }, { x: 4, y: 4 }])
  t.same([...a.problems, ...b.problems], [])
})

t.test('what a slot has counted is added up, and the values of slots become one as who is there says', async t => {
  const directory = createFolder(t)
  const registry = new Registry()
  const a = await join(t, directory)
  let b = await join(t, directory, undefined, registry)
  const aggregators = ['average', 'min', 'max', 'first', 'sum'] as const
  const counters = aggregators.map(aggregator =>
    new Counter({ name: `${aggregator}_total`, help: 'h', registers: [registry], aggregator }))
  const counted = async (member: Joined): Promise<unknown> => {
    const gathered = await read(member)
    return aggregators.map(aggregator => valuesOf(gathered, `${aggregator}_total`)[''])
  }
  for (const counter of counters) counter.inc(1000)
  t.same(await counted(a), Array(5).fill(1000))
  await read(b)
  b = await joinAgain(t, directory, b)
  t.same(await counted(a), Array(5).fill(1000), 'it is not counted again')
  for (const counter of counters) counter.inc(100)
  t.same(await counted(a), Array(5).fill(1100))
  await read(b)
  await b.group.leave()
  b = await join(t, directory)
  for (const aggregator of aggregators) {
    new Counter({ name: `${aggregator}_total`, help: 'h', registers: [b.registry], aggregator: 'max' }).inc(5)
  }
  t.same(await counted(a), Array(5).fill(1105))

  const counter = (aggregator: Aggregator, value: number): Points =>
    ({ ...points(value) as ValuePoints, aggregator })
  const shares = [{ families: [counter('max', 3)], writtenMs: 1 }, ...[5, 7].map(value =>
    ({ families: [counter('sum', value)], writtenMs: Infinity }))]
  const { families } = runAtOnce(mergeFamilies(shares.map(share => ({ ...share, former: [] }))))
  t.match(families, [{ aggregator: 'sum', values: Float64Array.of(15) }], 'who has gone does not decide')
})

t.test('a metric that cannot be read this time is there with what it has counted before', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  let fails = false
  const definition = {
    help: 'h',
    registers: [b.registry],
    collect () { if (fails) throw new Error('the database is down') }
  }
  new Counter({ ...definition, name: 'failing_total' }).inc(3)
  new Gauge({ ...definition, name: 'failing' }).set(3)
  const counted = async (): Promise<object[]> => {
    const gathered = await read(a)
    return [valuesOf(gathered, 'failing_total'), valuesOf(gathered, 'failing')]
  }
  t.same(await counted(), [{ '': 3 }, { '': 3 }])
  fails = true
  t.same(await counted(), [{ '': 3 }, {}], 'a gauge only says how it was')
  await b.group.leave()
  t.same(await counted(), [{ '': 3 }, {}], 'it has gone')
})

t.test('the metrics of a registry that cannot be read this time are there with what they have counted', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  b.counter.inc({ a: 'x' }, 3)
  t.same(valuesOf(await read(a), 'c_total'), { x: 3 })
  t.intercept(b.registry, 'getMetricsAsArray', { value () { throw new Error('not now') } })
  t.same(valuesOf(await read(a), 'c_total'), { x: 3 })
  await b.group.leave()
  t.same(valuesOf(await read(a), 'c_total'), { x: 3 }, 'it has gone')
})

t.test('what cannot be shown is kept, and gives way to others whose samples have the same names', async t => {
  const directory = createFolder(t)
  const { group, next, asked } = await joinTold(t, directory)
  t.teardown(() => leaveTold(group, asked))
  const gather = async (families: Points[], others?: Partial<Gathered>): Promise<Gathered> => {
    const reading = group.gather({ names: undefined, timeoutMs: 10_000 })
    ;(await next()).answer(families, others)
    return reading
  }
  await gather([histogramPoints(1), points(3)])
  const gathered = await gather([points(2, 'h_count')], { leftOut: ['h', 'c_total'] })
  t.same(valuesOf(gathered, 'c_total'), { '': 3 })
  t.same(valuesOf(gathered, 'h_count'), { '': 2 })
  t.notOk(gathered.families.some(({ name }) => name === 'h'))
})

t.test('a process that ends while a member leaves saves what it has counted', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  const { group, asked } = await joinTold(t, directory, () => [points(4)])
  const leaving = group.leave()
  process.listeners('exit').at(-1)!(0)
  t.same(valuesOf(await saved(directory, 1), 'c_total'), { '': 4 })
  await leaveTold(group, asked)
  await leaving
  t.same(valuesOf(await read(a), 'c_total'), { '': 4 })
})

t.test('files that are none, and answers that are none, are left out and counted, and said', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  b.counter.inc({ a: 'x' })
  await read(a)
  const inPlaceOf = async (slot: number, prepare: (file: string) => void): Promise<void> => {
    const file = path.join(directory, `${slot}.points`)
    rmSync(file, { force: true, recursive: true })
    prepare(file)
    const gathered = await read(a)
    t.same(valuesOf(gathered, 'c_total'), { x: 1 })
    t.same(valuesOf(gathered, 'fastify_latency_group_unreadable'), { '': 1 })
    t.equal(a.problems.length, 1, a.problems.splice(0).join())
    rmSync(file, { force: true, recursive: true })
  }
  await inPlaceOf(2, file => writeFileSync(file, ''))
  await inPlaceOf(2, file => writeFileSync(file, 'x'.repeat(1000)))
  await inPlaceOf(2, file => mkdirSync(file))
  await inPlaceOf(2, file => symlinkSync(path.join(directory, '1.points'), file))
  await inPlaceOf(2, file => symlinkSync('/dev/zero', file))
  await inPlaceOf(2, file => {
    writeFileSync(file, '')
    truncateSync(file, 1e9)
  })

  // Each has a slot of its own: the connection of one that hung may close after the next one listens.
  const answers: Array<[problem: RegExp, answer: (socket: Socket) => void]> = [
    [/it has shown nothing for 500 ms/, () => {}],
    [/it is of another kind or version/, socket => { socket.write('x'.repeat(1000)) }],
    [/it has shown nothing for 500 ms/, socket => { socket.write('\u0001latency1') }],
    [/it has \d+ bytes/, socket => {
      socket.write(Buffer.concat([Buffer.from('\u0001latency1'), Buffer.alloc(16, 0xff)]))
    }]
  ]
  for (const [index, [problem, answer]] of answers.entries()) {
    const slot = 8 + index
    const rogue = await Listener.open(path.join(directory, `${slot}.sock`), answer)
    const gathered = await a.group.gather({ names: undefined, timeoutMs: 600 })
    t.same(valuesOf(gathered, 'c_total'), { x: 1 })
    t.same(members(gathered), [2, 1, 0])
    t.match(a.problems.splice(0), [new RegExp(`^member ${slot}: ${problem.source}`)])
    rogue.close()
  }
  const rogue = await Listener.open(path.join(directory, '7.sock'), socket => socket.destroy())
  t.same(members(await read(a)), [2, 1, 0], 'one that hangs up is there')
  t.match(a.problems.splice(0), [/^member 7: it has hung up/])
  rogue.close()
  const leaving = await Listener.open(path.join(directory, '7.sock'), () => leaving.close())
  writeFileSync(path.join(directory, '7.points'), encode(nothing))
  t.same(members(await read(a)), [2, 0, 1], 'one that has gone meanwhile is not')
  t.same(a.problems, [])
})

t.test('who hangs is waited for once, and asked again when it shows something', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  const connections: Socket[] = []
  const rogue = await Listener.open(path.join(directory, '7.sock'), socket => { connections.push(socket.resume()) })
  t.teardown(() => rogue.close())
  const staleIn = async (names?: Set<string>): Promise<number> => {
    const start = performance.now()
    const gathered = await a.group.gather({ names, timeoutMs: 10_000 })
    if (names === undefined) t.same(members(gathered), [1, 1, 0])
    return performance.now() - start
  }
  const start = performance.now()
  await Promise.all([
    staleIn(), staleIn(new Set(['c_total'])), new Promise(resolve => setImmediate(resolve)).then(async () => staleIn())
  ])
  t.ok(performance.now() - start > 490)
  t.equal(connections.length, 2, 'one for each set of names')
  for (let times = 0; times < 5; times++) t.ok(await staleIn() < 400)
  await until('one connection to go', () => connections.filter(({ destroyed }) => !destroyed).length === 1)
  connections.find(({ destroyed }) => !destroyed)!.write('\u0001')
  await until('it to be asked again', async () => {
    await staleIn()
    return connections.length > 2
  })
  t.match(a.problems, [/^member 7: it has shown nothing for 500 ms/])
})

t.test('a member is not taken for one that hangs because whoever asks was busy', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  const other = await Listener.open(path.join(directory, '7.sock'), socket => {
    socket.once('data', () => {
      socket.write('\u0001')
      for (const end = performance.now() + 600; performance.now() < end;);
      setTimeout(() => other.close(), 10)
    })
  })
  writeFileSync(path.join(directory, '7.points'), encode(nothing))
  t.same(members(await read(a)), [1, 0, 1], 'it has gone')
  t.same(a.problems, [])
})

t.test('an answer may come in pieces', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  const bytes = encode({ ...nothing, leftOut: ['of 7'] })
  const other = await Listener.open(path.join(directory, '7.sock'), socket => {
    socket.once('data', () => {
      socket.write(Buffer.concat([Buffer.of(1, 1), bytes.subarray(0, 10)]))
      setTimeout(() => socket.end(bytes.subarray(10)), 20)
    })
  })
  t.teardown(() => other.close())
  const [first, second] = await Promise.all([read(a), read(a)])
  t.same(first!.leftOut, ['of 7'])
  t.equal(second, first, 'who asks before a reading begins shares it')
})

t.test('a member that leaves or withdraws while it comes leaves nothing behind', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  const b = await join(t, directory)
  const bind = async (): Promise<string> => {
    a.group.withdraw()
    return 'bound'
  }
  t.equal(await a.group.serve('here', bind, () => {}), 'bound')
  t.equal(await b.group.serve('here', async () => 'too', () => {}), 'too')
  const announcement = path.join(directory, readdirSync(directory).find(name => name.endsWith('.port'))!)
  rmSync(announcement)
  let looked = 0
  const other = await Listener.open(announcement, () => { looked++ })
  await until('b to find that another one serves', () => looked > 0)
  await b.group.leave()
  t.equal(existsSync(announcement), true)
  other.close()
  await a.group.leave()

  const options = {
    gather: async () => nothing,
    slices: new TimeSlices(),
    counts: async () => new Set<string>(),
    ownCounts: () => new Set<string>(),
    countsAtOnce: () => [],
    metrics: () => new Map(),
    isReady: () => true
  }
  const open = async (): Promise<string> => {
    mkdirSync(directory, { recursive: true })
    return directory
  }
  const failed = (subject: string, error: Error): void => { t.fail(`${subject}: ${error.message}`) }
  const c = new Group({ ...options, open, failed })
  c.join()
  await c.leave()
  t.notOk(existsSync(directory))
})

t.test('a member that withdraws while it looks whether others find it tells nobody that it serves', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  t.equal(await a.group.serve('here', async () => 'bound', () => {}), 'bound')
  const announcement = path.join(directory, readdirSync(directory).find(name => name.endsWith('.port'))!)
  rmSync(announcement)
  let takesTurn!: () => void
  const turn = new Promise<void>(resolve => { takesTurn = resolve })
  const { symlink } = fs
  t.teardown(() => { fs.symlink = symlink })
  fs.symlink = async (target, link) => {
    a.group.withdraw()
    await symlink(target, link)
    takesTurn()
  }
  await turn
  await a.group.leave()
  t.notOk(existsSync(announcement))

  mkdirSync(directory, { recursive: true })
  const b = await join(t, directory)
  const { rm } = fs
  t.teardown(() => { fs.rm = rm })
  fs.rm = async (file, options) => {
    if (String(file).endsWith('.port')) b.group.withdraw()
    return rm(file, options)
  }
  t.equal(await b.group.serve('here', async () => 'bound', () => {}), 'bound')
  t.notOk(existsSync(announcement), 'it has withdrawn while it told it')
  t.same([...a.problems, ...b.problems], [])
})

t.test('a port that is not free at once is tried again', async t => {
  const { group } = await join(t, createFolder(t))
  let attempts = 0
  const taken = Object.assign(new Error('taken'), { code: 'EADDRINUSE' })
  const bind = async (): Promise<string> => {
    if (++attempts < 3) throw taken
    return 'bound'
  }
  t.equal(await group.serve('here', bind, () => {}), 'bound')
  t.equal(attempts, 3)
  await t.rejects(group.serve('there', async () => { throw taken }, () => {}), { message: 'taken' })
})

t.test('who shows again and again that it works is waited for, but not longer than metrics may take', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  const connections: Socket[] = []
  const rogue = await Listener.open(path.join(directory, '7.sock'), socket => {
    connections.push(socket)
    const timer = setInterval(() => socket.write('\u0001\u0001'), 50)
    socket.once('close', () => clearInterval(timer))
  })
  t.teardown(() => rogue.close())
  const gather = async (): Promise<Gathered> => a.group.gather({ names: undefined, timeoutMs: 300 })
  t.same(members(await gather()), [1, 1, 0])
  t.match(a.problems, [/^member 7: it was not done in 300 ms/])
  for (let times = 0; times < 5; times++) t.same(members(await gather()), [1, 1, 0])
  t.equal(connections.length, 1, 'it is not waited for again')
  connections[0]!.write('x')
  await until('it to be asked again', async () => {
    await gather()
    return connections.length > 1
  })
})

t.test('where nothing can be saved, a member answers nevertheless, and says so', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  mkdirSync(path.join(directory, '1.points'))
  b.counter.inc({ a: 'x' })
  t.same(valuesOf(await read(a), 'c_total'), { x: 1 })
  t.match(b.problems, [/^save: EISDIR/])
})

/** Lets this process open no file and no connection, until the function is called that is returned. */
function openNothing (t: Test): () => void {
  const { open, readdir } = fs
  const { connect } = Socket.prototype
  const error = Object.assign(new Error('too many open files'), { code: 'EMFILE' })
  const fail = async (): Promise<never> => { throw error }
  Object.assign(fs, { open: fail, readdir: fail })
  Socket.prototype.connect = function (this: Socket) { return this.destroy(error) } as typeof connect
  const restore = (): void => {
    Object.assign(fs, { open, readdir })
    Socket.prototype.connect = connect
  }
  t.teardown(restore)
  return restore
}

t.test('members that cannot be reached keep what they had counted, and no counter falls', async t => {
  const directory = createFolder(t)
  const [a, b, c] = [await join(t, directory), await join(t, directory), await join(t, directory)]
  for (const [index, { counter, registry }] of [a, b, c].entries()) {
    counter.inc({ a: 'x' }, 10 ** index)
    new Gauge({ name: 'g', help: 'h', registers: [registry] }).set(10 ** index)
  }
  await c.group.leave()
  const some = async (): Promise<unknown> => {
    const { families } = await a.group.gather({ names: new Set(['g']), timeoutMs: 10_000 })
    return valuesOf({ ...nothing, families }, 'g')
  }
  const restoreFirst = openNothing(t)
  const unknown = { code: 'FST_LATENCY_ERR_GROUP_UNKNOWN', message: /too many open files/ }
  await t.rejects(read(a), unknown, 'nothing is known of the others')
  t.match(a.problems.at(-1), /^reading it: A scrape has failed.*too many open files/)
  restoreFirst()
  t.same(valuesOf(await read(a), 'c_total'), { x: 111 })
  t.same(await some(), { '': 11 })
  const restore = openNothing(t)
  const gathered = await read(a)
  t.same(valuesOf(gathered, 'c_total'), { x: 111 })
  t.same(valuesOf(gathered, 'g'), { '': 11 })
  t.same(members(gathered), [1, 2, 0])
  t.same(await some(), { '': 11 })
  restore()
  t.same(members(await read(a)), [2, 0, 1])

  // Another member has come, and another directory can be listed, since.
  const d = await join(t, directory)
  d.counter.inc({ a: 'x' }, 1000)
  await read(d)
  const restoreLast = openNothing(t)
  const { readdir } = fs
  fs.readdir = (async () => ['0.sock', '1.sock', '2.sock', '3.sock', '4.points']) as never
  await t.rejects(read(a), unknown, 'nothing is known of another one')
  fs.readdir = readdir
  restoreLast()
  t.same(valuesOf(await read(a), 'c_total'), { x: 1111 })
  rmSync(path.join(directory, '1.points'))
  t.same(valuesOf(await read(a), 'c_total'), { x: 1111 })
})

t.test('while the directory is gone, the others are shown as they were last', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  a.counter.inc({ a: 'x' })
  b.counter.inc({ a: 'x' }, 10)
  t.same(valuesOf(await read(a), 'c_total'), { x: 11 })
  rmSync(directory, { recursive: true })
  t.same(valuesOf(await read(a), 'c_total'), { x: 11 })
  t.match(a.problems, [/^its directory: ENOENT/, /^save: ENOENT/])
  await until('all to come back', async () => {
    const gathered = await read(a)
    t.same(valuesOf(gathered, 'c_total'), { x: 11 })
    return members(gathered).join() === '2,0,0'
  })
  writeFileSync(path.join(directory, '7.points'), encode({ ...nothing, families: [points(3)] }))
  t.same(valuesOf(await read(a), 'c_total'), { '': 3, x: 11 })
  rmSync(path.join(directory, '7.points'))
  t.same(valuesOf(await read(a), 'c_total'), { '': 3, x: 11 })
  await until('what does not come back to go', async () => members(await read(a)).join() === '2,0,0')
  t.same(valuesOf(await read(a), 'c_total'), { x: 11 })
})

t.test('members whose directory or socket is removed come back with what they have counted', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  a.counter.inc({ a: 'x' })
  b.counter.inc({ a: 'x' }, 2)
  t.equal(await a.group.serve('here', async () => 'bound', () => {}), 'bound')
  const isWhole = async (): Promise<boolean> =>
    members(await read(a)).join() === '2,0,0' && members(await read(b)).join() === '2,0,0'
  await read(b)
  rmSync(path.join(directory, '1.sock'))
  t.same(members(await read(a)), [1, 0, 1])
  await until('it to come back', isWhole)
  rmSync(directory, { recursive: true })
  await until('all to come back', isWhole)
  for (const member of [a, b]) t.same(valuesOf(await read(member), 'c_total'), { x: 3 })
  t.same([a, b].map(({ group }) => group.slot), [0, 1])
  const told = async (): Promise<boolean> => await b.group.serve('here', async () => 'too', () => {}) === undefined
  await until('b to find that a serves', told)
  rmSync(path.join(directory, '0.points'))
  a.counter.inc({ a: 'x' })
  await until('a to be saved again', () => existsSync(path.join(directory, '0.points')))
  for (const { problems } of [a, b]) t.ok(problems.includes('its directory: the socket of this process was removed'))
})

t.test('a member whose slot another one has taken has another one, or goes on alone', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  a.counter.inc({ a: 'x' })
  await read(a)
  rmSync(directory, { recursive: true })
  mkdirSync(directory)
  const other = await Listener.open(path.join(directory, '0.sock'), socket => socket.destroy())
  await until('another slot', () => a.group.slot === 2 || a.group.slot === 1)
  await until('both', async () => members(await read(a)).join() === '2,1,0')
  t.same([a, b].map(({ group }) => group.slot).sort(), [1, 2])
  t.same(valuesOf(await read(b), 'c_total'), { x: 1 })
  other.close()

  let hasPort = false
  const bind = async (): Promise<boolean> => { hasPort = true; return hasPort }
  t.equal(await a.group.serve('here', bind, () => {}, () => { hasPort = false }), true)
  const file = path.join(directory, `${a.group.slot}.points`)
  writeFileSync(file, 'of another one')
  rmSync(path.join(directory, `${a.group.slot}.sock`))
  const next = await Listener.open(path.join(directory, `${a.group.slot}.sock`), socket => socket.destroy())
  t.same(valuesOf(await read(a), 'c_total'), { x: 1 })
  process.listeners('exit').at(-1)!(0)
  t.equal(readFileSync(file, 'utf8'), 'of another one', 'nor does a process that ends write over it')
  await until('a to be alone', () => a.group.slot === undefined)
  t.notOk(hasPort)
  t.equal(await a.group.serve('here', bind, () => {}), undefined)
  t.equal(await b.group.serve('here', async () => 'bound', () => {}), 'bound')
  t.equal(a.problems.at(-1), 'the slot: another process has taken it')
  await t.rejects(read(a), { code: 'FST_LATENCY_ERR_GROUP_UNKNOWN', message: /this process is none of them/ })
  t.notOk(await a.group.hasOthers())
  next.close()
})

t.test('members whose sockets have all gone are a group with whoever has come since', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  a.counter.inc({ a: 'x' })
  b.counter.inc({ a: 'x' }, 2)
  await read(a)
  for (const slot of [0, 1]) rmSync(path.join(directory, `${slot}.sock`))
  const c = await join(t, directory)
  t.equal(c.group.slot, 0)
  c.counter.inc({ a: 'x' }, 4)
  await until('all to be one', async () => members(await read(c)).join() === '3,0,0')
  for (const member of [a, b, c]) t.same(valuesOf(await read(member), 'c_total'), { x: 7 })
})

t.test('an application in whose place another one is gives up the place where it serves', async t => {
  const folder = createFolder(t)
  t.intercept(os, 'tmpdir', { value: () => folder })
  const socketPath = path.join(folder, 'metrics.sock')
  const options = { server: { socket: socketPath, group: 'x' }, processMetrics: false }
  await createListening(t, options)
  await createListening(t, options)
  const directory = path.join(folder, `fastify-latency-${process.geteuid!()}`)
  const group = path.join(directory, readdirSync(directory)[0]!)
  rmSync(path.join(group, '0.sock'))
  const other = await Listener.open(path.join(group, '0.sock'), socket => socket.destroy())
  t.teardown(() => other.close())
  const read = async (): Promise<string> => new Promise(resolve => {
    // Whoever gives the place up may end a reply that it has begun.
    const request = get({ socketPath, path: '/metrics', agent: false }, async response =>
      resolve(Buffer.concat(await response.toArray().catch(() => [])).toString()))
    request.once('error', () => resolve(''))
  })
  await until('the other one to serve', async () => {
    const text = await read()
    return text.includes('members{state="fresh"} 1\n') && text.includes('members{state="stale"} 1\n')
  })
})

t.test('a member that cannot join serves alone, and joins and is found when it can', async t => {
  const directory = path.join(createFolder(t), 'later')
  let isAllowed = false
  const a = await join(t, directory, async () => { if (!isAllowed) throw new Error('permission denied') })
  a.counter.inc({ a: 'x' })
  t.same(valuesOf(await read(a), 'c_total'), { x: 1 })
  t.equal(await a.group.serve('here', async () => 'bound', () => {}), 'bound')
  t.same(a.problems, ['joining it: permission denied'])
  isAllowed = true
  const b = await join(t, directory)
  await until('it to join', async () => members(await read(b)).join() === '2,0,0')
  t.same(valuesOf(await read(b), 'c_total'), { x: 1 })
  await until('b to find that a serves', async () =>
    await b.group.serve('here', async () => 'too', () => {}) === undefined)
})

t.test('a member that cannot join others answers for itself as little as for them', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  a.counter.inc({ a: 'x' })
  const { symlink } = fs
  t.teardown(() => { fs.symlink = symlink })
  fs.symlink = async () => { throw new Error('ENOSPC: no space left') }
  const b = await join(t, directory)
  t.same(b.problems, ['joining it: ENOSPC: no space left'])
  const code = 'FST_LATENCY_ERR_GROUP_UNKNOWN'
  await t.rejects(read(b), { code, message: /this process is none of them/ })
  const restore = openNothing(t)
  await t.rejects(read(b), { code, message: /too many open files/ })
  restore()
  fs.symlink = symlink
  await until('it to join', () => b.group.slot !== undefined)
  t.same(valuesOf(await read(b), 'c_total'), { x: 1 })
})

t.test('metrics that take long to read are read less often than once a second, and once more at the end', async t => {
  const directory = createFolder(t)
  const asked: string[] = []
  const group = new Group({
    open: async () => directory,
    gather: async ({ names }) => {
      asked.push([...names!].join())
      if (names!.has('long_total')) for (const end = performance.now() + 100; performance.now() < end;);
      return nothing
    },
    slices: new TimeSlices(),
    counts: async () => new Set(['own_total', 'long_total']),
    ownCounts: () => new Set(['own_total']),
    countsAtOnce: () => [],
    metrics: () => new Map(),
    isReady: () => true,
    failed: (subject, error) => t.fail(`${subject}: ${error.message}`)
  })
  await group.join()
  await until('two savings', () => asked.length === 2)
  t.same(asked.splice(0), ['own_total,long_total', 'own_total'])
  await group.leave()
  t.equal(asked.at(-1), 'own_total,long_total')
})

/** Has somebody who hangs up answer in place of a member. */
async function hangUp (directory: string, slot: number, action: () => Promise<void>): Promise<void> {
  const address = path.join(directory, `${slot}.sock`)
  rmSync(address)
  const rogue = await Listener.open(address, socket => socket.destroy())
  await action().finally(() => rogue.close())
}

t.test('what the member before has counted is not counted twice when only some of it was asked for', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  new Counter({ name: 'jobs_total', help: 'h', registers: [b.registry] }).inc(100)
  t.same(valuesOf(await read(a), 'jobs_total'), { '': 100 })
  await b.group.leave()
  const after = await join(t, directory)
  t.equal(after.group.slot, 1)
  const { families } = await a.group.gather({ names: new Set(['jobs_total']), timeoutMs: 10_000 })
  t.same(valuesOf({ ...nothing, families }, 'jobs_total'), { '': 100 })
  rmSync(path.join(directory, '1.points'), { force: true })
  await hangUp(directory, 1, async () => { t.same(valuesOf(await read(a), 'jobs_total'), { '': 100 }) })
})

t.test('what a member has saved last is not older than what it has told, whatever clocks and files say', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  const { now } = Date
  t.teardown(() => { Date.now = now })
  b.counter.inc({ a: 'x' })
  t.same(valuesOf(await read(a), 'c_total'), { x: 1 })
  b.counter.inc({ a: 'x' })
  // A probe asks for nothing that counts.
  await a.group.accepts()
  Date.now = () => now() - 60_000
  await b.group.leave()
  utimesSync(path.join(directory, '1.points'), 1, 1)
  t.same(valuesOf(await read(a), 'c_total'), { x: 2 })
  const next = await join(t, directory)
  next.counter.inc({ a: 'x' })
  Date.now = now
  t.equal(next.group.slot, 1)
  await next.group.leave()
  t.same(valuesOf(await read(a), 'c_total'), { x: 3 })
})

t.test('an answer that comes late does not hide a later one', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  b.counter.inc({ a: 'x' })
  await read(b)
  const early = readFileSync(path.join(directory, '1.points'))
  b.counter.inc({ a: 'x' })
  new Counter({ name: 'new_total', help: 'h', registers: [b.registry] }).inc()
  t.same(valuesOf(await read(a), 'c_total'), { x: 2 })
  const address = path.join(directory, '1.sock')
  rmSync(address)
  const late = await Listener.open(address, socket => socket.end(early))
  await read(a)
  late.close()
  rmSync(path.join(directory, '1.points'))
  t.same(valuesOf(await read(a), 'c_total'), { x: 2 })
  t.same(valuesOf(await read(a), 'new_total'), { '': 1 })
})

t.test('a metric that its member has no more is not kept by those who knew it', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  new Counter({ name: 'old_total', help: 'h', registers: [b.registry] }).inc()
  t.same(valuesOf(await read(a), 'old_total'), { '': 1 })
  b.registry.removeSingleMetric('old_total')
  const isShown = async (): Promise<boolean> => (await read(a)).families.some(({ name }) => name === 'old_total')
  t.notOk(await isShown())
  await b.group.leave()
  t.notOk(await isShown())
})

t.test('on a full disk members go on, say so once, and save again when there is room', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  const full = async (): Promise<never> => { throw new Error('ENOSPC: no space left') }
  const { open, symlink } = fs
  const restore = (): void => { Object.assign(fs, { open, symlink }) }
  t.teardown(restore)
  Object.assign(fs, { open: full, symlink: full })
  b.counter.inc({ a: 'x' })
  for (let times = 0; times < 3; times++) t.same(valuesOf(await read(a), 'c_total'), { x: 1 })
  t.equal(await a.group.serve('here', async () => 'bound', () => {}), 'bound')
  t.same([...new Set(a.problems)], ['save: ENOSPC: no space left', 'telling that it serves: ENOSPC: no space left'])
  restore()
  await until('b to be saved', () => existsSync(path.join(directory, '1.points')))
  Object.assign(fs, { open: full })
  b.counter.inc({ a: 'x' })
  t.same(valuesOf(await read(a), 'c_total'), { x: 2 })
  restore()
  await hangUp(directory, 1, async () => {
    t.same(valuesOf(await read(a), 'c_total'), { x: 2 }, 'what it has told, and not what it had saved before')
  })
  await until('b to find that a serves', async () =>
    await b.group.serve('here', async () => 'too', () => {}) === undefined)
})

t.test('of two definitions, that of the member with the lowest slot wins, whoever is asked', async t => {
  const directory = createFolder(t)
  const [a, b, c] = [await join(t, directory), await join(t, directory), await join(t, directory)]
  const define = ({ registry }: Joined, buckets: number[]): void =>
    new Histogram({ name: 'h', help: 'h', registers: [registry], buckets }).observe(1)
  define(a, [1])
  define(b, [1, 2])
  new Gauge({ name: 'h_count', help: 'h', registers: [c.registry] }).set(1)
  for (const member of [a, b, c]) {
    const gathered = await read(member)
    t.match(gathered.families.filter(({ name }) => name.startsWith('h')), [{ type: 'histogram', upperBounds: [1] }])
    t.same(valuesOf(gathered, 'fastify_latency_group_conflicts'), { '': 2 })
  }
})

t.test('who is there defines a metric, and not who has gone', async t => {
  const directory = createFolder(t)
  const define = ({ registry }: Joined, buckets: number[]): void =>
    new Histogram({ name: 'h', help: 'h', registers: [registry], buckets }).observe(1)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  define(a, [1])
  define(b, [1, 2])
  await read(a)
  await a.group.leave()
  const bounds = async (): Promise<unknown> =>
    (await read(b)).families.flatMap(points => points.name === 'h' && points.type === 'histogram'
      ? [...points.upperBounds, ...points.counts]
      : [])
  t.same(await bounds(), [1, 2, 1, 0, 0])
  t.same(valuesOf(await read(b), 'fastify_latency_group_conflicts'), { '': 0 })
  const c = await join(t, directory)
  define(c, [1, 2])
  t.same(await bounds(), [1, 2, 2, 0, 0])
})

t.test('a metric that has counted nothing yet is no other definition, and hides and ends nothing', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  const define = ({ registry }: Joined): [Histogram, Summary] => [
    new Histogram({ name: 'h', help: 'h', registers: [registry], buckets: [1], labelNames: ['a'] }),
    new Summary({ name: 's', help: 'h', registers: [registry], percentiles: [0.5], labelNames: ['a'] })
  ]
  const observe = ([histogram, summary]: [Histogram, Summary]): void => {
    histogram.observe({ a: 'x' }, 1)
    summary.observe({ a: 'x' }, 1)
  }
  const counted = async (member: Joined): Promise<number[]> => {
    const gathered = await read(member)
    t.same(valuesOf(gathered, 'fastify_latency_group_conflicts'), { '': 0 })
    return gathered.families.flatMap(points => /^[hs]$/.test(points.name) && 'counts' in points ? [...points.counts] : [])
  }
  const ofA = define(a)
  observe(define(b))
  for (const member of [a, b]) t.same(await counted(member), [1, 0, 1])
  observe(ofA)
  for (const member of [a, b]) t.same(await counted(member), [2, 0, 2])
  await a.group.leave()
  let next = await join(t, directory)
  for (let times = 0; times < 2; times++) {
    define(next)
    for (const member of [next, b]) t.same(await counted(member), [2, 0, 2], 'what was carried on is there')
    await next.group.leave()
    next = await join(t, directory)
  }
  observe(define(next))
  t.same(await counted(b), [3, 0, 3])
  await next.group.leave()
  await b.group.leave()
  t.same([a, b, next].flatMap(({ problems }) => problems), [])
})

/** Has a member count in a histogram with these buckets. */
function observe ({ registry }: Joined, buckets: number[], times: number): void {
  const histogram = new Histogram({ name: 'h', help: 'h', registers: [registry], buckets })
  for (let time = 0; time < times; time++) histogram.observe(1)
}

t.test('one member may try several buckets, and what was counted with those of the others stays', async t => {
  const directory = createFolder(t)
  const members = [await join(t, directory), await join(t, directory)]
  for (const member of members) observe(member, [1], 100)
  const count = async (): Promise<number> => {
    const points = (await read(members[0]!)).families.find(({ name }) => name === 'h') as HistogramPoints
    return points.counts.reduce((sum, count) => sum + count, 0)
  }
  // More than anybody remembers: the least of them is forgotten.
  for (let attempt = 1; attempt <= 10; attempt++) {
    t.equal(await count(), 200, `before attempt ${attempt}`)
    await members[1]!.group.leave()
    members[1] = await join(t, directory)
    observe(members[1], [1, 1 + attempt], attempt)
  }
  t.equal(await count(), 200)
  await members[1]!.group.leave()
  members[1] = await join(t, directory)
  observe(members[1], [1], 1)
  t.equal(await count(), 201)
})

t.test('a deploy that changes buckets makes counts begin once, in whichever order members are replaced', async t => {
  for (const order of [[0, 1, 2], [2, 1, 0], [1, 0, 2]]) {
    const directory = createFolder(t)
    // Another program, that has not the metric, and asks.
    const other = await join(t, directory)
    const members = [await join(t, directory), await join(t, directory), await join(t, directory)]
    const scraped: number[] = []
    const look = async (): Promise<void> => {
      const points = (await read(other)).families.find(({ name }) => name === 'h') as HistogramPoints
      scraped.push(points.counts.reduce((sum, count) => sum + count, 0))
    }
    for (const member of members) observe(member, [1], 100)
    await look()
    for (const index of order) {
      await members[index]!.group.leave()
      await look()
      members[index] = await join(t, directory)
      await look()
      observe(members[index], [1, 2], 5)
      await look()
    }
    t.equal(scraped.filter((count, index) => count < scraped[index - 1]!).length, 1, scraped.join())
    t.equal(scraped.at(-1), 15)
    for (const { group } of members) await group.leave()
    await look()
    t.equal(scraped.at(-1), 15, 'of those who have gone, who was there last decides')
    const another = await join(t, directory)
    await look()
    t.equal(scraped.at(-1), 15, 'what is carried on is not there')
    observe(another, [1, 2], 1)
    await look()
    t.equal(scraped.at(-1), 16)
    t.same([other, ...members, another].flatMap(({ problems }) => problems), [])
  }
})

t.test('native buckets that a deploy turns on begin at zero when all have them', async t => {
  const native = { schemas: Int8Array.of(3), zeroCounts: Float64Array.of(0), ends: Uint32Array.of(1) }
  const buckets = { ...native, indexes: Int32Array.of(0), counts: Float64Array.of(1) }
  const histogram = (native: NativePoints | undefined): HistogramPoints => ({
    type: 'histogram',
    name: 'h',
    help: 'h',
    unit: undefined,
    labelNames: [],
    labelSets: [[]],
    sharedLabels: {},
    startSeconds: undefined,
    exemplars: [],
    upperBounds: [1],
    counts: Float64Array.of(1, 0),
    sums: Float64Array.of(1),
    native
  })
  const merged = (...shares: Share[]): unknown[] =>
    runAtOnce(mergeFamilies(shares)).families.map(points => points.type === 'histogram' &&
      [points.counts[0], points.native?.counts[0]])
  const off = histogram(undefined)
  const on = histogram(buckets)
  const there = (points: Points, ...former: Former[]): Share => ({ families: [points], former, writtenMs: Infinity })
  const gone = (points: Points, writtenMs: number): Share => ({ families: [points], former: [], writtenMs })
  t.same(merged(gone(off, 1), there(on)), [[1, 1]])
  t.same(merged(there(off), there(on)), [[2, undefined]])
  t.same(merged(gone(on, 1), there(off)), [[2, undefined]])
  t.same(merged(gone(off, 1), gone(on, 2)), [[1, 1]], 'who was there last had them')
  t.same(merged(gone(off, 2), gone(on, 1)), [[2, undefined]])
  const former = { points: off, writtenMs: 1 }
  t.same(merged(there(on, former), there(off)), [[3, undefined]], 'all are counted while one has none')
  t.same(merged(there(on, former), there(on)), [[2, 2]])
})

t.test('an application whose group cannot be joined serves alone, and says why', async t => {
  t.intercept(os, 'tmpdir', { value: () => '/nowhere' })
  const warning = warningOf(async () => {
    const { app } = await createListening(t, { server: { ...anyPort, group: 'x' } })
    t.equal((await scrape(app.latency.url)).value('http_request_duration_seconds_count'), undefined)
    t.notOk((await scrape(app.latency.url)).families.has('fastify_latency_group_members'))
  })
  t.match(await warning, { code: 'FST_LATENCY_ERR_GROUP_DIRECTORY', message: /"\/nowhere": ENOENT/ })
})

t.test('an application on Windows that names a group serves alone, and says so once', async t => {
  t.intercept(process, 'platform', { value: 'win32' })
  const folder = createFolder(t)
  t.intercept(os, 'tmpdir', { value: () => folder })
  const lines: string[] = []
  const app = createApplication(t, { logger: { stream: { write: (line: string) => lines.push(line) } } })
  await app.register(latency, { server: { ...anyPort, group: 'x' }, processMetrics: false })
  await listen(app)
  t.notOk((await scrape(app.latency.url)).families.has('fastify_latency_group_members'))
  t.equal(lines.filter(line => line.includes('Groups need Unix sockets')).length, 1)
  t.same(readdirSync(folder), [])
})

t.test('applications of one process that name a group are scraped as one, and say what they cannot read', async t => {
  const folder = createFolder(t)
  t.intercept(os, 'tmpdir', { value: () => folder })
  const options = { labels: {}, server: { ...anyPort, group: 'x' } }
  const [a, b] = [await createListening(t, options), await createListening(t, options)]
  for (const { address } of [a, b]) await fetch(address)
  for (const { app } of [a, b]) {
    t.equal((await scrape(app.latency.url)).value('http_request_duration_seconds_count'), 2)
    t.equal((await scrape(`${app.latency.url}?name[]=fastify_latency_group_members`)).families.size, 1)
    t.match(await (await fetch(new URL('/live', app.latency.url!))).text(), 'Several processes answer as one')
  }
  const [ofUser] = readdirSync(folder)
  const [ofGroup] = readdirSync(path.join(folder, ofUser!))
  writeFileSync(path.join(folder, ofUser!, ofGroup!, '5.points'), 'x')
  const warning = await warningOf(async () => scrape(a.app.latency.url))
  t.match(warning, { code: 'FST_LATENCY_ERR_GROUP_FAILED', message: /\(file 5\): it is/ })
})

t.test('an application that is in a group with another one of its process says so', async t => {
  const folder = createFolder(t)
  t.intercept(os, 'tmpdir', { value: () => folder })
  const lines: string[] = []
  const isSaid = async (group: string): Promise<boolean> => {
    lines.length = 0
    const app = createApplication(t, { logger: { stream: { write: (line: string) => lines.push(line) } } })
    await app.register(latency, { server: { ...anyPort, group }, processMetrics: false })
    await listen(app)
    if (group === 'closed') await app.close()
    return lines.some(line => line.includes('the counts of both are added up'))
  }
  t.same([await isSaid('same'), await isSaid('other'), await isSaid('same')], [false, false, true])
  t.same([await isSaid('closed'), await isSaid('closed')], [false, false])
})

t.test('a scrape of a member that is just joining is of the group, or fails', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  a.counter.inc({ a: 'x' })
  const registry = new Registry()
  let open!: () => void
  const opened = new Promise<void>(resolve => { open = resolve })
  const problems: string[] = []
  const group = createMember(registry, {
    open: async () => {
      await opened
      return directory
    },
    failed: (subject, error) => problems.push(`${subject}: ${error.message}`)
  })
  const gather = async (timeoutMs: number): Promise<Gathered> => group.gather({ names: undefined, timeoutMs })
  t.same(members(await gather(10_000)), [], 'it does not join')
  const joining = group.join()
  const late = { code: 'FST_LATENCY_ERR_GROUP_UNKNOWN', message: /joining it for 1 ms/ }
  await t.rejects(gather(1), late)
  t.match(problems, [/^reading it: A scrape has failed.*joining it for 1 ms/])
  const reading = gather(10_000)
  open()
  await joining
  t.same(valuesOf(await reading, 'c_total'), { x: 1 })
  t.same(members(await reading), [2, 0, 0])
  await group.leave()
  await group.join()
  t.same(members(await gather(10_000)), [], 'it has left')
})

t.test('an endpoint answers for the group before the hooks of an application that listens have run', async t => {
  const folder = createFolder(t)
  t.intercept(os, 'tmpdir', { value: () => folder })
  const app = createApplication(t)
  const text = new Promise<string>(resolve => {
    app.addHook('onListen', async () => {
      const { port } = app.server.address() as AddressInfo
      resolve(await (await fetch(`http://127.0.0.1:${port}/m`)).text())
    })
  })
  await app.register(latency, { server: { ...anyPort, group: 'x' }, endpoint: '/m', processMetrics: false })
  const { body } = await app.inject('/m')
  t.notMatch(body, 'fastify_latency_group_members', 'who does not listen joins nobody')
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.match(await text, 'fastify_latency_group_members{state="fresh"} 1\n')
})

t.test('a group is ready while any of its members is', async t => {
  const folder = createFolder(t)
  t.intercept(os, 'tmpdir', { value: () => folder })
  const options = { server: { ...anyPort, group: 'x' }, processMetrics: false }
  const idle = createApplication(t)
  await idle.register(latency, options)
  await idle.ready()
  const readyz = new URL('/readyz', await idle.latency.start())
  t.equal((await fetch(readyz)).status, 503)
  const { app } = await createListening(t, options)
  t.equal((await fetch(readyz)).status, 200)
  await app.close()
  t.equal((await fetch(readyz)).status, 503)
})

t.test('what killed groups have left is removed by whoever comes to another one', async t => {
  const folder = createFolder(t)
  const make = (name: string, seconds: number): string => {
    const directory = path.join(folder, name)
    mkdirSync(directory)
    for (const file of ['0.sock', '0.points', '0.points.next', '8000.port', 'c0ffee00.port', '00000000.turn']) {
      writeFileSync(path.join(directory, file), '')
    }
    symlinkSync('00000000.turn', path.join(directory, 'turn-3'))
    const time = Date.now() / 1000 - seconds
    utimesSync(directory, time, time)
    return directory
  }
  const alive = make('alive', 100)
  rmSync(path.join(alive, '0.sock'))
  const listener = await Listener.open(path.join(alive, '0.sock'), () => {})
  utimesSync(alive, 1, 1)
  make('old', 100)
  make('young', 10)
  const own = path.join(folder, 'own')
  mkdirSync(own)
  const { problems } = await join(t, own)
  await until('the old one to go', () => readdirSync(folder).sort().join() === 'alive,own,young')
  await until('the turn to end', () => !readdirSync(alive).some(name => name.includes('turn')))
  t.same(readdirSync(alive).sort(), ['0.points', '0.points.next', '0.sock', '8000.port', 'c0ffee00.port'])
  t.same(problems, [])
  listener.close()
})

t.test('what cannot be removed, or is none, does not keep what other groups have left', async t => {
  const folder = createFolder(t)
  const own = path.join(folder, 'own')
  for (const name of ['a', 'b', 'own']) mkdirSync(path.join(folder, name))
  writeFileSync(path.join(folder, 'a', '0.points'), '')
  writeFileSync(path.join(folder, '0'), '')
  for (const name of ['0', 'a', 'b']) utimesSync(path.join(folder, name), 1, 1)
  const { rm } = fs
  t.teardown(() => { fs.rm = rm })
  fs.rm = async (file, options) => {
    if (String(file).startsWith(path.join(folder, 'a'))) throw new Error('read-only file system')
    return rm(file, options)
  }
  const { problems } = await join(t, own)
  await until('the other one to go', () => readdirSync(folder).join() === '0,a,own')
  t.same(problems, [])
})

t.test('files that are needed are marked as used, and when they were written stays', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  const files = ['0.group', '7.points', '8.points', 'other'].map(name => path.join(directory, name))
  for (const file of files.slice(1)) writeFileSync(file, encode(nothing))
  for (const file of files) utimesSync(file, 1, 1)
  const now = Date.now() / 1000
  utimesSync(files[2]!, 1, now)
  await join(t, directory)
  t.same(files.map(file => statSync(file).atimeMs > 1e9), [true, true, false, false])
  t.same(files.map(file => statSync(file).mtimeMs === 1000), [true, true, false, true])
  t.same(a.problems, [])
})

t.test('a member that is asked nonsense hangs up, and answers others', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  const send = (question: string): Socket => {
    const socket = connect(path.join(directory, '1.sock'))
    socket.on('error', () => {}).resume().write(question)
    return socket
  }
  for (const question of ['x\n', 'null\n', 'x'.repeat(70_000)]) {
    const socket = send(question)
    await new Promise(resolve => socket.once('close', resolve))
  }
  await a.group.serve('here', async () => 'bound', () => {})
  const announcement = readdirSync(directory).find(name => name.endsWith('.port'))!
  const talkative = connect(path.join(directory, announcement))
  talkative.on('error', () => {}).resume().write('x'.repeat(1e6))
  await new Promise(resolve => talkative.once('close', resolve))
  const slow = send('{"timeoutMs"')
  // By the time that this one is answered, the member has read the beginning of the other.
  await read(a)
  slow.write(':1}\n')
  await new Promise(resolve => slow.once('close', resolve))
  b.counter.inc({ a: 'x' })
  t.same(valuesOf(await read(a), 'c_total'), { x: 1 })
  const [c, g] = await Promise.all(['c_total', 'g'].map(async name =>
    a.group.gather({ names: new Set([name]), timeoutMs: 10_000 })))
  t.same([c, g].map(({ families }) => families.map(({ name }) => name)), [['c_total'], []])
  t.same([...a.problems, ...b.problems], [])
})

t.test('what the member before has left is not carried on if it cannot be read', async t => {
  const directory = createFolder(t)
  await join(t, directory)
  writeFileSync(path.join(directory, '1.points'), 'x')
  const b = await join(t, directory)
  t.match(b.problems, [/^file of 1: it is/])
})

t.test('who comes while the last member removes the directory makes it again', async t => {
  const directory = createFolder(t)
  const options = {
    gather: async () => ({ families: [], failures: [], leftOut: [] }),
    slices: new TimeSlices(),
    counts: async () => new Set<string>(),
    ownCounts: () => new Set<string>(),
    countsAtOnce: () => [],
    metrics: () => new Map(),
    isReady: () => true
  }
  const problems: string[] = []
  const failed = (subject: string, error: Error): void => { problems.push(`${subject}: ${error.message}`) }
  let opened = 0
  const open = async (): Promise<string> => opened++ === 0 ? path.join(directory, 'gone') : directory
  const group = new Group({ ...options, open, failed })
  await group.join()
  t.equal(group.slot, 0)
  await group.leave()
  t.same(problems, [])
  const never = new Group({ ...options, open: async () => path.join(directory, 'gone'), failed })
  await never.join()
  t.equal(never.slot, undefined)
  t.match(problems, [/^joining it: ENOENT/])
  t.notOk(await never.hasOthers())
  t.same(await never.gather({ names: undefined, timeoutMs: 100 }), { families: [], failures: [], leftOut: [] })
  await never.leave()
})

t.test('a family that a member cannot show is left out, and not the member', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  const { group, asked, next } = await joinTold(t, directory)
  t.teardown(() => leaveTold(group, asked))
  const reading = read(a)
  const unfit = { ...histogramPoints(1) as HistogramPoints, upperBounds: [-Infinity], counts: Float64Array.of(0, 1) }
  ;(await next()).answer([points(3), unfit])
  const gathered = await reading
  t.same(valuesOf(gathered, 'c_total'), { '': 3 })
  t.same(members(gathered), [2, 0, 0])
  t.same(gathered.leftOut, ['h'])
  t.same(a.problems, [])
})

t.test('what a member that hangs could not read when it was last asked fails no scrape', async t => {
  const directory = createFolder(t)
  const a = await join(t, directory)
  const failures = [{ name: 'broken', message: 'no' }]
  const bytes = encode({ ...nothing, families: [points(3)], failures, leftOut: ['odd'] })
  writeFileSync(path.join(directory, '7.points'), bytes)
  const rogue = await Listener.open(path.join(directory, '7.sock'), () => {})
  t.teardown(() => rogue.close())
  const { families, ...rest } = await read(a)
  t.same(members({ ...nothing, families }), [1, 1, 0])
  t.same(valuesOf({ ...nothing, families }, 'c_total'), { '': 3 })
  t.same(rest, { failures: [], leftOut: [] })
})

t.test('what fails in a member is said, and costs nobody else', async t => {
  const directory = createFolder(t)
  const [a, b] = [await join(t, directory), await join(t, directory)]
  const huge = { families: [{ get name () { throw new Error('no') } }], failures: [], leftOut: [] }
  const problems: string[] = []
  const broken = new Group({
    open: async () => directory,
    gather: async () => huge as never,
    slices: new TimeSlices(),
    counts: async () => new Set(),
    ownCounts: () => new Set<string>(),
    countsAtOnce: () => { throw new Error('not now') },
    metrics: () => new Map(),
    isReady: () => true,
    failed: (subject, error) => problems.push(`${subject}: ${error.message}`)
  })
  await broken.join()
  t.same(members(await read(a)), [2, 1, 0], 'it hangs up, and is there')
  t.match(a.problems.splice(0), [/^member 2: it has hung up/])
  t.match(problems.splice(0), ['answering others: no'])
  await t.rejects(broken.gather({ names: undefined, timeoutMs: 100 }), { code: 'FST_LATENCY_ERR_GROUP_UNKNOWN' })
  t.match(problems.splice(0), [/^reading it: A scrape has failed.*\(no\)/])
  process.listeners('exit').at(-1)!(0)
  t.match(problems.splice(0), ['save: not now'])
  await until('a save', () => problems.includes('save: no'))
  await broken.leave()
  t.same([...a.problems, ...b.problems], [])
})

t.test('the members of one process share a listener for its end', async t => {
  const directory = createFolder(t)
  const listeners = process.listenerCount('exit')
  const joined: Joined[] = []
  for (let count = 0; count < 12; count++) joined.push(await join(t, directory))
  t.equal(process.listenerCount('exit'), listeners + 1)
  for (const member of joined) await member.group.leave()
  t.equal(process.listenerCount('exit'), listeners)
})

t.test('a group is by itself where processes or threads share a port, and by name elsewhere', async t => {
  const server = { group: undefined, host: undefined, port: 8000, socket: undefined }
  t.equal(identify(server), undefined)
  t.equal(identify({ ...server, group: false }), undefined)
  const named = identify({ ...server, group: 'x' })
  t.equal(identify({ ...server, group: 'x', host: '::1', port: 0 }), named)
  t.not(identify({ ...server, group: 'y' }), named)
  lookLikeWorker(t)
  const worker = identify(server)
  t.type(worker, 'string')
  t.equal(identify({ ...server, port: 0 }), undefined, 'each has a port of its own')
  t.equal(identify({ ...server, group: false }), undefined)
  t.not(identify({ ...server, port: 8001 }), worker)
  t.not(identify({ ...server, host: '::1' }), worker)
  const onSocket = identify({ ...server, port: undefined, socket: '/run/x.sock' })
  t.type(onSocket, 'string')
  t.not(onSocket, worker)
  t.not(identify({ ...server, port: undefined, socket: '/run/y.sock' }), onSocket)
  await t.test('containers whose processes have the same numbers are several groups', async t => {
    const identities = ['pid:[1]', 'pid:[2]'].map(namespace => {
      t.intercept(syncFs, 'readlinkSync', { value: () => namespace })
      return identify(server)
    })
    t.not(identities[0], identities[1])
    t.intercept(syncFs, 'readlinkSync', { value: () => { throw new Error('there is no such file') } })
    t.type(identify(server), 'string')
  })
  const { env } = process
  t.teardown(() => { process.env = env })
  process.env = { ...env, pm_id: '1', name: 'shop' }
  const shop = identify(server)
  t.not(shop, worker)
  process.env = { ...env, pm_id: '2', name: 'shop' }
  t.equal(identify(server), shop)
  const { argv } = process
  t.teardown(() => { process.argv = argv })
  process.argv = [argv[0]!, '/another/program.js']
  t.not(identify(server), shop, 'PM2 has started the primary of both, and not them')
  process.argv = argv
  process.env = { ...env, pm_id: '2', name: 'other' }
  t.not(identify(server), shop)
  process.env = { ...env, pm_id: '2', name: 'shop', namespace: 'other' }
  t.not(identify(server), shop)
})
