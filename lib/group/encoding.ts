import { aggregators, isLabelName, isMetricName } from '../exposition/client-samples'
import type { Exemplar, GatherFailure, HistogramPoints, Labels, NativePoints, Points } from '../snapshot'
import { runAtOnce } from '../time-slices'
import type { Former, Told } from './families'
import { LabelLists, type LabelSet } from './label-lists'

type Steps<T> = Generator<undefined, T>

/**
 * What a member tells as bytes, for another process or for a file: a head of lines of JSON, in which everything has a
 * name, and all numbers behind it, one column after the other. The first line of the head is about all families, of
 * which those come last that are carried on. Each family has a line, and then lines with the labels of some of its
 * series, and with some of its exemplars. Members of a group may run other versions of Node.js, which structured clones
 * would not survive. What is read may be anything, and is refused if it has another form. A family is checked as
 * strictly as those of users, and left out alone, because readers of an exposition would otherwise refuse the whole
 * page.
 */

/** Changes with everything that would make other versions of this package misunderstand each other. */
const magic = Buffer.from('latency1')

/** The places of the length of the head, in bytes, of the number of columns' numbers, and of the time of counting. */
const headLengthAt = magic.length
const numbersAt = headLengthAt + 4
const countedMsAt = numbersAt + 4
const headAt = countedMsAt + 8

/** The most bytes that are read of a member or a file. 100,000 series with native histograms have less. */
export const mostBytes = 64 * 1024 * 1024

const bytesPerNumber = Float64Array.BYTES_PER_ELEMENT

/** How many series, or exemplars, are in one line, which is written and read in one step. */
const perLine = 500

export function encode (told: Told): Buffer {
  return runAtOnce(encodeInSteps(told))
}

/** The same in steps of less than a millisecond, between which the caller may let others use the event loop. */
export function * encodeInSteps ({ families, former, failures, leftOut, countedMs }: Told): Steps<Buffer> {
  const columns: Array<ArrayLike<number>> = []
  const formerMs = former.map(({ writtenMs }) => writtenMs)
  const lines = [JSON.stringify({ families: families.length, formerMs, failures, leftOut })]
  for (const points of [...families, ...former.map(({ points }) => points)]) {
    const { startSeconds, labelSets, exemplars: all, ...head } = points
    // JSON has no infinite values.
    const exemplars = all.filter(({ value, timestampSeconds = 0 }) => isFinite(value) && isFinite(timestampSeconds))
    if (startSeconds !== undefined) columns.push(startSeconds)
    lines.push(JSON.stringify({
      ...withoutColumns(head as Points, columns),
      series: labelSets.length,
      exemplars: exemplars.length,
      hasStarts: startSeconds !== undefined
    }))
    for (const list of [labelSets, exemplars]) {
      for (let next = 0; next < list.length; next += perLine) {
        lines.push(JSON.stringify(list.slice(next, next + perLine)))
        yield
      }
    }
  }
  const head = Buffer.from(lines.join('\n'))
  const padded = head.length + (-(headAt + head.length) & (bytesPerNumber - 1))
  const numbers = columns.reduce((sum, { length }) => sum + length, 0)
  const bytes = Buffer.allocUnsafeSlow(headAt + padded + numbers * bytesPerNumber)
  magic.copy(bytes)
  bytes.writeUInt32LE(padded, headLengthAt)
  bytes.writeUInt32LE(numbers, numbersAt)
  bytes.writeDoubleLE(countedMs, countedMsAt)
  head.copy(bytes, headAt)
  bytes.fill(' ', headAt + head.length, headAt + padded)
  const all = new Float64Array(bytes.buffer, headAt + padded, numbers)
  let place = 0
  for (const column of columns) {
    all.set(column, place)
    place += column.length
  }
  return bytes
}

/** Takes the columns out of points. They are read in the same order. */
function withoutColumns (points: Points, columns: Array<ArrayLike<number>>): object {
  if (points.type === 'histogram') {
    const { counts, sums, native, ...head } = points
    columns.push(counts, sums)
    if (native !== undefined) {
      columns.push(native.schemas, native.zeroCounts, native.ends, native.indexes, native.counts)
    }
    return { ...head, natives: native?.indexes.length ?? null }
  }
  if (points.type === 'summary') {
    const { quantileValues, counts, sums, ...head } = points
    columns.push(quantileValues, counts, sums)
    return head
  }
  const { values, ...head } = points
  columns.push(values)
  return head
}

/** Whether two encodings tell the same, whenever it was counted. */
export function tellSame (a: Buffer, b: Buffer): boolean {
  return a.subarray(headAt).equals(b.subarray(headAt))
}

/** How many bytes a whole encoding has, by its first bytes. Undefined: these are too few. Throws if it is none. */
export function lengthOf (bytes: Buffer): number | undefined {
  check(bytes.subarray(0, magic.length).equals(magic.subarray(0, bytes.length)), 'it is of another kind or version')
  if (bytes.length < headAt) return undefined
  const length = headAt + bytes.readUInt32LE(headLengthAt) + bytesPerNumber * bytes.readUInt32LE(numbersAt)
  check(length <= mostBytes, `it has ${length} bytes`)
  return length
}

/**
 * Reads what `encode()` has written, in steps. Throws if it is anything else. `known` are the lists of label sets that
 * have been read before.
 */
export function * decodeInSteps (given: Buffer, known: LabelLists): Steps<Told> {
  check(lengthOf(given) === given.length, 'it is incomplete')
  const bytes = given.byteOffset % bytesPerNumber === 0 ? given : Buffer.concat([given])
  const end = headAt + bytes.readUInt32LE(headLengthAt)
  check(end % bytesPerNumber === 0, 'its numbers are not in place')
  const countedMs = bytes.readDoubleLE(countedMsAt)
  check(isFinite(countedMs), 'its time is none')
  const lines = new Lines(bytes.toString('utf8', headAt, end))
  const columns = new Columns(new Float64Array(bytes.buffer, bytes.byteOffset + end, bytes.readUInt32LE(numbersAt)))
  const { families: count, formerMs, failures, leftOut } = lines.takeObject()
  check(isArrayOf(formerMs, isFinite), 'its times are none')
  check(isArrayOf(failures, isFailure) && isArrayOf(leftOut, isString), 'its failures are none')
  const families: Points[] = []
  const former: Former[] = []
  const unfit: string[] = []
  function * readFamily (add: (points: Points) => void): Steps<void> {
    const points = yield * readPoints(lines, columns, known)
    if (isShowable(points)) add(points)
    else unfit.push(points.name)
    yield
  }
  for (let read = 0; read !== count; read++) yield * readFamily(points => families.push(points))
  for (const writtenMs of formerMs) yield * readFamily(points => former.push({ points, writtenMs }))
  return { families, former, failures, leftOut: [...leftOut, ...unfit], countedMs }
}

function * readPoints (lines: Lines, columns: Columns, known: LabelLists): Steps<Points> {
  const head = lines.takeObject()
  const { type, name, help, unit, labelNames, sharedLabels, hasStarts } = head
  check(isString(name) && isString(help), 'a family has no name')
  check(unit === undefined || isString(unit), 'a unit is none')
  check(isArrayOf(labelNames, isString) && isLabels(sharedLabels), 'a label has no name')
  const upperBounds = (head.upperBounds ?? []) as number[]
  check(Array.isArray(upperBounds), 'the bounds of buckets are none')
  const labelSets = yield * takeList(head.series, () => readLabelSets(lines.take(), labelNames.length, known))
  const { length } = labelSets
  const exemplars = yield * takeList(head.exemplars, () =>
    readExemplars(lines.take(), length, upperBounds.length + 1))
  const common = {
    name,
    help,
    unit,
    labelNames,
    labelSets,
    sharedLabels,
    startSeconds: hasStarts === true ? columns.take(length) : undefined
  }
  if (type === 'histogram') {
    const { natives } = head
    return {
      ...common,
      type,
      exemplars,
      upperBounds,
      counts: columns.take(length * (upperBounds.length + 1)),
      sums: columns.take(length),
      native: natives === null ? undefined : readNative(natives, length, columns)
    }
  }
  if (type === 'summary') {
    const { quantiles } = head
    check(isArrayOf(quantiles, isFinite), 'a quantile is none')
    return {
      ...common,
      type,
      exemplars: [],
      quantiles,
      quantileValues: columns.take(length * quantiles.length),
      counts: columns.take(length),
      sums: columns.take(length)
    }
  }
  check(type === 'counter' || type === 'gauge' || type === 'unknown', 'a family has no type')
  const aggregator = aggregators.find(known => known === head.aggregator)
  check(aggregator !== undefined, 'its values become one in a way that is not known')
  return {
    ...common,
    type,
    aggregator,
    exemplars,
    values: columns.take(length)
  }
}

function readNative (natives: unknown, length: number, columns: Columns): NativePoints {
  const schemas = Int8Array.from(columns.take(length))
  const zeroCounts = columns.take(length)
  const ends = Uint32Array.from(columns.take(length))
  const isEnd = ends.every((end, series) => end >= (ends[series - 1] ?? 0)) && (ends.at(-1) ?? 0) === natives
  check(isEnd, 'native buckets are not those of its series')
  const indexes = Int32Array.from(columns.take(natives as number))
  const counts = columns.take(natives as number)
  return { schemas, zeroCounts, ends, indexes, counts }
}

/** Whether readers of an exposition accept a family. */
function isShowable (points: Points): boolean {
  const { name, unit, labelNames, sharedLabels, exemplars } = points
  const names = [...labelNames, ...Object.keys(sharedLabels)]
  return isMetricName(name) && (unit === undefined || /^[a-z_]+$/.test(unit)) &&
    names.every(isLabelName) && new Set(names).size === names.length &&
    exemplars.every(({ labels }) => Object.keys(labels).every(isLabelName)) &&
    countsOf(points).every(isEachCount) && (points.type !== 'histogram' || hasBuckets(points))
}

function hasBuckets ({ upperBounds, native }: HistogramPoints): boolean {
  return upperBounds.every((bound, index) => isFinite(bound) && (index === 0 || bound > upperBounds[index - 1]!)) &&
    (native === undefined || native.schemas.every(schema => schema >= -4 && schema <= 8))
}

/** The columns of what counts. */
function countsOf (points: Points): Float64Array[] {
  switch (points.type) {
    case 'histogram':
      return [points.counts, ...points.native === undefined ? [] : [points.native.zeroCounts, points.native.counts]]
    case 'summary': return [points.counts]
    case 'counter': return [points.values]
    default: return []
  }
}

function isEachCount (counts: Float64Array): boolean {
  // A loop takes a tenth of the time of a function that is called for each of ten thousands of counts.
  for (let index = 0; index < counts.length; index++) if (!(counts[index]! >= 0)) return false
  return true
}

function readLabelSets (line: string, length: number, known: LabelLists): readonly LabelSet[] {
  let list = known.get(line)
  if (list === undefined) {
    const read: unknown = JSON.parse(line)
    const isLabelSet = (value: unknown): value is Array<string | null> => isArrayOf(value, isStringOrNull)
    check(isArrayOf(read, isLabelSet), 'the labels of a series are none')
    list = read.map(labelSet => labelSet.map(text => text ?? undefined))
    known.keep(line, list)
  }
  check(list.every(labelSet => labelSet.length === length), 'the labels of a series are none')
  return list
}

function readExemplars (line: string, series: number, buckets: number): Exemplar[] {
  const read: unknown = JSON.parse(line)
  check(isArrayOf(read, (value): value is Exemplar => isExemplar(value, series, buckets)), 'an exemplar is none')
  return read.map(({ series, bucket, labels, value, timestampSeconds }) =>
    ({ series, bucket, labels, value, timestampSeconds }))
}

function isExemplar (value: unknown, series: number, buckets: number): value is Exemplar {
  const isIndex = (index: unknown, size: number): boolean =>
    Number.isInteger(index) && (index as number) >= 0 && (index as number) < size
  return isObject(value) && isIndex(value.series, series) && isIndex(value.bucket, buckets) && isLabels(value.labels) &&
    isFinite(value.value) && (value.timestampSeconds === undefined || isFinite(value.timestampSeconds))
}

/** Takes a list that may have any number of lines, one in each step. */
function * takeList<T> (length: unknown, take: () => readonly T[]): Steps<T[]> {
  const list: T[] = []
  while (list.length !== length) {
    const part = take()
    check(part.length > 0, 'a list has empty lines')
    for (const item of part) list.push(item)
    yield
  }
  return list
}

/** The lines of a head. */
class Lines {
  readonly #lines: readonly string[]
  #next = 0

  constructor (head: string) {
    this.#lines = head.split('\n')
  }

  take (): string {
    const line = this.#lines[this.#next++]
    check(line !== undefined, 'it has too few lines')
    return line
  }

  takeObject (): Record<string, unknown> {
    const value: unknown = JSON.parse(this.take())
    check(isObject(value), 'a line is none')
    return value
  }
}

/** The numbers behind a head, of which each column takes its part. */
class Columns {
  readonly #numbers: Float64Array
  #place = 0

  constructor (numbers: Float64Array) {
    this.#numbers = numbers
  }

  take (length: number): Float64Array {
    check(length <= this.#numbers.length - this.#place, 'it has too few numbers')
    this.#place += length
    return this.#numbers.subarray(this.#place - length, this.#place)
  }
}

function check (condition: boolean, problem: string): asserts condition {
  if (!condition) throw new TypeError(problem)
}

function isArrayOf<T> (value: unknown, isItem: (item: unknown) => item is T): value is T[] {
  return Array.isArray(value) && value.every(isItem)
}

function isString (value: unknown): value is string {
  return typeof value === 'string'
}

function isStringOrNull (value: unknown): value is string | null {
  return typeof value === 'string' || value === null
}

function isFinite (value: unknown): value is number {
  return Number.isFinite(value)
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function isLabels (value: unknown): value is Labels {
  return isObject(value) && Object.values(value).every(isString)
}

function isFailure (value: unknown): value is GatherFailure {
  return isObject(value) && isString(value.name) && isString(value.message)
}
