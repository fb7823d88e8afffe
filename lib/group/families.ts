import { namesOf } from '../exposition/sample-names'
import { hasSeries, isSame, mergeInSteps } from '../gather/merge'
import type { Gathered, Points, ValuePoints } from '../snapshot'

type Steps<T> = Generator<undefined, T>

/** What members of a group have counted, as one. */
export interface Merged {
  readonly families: readonly Points[]
  /** The names of families that some members define in another way. What these have counted is left out. */
  readonly conflicts: ReadonlySet<string>
}

/** The names of metrics of a process. To add them up would hide which process has run out of something. */
const processName = /^(?:process|nodejs)_/

/** What somebody has counted in one way who has gone. */
export interface Former {
  readonly points: Points
  /** When it was saved last, in milliseconds since 1970. */
  readonly writtenMs: number
}

/** What a member tells: what it has counted itself, and apart from that what those had who had its slot before. */
export interface Told extends Gathered {
  readonly former: readonly Former[]
  /**
   * When it was counted, in milliseconds since 1970, and later than all that was told before it of the slot. Of two
   * that are told, the later one is newer, even if the clock was set back in between.
   */
  readonly countedMs: number
}

/** What somebody tells who has counted nothing. */
export const nothing: Told = { families: [], former: [], failures: [], leftOut: [], countedMs: 0 }

/** What is known of a slot. */
export interface Share extends Pick<Told, 'families' | 'former'> {
  /** When the member of the slot was there last, in milliseconds since 1970. `Infinity`: it is there. */
  readonly writtenMs: number
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

/** In how many ways a slot knows what was counted in one family. To know more would take room for what nobody sees. */
const mostDefinitions = 8

/**
 * Adds what somebody counted whose slot another one has now to what is carried on in it, in steps. What was counted in
 * another way, with other buckets or without native ones, stays apart: which way is shown is for all members to decide.
 */
export function * carryOn ({ families, former, writtenMs }: Share): Steps<Map<string, readonly Former[]>> {
  const all = new Map<string, readonly Former[]>()
  for (const one of former) all.set(one.points.name, [...all.get(one.points.name) ?? [], one])
  for (const points of families) {
    const known = (all.get(points.name) ?? []).filter(one => hasSeries(one.points))
    if (known.length > 0 && !hasSeries(points)) continue
    const before = known.find(one => isAlike(one.points, points) && isNative(one.points) === isNative(points))
    const sum = before === undefined ? points : yield * addUp(points, before.points)
    all.set(points.name, [...withoutLeast(known.filter(one => one !== before)), { points: sum, writtenMs }])
  }
  return all
}

/** All of some definitions but, if there are too many for another one, that which has counted least. */
function withoutLeast (known: readonly Former[]): readonly Former[] {
  if (known.length < mostDefinitions) return known
  const least = known.reduce((least, one) => totalOf(one.points) < totalOf(least.points) ? one : least)
  return known.filter(one => one !== least)
}

/**
 * Merges what is known of several slots, in steps. If two members define a family in different ways, as during a deploy
 * that changes buckets, the first of them wins, and before all who have gone any who is there. Of those who have gone,
 * who was there last. It also wins against families whose samples have the same names. Only who is there is in
 * conflict: what those counted in another way who have gone is over, also if they had no native buckets where all
 * others have. A family without series is no definition where another one has some.
 *
 * To Prometheus, a counter that is lower than before is that of a process which has started again, even if it is lower
 * in its last digit only. So whoever merges members does it in the order of their slots, and each slot first: the last
 * digit of a sum of fractions depends on the order, and a counter would fall and leap when another member wins, or has
 * gone and what it had counted is carried on.
 */
export function * mergeFamilies (shares: readonly Share[]): Steps<Merged> {
  const slots: Array<Map<string, readonly Former[]>> = []
  for (const share of shares) slots.push(yield * carryOn(share))
  const { definitions, conflicts } = define(slots.flatMap(slot => [...slot.values()].flat()))
  const families: Points[] = []
  for (const name of new Set(slots.flatMap(slot => [...slot.keys()]))) {
    const definition = definitions.get(name)
    if (definition === undefined) continue
    const alike = slots.map(slot => (slot.get(name) ?? []).filter(({ points }) =>
      !isOmitted(points) && isAlike(definition, points)))
    const isOver = areNative(definition, alike.flat()) ? ({ points }: Former) => !isNative(points) : () => false
    const sums: Points[] = []
    for (const ofSlot of alike) {
      const [first, second] = ofSlot.filter(one => !isOver(one)).map(({ points }) => points)
      if (first !== undefined) sums.push(second === undefined ? first : yield * addUp(first, second))
    }
    const [first, ...others] = sums as [Points, ...Points[]]
    families.push(yield * mergeInSteps([definedAs(definition, first), ...others]))
    yield
  }
  return { families, conflicts }
}

/** Decides who defines each family. */
function define (all: readonly Former[]): { definitions: Map<string, Points>, conflicts: Set<string> } {
  const definitions = new Map<string, Points>()
  const owners = new Set<string>()
  const conflicts = new Set<string>()
  // The difference of two who are there is not a number.
  const ranked = [...all].sort((a, b) =>
    Number(hasSeries(b.points)) - Number(hasSeries(a.points)) || b.writtenMs - a.writtenMs || 0)
  for (const { points, writtenMs } of ranked) {
    const known = definitions.get(points.name)
    if (isOmitted(points) || (known !== undefined && isAlike(known, points))) continue
    if (!namesOf(points).some(name => owners.has(name))) {
      definitions.set(points.name, points)
      for (const name of namesOf(points)) owners.add(name)
    } else if (isThere({ points, writtenMs })) conflicts.add(points.name)
  }
  return { definitions, conflicts }
}

/**
 * Whether all have native buckets who are there, or if none of them has counted anything, who was there last. Those who
 * have gone, and had none, are over then: there would be none for ever.
 */
function areNative (definition: Points, alike: readonly Former[]): boolean {
  const there = alike.filter(isThere)
  return there.length === 0 ? isNative(definition) : there.every(({ points }) => isNative(points))
}

/** Whether somebody is there who has counted something. */
function isThere ({ points, writtenMs }: Former): boolean {
  return writtenMs === Infinity && hasSeries(points)
}

function isNative (points: Points): boolean {
  return points.type === 'histogram' && points.native !== undefined
}

/** The values of several slots become one in the way of who defines the family. */
function definedAs (definition: Points, points: Points): Points {
  return 'aggregator' in definition ? { ...points as ValuePoints, aggregator: definition.aggregator } : points
}

/** Whether somebody wants no value for all processes. Metrics of a process have one for each. */
function isOmitted (points: Points): boolean {
  return 'aggregator' in points && points.aggregator === 'omit' && !processName.test(points.name)
}

/** Adds up what was counted one after the other, in steps. How the values of processes become one is another matter. */
export function * addUp (first: Points, second: Points): Steps<Points> {
  if (!('values' in first)) return yield * mergeInSteps([first, second])
  const sum = yield * mergeInSteps([{ ...first, aggregator: 'sum' }, second])
  return { ...sum as ValuePoints, aggregator: first.aggregator }
}

/** Whether two families of one name can be merged. */
export function isAlike (a: Points, b: Points): boolean {
  if (a.type !== 'histogram' || b.type !== 'histogram') return a.type === b.type
  return !hasSeries(a) || !hasSeries(b) || isSame(a.upperBounds, b.upperBounds)
}

/** How much was counted. What does not count has nothing that could fall. */
export function totalOf (points: Points): number {
  if (points.type === 'gauge' || points.type === 'unknown') return 0
  return numbersOf(points).reduce((sum, number) => sum + number, 0)
}

/** The counts or values of a family. */
export function numbersOf (points: Points): Float64Array {
  return 'values' in points ? points.values : points.counts
}
