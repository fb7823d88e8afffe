import { createHash } from 'node:crypto'
import { readdir, rm, rmdir, stat, utimes, writeFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import path from 'node:path'
import { identityOf, isHeld, Listener } from './sockets'
import { takeTurn } from './turn'

/**
 * A member of a group is known by its slot, which is the lowest number that is free when it comes. A process that takes
 * the place of another has its number, too, so that there are never more numbers, and files, than members at one time.
 */

/** How long a member waits until it may come or go, in milliseconds. */
const comingMs = 3000
const goingMs = 500

/** A slot that is held by this process. */
export interface Slot {
  readonly number: number
  /** Whether nobody else was in the group. What its members had counted is gone then. */
  readonly isFirst: boolean
  readonly listener: Listener
  /** The identity of the group, in whose place there may be another one later. */
  readonly group: string
}

/** The address at which the holder of a slot is asked for what it has counted. */
export function socketOf (directory: string, slot: number): string {
  return path.join(directory, `${slot}.sock`)
}

/** The file with what the holder of a slot has counted, and those before it. */
export function fileOf (directory: string, slot: number): string {
  return path.join(directory, `${slot}.points`)
}

/** The file that tells a group from any other that was in the directory, or in another one of its name. */
function markOf (directory: string): string {
  return path.join(directory, '0.group')
}

/** The address at which the member listens that has a port, or a Unix socket, at which scrapes are answered. */
export function announcementOf (directory: string, place: number | string): string {
  const name = typeof place === 'number' ? place : createHash('sha256').update(place).digest('hex').slice(0, 8)
  return path.join(directory, `${name}.port`)
}

/** The slots that are held, and those that have been. */
export async function listSlots (directory: string): Promise<number[]> {
  const names = await readdir(directory)
  const slots = names.flatMap(name => /^(\d{1,6})\.(?:sock|points)$/.exec(name)?.[1] ?? []).map(Number)
  return [...new Set(slots)].sort((a, b) => a - b)
}

/**
 * Takes a slot. If nobody is in the group, it is a new one, and begins without what an earlier one has counted.
 *
 * @param connected Called with each connection to the member.
 */
export async function takeSlot (directory: string, connected: (socket: Socket) => void): Promise<Slot> {
  const turn = await takeTurn(directory, comingMs)
  try {
    const held = await listHeld(directory)
    if (held.length === 0) await removeSlots(directory)
    let number = 0
    while (held.includes(number)) number++
    return await hold(directory, number, held.length === 0, connected)
  } finally {
    await turn.end()
  }
}

/**
 * Takes a slot again whose socket somebody has removed: the same one, or another one if it is taken meanwhile. Resolves
 * to undefined if whoever has it carries on what was counted in it. In another group, nobody does: the first who has
 * come has removed all that was there.
 */
export async function takeSlotAgain (
  directory: string, { number: before, isFirst, group, listener }: Slot,
  connected: (socket: Socket) => void
): Promise<Slot | undefined> {
  const turn = await takeTurn(directory, comingMs)
  try {
    let number = before
    if (await isHeld(socketOf(directory, before))) {
      if (identityOf(markOf(directory)) === group) return undefined
      const taken = await listSlots(directory)
      while (taken.includes(number)) number++
    } else {
      listener.close()
    }
    return await hold(directory, number, isFirst, connected)
  } finally {
    await turn.end()
  }
}

/** Listens at the address of a slot. The holder of a turn may do so. */
async function hold (
  directory: string, number: number, isFirst: boolean, connected: (socket: Socket) => void
): Promise<Slot> {
  const socket = socketOf(directory, number)
  await rm(socket, { force: true, recursive: true })
  await writeFile(markOf(directory), '', { flag: 'a', mode: 0o600 })
  const listener = await Listener.open(socket, connected)
  return { number, isFirst, listener, group: identityOf(markOf(directory)) }
}

/** Gives a slot up. If nobody is in the group any more, nothing is left of it. */
export async function leaveSlot (directory: string, { listener }: Slot): Promise<void> {
  listener.close()
  await removeIfOver(directory)
}

/** How often a member sees to it that it is in the group, and that others find it, in milliseconds. */
export const keepMs = 1000

/** How often what a group needs is marked as used, in milliseconds. */
export const markMs = 3_600_000

/**
 * Marks as used what a group needs and nobody has written for long: the file that tells it from others, and those of
 * members that have gone. Programs that tidy the folder of temporary files remove what nobody uses. When a file was
 * written stays as it is.
 */
export async function markUsed (directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!/^\d{1,6}\.(?:group|points)$/.test(name)) continue
    const file = path.join(directory, name)
    const { mtime } = await stat(file)
    if (Date.now() - mtime.getTime() > markMs) await utimes(file, new Date(), mtime)
  }
}

/** How long the directory of a group is left alone in which nothing was made or removed, in milliseconds. */
const youngMs = 60_000

/** Removes what is left of the other groups of a user, whose members were all killed. */
export async function removeEnded (directory: string): Promise<void> {
  const ofUser = path.dirname(directory)
  for (const name of await readdir(ofUser)) {
    const other = path.join(ofUser, name)
    // One that cannot be removed is left to whoever comes next, and those after it are not.
    if (other !== directory) await removeOld(other).catch(() => {})
  }
}

async function removeOld (directory: string): Promise<void> {
  if (Date.now() - (await stat(directory)).mtimeMs > youngMs) await removeIfOver(directory)
}

/** Removes the directory of a group in which nobody is. */
async function removeIfOver (directory: string): Promise<void> {
  try {
    const turn = await takeTurn(directory, goingMs)
    let isOver = false
    try {
      isOver = (await listHeld(directory)).length === 0
      if (isOver) await removeSlots(directory)
    } finally {
      await turn.end()
    }
    if (isOver) await rmdir(directory)
  } catch (error) {
    // Somebody else has removed it, or has come meanwhile.
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code!)) throw error
  }
}

/** The slots whose members are there. One that has been stopped is there, too. */
export async function listHeld (directory: string): Promise<number[]> {
  const held = []
  for (const slot of await listSlots(directory)) if (await isHeld(socketOf(directory, slot))) held.push(slot)
  return held
}

async function removeSlots (directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (/^(?:\d+\.|[0-9a-f]{8}\.port$)/.test(name)) await rm(path.join(directory, name), { force: true, recursive: true })
  }
}
