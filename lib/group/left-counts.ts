import { hasSeries } from '../gather/merge'
import type { Points, ValuePoints } from '../snapshot'
import { addUp, isAlike, numbersOf } from './families'

type Steps<T> = Generator<undefined, T>

/**
 * What this process has in a group, by the metrics themselves. Several applications of a process may have a metric, as
 * they all have those of the global registry: one member counts it. And an application that closes leaves what it has
 * counted to the others, while the metrics of the user live on. If another member of the process counts them, because
 * it is there or because it joins later, what was left must not be counted twice.
 */
export interface ProcessCounts<Owner extends object = object> {
  /** The identity of the group. What was left in another one has gone with it. */
  group: string
  readonly left: WeakMap<object, Points>
  readonly owners: WeakMap<object, Owner>
}

/** By the directories of groups. */
const ofDirectories = new Map<string, ProcessCounts>()

/** What this process has in a group. */
export function countsOfProcess<Owner extends object> (directory: string, group: string): ProcessCounts<Owner> {
  let counts = ofDirectories.get(directory)
  if (counts?.group !== group) {
    counts = { group, left: new WeakMap(), owners: new WeakMap() }
    ofDirectories.set(directory, counts)
  }
  return counts as ProcessCounts<Owner>
}

/** What metrics have counted since they were left, in steps. */
export function * sinceLeft (
  families: readonly Points[], metrics: ReadonlyMap<string, object>, { left }: ProcessCounts
): Steps<Points[]> {
  const since: Points[] = []
  for (const points of families) {
    const metric = metrics.get(points.name)
    const before = metric && left.get(metric)
    if (before === undefined) {
      since.push(points)
    } else if (!hasSeries(points) || !hasSeries(before) || !isAlike(points, before)) {
      // Nothing that is there was left, and what was left is there no more.
      left.delete(metric!)
      since.push(points)
    } else {
      const counting = yield * withoutReset(before, points)
      left.set(metric!, counting)
      since.push(change(yield * subtract(points, counting), number => Math.max(number, 0)))
    }
  }
  return since
}

/** What was left of a metric, with 0 for each series that has begun anew: it has counted less than was left of it. */
function * withoutReset (before: Points, points: Points): Steps<Points> {
  // The series that are there come first. One that was removed meanwhile has less than was left of it, too.
  const less = numbersOf(yield * subtract(points, before))
  const width = numbersOf(points).length / points.labelSets.length
  const isReset = (series: number): boolean => less.subarray(series * width, (series + 1) * width).some(isNegative)
  if (!less.subarray(0, numbersOf(points).length).some(isNegative)) return before
  const places = yield * addUp(numbered(points, () => 0), numbered(before, series => series + 1)) as Steps<ValuePoints>
  const reset = new Set(Array.from(places.values.subarray(0, points.labelSets.length), (place, series) =>
    isReset(series) ? place - 1 : -1))
  return change(before, (number, series) => reset.has(series) ? 0 : number)
}

function isNegative (number: number): boolean {
  return number < 0
}

/** A number for each series of a metric. */
function numbered (points: Points, by: (series: number) => number): ValuePoints {
  const values = Float64Array.from(points.labelSets, (_, series) => by(series))
  return { ...points, type: 'unknown', aggregator: 'sum', exemplars: [], startSeconds: undefined, values }
}

function subtract (points: Points, before: Points): Steps<Points> {
  return addUp(points, change(before, number => -number))
}

/** Changes what was counted. */
function change (points: Points, by: (number: number, series: number) => number): Points {
  if ('values' in points) return { ...points, values: points.values.map(by) }
  const width = points.counts.length / points.labelSets.length
  const changed = {
    counts: points.counts.map((count, index) => by(count, Math.floor(index / width))), sums: points.sums.map(by)
  }
  if (points.type === 'summary') return { ...points, ...changed }
  const { native } = points
  if (native === undefined) return { ...points, ...changed }
  let series = 0
  const counts = native.counts.map((count, index) => {
    while (index >= native.ends[series]!) series++
    return by(count, series)
  })
  return { ...points, ...changed, native: { ...native, zeroCounts: native.zeroCounts.map(by), counts } }
}
