import { namesOf } from '../exposition/sample-names'
import { hasSeries, isSame, mergeInSteps } from '../gather/merge'
import type { Points, ValuePoints } from '../snapshot'

/** What members of a group have counted, as one. */
export interface Merged {
  readonly families: readonly Points[]
  /** The names of families that some members define in another way. What these have counted is left out. */
  readonly conflicts: ReadonlySet<string>
}

/** The names of metrics of a process. To add them up would hide which process has run out of something. */
const processName = /^(?:process|nodejs)_/

/** What a member has counted, or what one that has gone has left. */
export interface Share {
  readonly families: readonly Points[]
  readonly isOfGone: boolean
}

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
 * deploy that changes buckets, the first of them wins, and before all who have gone any who is there. It also wins
 * against families whose samples have the same names. Only who is there is in conflict: what those counted in another
 * way who have gone is over, also if they had no native buckets where all others have. A family without series is no
 * definition where another one has some.
 *
 * To Prometheus, a counter that is lower than before is that of a process which has started again, even if it is lower
 * in its last digit only. So whoever merges members does it in the order of their slots: the last digit of a sum of
 * fractions depends on the order, and a counter would fall and leap when another member wins.
 */
export function * mergeFamilies (shares: readonly Share[]): Generator<undefined, Merged> {
  const { definitions, conflicts } = define(shares)
  const parts = new Map<string, Part[]>()
  for (const { families, isOfGone } of shares) {
    for (const points of families) {
      const definition = definitions.get(points.name)
      if (definition === undefined || isOmitted(points) || !isAlike(definition, points)) continue
      const known = parts.get(points.name) ?? []
      parts.set(points.name, known)
      known.push({ points, isOfGone })
    }
  }
  const families: Points[] = []
  for (const alike of parts.values()) {
    families.push(yield * mergeInSteps(withoutFormer(alike) as [Points, ...Points[]]))
    yield
  }
  return { families, conflicts }
}

interface Part {
  readonly points: Points
  readonly isOfGone: boolean
}

/** Decides who defines each family. */
function define (shares: readonly Share[]): { definitions: Map<string, Points>, conflicts: Set<string> } {
  const definitions = new Map<string, Points>()
  const owners = new Set<string>()
  const conflicts = new Set<string>()
  const rank = ({ points, isOfGone }: Part): number => (hasSeries(points) ? 0 : 2) + Number(isOfGone)
  const parts = shares.flatMap(({ families, isOfGone }) => families.map(points => ({ points, isOfGone })))
  for (const { points, isOfGone } of parts.sort((a, b) => rank(a) - rank(b))) {
    const known = definitions.get(points.name)
    if (isOmitted(points) || (known !== undefined && isAlike(known, points))) continue
    if (!namesOf(points).some(name => owners.has(name))) {
      definitions.set(points.name, points)
      for (const name of namesOf(points)) owners.add(name)
    } else if (!isOfGone && hasSeries(points)) conflicts.add(points.name)
  }
  return { definitions, conflicts }
}

/**
 * Leaves out what those counted who have gone, and had no native buckets where all others have: there would be none for
 * ever.
 */
function withoutFormer (parts: readonly Part[]): Points[] {
  const isClassic = ({ points }: Part): boolean => points.type === 'histogram' && points.native === undefined
  const present = parts.filter(({ points, isOfGone }) => !isOfGone && hasSeries(points))
  const wanted = present.length === 0 || present.some(isClassic)
    ? parts
    : parts.filter(part => !part.isOfGone || !isClassic(part))
  return wanted.map(({ points }) => points)
}

/** Whether somebody wants no value for all processes. Metrics of a process have one for each. */
function isOmitted (points: Points): boolean {
  return 'aggregator' in points && points.aggregator === 'omit' && !processName.test(points.name)
}

/** Adds up what was counted one after the other, in steps. How the values of processes become one is another matter. */
export function * addUp (first: Points, second: Points): Generator<undefined, Points> {
  if (!('values' in first)) return yield * mergeInSteps([first, second])
  const sum = yield * mergeInSteps([{ ...first, aggregator: 'sum' }, second])
  return { ...sum as ValuePoints, aggregator: first.aggregator }
}

/** Whether two families of one name can be merged. */
export function isAlike (a: Points, b: Points): boolean {
  if (a.type !== 'histogram' || b.type !== 'histogram') return a.type === b.type
  return !hasSeries(a) || !hasSeries(b) || isSame(a.upperBounds, b.upperBounds)
}
