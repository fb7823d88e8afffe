import { isAskedFor } from '../exposition/sample-names'
import type { GatherRequest } from '../snapshot'
import { Neighbour } from './ask'
import { countsIn, type Told } from './families'
import { LabelLists } from './label-lists'
import type { MemberOptions } from './member'
import { load, type Saved } from './slot-file'
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

const nothing: Told = { families: [], former: [], failures: [], leftOut: [] }

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
  /** What was last known of the other slots, for when they cannot be read. */
  readonly #known = new Map<number, Saved>()

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
        this.#know(slot, gathered, Date.now(), request.names)
        return { state: 'fresh', gathered, ageSeconds: 0, writtenMs: Infinity }
      }
    } catch (error) {
      state = 'stale'
      this.#options.failed(`member ${slot}`, error as Error)
    }
    const saved = await this.#load(slot)
    if (saved === undefined) return undefined
    const { told, writtenMs } = saved
    // What could not be read, and cannot be shown, is so no more.
    const gathered = { ...told, failures: [], leftOut: [] }
    if (state === 'stale') {
      return { state, gathered, ageSeconds: Math.max(0, Date.now() - writtenMs) / 1000, writtenMs: Infinity }
    }
    const left = { ...gathered, families: countsIn(told.families) }
    this.#know(slot, left, writtenMs)
    return { state, gathered: left, ageSeconds: 0, writtenMs }
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

  async #load (slot: number): Promise<Saved | undefined> {
    const known = this.#known.get(slot)
    try {
      const saved = await load(fileOf(this.#directory, slot), this.#options.slices)
      if (saved === undefined) return known ?? { told: nothing, writtenMs: Date.now() }
      // A member that cannot save, because the disk is full, has told more since.
      return known !== undefined && known.writtenMs > saved.writtenMs ? overlay(saved, known) : saved
    } catch (error) {
      if (known === undefined && exhaustedCodes.includes((error as NodeJS.ErrnoException).code)) throw error
      this.#options.failed(`file ${slot}`, error as Error)
      return known
    }
  }

  /** Notes what a slot has counted. Without `names`, that is all. */
  #know (slot: number, { families, former }: Told, writtenMs: number, names?: ReadonlySet<string>): void {
    const before = names === undefined ? nothing : this.#known.get(slot)?.told ?? nothing
    const others = before.families.filter(points => !isAskedFor(points, names!))
    const otherFormer = before.former.filter(({ points }) => !isAskedFor(points, names!))
    const told = { ...nothing, families: [...others, ...families], former: [...otherFormer, ...former] }
    this.#known.set(slot, { told, writtenMs })
  }
}

/** What was saved, with what is known of later in its place. */
function overlay ({ told: { families, former } }: Saved, { told: later, writtenMs }: Saved): Saved {
  const names = new Set([...later.families, ...later.former.map(({ points }) => points)].map(({ name }) => name))
  const told = {
    ...later,
    families: [...families.filter(({ name }) => !names.has(name)), ...later.families],
    former: [...former.filter(({ points }) => !names.has(points.name)), ...later.former]
  }
  return { told, writtenMs }
}
