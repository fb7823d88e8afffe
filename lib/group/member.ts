import type { Socket } from 'node:net'
import { isAskedFor } from '../exposition/sample-names'
import type { Gathered, Gatherer, GatherRequest, Points } from '../snapshot'
import { inSlices, runAtOnce, type TimeSlices } from '../time-slices'
import { clearTimeout, setTimeout, type Timer } from '../timers'
import { answer } from './ask'
import { encode, encodeInSteps, tellSame } from './encoding'
import { carryOn, countsIn, labelled, nothing, totalOf, type Told } from './families'
import { countsOfProcess, sinceLeft, type ProcessCounts } from './left-counts'
import { load, save, saveAtOnce } from './slot-file'
import { fileOf, leaveSlot, takeSlot, takeSlotAgain, type Slot } from './slots'

/** How often counts are saved, in milliseconds. */
const saveMs = 1000

/** How long a metric may take that is read in order to be saved, in milliseconds. */
const savedInMs = 500

/** After the metrics of the user have been read in order to be saved, they are left alone for so many times as long. */
const restPerReading = 25

/**
 * The members of this process, which share a listener: Node.js warns of more than ten. A worker thread has its own.
 */
const present = new Set<Member>()

export interface MemberOptions {
  readonly directory: string
  /** Reads the metrics of this process. */
  readonly gather: Gatherer
  /** The names of the metrics that are saved: of those that can be read without asking anybody else. */
  readonly counts: () => Promise<ReadonlySet<string>>
  /** The names of those that take little to read. They are saved once a second, however long the others take. */
  readonly ownCounts: () => ReadonlySet<string>
  /** Reads those of these metrics that can be read at once. Labels that all series of a metric share may be missing. */
  readonly countsAtOnce: () => Iterable<Points>
  /** The metrics of the user, by their names. Other members of the process may have them, too, and they live on. */
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

/** What a member tells, and its bytes. */
export interface Reading {
  readonly told: Told
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
  /** What this member tells, and what those had counted who had the slot before. */
  #told: Told
  /** What this process has in the group. What it has left there is somewhere among what is carried on. */
  readonly #ofProcess: ProcessCounts<Member>
  /** What was read last of each metric, by name. */
  readonly #latest = new Map<string, Noted>()
  /** How many times something was noted. */
  #notes = 0
  /** What is told, and what was told when the file was written last: of each metric all that was read. */
  #read: readonly Points[] = []
  #kept: readonly Points[] = []
  #saved: Buffer = Buffer.alloc(0)
  #saving: Timer | undefined
  /** When all metrics are read again in order to be saved, by the clock of this process. */
  #allDueMs = 0
  /** Resolves when all is told and saved that was noted before. */
  #last: Promise<unknown> = Promise.resolve()
  /** The readings that are noted, and wait for being told, by what they tell. */
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

  private constructor (options: MemberOptions, slot: Slot, carriedOn: Told) {
    this.#slot = slot
    this.#options = options
    this.#file = fileOf(options.directory, slot.number)
    this.#told = carriedOn
    this.#ofProcess = countsOfProcess(options.directory, slot.group)
    this.#keepSaving()
    if (present.size === 0) process.on('exit', Member.#saveAllAtExit)
    present.add(this)
  }

  get slot (): number {
    return this.#slot.number
  }

  /** Whether others find this member. */
  isThere (): boolean {
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
    this.#ofProcess.group = slot.group
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
   * who ask for it: only what was read is told and saved in turn. All who have read the same by then share that.
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
        return this.#tell(gathered, names)
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
      await this.#noteCounts()
      await this.#saveNoted()
    } catch (error) {
      this.#options.failed('save', error as Error)
    }
    this.#stop()
    await leaveSlot(this.#options.directory, this.#slot).catch(error => this.#options.failed('leave', error))
  }

  #stop (): void {
    this.#handOver()
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

  /** Saves what is noted, and tells it. `gathered` has been noted, and tells what could not be read. */
  async #tell ({ failures, leftOut }: Gathered, names: GatherRequest['names']): Promise<Reading> {
    const { slices } = this.#options
    const all = { ...await inSlices(this.#counted(), slices), failures, leftOut }
    const bytes = await inSlices(encodeInSteps(all), slices)
    await this.#save(bytes)
    if (names === undefined) return { told: all, bytes }
    const families = all.families.filter(points => isAskedFor(points, names))
    const told = { ...all, families, former: all.former.filter(({ points }) => isAskedFor(points, names)) }
    return { told, bytes: await inSlices(encodeInSteps(told), slices) }
  }

  async #saveCounts (): Promise<void> {
    if (performance.now() < this.#allDueMs) await this.#gather(this.#toSave(this.#options.ownCounts()))
    else await this.#noteCounts()
    await this.#saveNoted()
  }

  async #saveNoted (): Promise<void> {
    const { slices } = this.#options
    await this.#inTurn(async () => {
      const bytes = await inSlices(encodeInSteps(await inSlices(this.#counted(), slices)), slices)
      if (!tellSame(bytes, this.#saved)) await this.#save(bytes)
    })
  }

  async #noteCounts (): Promise<void> {
    const startMs = performance.now()
    await this.#gather(this.#toSave(await this.#options.counts()))
    const nowMs = performance.now()
    // Series of prom-client by the thousands would otherwise take a good part of a core.
    this.#allDueMs = nowMs + restPerReading * (nowMs - startMs)
  }

  #toSave (names: ReadonlySet<string>): GatherRequest {
    return { names, timeoutMs: savedInMs }
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
    // A registry may have failed, and nobody knows which metrics are in it.
    const mayBeThere = [...failed].some(name => !this.#latest.has(name))
    for (const [name, noted] of this.#latest) {
      if (names !== undefined || found.has(name) || noted.when > notesBefore) continue
      // What is not there any more, when all is asked for, is forgotten.
      this.#latest.delete(name)
      // What cannot be read this time is there. It does not come before others whose samples have the same names.
      if (mayBeThere || failed.has(name)) kept.push(...countsIn([noted.points]))
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

  * #counted (): Generator<undefined, Told> {
    const metrics = this.#options.metrics()
    this.#read = this.#own(metrics)
    const countedMs = Math.max(Date.now(), this.#told.countedMs + 1)
    const own = yield * sinceLeft(this.#read, metrics, this.#ofProcess)
    // What is left is for others to count on.
    const last = this.#hasLeft ? this.#told.families : []
    const names = new Set(last.map(({ name }) => name))
    const families = [...last, ...labelled(own, this.slot).filter(({ name }) => !names.has(name))]
    this.#told = { ...this.#told, families, countedMs }
    return this.#told
  }

  /** What was read last, without the metrics that another member of this process counts. */
  #own (metrics: ReadonlyMap<string, object>): Points[] {
    const { owners } = this.#ofProcess
    return Array.from(this.#latest.values(), ({ points }) => points).filter(({ name }) => {
      const metric = metrics.get(name)
      if (metric === undefined) return true
      const owner = owners.get(metric)
      if (owner !== undefined && present.has(owner) && owner.#latest.has(name)) return owner === this
      owners.set(metric, this)
      return true
    })
  }

  /**
   * Notes what is left in the group, which is what was saved. Another member of this process counts what comes from now
   * on, and must not show what it has read before that.
   */
  #handOver (): void {
    const { owners } = this.#ofProcess
    const metrics = this.#options.metrics()
    const isOwn = (metric: object | undefined): boolean => metric !== undefined && owners.get(metric) === this
    const shared = countsIn(this.#kept).filter(({ name }) => isOwn(metrics.get(name)))
    for (const points of shared) this.#ofProcess.left.set(metrics.get(points.name)!, points)
    for (const other of present) {
      const theirs = other.#options.metrics()
      for (const points of shared) if (theirs.get(points.name) === metrics.get(points.name)) other.#raise(points)
    }
  }

  /** Notes points, unless what is noted is more. */
  #raise (points: Points): void {
    const noted = this.#latest.get(points.name)
    if (noted === undefined || totalOf(noted.points) >= totalOf(points)) return
    this.#latest.set(points.name, { points, when: ++this.#notes })
  }

  async #save (bytes: Buffer): Promise<void> {
    // The file may be that of another member.
    if (this.#hasLeft || this.#slot.listener.isReplaced()) return
    try {
      await save(this.#file, bytes)
      this.#saved = bytes
      this.#kept = this.#read
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
    // The file may be that of another member.
    if (this.#slot.listener.isReplaced()) return
    try {
      for (const points of this.#options.countsAtOnce()) this.#noteAtOnce(points)
      saveAtOnce(this.#file, encode(runAtOnce(this.#counted())))
    } catch (error) {
      this.#options.failed('save', error as Error)
    }
  }
}

/** What the holders of a slot have counted until now. */
async function carriedOn (
  { directory, slices, failed }: MemberOptions, { number, isFirst }: Slot
): Promise<Told> {
  if (isFirst) return nothing
  try {
    const saved = await load(fileOf(directory, number), slices)
    if (saved === undefined) return nothing
    const { families, former, countedMs } = saved
    const all = await inSlices(carryOn({ families: countsIn(families), former, writtenMs: countedMs }), slices)
    return { ...nothing, former: [...all.values()].flat(), countedMs }
  } catch (error) {
    failed(`file of ${number}`, error as Error)
    return nothing
  }
}
