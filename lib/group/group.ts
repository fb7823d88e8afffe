import { isAskedFor } from '../exposition/sample-names'
import type { Gathered, GatherRequest, ValuePoints } from '../snapshot'
import { ask } from './ask'
import { countsIn, mergeFamilies } from './families'
import { Member, type MemberOptions } from './member'
import { load } from './slot-file'
import { fileOf, listSlots, socketOf } from './slots'

/** What is known of one slot: of its member, or of its file. */
interface Part {
  readonly state: 'fresh' | 'stale' | 'gone'
  readonly gathered: Gathered
  /** For how long nobody has told more, in seconds. */
  readonly ageSeconds: number
}

const nothing: Gathered = { families: [], failures: [], leftOut: [] }

/** The metrics about a group. */
export const groupMetrics = {
  members: {
    type: 'gauge',
    name: 'fastify_latency_group_members',
    help: 'Members of the group: fresh ones have answered, stale ones have not, and the counts of gone ones are kept.'
  },
  age: {
    type: 'gauge',
    name: 'fastify_latency_group_oldest_seconds',
    help: 'Age of the oldest counts of a stale member, in seconds.'
  },
  conflicts: {
    type: 'gauge',
    name: 'fastify_latency_group_conflicts',
    help: 'Metric families that some member defines in another way; what it has counted in them is left out.'
  },
  unreadable: {
    type: 'gauge',
    name: 'fastify_latency_group_unreadable',
    help: 'Members and files of the group whose counts are left out because they could not be read.'
  }
} as const

/** A group, as one of its members sees it. */
export class Group {
  readonly #options: MemberOptions
  readonly #member: Member
  /** The reading that has not begun yet. */
  #next: Promise<Gathered> | undefined
  #last: Promise<unknown> = Promise.resolve()

  static async join (options: MemberOptions): Promise<Group> {
    return new Group(options, await Member.join(options))
  }

  private constructor (options: MemberOptions, member: Member) {
    this.#options = options
    this.#member = member
  }

  /** The slot of this member. */
  get slot (): number {
    return this.#member.slot.number
  }

  /** Gathers what all members have counted. */
  readonly gather = async ({ names, timeoutMs }: GatherRequest): Promise<Gathered> => {
    this.#next ??= this.#last.then(async () => {
      this.#next = undefined
      const reading = this.#gatherAll(timeoutMs)
      this.#last = reading
      return reading
    })
    const gathered = await this.#next
    if (names === undefined) return gathered
    return { ...gathered, families: gathered.families.filter(points => isAskedFor(points, names)) }
  }

  async leave (): Promise<void> {
    await this.#member.leave()
  }

  async #gatherAll (timeoutMs: number): Promise<Gathered> {
    const slots = (await this.#listSlots()).filter(slot => slot !== this.slot)
    const [{ gathered }, ...parts] = await Promise.all([
      this.#member.read(timeoutMs), ...slots.map(async slot => this.#part(slot, timeoutMs))
    ])
    const known = parts.filter(part => part !== undefined)
    const all = [gathered, ...known.map(({ gathered }) => gathered)]
    const { families, conflicts } = mergeFamilies(all.map(({ families }) => families))
    const failures = new Map(all.flatMap(({ failures }) => failures).map(failure => [failure.name, failure]))
    const count = (state: Part['state']): number => known.filter(part => part.state === state).length
    return {
      families: [
        ...families,
        gauge(groupMetrics.members, ['state'], [['fresh'], ['stale'], ['gone']],
          [1 + count('fresh'), count('stale'), count('gone')]),
        gauge(groupMetrics.age, [], [[]], [Math.max(0, ...known.map(({ ageSeconds }) => ageSeconds))]),
        gauge(groupMetrics.conflicts, [], [[]], [conflicts.size]),
        gauge(groupMetrics.unreadable, [], [[]], [parts.length - known.length])
      ],
      failures: [...failures.values()],
      leftOut: [...new Set(all.flatMap(({ leftOut }) => leftOut))]
    }
  }

  async #listSlots (): Promise<number[]> {
    try {
      return await listSlots(this.#options.directory)
    } catch (error) {
      this.#options.failed('directory', error as Error)
      return []
    }
  }

  /** What the member of a slot says, or its file if it says nothing. Undefined: neither can be read. */
  async #part (slot: number, timeoutMs: number): Promise<Part | undefined> {
    const { directory, failed } = this.#options
    let state: Part['state'] = 'gone'
    try {
      const gathered = await ask(socketOf(directory, slot), timeoutMs)
      if (gathered !== undefined) return { state: 'fresh', gathered, ageSeconds: 0 }
    } catch (error) {
      state = 'stale'
      failed(`member ${slot}`, error as Error)
    }
    try {
      const saved = await load(fileOf(directory, slot))
      const { gathered, writtenMs } = saved ?? { gathered: nothing, writtenMs: Date.now() }
      return state === 'stale'
        ? { state, gathered, ageSeconds: Math.max(0, Date.now() - writtenMs) / 1000 }
        : { state, gathered: { ...nothing, families: countsIn(gathered.families) }, ageSeconds: 0 }
    } catch (error) {
      failed(`file ${slot}`, error as Error)
      return undefined
    }
  }
}

function gauge (
  { type, name, help }: typeof groupMetrics[keyof typeof groupMetrics], labelNames: readonly string[],
  labelSets: ReadonlyArray<readonly string[]>, values: readonly number[]
): ValuePoints {
  return {
    type,
    name,
    help,
    aggregator: 'first',
    unit: undefined,
    labelNames,
    labelSets,
    sharedLabels: {},
    startSeconds: undefined,
    exemplars: [],
    values: Float64Array.from(values)
  }
}
