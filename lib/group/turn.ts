import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, rm, symlink } from 'node:fs/promises'
import type { Socket } from 'node:net'
import path from 'node:path'
import { pause } from '../timers'
import { closeIfAnythingComes, connectTo, isHeld, Listener } from './sockets'

/** The longest time after which two processes try again that have come at once, in milliseconds. */
const longestPauseMs = 10

/**
 * The right to change who is in a group. One process, or thread, has it at a time. The operating system ends it when
 * its holder is killed.
 *
 * Node.js has no locks of files, and a Unix socket whose process was killed stays where it is, where nobody can remove
 * it without a danger: another process may just have put its own there. Therefore a turn is a symbolic link to a socket
 * at which its holder listens already, and links are numbered:
 *
 * - To make a link is exclusive. Of all who have seen the same last link, one makes the next.
 * - A link to a socket at which nobody listens is of no use to anybody, for ever, and may be removed at any time.
 *   A socket has a name of its own, which is never used again.
 * - Whoever has made a link looks at all links once more, and withdraws if it finds another one in use. Of two who have
 *   made links, the later one finds the link of the earlier one, whatever either had seen before.
 */
export class Turn {
  readonly #link: string
  readonly #listener: Listener

  constructor (link: string, listener: Listener) {
    this.#link = link
    this.#listener = listener
  }

  /** Ends the turn. Those who wait for it notice at once. A link that cannot be removed is in nobody's way. */
  async end (): Promise<void> {
    await remove(this.#link).catch(() => {})
    this.#listener.close()
  }
}

/** Waits for a turn. Rejects if another process has one for too long. */
export async function takeTurn (directory: string, timeoutMs: number): Promise<Turn> {
  for (;;) {
    const { links } = await list(directory)
    const holder = await findHolder(directory, links)
    if (holder === undefined) {
      const turn = await tryToTake(directory, (links.at(-1) ?? 0) + 1)
      if (turn !== undefined) return turn
    } else {
      await once(holder, 'close', { signal: AbortSignal.timeout(timeoutMs) }).catch(() => {})
      if (!holder.destroyed) {
        holder.destroy()
        throw new Error(`another process has been changing the group for ${timeoutMs} ms`)
      }
      // All who have waited notice at once, and would be in each other's way.
      await pause(longestPauseMs * Math.random())
    }
  }
}

interface Listing {
  /** The numbers of the links, in ascending order. */
  readonly links: readonly number[]
  /** The names of the sockets that links may lead to. */
  readonly sockets: readonly string[]
}

async function list (directory: string): Promise<Listing> {
  const names = await readdir(directory)
  const links = names.flatMap(name => /^turn-(\d{1,12})$/.exec(name)?.[1] ?? []).map(Number)
  return { links: links.sort((a, b) => a - b), sockets: names.filter(name => /^[0-9a-f]{8}\.turn$/.test(name)) }
}

function linkOf (directory: string, number: number): string {
  return path.join(directory, `turn-${number}`)
}

/** A connection to the process that has the turn. */
async function findHolder (directory: string, links: readonly number[]): Promise<Socket | undefined> {
  for (const number of links) {
    const holder = await connectTo(linkOf(directory, number))
    if (holder !== undefined) return holder
  }
  return undefined
}

async function tryToTake (directory: string, number: number): Promise<Turn | undefined> {
  const socket = `${randomBytes(4).toString('hex')}.turn`
  const listener = await Listener.open(path.join(directory, socket), closeIfAnythingComes)
  const turn = new Turn(linkOf(directory, number), listener)
  try {
    await symlink(socket, linkOf(directory, number))
  } catch (error) {
    listener.close()
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return undefined
  }
  try {
    const others = await findOthers(directory, number)
    if (others !== undefined) {
      for (const other of others) await remove(linkOf(directory, other))
      await removeSockets(directory, socket)
      return turn
    }
  } catch (error) {
    await turn.end()
    throw error
  }
  await turn.end()
  await pause(longestPauseMs * Math.random())
  return undefined
}

/** The links that are of no use to anybody. Undefined if a link is in use beside the own one, or the own one is not. */
async function findOthers (directory: string, own: number): Promise<number[] | undefined> {
  const { links } = await list(directory)
  for (const number of links) {
    // Who has the turn removes sockets at which nobody listens, and may have looked at this one a moment too early.
    if (await isHeld(linkOf(directory, number)) !== (number === own)) return undefined
  }
  return links.includes(own) ? links.filter(number => number !== own) : undefined
}

/** Removes the sockets of those who were killed in their turn, or before it. */
async function removeSockets (directory: string, own: string): Promise<void> {
  for (const name of (await list(directory)).sockets) {
    const socket = path.join(directory, name)
    if (name !== own && !await isHeld(socket)) await remove(socket)
  }
}

async function remove (file: string): Promise<void> {
  await rm(file, { force: true, recursive: true })
}
