import type {
  Aggregator, Exemplar, HistogramPoints, Labels, NativePoints, Points, SummaryPoints, ValuePoints
} from '../snapshot'
import { runAtOnce } from '../time-slices'

type Steps<T> = Generator<undefined, T>

/** How many series are merged in one step. */
const seriesPerStep = 500

/**
 * Merges points of one family from several places: registrations, applications or processes. The order of merging only
 * affects the order of series and the rounding of sums.
 *
 * - Counts, sums and values of a label set are added. Values become one as the family's `aggregator` says.
 * - A series began to count when its earliest part did.
 * - The latest exemplar of a bucket is kept.
 * - Native buckets are added at the coarser resolution. They are left out if one of the parts has none, since their
 *   counts must have the same sum as those of the classic buckets.
 * - Quantiles of summaries cannot be merged, and are left out.
 * - A histogram without series may have any bounds, or none: some client libraries tell bounds with series only.
 */
export function merge<P extends Points> (...parts: readonly [P, ...P[]]): P
export function merge (...parts: readonly [Points, ...Points[]]): Points {
  return runAtOnce(mergeInSteps(parts))
}

/** The same in steps of less than a millisecond, between which the caller may let others use the event loop. */
export function * mergeInSteps (parts: readonly [Points, ...Points[]]): Steps<Points> {
  const [first, ...others] = parts
  const other = others.find(({ type }) => type !== first.type)
  if (other !== undefined) throw new TypeError(`A ${first.type} and a ${other.type} cannot be merged`)
  if (others.length === 0) return first
  switch (first.type) {
    case 'histogram': return yield * mergeHistograms(parts as readonly Points[] as readonly HistogramPoints[])
    case 'summary': return yield * mergeSummaries(parts as readonly Points[] as readonly SummaryPoints[])
    default: return yield * mergeValues(parts as readonly Points[] as readonly ValuePoints[])
  }
}

function * mergeHistograms (parts: readonly HistogramPoints[]): Steps<HistogramPoints> {
  const counting = parts.some(hasSeries) ? parts.filter(hasSeries) : parts
  const { upperBounds } = counting[0]!
  if (!counting.every(part => isSame(upperBounds, part.upperBounds))) {
    throw new TypeError('Histograms with other buckets cannot be merged')
  }
  const union = yield * Union.of(parts)
  const stride = upperBounds.length + 1
  return {
    ...union.common,
    type: 'histogram',
    upperBounds,
    counts: yield * union.sum(({ counts }) => counts, stride),
    sums: yield * union.sum(({ sums }) => sums),
    native: counting.some(({ native }) => native === undefined) ? undefined : yield * mergeNative(union)
  }
}

function * mergeNative (union: Union<HistogramPoints>): Steps<NativePoints> {
  const schemas = new Int8Array(union.common.labelSets.length).fill(127)
  yield * union.forEach(({ native }, series, place) => {
    schemas[place] = Math.min(schemas[place]!, native!.schemas[series]!)
  })
  const buckets = Array.from(schemas, () => new Map<number, number>())
  yield * union.forEach(({ native }, series, place) => {
    const { ends, indexes, counts } = native!
    const merged = buckets[place]!
    const width = 2 ** (native!.schemas[series]! - schemas[place]!)
    for (let bucket = series === 0 ? 0 : ends[series - 1]!; bucket < ends[series]!; bucket++) {
      const index = Math.ceil(indexes[bucket]! / width)
      merged.set(index, (merged.get(index) ?? 0) + counts[bucket]!)
    }
  })
  const ends = new Uint32Array(buckets.length)
  buckets.forEach(({ size }, series) => { ends[series] = size + (ends[series - 1] ?? 0) })
  const indexes = new Int32Array(ends.at(-1) ?? 0)
  const counts = new Float64Array(indexes.length)
  let next = 0
  for (const [series, merged] of buckets.entries()) {
    if (series % seriesPerStep === seriesPerStep - 1) yield
    for (const [index, count] of [...merged].sort(([a], [b]) => a - b)) {
      indexes[next] = index
      counts[next++] = count
    }
  }
  return { schemas, zeroCounts: yield * union.sum(({ native }) => native!.zeroCounts), ends, indexes, counts }
}

function * mergeSummaries (parts: readonly SummaryPoints[]): Steps<SummaryPoints> {
  const union = yield * Union.of(parts)
  return {
    ...union.common,
    type: 'summary',
    quantiles: [],
    quantileValues: new Float64Array(0),
    counts: yield * union.sum(({ counts }) => counts),
    sums: yield * union.sum(({ sums }) => sums)
  }
}

/** How two values become one. The sum of an average is divided in the end. */
const combine: Readonly<Record<Aggregator, (a: number, b: number) => number>> = {
  sum: (a, b) => a + b,
  average: (a, b) => a + b,
  min: Math.min,
  max: Math.max,
  first: a => a,
  omit: a => a
}

function * mergeValues (parts: readonly ValuePoints[]): Steps<ValuePoints> {
  const union = yield * Union.of(parts)
  const { type, aggregator } = parts[0]!
  const values = new Float64Array(union.common.labelSets.length)
  const numbers = new Float64Array(values.length)
  yield * union.forEach((part, series, place) => {
    const value = part.values[series]!
    values[place] = numbers[place]!++ === 0 ? value : combine[aggregator](values[place]!, value)
  })
  if (aggregator === 'average') numbers.forEach((number, place) => { values[place]! /= number })
  return { ...union.common, type, aggregator, values }
}

/** For each part, the places of its series among all series. */
type Places = ReadonlyArray<readonly number[]>

/** All series of several families' points, and the place of each original series among them. */
class Union<P extends Points> {
  readonly common: Omit<Points, 'type'>
  readonly parts: readonly P[]
  readonly #places: Places

  static * of<P extends Points> (parts: readonly P[]): Steps<Union<P>> {
    const namesOf = ({ labelNames, sharedLabels }: P): string[] => [...labelNames, ...Object.keys(sharedLabels)]
    const labelNames = [...new Set(parts.flatMap(namesOf))]
    const labelSets: Array<ReadonlyArray<string | undefined>> = []
    const known = new Map<string, number>()
    const places: number[][] = []
    for (const part of parts) {
      const valuesOf = aligner(part, labelNames)
      const ofPart: number[] = []
      for (const labelSet of part.labelSets) {
        if (ofPart.length % seriesPerStep === seriesPerStep - 1) yield
        const values = valuesOf(labelSet)
        const key = keyOf(values)
        let place = known.get(key)
        if (place === undefined) {
          place = labelSets.push(values) - 1
          known.set(key, place)
        }
        ofPart.push(place)
      }
      places.push(ofPart)
      yield
    }
    return new Union(parts, places, {
      name: parts[0]!.name,
      help: parts.map(({ help }) => help).reduce((a, b) => lesser(a, b)!),
      unit: parts.map(({ unit }) => unit).reduce(lesser),
      labelNames,
      labelSets,
      sharedLabels: {},
      startSeconds: yield * earliestOf(parts, places, labelSets.length),
      exemplars: yield * latestExemplars(parts, places)
    })
  }

  private constructor (parts: readonly P[], places: Places, common: Omit<Points, 'type'>) {
    this.parts = parts
    this.#places = places
    this.common = common
  }

  /** Calls a function for each series of each part, with the place of the series among all series. */
  * forEach (callback: (part: P, series: number, place: number) => void): Steps<void> {
    for (const [index, part] of this.parts.entries()) {
      const places = this.#places[index]!
      for (let series = 0; series < places.length; series++) {
        if (series % seriesPerStep === seriesPerStep - 1) yield
        callback(part, series, places[series]!)
      }
      yield
    }
  }

  /** Adds up one column. `width` is how many numbers each series has in this column. */
  * sum (column: (part: P) => Float64Array, width = 1): Steps<Float64Array> {
    const sums = new Float64Array(this.common.labelSets.length * width)
    yield * this.forEach((part, series, place) => {
      const numbers = column(part)
      for (let offset = 0; offset < width; offset++) sums[place * width + offset]! += numbers[series * width + offset]!
    })
    return sums
  }
}

function * earliestOf (parts: readonly Points[], places: Places, size: number): Steps<Float64Array | undefined> {
  if (parts.every(({ startSeconds }) => startSeconds === undefined)) return undefined
  const earliest = new Float64Array(size).fill(NaN)
  for (const [index, { startSeconds }] of parts.entries()) {
    startSeconds?.forEach((seconds, series) => {
      const place = places[index]![series]!
      if (!(earliest[place]! <= seconds)) earliest[place] = Number.isNaN(seconds) ? earliest[place]! : seconds
    })
    yield
  }
  return earliest
}

function * latestExemplars (parts: readonly Points[], places: Places): Steps<Exemplar[]> {
  const latest = new Map<string, Exemplar>()
  for (const [index, { exemplars }] of parts.entries()) {
    for (const exemplar of exemplars) {
      const series = places[index]![exemplar.series]!
      const key = `${series} ${exemplar.bucket}`
      const other = latest.get(key)
      if (other === undefined || isLater(exemplar, other)) latest.set(key, { ...exemplar, series })
    }
    yield
  }
  return [...latest.values()].sort((a, b) => a.series - b.series || a.bucket - b.bucket)
}

/** The keys of label sets that were merged before. From one scrape to the next most of them are the same objects. */
const keys = new WeakMap<ReadonlyArray<string | undefined>, string>()

/** A text that tells label sets apart. To Prometheus, a label that is empty is one that is not there. */
function keyOf (values: ReadonlyArray<string | undefined>): string {
  const known = keys.get(values)
  if (known !== undefined) return known
  let key = ''
  for (const value of values) key += !value ? ';' : `${value.length}:${value}`
  keys.set(values, key)
  return key
}

/** Returns a function that brings the label values of a part's series into the order of all label names. */
function aligner (
  { labelNames, sharedLabels }: Points, all: readonly string[]
): (labelSet: ReadonlyArray<string | undefined>) => ReadonlyArray<string | undefined> {
  if (isSame(labelNames, all)) return labelSet => labelSet
  const columns = all.map(name => labelNames.indexOf(name))
  // A label may have the name of what every object inherits.
  const shared = all.map(name => Object.hasOwn(sharedLabels, name) ? sharedLabels[name] : undefined)
  return labelSet => columns.map((column, index) => column === -1 ? shared[index] : labelSet[column])
}

/**
 * Whether one exemplar is to be preferred to another. If both have the same time, the choice does not depend on the
 * order in which they come.
 */
function isLater (a: Exemplar, b: Exemplar): boolean {
  const [timeOfA, timeOfB] = [a.timestampSeconds ?? -Infinity, b.timestampSeconds ?? -Infinity]
  if (timeOfA !== timeOfB) return timeOfA > timeOfB
  return a.value !== b.value ? a.value > b.value : sortedText(a.labels) > sortedText(b.labels)
}

function sortedText (labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort())
}

/** The alphabetically first of two texts. This choice does not depend on the order in which they are given. */
function lesser (a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return a < b ? a : b
}

export function hasSeries ({ labelSets }: Points): boolean {
  return labelSets.length > 0
}

export function isSame<T> (a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((value, index) => value === b[index])
}
