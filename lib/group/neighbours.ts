import { isAskedFor } from '../exposition/sample-names'
import type { GatherRequest, Points } from '../snapshot'
import { Neighbour } from './ask'
import { countsIn, nothing, type Former, type Told } from './families'
import { LabelLists } from './label-lists'
import type { MemberOptions } from './member'
import { load } from './slot-file'
import { fileOf, keepMs, listSlots, socketOf } from './slots'

/** What is known of one slot: of its member, or of its file. */
export interface Part {
  readonly state: 'fresh' | 'stale' | 'gone'
  readonly gathered: Told
  /** For how long nobody has told more, in seconds. */
  readonly ageSeconds: number
  /** When the member was there last, in milliseconds since 1970. `Infinity`: it is there. */
  readonly writtenMs: number
}

/** What is known of one family of a slot. */
interface Known {
  readonly families: Points[]
  readonly former: Former[]
  readonly countedMs: number
}

/** The codes of errors of a process that has run out of something. They say nothing about what it could not open. */
const exhaustedCodes: ReadonlyArray<string | undefined> = ['EMFILE', 'ENFILE', 'ENOMEM']

/**
 * How long a slot that is in the listing no more is taken for one of the group, in milliseconds: if somebody removes
 * the directory, its members come back one after the other.
 */
const missingForMs = 2 * keepMs

/** The slots of a group, and what is known of those that other members have, or had. */
export class Neighbours {
  readonly #directory: string
  readonly #options: Pick<MemberOptions, 'slices' | 'failed'>
  /** The other members, by their slots. */
  readonly #neighbours = new Map<number, Neighbour>()
  readonly #labels = new LabelLists()
  /** The slots of the group, and since when each is in the listing no more, by the clock of this process. */
  readonly #slots = new Map<number, number | undefined>()
  /** What was counted last of each family of the other slots, as they or their files have told. */
  readonly #known = new Map<number, Map<string, Known>>()

  constructor (directory: string, options: Pick<MemberOptions, 'slices' | 'failed'>) {
    this.#directory = directory
    this.#options = options
  }

  /** The slots of the group. If they cannot be listed now, they are those of the last time. */
  async listSlots (): Promise<number[]> {
    try {
      const listed = await listSlots(this.#directory)
      const now = performance.now()
      for (const slot of listed) this.#slots.set(slot, undefined)
      for (const [slot, missingMs = now] of this.#slots) {
        if (listed.includes(slot)) continue
        this.#slots.set(slot, missingMs)
        if (this.#known.has(slot) && now - missingMs <= missingForMs) continue
        this.#slots.delete(slot)
        this.#known.delete(slot)
      }
    } catch (error) {
      if (this.#slots.size === 0) throw error
      this.#options.failed('its directory', error as Error)
    }
    return [...this.#slots.keys()]
  }

  /**
   * What the member of a slot says; or its file, if it says nothing; or what either has said before, if neither can be
   * read. Undefined: there is nothing that could be shown. Rejects if that is not known.
   */
  async read (slot: number, request: GatherRequest): Promise<Part | undefined> {
    let state: Part['state'] = 'gone'
    try {
      const gathered = await this.#neighbour(slot).ask(request)
      if (gathered !== undefined) {
        this.#know(slot, gathered, request.names)
        return { state: 'fresh', gathered, ageSeconds: 0, writtenMs: Infinity }
      }
    } catch (error) {
      state = 'stale'
      this.#options.failed(`member ${slot}`, error as Error)
    }
    const known = await this.#load(slot)
    if (known === undefined) return undefined
    const { countedMs } = known
    if (state === 'stale') {
      const ageSeconds = Math.max(0, Date.now() - countedMs) / 1000
      return { state, gathered: known, ageSeconds, writtenMs: Infinity }
    }
    return { state, gathered: { ...known, families: countsIn(known.families) }, ageSeconds: 0, writtenMs: countedMs }
  }

  /** Waits no more for members that hang. */
  forget (): void {
    for (const neighbour of this.#neighbours.values()) neighbour.forget()
  }

  #neighbour (slot: number): Neighbour {
    const address = socketOf(this.#directory, slot)
    const neighbour = this.#neighbours.get(slot) ?? new Neighbour(address, this.#options.slices, this.#labels)
    this.#neighbours.set(slot, neighbour)
    return neighbour
  }

  /** Reads the file of a slot. Resolves to what is known of the slot then. */
  async #load (slot: number): Promise<Told | undefined> {
    try {
      const saved = await load(fileOf(this.#directory, slot), this.#options.slices)
      if (saved !== undefined) this.#know(slot, saved)
    } catch (error) {
      const isKnown = this.#known.has(slot)
      if (!isKnown && exhaustedCodes.includes((error as NodeJS.ErrnoException).code)) throw error
      this.#options.failed(`file ${slot}`, error as Error)
      if (!isKnown) return undefined
    }
    const known = [...this.#known.get(slot)?.values() ?? []]
    // What could not be read, and cannot be shown, is so no more.
    return {
      ...nothing,
      families: known.flatMap(({ families }) => families),
      former: known.flatMap(({ former }) => former),
      countedMs: known.length === 0 ? Date.now() : Math.max(...known.map(({ countedMs }) => countedMs))
    }
  }

  /** Notes what a slot has counted, unless what is known was counted later. Without `names`, that is all. */
  #know (slot: number, { families, former, countedMs }: Told, names?: ReadonlySet<string>): void {
    const known = this.#known.get(slot) ?? new Map<string, Known>()
    this.#known.set(slot, known)
    const told = new Map<string, Known>()
    const one = ({ name }: Points): Known => {
      if (!told.has(name)) told.set(name, { families: [], former: [], countedMs })
      return told.get(name)!
    }
    for (const points of families) one(points).families.push(points)
    for (const before of former) one(before.points).former.push(before)
    for (const [name, { families, former, countedMs: knownMs }] of known) {
      const points = [...families, ...former.map(({ points }) => points)]
      const isOver = !told.has(name) && (names === undefined || points.some(points => isAskedFor(points, names)))
      if (isOver && knownMs <= countedMs) known.delete(name)
    }
    for (const [name, one] of told) if ((known.get(name) ?? one).countedMs <= countedMs) known.set(name, one)
  }
}
