import { rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { causeOf, describe, FST_LATENCY_ERR_GROUP_UNKNOWN } from '../errors'
import { isAskedFor } from '../exposition/sample-names'
import type { Gathered, GatherRequest, ValuePoints } from '../snapshot'
import { inSlices } from '../time-slices'
import { clearTimeout, pause, setTimeout, type Timer } from '../timers'
import { mergeFamilies } from './families'
import { groupMetrics } from './group-metrics'
import { Member, type MemberOptions } from './member'
import { Neighbours, type Part } from './neighbours'
import { announcementOf, keepMs, listHeld, markMs, markUsed, removeEnded } from './slots'
import { closeIfAnythingComes, connectTo, isHeld, Listener } from './sockets'
import { takeTurn, type Turn } from './turn'

export interface GroupOptions extends Omit<MemberOptions, 'directory'> {
  /** Makes the directory in which the members meet. */
  readonly open: () => Promise<string>
  /** Whether the application of this member accepts requests. */
  readonly isReady: () => boolean
}

/** How long a probe waits for other members, in milliseconds. */
const acceptsMs = 1000

/** How often a member tries to meet the others in a directory that the last of those before it is just removing. */
const attempts = 5

/** How long a member waits until it may bind a port, in milliseconds. */
const servingMs = 3000

/**
 * How long a reading of all members waits for the one before, in milliseconds: for longer than a member that hangs lets
 * it wait, but not until a metric is read that takes seconds.
 */
const overlapMs = 600

/** How often, and after which time in milliseconds, a port is tried that the member before may not have let go yet. */
const bindings = 10
const bindAgainMs = 20

/**
 * A group, as one of its members sees it. Until it has joined, and if it cannot, it is a group of one, of which nothing
 * is saved.
 */
export class Group {
  readonly #options: GroupOptions
  #member: Member | undefined
  #directory = ''
  #joining: Promise<void> | undefined
  #keeping: Promise<void> | undefined
  #keepTimer: Timer | undefined
  #hasLeft = false
  /** When the files of the group were last marked as used, by the clock of this process. */
  #markedMs = -Infinity
  /** Whether another process carries on what this member has counted, so that it may not join again. */
  #isReplaced = false
  /** Has whoever serves give the port up. */
  #unbind: (() => void) | undefined
  /** Where this member serves for all. */
  #place: number | string | undefined
  /** Tells the others that this member has the port, for as long as it is open. */
  #announcement: Listener | undefined
  #hasWithdrawn = false
  /** A connection to the member that has the port. */
  #serving: Socket | undefined
  /** What this member knows of the others, from when it has joined. */
  #neighbours: Neighbours | undefined
  /** The readings that have not begun yet, by the names that are asked for. */
  readonly #waiting = new Map<string, Promise<Gathered>>()
  /** The readings that were begun last, and are not done. */
  readonly #begun = new Map<string, Promise<Gathered>>()

  constructor (options: GroupOptions) {
    this.#options = options
  }

  /** The slot of this member. Undefined: it has not joined. */
  get slot (): number | undefined {
    return this.#member?.slot
  }

  /**
   * Joins the group, unless that is done or in progress. If that fails, the member goes on alone, says so, and tries it
   * again and again.
   */
  async join (): Promise<void> {
    if (!this.#hasLeft) this.#joining ??= this.#keep()
    return this.#joining
  }

  /** Sees to it, now and from time to time, that this member is in the group, and that others find it. */
  async #keep (): Promise<void> {
    await this.#beThere().catch(error => this.#options.failed('joining it', error))
    if (this.#hasLeft || this.#isReplaced) return
    this.#keepTimer = setTimeout(() => { this.#keeping = this.#keep() }, keepMs).unref()
  }

  async #beThere (): Promise<void> {
    if (this.#member === undefined) await this.#join()
    else if (!this.#member.isThere()) await this.#comeBack(this.#member)
    if (this.#place !== undefined && this.#announcement?.isThere() !== true) {
      const turn = await takeTurn(this.#directory, servingMs)
      await this.#announce().finally(async () => turn.end())
    }
    if (performance.now() - this.#markedMs < markMs) return
    this.#markedMs = performance.now()
    await markUsed(this.#directory)
  }

  async #comeBack (member: Member): Promise<void> {
    const { open, failed } = this.#options
    failed('its directory', new Error('the socket of this process was removed'))
    await open()
    if (await member.comeBack()) return
    this.#isReplaced = true
    this.#member = undefined
    this.#unbind?.()
    this.withdraw()
    failed('the slot', new Error('another process has taken it'))
  }

  async #join (attempt = 1): Promise<void> {
    try {
      this.#directory = await this.#options.open()
      const gather = this.#gatherOwn
      this.#member = await Member.join({ ...this.#options, gather, directory: this.#directory })
      this.#neighbours = new Neighbours(this.#directory, this.#options)
      // Nobody waits for this, and whoever comes next tries it again.
      removeEnded(this.#directory).catch(() => {})
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === attempts) throw error
      await this.#join(attempt + 1)
    }
  }

  /** Gathers what this member has counted, and whether it accepts requests. */
  readonly #gatherOwn = async (request: GatherRequest): Promise<Gathered> => {
    const gathered = await this.#options.gather(request)
    const accepting = gauge(groupMetrics.accepting, [], [[]], [this.#options.isReady() ? 1 : 0])
    return { ...gathered, families: [...gathered.families, accepting] }
  }

  /** This member, which may just be joining. Undefined: it is not in the group. Rejects if joining takes too long. */
  async #joined (timeoutMs: number): Promise<Member | undefined> {
    const isLate = await Promise.race([this.#joining, this.#joining && pause(timeoutMs).then(() => true)])
    if (isLate === true) throw this.#unknown(new Error(`this process has been joining it for ${timeoutMs} ms`))
    return this.#member
  }

  /** Whether this process is to be a member of a group that is there, and is not. */
  async #isOutside (): Promise<boolean> {
    if (this.#directory === '' || this.#hasLeft) return false
    const held = await listHeld(this.#directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw this.#unknown(error)
      return []
    })
    return held.length > 0
  }

  /** The error of a scrape in which counters could fall, which is also said. */
  #unknown (reason: Error): Error {
    const error = new FST_LATENCY_ERR_GROUP_UNKNOWN(describe(reason), causeOf(reason))
    this.#options.failed('reading it', error)
    return error
  }

  /** Whether any member accepts requests. */
  async accepts (): Promise<boolean> {
    const { families } = await this.gather({ names: new Set([groupMetrics.accepting.name]), timeoutMs: acceptsMs })
    return families.some(points => points.type === 'gauge' && points.values[0]! > 0)
  }

  /**
   * Gathers what all members have counted. All who ask for the same before a reading begins share it. Rejects with a
   * coded error if it is not known what others have counted: to Prometheus, a counter that falls has begun at zero.
   */
  readonly gather = async (request: GatherRequest): Promise<Gathered> => {
    const member = this.#member ?? await this.#joined(request.timeoutMs)
    if (member === undefined) {
      if (await this.#isOutside()) throw this.#unknown(new Error('it has members, and this process is none of them'))
      return this.#options.gather(request)
    }
    const key = JSON.stringify(request.names && [...request.names])
    const waiting = this.#waiting.get(key)
    if (waiting !== undefined) return waiting
    // Whoever asked for the one before is told if it has failed. This one may succeed.
    const before = this.#begun.get(key)?.catch(() => {})
    const reading: Promise<Gathered> = Promise.race([before, before && pause(overlapMs)]).then(async () => {
      this.#waiting.delete(key)
      this.#begun.set(key, reading)
      return this.#gatherAll(member, request)
    }).catch(error => { throw this.#unknown(error) }).finally(() => {
      if (this.#begun.get(key) === reading) this.#begun.delete(key)
    })
    this.#waiting.set(key, reading)
    return reading
  }

  /**
   * Serves for all members at a port or a Unix socket, unless another one does. `bind` binds it, and rejects if that
   * cannot be. Resolves to undefined if another member serves there; `gone` is then called when it does so no more.
   * `unbind` is called when another process carries on what this one has counted, so that this one must not serve.
   */
  async serve<T> (
    place: number | string, bind: () => Promise<T>, gone: () => void, unbind?: () => void
  ): Promise<T | undefined> {
    if (this.#isReplaced) return undefined
    this.#unbind = unbind
    // With a port that the operating system chooses, each member has its own.
    if (place === 0) return bind()
    // Who cannot have a turn finds out by the port itself whether another one has it.
    const turn = this.#member && await this.#takeTurn()
    try {
      this.#serving = this.#member && await connectTo(announcementOf(this.#directory, place))
      if (this.#serving !== undefined) {
        this.#serving.resume().once('close', gone)
        return undefined
      }
      const bound = await bindSoon(bind)
      this.#place = this.#hasWithdrawn ? undefined : place
      if (turn !== undefined) await this.#announce().catch(this.#couldNotTell)
      return bound
    } finally {
      await turn?.end()
    }
  }

  async #takeTurn (): Promise<Turn | undefined> {
    return takeTurn(this.#directory, servingMs).catch(error => {
      this.#couldNotTell(error)
      return undefined
    })
  }

  readonly #couldNotTell = (error: Error): void => { this.#options.failed('telling that it serves', error) }

  /** Tells the others where this member serves, in a turn. It may have withdrawn while it waited for that. */
  async #announce (): Promise<void> {
    if (this.#place === undefined) return
    const address = announcementOf(this.#directory, this.#place)
    if (await isHeld(address)) return
    // The file at its address is not that of another one.
    this.#announcement?.close()
    await rm(address, { force: true, recursive: true })
    this.#announcement = await Listener.open(address, closeIfAnythingComes)
    if (this.#hasWithdrawn) this.#announcement.close()
  }

  /** Lets another member serve, for good. The port must not be bound any more. */
  withdraw (): void {
    this.#hasWithdrawn = true
    this.#place = undefined
    this.#announcement?.close()
    this.#serving?.destroy()
  }

  /** Whether other members go on when this one leaves. */
  async hasOthers (): Promise<boolean> {
    if (this.#member === undefined) return false
    return (await listHeld(this.#directory).catch(() => [])).length > 1
  }

  async leave (): Promise<void> {
    this.#hasLeft = true
    clearTimeout(this.#keepTimer)
    await this.#joining
    await this.#keeping
    await this.#member?.leave()
    this.#member = undefined
    this.#neighbours?.forget()
  }

  async #gatherAll (member: Member, request: GatherRequest): Promise<Gathered> {
    const { slot: own } = member
    const neighbours = this.#neighbours!
    const slots = [...new Set([...await neighbours.listSlots(), own])].sort((a, b) => a - b)
    const parts = await Promise.all(slots.map(async slot => slot === own
      ? { state: 'fresh', gathered: (await member.read(request)).told, ageSeconds: 0, writtenMs: Infinity } as const
      : neighbours.read(slot, request)))
    const known = parts.filter(part => part !== undefined)
    const all = known.map(({ gathered }) => gathered)
    const merging = mergeFamilies(known.map(({ gathered: { families, former }, writtenMs }) =>
      ({ families, former, writtenMs })))
    const { families, conflicts } = await inSlices(merging, this.#options.slices)
    const failures = new Map(all.flatMap(({ failures }) => failures).map(failure => [failure.name, failure]))
    const count = (state: Part['state']): number => known.filter(part => part.state === state).length
    const facts = [
      gauge(groupMetrics.members, ['state'], [['fresh'], ['stale'], ['gone']],
        [count('fresh'), count('stale'), count('gone')]),
      gauge(groupMetrics.age, [], [[]], [Math.max(0, ...known.map(({ ageSeconds }) => ageSeconds))]),
      gauge(groupMetrics.conflicts, [], [[]], [conflicts.size]),
      gauge(groupMetrics.unreadable, [], [[]], [parts.length - known.length])
    ]
    const { names } = request
    return {
      families: [...families, ...facts].filter(points => names === undefined || isAskedFor(points, names)),
      failures: [...failures.values()],
      leftOut: [...new Set(all.flatMap(({ leftOut }) => leftOut))]
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
    aggregator: 'sum',
    unit: undefined,
    labelNames,
    labelSets,
    sharedLabels: {},
    startSeconds: undefined,
    exemplars: [],
    values: Float64Array.from(values)
  }
}

/** Binds a port that another process is just letting go: that of one that was killed is not free at once. */
async function bindSoon<T> (bind: () => Promise<T>, attempt = 1): Promise<T> {
  try {
    return await bind()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || attempt === bindings) throw error
    await pause(bindAgainMs)
    return bindSoon(bind, attempt + 1)
  }
}
