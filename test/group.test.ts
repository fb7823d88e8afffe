import { once } from 'node:events'
import {
  chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync
} from 'node:fs'
import fs, { rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import fc from 'fast-check'
import { Counter, Gauge, Histogram, Registry, Summary } from 'prom-client'
import t, { type Test } from 'tap'
import { createWarnOnce } from '../lib/errors'
import { writeOpenMetrics } from '../lib/exposition/openmetrics'
import { writeProtobuf } from '../lib/exposition/protobuf'
import { writeText } from '../lib/exposition/text'
import { countNames, countsOf, metricsIn } from '../lib/gather/counts'
import { Lease, RegisteredCounter } from '../lib/gather/registered-metrics'
import { openDirectory } from '../lib/group/directory'
import { decodeInSteps, encode, lengthOf } from '../lib/group/encoding'
import { nothing, type Told } from '../lib/group/families'
import { LabelLists } from '../lib/group/label-lists'
import { save, saveAtOnce } from '../lib/group/slot-file'
import { connectTo, isHeld, Listener } from '../lib/group/sockets'
import { takeTurn } from '../lib/group/turn'
import type { HistogramPoints, Points, SummaryPoints, ValuePoints } from '../lib/snapshot'
import { runAtOnce, TimeSlices } from '../lib/time-slices'
import { createListening } from './helpers/application'
import { createFolder } from './helpers/folder'
import { gathererOf } from './helpers/member'
import { until } from './helpers/until'

const user = process.geteuid!()

/** What keeps the process alive, which members of a group do not. */
const alive = setInterval(() => {}, 1000)
t.teardown(() => clearInterval(alive))

t.test('members of a group meet in a directory that is theirs alone, and other groups in others', async t => {
  const temporary = createFolder(t)
  const directory = await openDirectory('a', temporary)
  t.equal(await openDirectory('a', temporary), directory)
  t.not(await openDirectory('b', temporary), directory)
  t.equal(path.dirname(directory), path.join(temporary, `fastify-latency-${user}`))
  for (const folder of [directory, path.dirname(directory)]) t.equal(statSync(folder).mode & 0o777, 0o700)
})

t.test('a directory that somebody else could have prepared or could replace is refused', async t => {
  const refuse = async (what: string, message: RegExp, prepare: (ofUser: string, above: string) => void) => {
    const temporary = createFolder(t)
    prepare(path.join(temporary, `fastify-latency-${user}`), temporary)
    await t.rejects(openDirectory('a', temporary), { code: 'FST_LATENCY_ERR_GROUP_DIRECTORY', message }, what)
  }
  const prepared = /somebody else could have prepared it/
  await refuse('others may use it', prepared, ofUser => {
    mkdirSync(ofUser)
    chmodSync(ofUser, 0o750)
  })
  await refuse('a link', prepared, ofUser => symlinkSync('/tmp', ofUser))
  await refuse('a file', /not a directory/, ofUser => writeFileSync(ofUser, ''))
  await refuse('others may remove it', /others could replace what is in it/, (_, above) => chmodSync(above, 0o777))
  if (user === 0) {
    await refuse("another's", prepared, ofUser => {
      mkdirSync(ofUser, { mode: 0o700 })
      chownSync(ofUser, 65534, 65534)
    })
    await refuse("another's, above", /others could replace/, (_, above) => chownSync(above, 65534, 65534))
  }
  const deep = path.join(createFolder(t), 'x'.repeat(80))
  mkdirSync(deep)
  await t.rejects(openDirectory('a', deep), {
    code: 'FST_LATENCY_ERR_GROUP_DIRECTORY', message: /too long for Unix sockets in it, by \d+ bytes/
  })
  const file = path.join(deep, '..', 'file')
  writeFileSync(file, '')
  await t.rejects(openDirectory('a', file), { code: 'FST_LATENCY_ERR_GROUP_DIRECTORY', message: /ENOTDIR/ })
  await t.rejects(openDirectory('a', '/nowhere'), { code: 'FST_LATENCY_ERR_GROUP_DIRECTORY', message: /ENOENT/ })
})

t.test('who waits for a turn has it when the one before has ended, or rejects in time', async t => {
  const directory = createFolder(t)
  const first = await takeTurn(directory, 10_000)
  await t.rejects(takeTurn(directory, 50), { message: /changing the group for 50 ms/ })
  let active = 0
  const rest = Promise.all(Array.from({ length: 5 }, async () => {
    const turn = await takeTurn(directory, 10_000)
    t.equal(++active, 1, 'nobody else has it')
    await new Promise(resolve => setImmediate(resolve))
    active--
    await turn.end()
  }))
  await first.end()
  await rest
  t.same(readdirSync(directory), [])
})

t.test('who waits for a turn is patient for as long as others have turns', async t => {
  const directory = createFolder(t)
  const deadlines: AbortController[] = []
  t.intercept(AbortSignal, 'timeout', {
    value: () => {
      const deadline = new AbortController()
      deadlines.push(deadline)
      return deadline.signal
    }
  })
  const take = async (number: number): Promise<{ isWaitedFor: () => boolean, end: () => void }> => {
    let isWaitedFor = false
    const socket = `0000000${number}.turn`
    const listener = await Listener.open(path.join(directory, socket), () => { isWaitedFor = true })
    symlinkSync(socket, path.join(directory, `turn-${number}`))
    const end = (): void => {
      rmSync(path.join(directory, `turn-${number}`))
      listener.close()
    }
    return { isWaitedFor: () => isWaitedFor, end }
  }
  const first = await take(1)
  const turn = takeTurn(directory, 1000)
  await until('it to wait', () => first.isWaitedFor())
  const second = await take(2)
  first.end()
  await until('it to wait for the next', () => second.isWaitedFor())
  deadlines[0]!.abort()
  await new Promise(resolve => setImmediate(resolve))
  second.end()
  await (await turn).end()
  t.equal(deadlines.length, 2)
})

t.test('a turn ends also if its link cannot be removed', async t => {
  const directory = createFolder(t)
  const turn = await takeTurn(directory, 10_000)
  const { rm } = fs
  t.teardown(() => { fs.rm = rm })
  fs.rm = async () => { throw new Error('read-only file system') }
  await turn.end()
  fs.rm = rm
  t.ok(readdirSync(directory).includes('turn-1'))
  await (await takeTurn(directory, 1)).end()
  t.same(readdirSync(directory), [])
})

t.test('what is no turn stops nobody, and a socket that nobody uses is removed', async t => {
  const directory = createFolder(t)
  writeFileSync(path.join(directory, 'turn-1'), 'x')
  mkdirSync(path.join(directory, 'turn-2'))
  symlinkSync('nowhere', path.join(directory, 'turn-3'))
  writeFileSync(path.join(directory, '00000000.turn'), '')
  writeFileSync(path.join(directory, 'other'), '')
  await (await takeTurn(directory, 10_000)).end()
  t.same(readdirSync(directory).sort(), ['other'])
})

t.test('of two who have made links, none goes on while the other is there', async t => {
  const directory = createFolder(t)
  const other = await Listener.open(path.join(directory, '99999999.turn'), () => {})
  const { symlink } = fs
  t.teardown(() => { fs.symlink = symlink })
  let attempts = 0
  fs.symlink = async (target, link) => {
    if (attempts++ === 0) await symlink('99999999.turn', path.join(directory, 'turn-7'))
    return symlink(target, link)
  }
  const turn = takeTurn(directory, 10_000)
  await until('it to withdraw', () => readdirSync(directory).sort().join() === '99999999.turn,turn-7')
  await rm(path.join(directory, 'turn-7'))
  other.close()
  await (await turn).end()
  t.equal(attempts, 2)
  t.same(readdirSync(directory), [])

  // Its link is gone before it looks.
  fs.symlink = async (target, link) => { if (++attempts > 3) await symlink(target, link) }
  await (await takeTurn(directory, 10_000)).end()
  t.equal(attempts, 4)

  fs.symlink = async () => { throw new Error('no') }
  await t.rejects(takeTurn(directory, 10_000), { message: 'no' })
  fs.symlink = async (target, link) => {
    await symlink(target, link)
    rmSync(directory, { recursive: true })
  }
  await t.rejects(takeTurn(directory, 10_000), { message: /ENOENT/ })
})

function decode (bytes: Buffer): Told {
  return runAtOnce(decodeInSteps(bytes, new LabelLists()))
}

/** What an application gathers that has metrics of every type, with everything that they may have. */
async function gatherAll (t: Test): Promise<Told> {
  const registry = new Registry()
  const registers = [registry]
  const { app, address } = await createListening(t, {
    registry, histogram: { native: true }, constLabels: { zone: 'é"' }, exemplars: () => ({ trace_id: 'x' })
  })
  for (const path of ['/', '/', '/other']) await (await fetch(address + path)).text()
  registry.setDefaultLabels({ host: 'here' })
  new Counter({ name: 'c_total', help: 'h\n', registers, labelNames: ['a', 'b'] }).inc({ a: 'x' }, 2.5)
  new Gauge({ name: 'partly', help: 'h', registers, labelNames: ['a', 'b'] }).set({ a: 'x' }, 1)
  ;(registry.getSingleMetric('partly') as Gauge).set({ b: 'x' }, 1)
  const gauge = new Gauge({ name: 'g', help: 'h', registers, labelNames: ['a'] })
  for (const value of [NaN, Infinity, -Infinity, -0]) gauge.set({ a: String(value) }, value)
  new Histogram({ name: 'h', help: 'h', registers, buckets: [1] }).observe(0.5)
  new Summary({ name: 's', help: 'h', registers, percentiles: [0.5] }).observe(2)
  new Gauge({ name: 'broken', help: 'h', registers, collect () { throw new Error('no') } }).set(1)
  const gather = gathererOf(registry, new TimeSlices(), createWarnOnce(app.log))
  const gathered = await gather({ names: undefined, timeoutMs: 10_000 })
  const points = gathered.families.find(({ name }) => name === 'c_total')!
  return { ...gathered, former: [{ points, writtenMs: 1e12 }, { points, writtenMs: 2e12 }], countedMs: 3e12 }
}

t.test('what was gathered is the same when it has been bytes', async t => {
  const gathered = await gatherAll(t)
  t.same(gathered.failures.map(({ name }) => name), ['broken'])
  const latency = gathered.families.find(({ name }) => name === 'http_request_duration_seconds') as HistogramPoints
  t.ok(latency.native!.indexes.length > 0)
  t.ok(latency.exemplars.length > 0)
  const bytes = encode(gathered)
  t.equal(lengthOf(bytes), bytes.length)
  t.equal(lengthOf(bytes.subarray(0, 23)), undefined)
  t.equal(lengthOf(bytes.subarray(0, 24)), bytes.length)
  const { families, former, ...rest } = decode(bytes)
  const plain = (points: object): object => structuredClone({ ...points })
  t.strictSame(families.map(plain), gathered.families.map(plain))
  t.strictSame(structuredClone(former), structuredClone(gathered.former))
  t.strictSame(rest, { failures: gathered.failures, leftOut: gathered.leftOut, countedMs: 3e12 })
  const leftOut = { ...nothing, leftOut: ['x'] }
  const exemplar = latency.exemplars[0]!
  const infinite = [{ ...exemplar, value: Infinity }, { ...exemplar, timestampSeconds: NaN }, exemplar]
  const finite = decode(encode({ ...leftOut, families: [{ ...latency, exemplars: infinite }] }))
  t.same(finite.families[0]!.exemplars, [exemplar])
  const unaligned = Buffer.concat([Buffer.from('x'), bytes]).subarray(1)
  t.strictSame(decode(unaligned).families.map(plain), families.map(plain))
  const empty = { ...latency, labelSets: [], startSeconds: new Float64Array(0), exemplars: [] }
  const none = { schemas: new Int8Array(0), zeroCounts: new Float64Array(0), ends: new Uint32Array(0) }
  const native = { ...none, indexes: new Int32Array(0), counts: new Float64Array(0) }
  const unused = { ...empty, counts: new Float64Array(0), sums: new Float64Array(0), native }
  t.strictSame(plain(decode(encode({ ...leftOut, families: [unused] })).families[0]!), plain(unused))
  t.strictSame(decode(encode(leftOut)), leftOut)
})

t.test('whatever else bytes are, they are refused or points that can be shown', async t => {
  const gathered = await gatherAll(t)
  const bytes = encode(gathered)
  for (const length of [0, 7, 8, 16, 24, 100, bytes.length - 1]) t.throws(() => decode(bytes.subarray(0, length)))
  t.throws(() => decode(Buffer.concat([bytes, Buffer.from('x')])))
  t.throws(() => decode(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')))
  const long = Buffer.from(bytes)
  long.writeUInt32LE(0xffffffff, 8)
  t.throws(() => lengthOf(long), { message: /it has \d+ bytes/ })

  let [refused, shown] = [0, 0]
  const flip = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255))
  fc.assert(fc.property(fc.array(flip, { minLength: 1, maxLength: 4 }), flips => {
    const changed = Buffer.from(bytes)
    for (const [place, byte] of flips) changed[place] = byte
    let families
    try {
      ({ families } = decode(changed))
      shown++
    } catch {
      refused++
      return
    }
    const written = [writeText(families), writeOpenMetrics(families, { created: true }), writeProtobuf(families)]
    for (const chunks of written) t.ok([...chunks].length > 0)
  }), { numRuns: 500 })
  t.ok(refused > 0 && shown > 0)
})

t.test('a part of an encoding that is none is refused, or left out if nothing depends on it', async t => {
  const bytes = encode(await gatherAll(t))
  const end = 24 + bytes.readUInt32LE(8)
  const head = bytes.toString('utf8', 24, end)
  const numbers = bytes.subarray(end)
  const read = (head: string, rest = numbers): Told => {
    const padded = Buffer.from(head + ' '.repeat(-Buffer.byteLength(head) & 7))
    const start = Buffer.from(bytes.subarray(0, 24))
    start.writeUInt32LE(padded.length, 8)
    start.writeUInt32LE(rest.length / 8, 12)
    return decode(Buffer.concat([start, padded, rest]))
  }
  t.ok(read(head))
  const wrong: Array<[message: string, part: string | RegExp, instead: string]> = [
    ['it has too few lines', '"families":', '"families":9'],
    ['a line is none', '{"families"', '1\n{"families"'],
    ['a list has empty lines', '[["GET"', '[]\n[["GET"'],
    ['the labels of a series are none', '[["GET"', '1\n[["GET"'],
    ['its times are none', '"formerMs":[', '"formerMs":["x",'],
    ['it has too few lines', '"formerMs":[', '"formerMs":[1,'],
    ['its failures are none', '"failures":[', '"failures":[{"name":"x"},'],
    ['its failures are none', '"leftOut":[]', '"leftOut":[1]'],
    ['a family has no name', /"help":"[^"]*"/, '"help":1'],
    ['a unit is none', '"unit":"seconds"', '"unit":1'],
    ['a label has no name', '"labelNames":["method"', '"labelNames":[1'],
    ['a label has no name', '"sharedLabels":{', '"sharedLabels":{"a-b":1,'],
    ['a label has no name', /"sharedLabels":\{[^}]*\}/, '"sharedLabels":null'],
    ['the labels of a series are none', '[["GET"', '[["x","GET"'],
    ['the labels of a series are none', '[["GET"', '[[1'],
    ['the bounds of buckets are none', /"upperBounds":\[[^\]]*\]/, '"upperBounds":1'],
    ['an exemplar is none', '[{"series":0', '[{"series":99'],
    ['an exemplar is none', '[{"series":0', '[1,{"series":0'],
    ['native buckets are not those of its series', /"natives":\d+/, '"natives":99'],
    ['a quantile is none', '"quantiles":[0.5]', '"quantiles":["x"]'],
    ['a family has no type', '"type":"histogram"', '"type":"x"'],
    ['its values become one in a way that is not known', '"aggregator":"sum"', '"aggregator":"x"'],
    ['it has too few numbers', '"quantiles":[0.5]', '"quantiles":[0.5,0.6,0.7,0.8]']
  ]
  for (const [message, part, instead] of wrong) {
    const changed = head.replace(part, instead)
    t.not(changed, head, String(part))
    t.throws(() => read(changed), { name: 'TypeError', message }, message)
  }
  const latency = 'http_request_duration_seconds'
  const unfit: Array<[part: string | RegExp, instead: string, name?: string]> = [
    ['"name":"http_request_duration_seconds"', '"name":"a-b"', 'a-b'],
    ['"unit":"seconds"', '"unit":"a b"'],
    ['"labelNames":["method"', '"labelNames":["a-b"'],
    ['"sharedLabels":{', '"sharedLabels":{"a-b":"x",'],
    ['"sharedLabels":{', '"sharedLabels":{"method":"x",'],
    ['"upperBounds":[0.005', '"upperBounds":[9'],
    ['"upperBounds":[0.005', '"upperBounds":[null'],
    ['"trace_id"', '"__name__"']
  ]
  const names = (gathered: Told): string[] => gathered.families.map(({ name }) => name)
  const others = names(read(head)).filter(name => name !== latency)
  for (const [part, instead, name = latency] of unfit) {
    const changed = head.replace(part, instead)
    t.not(changed, head, String(part))
    const gathered = read(changed)
    t.same([names(gathered), gathered.leftOut], [others, [name]], instead)
  }
  const { families } = decode(bytes)
  const find = (wanted: string): Points => families.find(({ name }) => name === wanted)!
  const histogram = find(latency) as HistogramPoints
  const native = histogram.native!
  const minus = (numbers: Float64Array): Float64Array => numbers.map(() => -1)
  const summary = find('s') as SummaryPoints
  const negative: Points[] = [
    { ...histogram, counts: minus(histogram.counts) },
    { ...histogram, native: { ...native, zeroCounts: native.zeroCounts.map(() => NaN) } },
    { ...histogram, native: { ...native, counts: minus(native.counts) } },
    { ...histogram, native: { ...native, schemas: native.schemas.map(() => 9) } },
    { ...summary, counts: minus(summary.counts) },
    ...(['c_total', 'g'].map(find) as ValuePoints[]).map(points => ({ ...points, values: minus(points.values) }))
  ]
  const gathered = decode(encode({ ...nothing, families: negative }))
  t.same(names(gathered), ['g'])
  t.equal(gathered.leftOut.length, 6)
  const timeless = Buffer.from(bytes)
  timeless.writeDoubleLE(Infinity, 16)
  t.throws(() => decode(timeless), { message: 'its time is none' })
  const odd = Buffer.from(bytes)
  odd.writeUInt32LE(bytes.readUInt32LE(8) - 4, 8)
  t.throws(() => decode(Buffer.from(odd.subarray(0, odd.length - 4))), { message: 'its numbers are not in place' })
})

t.test('what a process saves at its end is not replaced by what it was just saving', async t => {
  const directory = createFolder(t)
  const file = path.join(directory, '0.points')
  const { rename } = fs
  t.teardown(() => { fs.rename = rename })
  fs.rename = async (from, to) => {
    saveAtOnce(file, Buffer.from('new'))
    return rename(from, to)
  }
  await t.rejects(save(file, Buffer.from('old')), { code: 'ENOENT' })
  t.equal(readFileSync(file, 'utf8'), 'new')
  t.same(readdirSync(directory), ['0.points'])
})

t.test('an address that is too long is refused', async t => {
  const long = path.join(createFolder(t), 'x'.repeat(100))
  await t.rejects(Listener.open(long, () => {}), { message: /too long for a Unix socket/ })
})

t.test('whoever has more connections waiting than it may have is not taken for dead', async t => {
  const address = path.join(createFolder(t), 'x')
  const server = createServer().listen({ path: address, backlog: 1 })
  t.teardown(() => server.close())
  await once(server, 'listening')
  const attempts = await Promise.allSettled(Array.from({ length: 20 }, async () => connectTo(address)))
  const refused = attempts.filter(({ status }) => status === 'rejected')
  t.ok(refused.length > 0)
  t.match(refused[0], { reason: { code: 'EAGAIN' } })
  const held = await Promise.all(Array.from({ length: 20 }, async () => isHeld(address)))
  t.ok(held.every(Boolean))
  for (const attempt of attempts) if (attempt.status === 'fulfilled') attempt.value!.destroy()
})

t.test('a registry that cannot tell its metrics has none that are saved', async t => {
  const registry = { getMetricsAsArray () { throw new Error('no') } } as never
  t.same([...countNames({ registries: [registry], leases: [], scrapeMetrics: [] })], [])
})

t.test('a counter is saved under its name, also when the registry has been rendered as OpenMetrics', async t => {
  const registry = new Registry()
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never)
  const counter = new Counter({ name: 'jobs_total', help: 'h', registers: [registry] })
  await registry.metrics()
  t.equal(metricsIn({ registries: [registry] }).get('jobs_total'), counter)
})

t.test('a metric without a name costs only itself', async t => {
  const counter = { name: 'jobs_total', type: 'counter' }
  const registry = { getMetricsAsArray: () => [{ type: 'counter' }, null, counter], getSingleMetric () {} }
  t.equal(metricsIn({ registries: [registry as never] }).get('jobs_total'), counter)
})

t.test('of two metrics with one name, the first is saved at the end of a process, as it is served', async t => {
  const leases = [1, 2].map(value => {
    const metric = new RegisteredCounter({ name: 'c_total', help: 'h' })
    metric.increment({}, value)
    return new Lease(new Registry(), metric)
  })
  const counts = countsOf({ registries: [], leases, scrapeMetrics: [] }) as ValuePoints[]
  t.same(counts.map(({ values }) => [...values]), [[1]])
})

t.test('lists of label sets are kept as long as there is room for them', async t => {
  const lists = new LabelLists()
  const line = (name: string): string => name.padEnd(1024 * 1024)
  for (const name of ['a', 'b', 'c', 'd']) lists.keep(line(name), [[name]])
  t.same(lists.get(line('a')), [['a']])
  lists.keep(line('e'), [['e']])
  t.same(['a', 'b', 'c', 'd', 'e'].map(name => lists.get(line(name)) !== undefined), [true, false, true, true, true])
})
