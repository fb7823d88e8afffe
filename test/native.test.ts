import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { writeOpenMetrics } from '../lib/exposition/openmetrics'
import { writeProtobuf } from '../lib/exposition/protobuf'
import { writeText } from '../lib/exposition/text'
import type { HistogramFamily } from '../lib/histogram/family'
import { coarser, NativeScale } from '../lib/histogram/native-scale'
import { createListening, registryOf, scrape } from './helpers/application'
import { createHistogram, observe } from './helpers/histogram'
import { protobuf, readProtobuf, type Family, type Histogram } from './helpers/protobuf'

// The double before or after another one.
const bits = new BigInt64Array(1)
const doubles = new Float64Array(bits.buffer)
function neighbour (value: number, distance: bigint): number {
  doubles[0] = value
  bits[0]! += distance
  return doubles[0]!
}

/** A positive double as `mantissa * 2^exponent`, exactly. */
function parts (value: number): { mantissa: bigint, exponent: number } {
  doubles[0] = value
  const field = Number(bits[0]! >> 52n)
  const fraction = bits[0]! & (1n << 52n) - 1n
  return field === 0
    ? { mantissa: fraction, exponent: -1074 }
    : { mantissa: fraction | 1n << 52n, exponent: field - 1075 }
}

/** Whether a value is at most 2^(index / 2^schema), by the arithmetic of integers. */
function isAtMost (value: number, index: number, schema: number): boolean {
  const { mantissa, exponent } = parts(value)
  // The powers of both sides to 2^schema, or both sides, are multiplied by a power of two that leaves integers.
  const power = 2 ** Math.max(schema, 0)
  const right = index * 2 ** Math.max(-schema, 0)
  const shift = Math.max(0, -exponent * power, -right)
  return mantissa ** BigInt(power) << BigInt(exponent * power + shift) <= 1n << BigInt(right + shift)
}

function indexOf (schema: number): (value: number) => number {
  const scale = new NativeScale(Math.max(schema, 0))
  return value => coarser(scale.index(value), Math.max(-schema, 0))
}

t.test('the index of a bucket is right at every bound from 0.5 to 4, and beside it', async t => {
  for (let schema = -4; schema <= 8; schema++) {
    const index = indexOf(schema)
    const wrong: number[] = []
    const [first, last] = [Math.floor(-(2 ** schema)), Math.ceil(2 * 2 ** schema)]
    for (let bound = first; bound <= last; bound++) {
      const nearest = 2 ** (bound / 2 ** schema)
      for (const distance of [-2n, -1n, 0n, 1n, 2n]) {
        const value = neighbour(nearest, distance)
        const found = index(value)
        if (!isAtMost(value, found, schema) || isAtMost(value, found - 1, schema)) wrong.push(value)
      }
    }
    t.same(wrong, [], `schema ${schema}`)
  }
})

t.test('it is right for any double: subnormals, the least, the greatest, powers of two', async () => {
  const scales = new Map(Array.from({ length: 13 }, (_, place) => [place - 4, indexOf(place - 4)] as const))
  const value = fc.oneof(
    fc.double({ min: 5e-324, noNaN: true, noDefaultInfinity: true }),
    fc.integer({ min: -1074, max: 1023 }).map(exponent => 2 ** exponent),
    fc.integer({ min: 1, max: 2 ** 31 }).map(steps => steps * 5e-324),
    fc.constantFrom(5e-324, 2 ** -1022, Number.MAX_VALUE, 2 ** -128, 1)
  )
  // An exact power takes long where numbers are very small or large, and the schema is fine.
  fc.assert(fc.property(value, fc.integer({ min: -4, max: 5 }), (value, schema) => {
    const found = scales.get(schema)!(value)
    assert.ok(isAtMost(value, found, schema) && !isAtMost(value, found - 1, schema), `${value} in ${found}`)
  }), { numRuns: 1000 })
  fc.assert(fc.property(value, fc.integer({ min: -4, max: 7 }), (value, schema) => {
    assert.equal(scales.get(schema)!(value), coarser(scales.get(8)!(value), 8 - schema))
  }), { numRuns: 5000 })
})

/** For the schema 8, the greatest integer below or at each bound from 2^52 on, before 2^53. No root is rounded. */
const mantissas = Float64Array.from({ length: 256 }, (_, index) => {
  const isAbove = (mantissa: number): boolean => BigInt(mantissa) ** 256n > 1n << BigInt(256 * 52 + index)
  let mantissa = Math.round(2 ** (52 + index / 256))
  while (isAbove(mantissa)) mantissa--
  while (!isAbove(mantissa + 1)) mantissa++
  return mantissa
})

const leastExponent = -1074
const powersOfTwo = Float64Array.from({ length: 1024 - leastExponent }, (_, index) => 2 ** (leastExponent + index))

/** The bucket of a double in the schema 8, by comparing integers. */
function exactIndex (value: number): number {
  // A logarithm may be rounded up. To divide by a power of two is exact.
  let exponent = Math.min(Math.floor(Math.log2(value)), 1023)
  if (value < powersOfTwo[exponent - leastExponent]!) exponent--
  const mantissa = value / powersOfTwo[exponent - leastExponent]! * 2 ** 52
  let [low, high] = [0, 256]
  while (low < high) {
    const middle = (low + high) >> 1
    if (mantissa > mantissas[middle]!) low = middle + 1
    else high = middle
  }
  return exponent * 256 + low
}

/** Some values whose index is wrong in some schema. Each bucket of a schema is two of the next finer one. */
function wrongIndexes (values: Float64Array): unknown[] {
  const scales = Array.from({ length: 13 }, (_, place) => ({
    schema: place - 4, index: indexOf(place - 4), bucketsOfFinest: 2 ** (12 - place)
  }))
  const wrong: unknown[] = []
  for (const value of values) {
    const exact = exactIndex(value)
    for (const { schema, index, bucketsOfFinest } of scales) {
      const found = index(value)
      if (found !== Math.ceil(exact / bucketsOfFinest) && wrong.length < 10) wrong.push([value, schema, found])
    }
  }
  return wrong
}

t.test('it is right for a million random doubles, in every schema', async t => {
  // As many again are negative, or are not finite.
  const random = new Float64Array(2_010_000)
  randomFillSync(random)
  const values = random.filter(isValue)
  t.ok(values.length >= 1_000_000)
  t.same(wrongIndexes(values.subarray(0, 1_000_000)), [])
})

t.test('it is right at each bound of each schema, and beside it', async t => {
  const length = 256 * powersOfTwo.length
  const bounds = Float64Array.from({ length }, (_, index) => 2 ** (leastExponent + index / 256))
  // Doubles that are next to each other are integers that are next to each other, too.
  const integers = new BigInt64Array(bounds.buffer)
  for (const distance of [0n, -1n, 1n]) {
    const besideBounds = new Float64Array(integers.map(integer => integer + distance).buffer)
    t.same(wrongIndexes(besideBounds.filter(isValue)), [], `${distance}`)
  }
})

function isValue (double: number): boolean {
  return double > 0 && double < Infinity
}

/** The native buckets of a histogram's only series, with each index. */
function read (family: HistogramFamily): { schema: number, zero: number, buckets: Map<number, number> } {
  const [{ metric }] = readProtobuf(Buffer.concat([...writeProtobuf([family.snapshot()])])) as [Family]
  const histogram = metric[0]!.histogram!
  const buckets = bucketsOf(histogram)
  const sum = [...buckets.values()].reduce((sum, count) => sum + count, histogram.zeroCount!)
  assert.equal(sum, histogram.sampleCount, 'as many as in the classic buckets')
  assert.equal(histogram.zeroThreshold, 2 ** -128)
  return { schema: histogram.schema!, zero: histogram.zeroCount!, buckets }
}

function bucketsOf ({ positiveSpan, positiveDelta }: Histogram): Map<number, number> {
  const buckets = new Map<number, number>()
  let [index, count, place] = [0, 0, 0]
  for (const { offset, length } of positiveSpan!) {
    index += offset
    for (let bucket = 0; bucket < length; bucket++) {
      count += positiveDelta![place++]!
      assert.ok(count >= 0)
      if (count > 0) buckets.set(index, count)
      index++
    }
  }
  assert.equal(place, positiveDelta!.length)
  return buckets
}

function createNative (schema = 3, maxBuckets = 160): HistogramFamily {
  return createHistogram({ name: 'h', help: 'h', labelNames: [], upperBounds: [1], native: { schema, maxBuckets } })
}

t.test('a decoder reads the buckets that a model has', async () => {
  const value = fc.oneof(
    fc.double({ min: 1e-6, max: 1e4, noNaN: true }), fc.double({ min: 0, max: 1e30, noNaN: true }),
    fc.constantFrom(0, -1, 2 ** -128, 2 ** -127, 5e-324, 1, 8, Number.MAX_VALUE, Infinity, NaN, -Infinity)
  )
  fc.assert(fc.property(
    fc.array(value, { maxLength: 400 }), fc.integer({ min: -4, max: 8 }), fc.integer({ min: 10, max: 200 }),
    (values, schema, maxBuckets) => {
      const family = createNative(schema, maxBuckets)
      for (const value of values) family.observe(0, value)
      const { schema: reached, zero, buckets } = read(family)
      const expected = new Map<number, number>()
      let zeros = 0
      const index = indexOf(reached)
      for (const value of values) {
        const bucket = Number.isFinite(value) ? value : 'infinite'
        if (bucket !== 'infinite' && bucket <= 2 ** -128) {
          zeros++
        } else {
          const place = bucket === 'infinite' ? index(Number.MAX_VALUE) + 1 : index(bucket)
          expected.set(place, (expected.get(place) ?? 0) + 1)
        }
      }
      assert.equal(zero, zeros)
      assert.deepEqual([...buckets].sort(([a], [b]) => a - b), [...expected].sort(([a], [b]) => a - b))
      assert.ok(reached === -4 || reached <= schema)
      const finite = [...buckets.keys()].filter(place => place <= index(Number.MAX_VALUE)).length
      assert.ok(finite <= maxBuckets || reached === -4, `${finite} of ${maxBuckets}`)
    }), { numRuns: 300 })
})

t.test('one bucket more than a series may have halves its resolution, and loses no count', async t => {
  const family = createNative(3, 10)
  for (let index = 1; index <= 10; index++) family.observe(0, 2 ** (index / 8) * 0.999)
  t.equal(read(family).schema, 3)
  family.observe(0, 2 ** (11 / 8) * 0.999)
  t.strictSame(read(family), {
    schema: 2, zero: 0, buckets: new Map([[1, 2], [2, 2], [3, 2], [4, 2], [5, 2], [6, 1]])
  })
})

t.test('by default, times from a microsecond to an hour keep the full resolution', async t => {
  const family = createNative()
  for (const seconds of [1e-6, 1, 3600]) family.observe(0, seconds)
  t.equal(read(family).schema, 3)
  family.observe(0, 1e-12)
  t.equal(read(family).schema, 2)
  t.equal(family.snapshot().counts[0], 3)
})

t.test('a series without observations is a native histogram too', async t => {
  t.strictSame(read(createNative()), { schema: 3, zero: 0, buckets: new Map() })
})

t.test('a reset begins at the full resolution', async t => {
  const family = createNative(3, 10)
  for (let index = 0; index < 20; index++) family.observe(0, 2 ** index)
  family.reset()
  family.observe(0, 1)
  t.strictSame(read(family), { schema: 3, zero: 0, buckets: new Map([[0, 1]]) })
})

t.test('counts of any size are told by their differences', async t => {
  const family = createNative()
  const counts = [2 ** 31, 1, 2 ** 53 - 1, 2 ** 40, 2 ** 30, 2 ** 30 - 1]
  for (const [place] of counts.entries()) family.observe(0, 2 ** place)
  const points = family.snapshot()
  points.native!.counts.set(counts)
  const [{ metric }] = readProtobuf(Buffer.concat([...writeProtobuf([points])])) as [Family]
  t.same([...bucketsOf(metric[0]!.histogram!).values()], counts)
})

t.test('text and OpenMetrics do not change by a byte', async t => {
  const pages = ([undefined, { schema: 3, maxBuckets: 160 }] as const).map(native => {
    const family = createHistogram({
      name: 'h', help: 'h', labelNames: ['n'], upperBounds: [1, 2], ...native === undefined ? {} : { native }
    })
    for (let n = 0; n < 20; n++) observe(family, [String(n)], n / 7)
    const points = { ...family.snapshot(), startSeconds: undefined }
    return Buffer.concat([...writeText([points]), ...writeOpenMetrics([points], { created: true })]).toString()
  })
  t.equal(pages[1], pages[0])
})

t.test('many series are read in steps, each with its own buckets', async t => {
  const family = createHistogram({
    name: 'h', help: 'h', labelNames: ['n'], upperBounds: [1], native: { schema: 3, maxBuckets: 160 }
  })
  for (let n = 0; n < 3000; n++) {
    const slot = observe(family, [String(n)], 2 ** (n % 50 - 20))
    family.observe(slot, 2 ** (n % 30 - 10))
  }
  t.ok([...family.snapshotInSteps()].length >= 5)
  const [{ metric }] = readProtobuf(Buffer.concat([...writeProtobuf([family.snapshot()])])) as [Family]
  const wrong = metric.filter(({ histogram }, n) => {
    const expected = [...new Set([8 * (n % 50 - 20), 8 * (n % 30 - 10)])].sort((a, b) => a - b)
    return [...bucketsOf(histogram!).keys()].join() !== expected.join()
  })
  t.equal(wrong.length, 0)
})

t.test('native: true has native buckets in Protocol Buffers beside the classic ones, ' +
  'and nothing changes elsewhere', async t => {
  const { app, address } = await createListening(t, {
    histogram: { native: true }, timeToFirstByte: { native: { schema: 0, maxBuckets: 20 } }
  }, app => { app.get('/', async () => 'x') })
  for (let count = 0; count < 3; count++) await fetch(address)
  const response = await fetch(app.latency.url!, { headers: { accept: protobuf } })
  const families = readProtobuf(new Uint8Array(await response.arrayBuffer()))
  const schemas = [['http_request_duration_seconds', 3], ['http_request_first_byte_seconds', 0]] as const
  for (const [name, schema] of schemas) {
    const { histogram } = families.find(family => family.name === name)!.metric[0]!
    t.match(histogram, { schema, zeroThreshold: 2 ** -128, sampleCount: 3, bucket: { length: 12 } })
    t.equal([...bucketsOf(histogram!).values()].reduce((sum, count) => sum + count), 3)
  }
  t.equal((await scrape(app.latency.url)).samples('http_request_duration_seconds_bucket').length, 12)
  const { values } = await app.latency.histogram.get()
  t.equal(values.length, 14)
  t.equal(values.filter(({ labels }) => labels.le !== undefined).length, 12)
  t.match(await registryOf(app).metrics(), 'http_request_duration_seconds_count')
})

t.test('a histogram that has left its index takes late observations', async t => {
  const family = createHistogram({
    name: 'h', help: 'h', labelNames: ['n'], upperBounds: [1], native: { schema: 3, maxBuckets: 160 }
  })
  family.dispose()
  for (let n = 0; n < 100; n++) family.index.slot([String(n)])
  t.doesNotThrow(() => family.observe(99, 1))
})
