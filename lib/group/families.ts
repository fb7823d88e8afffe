import { namesOf } from '../exposition/sample-names'
import { isSame, mergeInSteps } from '../gather/merge'
import type { Points } from '../snapshot'

/** What members of a group have counted, as one. */
export interface Merged {
  readonly families: readonly Points[]
  /** The names of families that some members define in another way. What these have counted is left out. */
  readonly conflicts: ReadonlySet<string>
}

/** The names of metrics of a process. To add them up would hide which process has run out of something. */
const processName = /^(?:process|nodejs)_/

/** Gives the metrics of a process the label `worker`, with the slot of its member. */
export function labelled (families: readonly Points[], slot: number): Points[] {
  const worker = String(slot)
  return families.map(points => processName.test(points.name) && !points.labelNames.includes('worker')
    ? { ...points, sharedLabels: { ...points.sharedLabels, worker } }
    : points)
}

/** What outlives a process: all that it has counted, and nothing that only says how it was. */
export function countsIn (families: readonly Points[]): Points[] {
  return families.filter(({ type, name }) => type !== 'gauge' && type !== 'unknown' && !processName.test(name))
}

/**
 * Merges the families of several members, in steps. If two members define a family in different ways, as during a
 * deploy that changes buckets, the first of them wins. It also wins against families whose samples have the same names.
 *
 * To Prometheus, a counter that is lower than before is that of a process which has started again, even if it is lower
 * in its last digit only. So whoever merges members does it in the order of their slots: the last digit of a sum of
 * fractions depends on the order, and a counter would fall and leap when another member wins.
 */
export function * mergeFamilies (members: Iterable<readonly Points[]>): Generator<undefined, Merged> {
  const parts = new Map<string, [Points, ...Points[]]>()
  const owners = new Map<string, string>()
  const conflicts = new Set<string>()
  for (const families of members) {
    for (const points of families) {
      if (isOmitted(points)) continue
      const known = parts.get(points.name)
      if (known !== undefined && isAlike(known[0], points)) {
        known.push(points)
      } else if (namesOf(points).some(name => owners.has(name))) {
        conflicts.add(points.name)
      } else {
        parts.set(points.name, [points])
        for (const name of namesOf(points)) owners.set(name, points.name)
      }
    }
  }
  const families: Points[] = []
  for (const alike of parts.values()) {
    families.push(yield * mergeInSteps(alike))
    yield
  }
  return { families, conflicts }
}

/** Whether somebody wants no value for all processes. Metrics of a process have one for each. */
function isOmitted (points: Points): boolean {
  return 'aggregator' in points && points.aggregator === 'omit' && !processName.test(points.name)
}

/** Whether two families of one name can be merged. */
function isAlike (a: Points, b: Points): boolean {
  if (a.type !== 'histogram' || b.type !== 'histogram') return a.type === b.type
  return isSame(a.upperBounds, b.upperBounds)
}
