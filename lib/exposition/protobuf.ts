import {
  nativeZeroThreshold, type Exemplar, type HistogramPoints, type NativePoints, type Points, type SummaryPoints,
  type ValuePoints
} from '../snapshot'
import { allocate, Chunk } from './chunk'
import { ExemplarReader } from './exemplars'

/** The keys of fields, by their wire types: https://protobuf.dev/programming-guides/encoding/ */
const varint = (field: number): number => field << 3
const double = (field: number): number => field << 3 | 1
const lengthDelimited = (field: number): number => field << 3 | 2

/**
 * The keys of the fields of each message of `io.prometheus.client`:
 * https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto
 */
const familyKeys = {
  name: lengthDelimited(1),
  help: lengthDelimited(2),
  type: varint(3),
  metric: lengthDelimited(4),
  unit: lengthDelimited(5)
}
const metricKeys = {
  label: lengthDelimited(1),
  gauge: lengthDelimited(2),
  counter: lengthDelimited(3),
  summary: lengthDelimited(4),
  untyped: lengthDelimited(5),
  histogram: lengthDelimited(7)
}
const labelKeys = { name: lengthDelimited(1), value: lengthDelimited(2) }
/** The messages `Gauge`, `Counter` and `Untyped`. Only a counter has exemplars and start times. */
const valueKeys = { value: double(1), exemplar: lengthDelimited(2), start: lengthDelimited(3) }
const summaryKeys = { count: varint(1), sum: double(2), quantile: lengthDelimited(3), start: lengthDelimited(4) }
const quantileKeys = { quantile: double(1), value: double(2) }
const histogramKeys = {
  count: varint(1),
  sum: double(2),
  bucket: lengthDelimited(3),
  countFloat: double(4),
  schema: varint(5),
  zeroThreshold: double(6),
  zeroCount: varint(7),
  span: lengthDelimited(12),
  deltas: lengthDelimited(13),
  start: lengthDelimited(15)
}
const bucketKeys = { count: varint(1), upperBound: double(2), exemplar: lengthDelimited(3), countFloat: double(4) }
const spanKeys = { offset: varint(1), length: varint(2) }
const exemplarKeys = { label: lengthDelimited(1), value: double(2), timestamp: lengthDelimited(3) }
const timestampKeys = { seconds: varint(1), nanoseconds: varint(2) }

/** The numbers of the enumeration `MetricType`. */
const types: Readonly<Record<Points['type'], number>> = { counter: 0, gauge: 1, summary: 2, unknown: 3, histogram: 4 }

/**
 * The bytes that the length of a message usually takes: one for lengths up to 127, and two for lengths up to 16,383.
 * Other lengths are written too, but it takes longer.
 */
const short = 1
const long = 2

/**
 * Writes messages `MetricFamily` of Protocol Buffers, each after its length:
 * https://prometheus.io/docs/instrumenting/exposition_formats/#protobuf-format
 *
 * The length of a family is known only when the family has been written. A family that is larger than a chunk is
 * therefore written twice, and what was written the first time is only counted. To divide it into several messages of
 * the same name would be simpler, but Telegraf, for example, keeps only the last message of each name.
 */
export function * writeProtobuf (families: readonly Points[], allocateChunk = allocate): Generator<Uint8Array> {
  const chunk = new Chunk(allocateChunk)
  const draft = new Chunk(allocateChunk)
  for (const family of families) {
    let length = 0
    const measuring = writeFamily(draft, family)
    while (measuring.next().done !== true) {
      length += draft.length
      draft.clear()
      // There may be nothing in this chunk. To yield it lets others use the event loop.
      yield chunk.take()
    }
    chunk.varint(length + draft.length)
    if (length === 0) {
      chunk.copy(draft)
    } else {
      const writing = writeFamily(chunk, family)
      while (writing.next().done !== true) yield chunk.take()
    }
    draft.clear()
    if (chunk.isFull) yield chunk.take()
  }
  yield chunk.take()
}

/** Writes one family, with a step whenever the chunk is full. */
function * writeFamily (chunk: Chunk, family: Points): Generator<undefined, void> {
  const { name, help, type, unit, labelSets } = family
  chunk.textField(familyKeys.name, name)
  chunk.textField(familyKeys.help, help)
  chunk.integerField(familyKeys.type, types[type])
  const writeSeries = seriesWriter(chunk, family)
  for (let series = 0; series < labelSets.length; series++) {
    const start = chunk.open(familyKeys.metric, long)
    writeLabels(chunk, family, series)
    writeSeries(series)
    chunk.close(start, long)
    if (chunk.isFull) yield
  }
  // Readers refuse a unit that is not the end of the name.
  const bareName = type === 'counter' ? name.replace(/_total$/, '') : name
  if (unit !== undefined && bareName.endsWith(`_${unit}`)) chunk.textField(familyKeys.unit, unit)
}

/** Returns a function that writes one series, without its labels. */
function seriesWriter (chunk: Chunk, points: Points): (series: number) => void {
  switch (points.type) {
    case 'histogram': return histogramWriter(chunk, points)
    case 'summary': return summaryWriter(chunk, points)
    default: return valueWriter(chunk, points)
  }
}

function histogramWriter (chunk: Chunk, points: HistogramPoints): (series: number) => void {
  const { counts, sums, startSeconds, native } = points
  const bounds = [...points.upperBounds, Infinity]
  const exemplars = new ExemplarReader(points.exemplars)
  const writeNative = native && nativeWriter(chunk, native)
  return series => {
    const start = chunk.open(metricKeys.histogram, long)
    let cumulativeCount = 0
    for (let bucket = 0; bucket < bounds.length; bucket++) {
      cumulativeCount += counts[series * bounds.length + bucket]!
      const exemplar = exemplars.read(series, bucket)
      if (exemplar === undefined && isCount(cumulativeCount)) {
        chunk.pairField(
          histogramKeys.bucket, bucketKeys.count, cumulativeCount, bucketKeys.upperBound, bounds[bucket]!
        )
      } else {
        const start = chunk.open(histogramKeys.bucket, short)
        writeCount(chunk, bucketKeys, cumulativeCount)
        chunk.doubleField(bucketKeys.upperBound, bounds[bucket]!)
        writeExemplar(chunk, bucketKeys.exemplar, exemplar)
        chunk.close(start, short)
      }
    }
    writeCount(chunk, histogramKeys, cumulativeCount)
    chunk.doubleField(histogramKeys.sum, sums[series]!)
    writeTimestamp(chunk, histogramKeys.start, startSeconds?.[series])
    writeNative?.(series)
    chunk.close(start, long)
  }
}

/**
 * So many empty buckets between two others are written as counts of 0, which takes fewer bytes than to begin another
 * span.
 */
const longestGap = 2

/**
 * Returns a function that writes the native buckets of a series: spans say which buckets there are, and each count is
 * told as the difference from the count before.
 */
function nativeWriter (chunk: Chunk, native: NativePoints): (series: number) => void {
  const { schemas, zeroCounts, ends, indexes, counts } = native
  let differences = new Float64Array(0)
  return series => {
    const first = series === 0 ? 0 : ends[series - 1]!
    const end = ends[series]!
    const most = (end - first) * (1 + longestGap)
    if (differences.length < most) differences = new Float64Array(2 * most)
    chunk.signedField(histogramKeys.schema, schemas[series]!)
    chunk.doubleField(histogramKeys.zeroThreshold, nativeZeroThreshold)
    chunk.integerField(histogramKeys.zeroCount, zeroCounts[series]!)
    let next = 0
    let previousCount = 0
    let told = 0
    for (let bucket = first; bucket < end;) {
      const firstIndex = indexes[bucket]!
      let lastIndex = firstIndex - 1
      for (; bucket < end && indexes[bucket]! - lastIndex - 1 <= longestGap; bucket++) {
        while (++lastIndex < indexes[bucket]!) {
          differences[told++] = -previousCount
          previousCount = 0
        }
        differences[told++] = counts[bucket]! - previousCount
        previousCount = counts[bucket]!
      }
      const start = chunk.open(histogramKeys.span, short)
      chunk.signedField(spanKeys.offset, firstIndex - next)
      chunk.integerField(spanKeys.length, lastIndex - firstIndex + 1)
      chunk.close(start, short)
      next = lastIndex + 1
    }
    if (told === 0) return
    const start = chunk.open(histogramKeys.deltas, short)
    chunk.signed(differences, told)
    chunk.close(start, short)
  }
}

function summaryWriter (chunk: Chunk, points: SummaryPoints): (series: number) => void {
  const { quantiles, quantileValues, counts, sums, startSeconds } = points
  return series => {
    const start = chunk.open(metricKeys.summary, short)
    chunk.integerField(summaryKeys.count, isCount(counts[series]!) ? counts[series]! : 0)
    chunk.doubleField(summaryKeys.sum, sums[series]!)
    quantiles.forEach((quantile, index) => {
      const start = chunk.open(summaryKeys.quantile, short)
      chunk.doubleField(quantileKeys.quantile, quantile)
      chunk.doubleField(quantileKeys.value, quantileValues[series * quantiles.length + index]!)
      chunk.close(start, short)
    })
    writeTimestamp(chunk, summaryKeys.start, startSeconds?.[series])
    chunk.close(start, short)
  }
}

function valueWriter (chunk: Chunk, points: ValuePoints): (series: number) => void {
  const { type, values } = points
  const exemplars = new ExemplarReader(type === 'counter' ? points.exemplars : [])
  const startSeconds = type === 'counter' ? points.startSeconds : undefined
  const key = { counter: metricKeys.counter, gauge: metricKeys.gauge, unknown: metricKeys.untyped }[type]
  return series => {
    const start = chunk.open(key, short)
    chunk.doubleField(valueKeys.value, values[series]!)
    writeExemplar(chunk, valueKeys.exemplar, exemplars.read(series, 0))
    writeTimestamp(chunk, valueKeys.start, startSeconds?.[series])
    chunk.close(start, short)
  }
}

function writeLabels (chunk: Chunk, { labelNames, labelSets, sharedLabels }: Points, series: number): void {
  const labelSet = labelSets[series]!
  for (let index = 0; index < labelNames.length; index++) {
    const value = labelSet[index]
    if (value !== undefined) writeLabel(chunk, metricKeys.label, labelNames[index]!, value)
  }
  for (const name in sharedLabels) writeLabel(chunk, metricKeys.label, name, sharedLabels[name]!)
}

function writeLabel (chunk: Chunk, key: number, name: string, value: string): void {
  const start = chunk.open(key, short)
  chunk.textField(labelKeys.name, name)
  chunk.textField(labelKeys.value, value)
  chunk.close(start, short)
}

function writeExemplar (chunk: Chunk, key: number, exemplar: Exemplar | undefined): void {
  if (exemplar === undefined) return
  const start = chunk.open(key, short)
  for (const [name, value] of Object.entries(exemplar.labels)) writeLabel(chunk, exemplarKeys.label, name, value)
  chunk.doubleField(exemplarKeys.value, exemplar.value)
  writeTimestamp(chunk, exemplarKeys.timestamp, exemplar.timestampSeconds)
  chunk.close(start, short)
}

/** The first second of the year 10,000, which no `Timestamp` may reach. */
const endOfTime = 253_402_300_800

/**
 * Writes a time since 1970 in whole microseconds, because a double has no finer ones nowadays. Nothing is written if
 * the time is not known, or is not between 1970 and the year 10,000.
 */
function writeTimestamp (chunk: Chunk, key: number, seconds: number | undefined): void {
  if (seconds === undefined || !(seconds >= 0 && seconds < endOfTime)) return
  const microseconds = Math.round(seconds * 1e6)
  const wholeSeconds = Math.floor(microseconds / 1e6)
  const start = chunk.open(key, short)
  chunk.integerField(timestampKeys.seconds, wholeSeconds)
  chunk.integerField(timestampKeys.nanoseconds, (microseconds - wholeSeconds * 1e6) * 1000)
  chunk.close(start, short)
}

/** Writes the count of a histogram or of its bucket. There is a second field for what is no count. */
function writeCount (chunk: Chunk, keys: { readonly count: number, readonly countFloat: number }, count: number): void {
  if (isCount(count)) {
    chunk.integerField(keys.count, count)
  } else {
    chunk.doubleField(keys.countFloat, count)
  }
}

/** Whether a number is an unsigned integer of 64 bits. */
function isCount (value: number): boolean {
  return value >= 0 && value < 2 ** 64 && Math.floor(value) === value
}
