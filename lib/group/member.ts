import type { Socket } from 'node:net'
import { isAskedFor } from '../exposition/sample-names'
import type { Gathered, Gatherer, GatherRequest, Points } from '../snapshot'
import { inSlices, runAtOnce, type TimeSlices } from '../time-slices'
import { clearTimeout, setTimeout, type Timer } from '../timers'
import { answer } from './ask'
import { encode, encodeInSteps } from './encoding'
import { countsIn, labelled, mergeFamilies } from './families'
import { leave, leftIn, sinceLeft, totalOf, type LeftCounts } from './left-counts'
import { load, save, saveAtOnce } from './slot-file'
import { fileOf, leaveSlot, takeSlot, takeSlotAgain, type Slot } from './slots'

/** How often counts are saved, in milliseconds. */
const saveMs = 1000

/** How long a metric may take that is read in order to be saved, in milliseconds. */
const savedInMs = 500

/**
 * The members of this process, which share a listener: Node.js warns of more than ten. A worker thread has its own.
 */
const present = new Set<Member>()

export interface MemberOptions {
  readonly directory: string
  /** Reads the metrics of this process. */
  readonly gather: Gatherer
  /** The names of the metrics that are saved once a second: of those that can be read without asking anybody else. */
  readonly counts: () => Promise<ReadonlySet<string>>
  /** Reads those of these metrics that can be read at once. Labels that all series of a metric share may be missing. */
  readonly countsAtOnce: () => Iterable<Points>
  /** The metrics that count, by their names. Those that live on when the application has closed are among them. */
  readonly metrics: () => ReadonlyMap<string, object>
  readonly slices: TimeSlices
  /** Called with each problem of this member, its file or the one that is carried on, and what it is about. */
  readonly failed: (subject: string, error: Error) => void
}

/** The points of a metric, and when they were noted: how many times something had been noted until then. */
interface Noted {
  readonly points: Points
  readonly when: number
}

/** What a member has counted, together with those who had its slot before, and its bytes. */
export interface Reading {
  readonly gathered: Gathered
  readonly bytes: Buffer
}

/**
 * A member of a group. It answers others who ask for what it has counted, and saves that in the file of its slot, so
 * that the counts outlive it: before anybody sees them, once a second, and when it goes.
 */
export class Member {
  readonly #options: MemberOptions
  #slot: Slot
  #file: string
  /** What those had counted who had the slot before. */
  readonly #carried: readonly Points[]
  /** What this process has left in the group before this member came. It is somewhere among what is carried on. */
  readonly #left: LeftCounts | undefined
  /** What was read last of each metric, by name. */
  readonly #latest = new Map<string, Noted>()
  /** How many times something was noted. */
  #notes = 0
  #saved: Buffer = Buffer.alloc(0)
  #saving: Timer | undefined
  /** Resolves when all is merged and saved that was noted before. */
  #last: Promise<unknown> = Promise.resolve()
  /** The readings that are noted, and wait for being merged, by what they tell. */
  readonly #waiting = new Map<string, Promise<Reading>>()
  #isLeaving = false
  /** Whether the file of the slot may be that of another member. */
  #hasLeft = false

  /** Joins the group of a directory. */
  static async join (options: MemberOptions): Promise<Member> {
    let joined: (member: Member) => void
    const joining = new Promise<Member>(resolve => { joined = resolve })
    const slot = await takeSlot(options.directory, async socket => (await joining).#answer(socket))
    const member = new Member(options, slot, await carriedOn(options, slot))
    joined!(member)
    return member
  }

  private constructor (options: MemberOptions, slot: Slot, carried: readonly Points[]) {
    this.#slot = slot
    this.#options = options
    this.#file = fileOf(options.directory, slot.number)
    this.#carried = carried
    this.#left = leftIn(options.directory, slot.group)
    this.#keepSaving()
    if (present.size === 0) process.on('exit', Member.#saveAllAtExit)
    present.add(this)
  }

  get slot (): number {
    return this.#slot.number
  }

  /** Whether others find this member. */
  async isThere (): Promise<boolean> {
    return this.#slot.listener.isThere()
  }

  /**
   * Comes back into a directory in which others do not find this member any more. Resolves to whether it has: if
   * another process carries on what it has counted, it is in the group no more.
   */
  async comeBack (): Promise<boolean> {
    const slot = await takeSlotAgain(this.#options.directory, this.#slot, socket => this.#answer(socket))
    if (slot === undefined) {
      this.#stop()
      return false
    }
    this.#slot = slot
    this.#file = fileOf(this.#options.directory, slot.number)
    this.#saved = Buffer.alloc(0)
    return true
  }

  #answer (socket: Socket): void {
    answer(socket, async request => {
      try {
        return (await this.read(request)).bytes
      } catch (error) {
        // Whoever asks is only hung up on.
        this.#options.failed('answering others', error as Error)
        throw error
      }
    })
  }

  /**
   * Reads metrics, and saves them before anybody sees them. A metric may take long, and nobody waits for it but those
   * who ask for it: only what was read is merged and saved in turn. All who have read the same by then share that.
   */
  async read (request: GatherRequest): Promise<Reading> {
    const { names } = request
    const gathered = await this.#gather(request)
    const { failures, leftOut } = gathered
    const key = JSON.stringify([names && [...names], failures, leftOut])
    let reading = this.#waiting.get(key)
    if (reading === undefined) {
      reading = this.#inTurn(() => {
        this.#waiting.delete(key)
        return this.#merge(gathered, names)
      })
      this.#waiting.set(key, reading)
    }
    return reading
  }

  /** Leaves the group. What was counted is saved before. */
  async leave (): Promise<void> {
    this.#isLeaving = true
    try {
      // The first one may share what somebody else has begun to read a while ago, the second one does not.
      await this.#noteCounts()
      await this.#saveCounts()
      leave(this.#options.directory, this.#slot.group, this.#options.metrics(), this.#own())
    } catch (error) {
      this.#options.failed('save', error as Error)
    }
    this.#stop()
    await leaveSlot(this.#options.directory, this.#slot).catch(error => this.#options.failed('leave', error))
  }

  #stop (): void {
    this.#isLeaving = true
    this.#hasLeft = true
    clearTimeout(this.#saving)
    present.delete(this)
    if (present.size === 0) process.off('exit', Member.#saveAllAtExit)
  }

  async #inTurn<T> (work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => {})
    return done
  }

  /** Merges what is noted, and saves it. `gathered` has been noted, and tells what could not be read. */
  async #merge ({ failures, leftOut }: Gathered, names: GatherRequest['names']): Promise<Reading> {
    const { slices } = this.#options
    const all = { families: await inSlices(this.#merged(), slices), failures, leftOut }
    const bytes = await inSlices(encodeInSteps(all), slices)
    await this.#save(bytes)
    if (names === undefined) return { gathered: all, bytes }
    const gathered = { ...all, families: all.families.filter(points => isAskedFor(points, names)) }
    return { gathered, bytes: await inSlices(encodeInSteps(gathered), slices) }
  }

  async #saveCounts (): Promise<void> {
    await this.#noteCounts()
    const { slices } = this.#options
    await this.#inTurn(async () => {
      const merged = await inSlices(this.#merged(), slices)
      const bytes = await inSlices(encodeInSteps({ families: merged, failures: [], leftOut: [] }), slices)
      if (!bytes.equals(this.#saved)) await this.#save(bytes)
    })
  }

  async #noteCounts (): Promise<void> {
    await this.#gather({ names: await this.#options.counts(), timeoutMs: savedInMs })
  }

  /** Reads metrics, and notes them. */
  async #gather (request: GatherRequest): Promise<Gathered> {
    const notesBefore = this.#notes
    const gathered = await this.#options.gather(request)
    this.#note(gathered, request.names, notesBefore)
    return gathered
  }

  /**
   * Notes what was read, since `notesBefore` things had been noted. What others have noted meanwhile may be newer, or
   * older: the counter that counts more is, so that none of them falls.
   */
  #note ({ families, failures, leftOut }: Gathered, names: GatherRequest['names'], notesBefore: number): void {
    const when = ++this.#notes
    const found = new Set(families.map(({ name }) => name))
    const kept: Points[] = []
    const failed = new Set([...failures.map(({ name }) => name), ...leftOut])
    for (const [name, noted] of this.#latest) {
      if (names !== undefined || found.has(name) || noted.when > notesBefore) continue
      // What is not there any more, when all is asked for, is forgotten.
      this.#latest.delete(name)
      // What cannot be read this time is there. It does not come before others whose samples have the same names.
      if (failed.has(name)) kept.push(...countsIn([noted.points]))
    }
    for (const points of families) {
      const noted = this.#latest.get(points.name)
      if (noted !== undefined && noted.when > notesBefore && totalOf(noted.points) > totalOf(points)) continue
      this.#latest.set(points.name, { points, when })
    }
    for (const points of kept) this.#latest.set(points.name, { points, when })
  }

  #noteAtOnce (points: Points): void {
    const { sharedLabels } = this.#latest.get(points.name)?.points ?? points
    this.#latest.set(points.name, { points: { ...points, sharedLabels }, when: this.#notes })
  }

  * #merged (): Generator<undefined, readonly Points[]> {
    const read = this.#own()
    const own = this.#left === undefined ? read : yield * sinceLeft(read, this.#options.metrics(), this.#left)
    return (yield * mergeFamilies([
      { families: labelled(own, this.slot), isOfGone: false }, { families: this.#carried, isOfGone: true }
    ])).families
  }

  #own (): Points[] {
    return Array.from(this.#latest.values(), ({ points }) => points)
  }

  async #save (bytes: Buffer): Promise<void> {
    // The file may be that of another member.
    if (this.#hasLeft || await this.#slot.listener.isReplaced()) return
    try {
      await save(this.#file, bytes)
      this.#saved = bytes
    } catch (error) {
      this.#options.failed('save', error as Error)
    }
  }

  #keepSaving (): void {
    this.#saving = setTimeout(() => {
      this.#saveCounts()
        .catch(error => this.#options.failed('save', error))
        .then(() => { if (!this.#isLeaving) this.#keepSaving() })
    }, saveMs).unref()
  }

  static #saveAllAtExit (): void {
    for (const member of present) member.#saveAtExit()
  }

  /** A process that ends without leaving has no time to ask anybody. */
  #saveAtExit (): void {
    try {
      for (const points of this.#options.countsAtOnce()) this.#noteAtOnce(points)
      saveAtOnce(this.#file, encode({ families: runAtOnce(this.#merged()), failures: [], leftOut: [] }))
    } catch (error) {
      this.#options.failed('save', error as Error)
    }
  }
}

/** What the holders of a slot have counted until now. */
async function carriedOn (
  { directory, slices, failed }: MemberOptions, { number, isFirst }: Slot
): Promise<readonly Points[]> {
  if (isFirst) return []
  try {
    return countsIn((await load(fileOf(directory, number), slices))?.gathered.families ?? [])
  } catch (error) {
    failed(`file of ${number}`, error as Error)
    return []
  }
}
