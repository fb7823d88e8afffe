import { mergeInSteps } from '../gather/merge'
import type { Points } from '../snapshot'
import { countsIn } from './families'

/**
 * What this process has left in groups: an application that closes leaves what it has counted to the others, and the
 * metrics of the user live on. If another application of the process joins, or the same one again, they are read again,
 * and what was left must not be counted twice.
 */
export interface LeftCounts {
  /** The identity of the group. What was left in it has gone with it. */
  readonly group: string
  /** The points that were left, by the metrics themselves. */
  readonly points: WeakMap<object, Points>
}

/** By the directories of groups. */
const left = new Map<string, LeftCounts>()

/** What this process has left in a group. Undefined: nothing, or the group has ended. */
export function leftIn (directory: string, group: string): LeftCounts | undefined {
  const counts = left.get(directory)
  return counts?.group === group ? counts : undefined
}

/** Notes that points of metrics were left in a group. */
export function leave (
  directory: string, group: string, metrics: ReadonlyMap<string, object>, families: Iterable<Points>
): void {
  const counts = leftIn(directory, group) ?? { group, points: new WeakMap() }
  for (const points of countsIn([...families])) {
    const metric = metrics.get(points.name)
    if (metric !== undefined) counts.points.set(metric, points)
  }
  left.set(directory, counts)
}

/** What metrics have counted since they were left, in steps. */
export function * sinceLeft (
  families: readonly Points[], metrics: ReadonlyMap<string, object>, { points: left }: LeftCounts
): Generator<undefined, Points[]> {
  const since: Points[] = []
  for (const points of families) {
    const metric = metrics.get(points.name)
    const before = metric && left.get(metric)
    if (before === undefined) {
      since.push(points)
      continue
    }
    // The series that are there come first. One that was removed meanwhile has less than was left of it.
    const less = yield * mergeInSteps([points, change(before, number => -number)])
    const isReset = numbersOf(less).subarray(0, numbersOf(points).length).some(number => number < 0)
    if (isReset) left.delete(metric!)
    since.push(isReset ? points : change(less, number => Math.max(number, 0)))
  }
  return since
}

/** Changes what was counted. */
function change (points: Points, by: (number: number) => number): Points {
  if ('values' in points) return { ...points, values: points.values.map(by) }
  const changed = { counts: points.counts.map(by), sums: points.sums.map(by) }
  if (points.type === 'summary') return { ...points, ...changed }
  const { native } = points
  return {
    ...points,
    ...changed,
    native: native && { ...native, zeroCounts: native.zeroCounts.map(by), counts: native.counts.map(by) }
  }
}

/** How much was counted. What does not count has nothing that could fall. */
export function totalOf (points: Points): number {
  if (points.type === 'gauge' || points.type === 'unknown') return 0
  return numbersOf(points).reduce((sum, number) => sum + number, 0)
}

function numbersOf (points: Points): Float64Array {
  return 'values' in points ? points.values : points.counts
}
