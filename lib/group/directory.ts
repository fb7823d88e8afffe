import { createHash } from 'node:crypto'
import type { Stats } from 'node:fs'
import { lstat, mkdir, realpath } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { causeOf, describe, FST_LATENCY_ERR_GROUP_DIRECTORY, isCoded } from '../errors'
import { longestAddress } from './sockets'

/** The greatest number of bytes of a name in the directory of a group. */
const longestName = 13

const writableByOthers = 0o022
const usableByOthers = 0o077
const sticky = 0o1000

/**
 * Makes the directory of a group, unless it is there, and resolves to its name. All groups of a user are below one
 * directory in `temporary`, where members of a group find each other. Nobody but the user can have put anything into
 * these directories, or take their place: the promise is rejected with a coded error if somebody else could have.
 *
 * @param identity What all members of the group have in common, and the members of no other group.
 */
export async function openDirectory (identity: string, temporary = os.tmpdir()): Promise<string> {
  try {
    const user = process.geteuid!()
    const parent = await realpath(temporary)
    await checkAbove(parent, user)
    const ofUser = path.join(parent, `fastify-latency-${user}`)
    const directory = path.join(ofUser, createHash('sha256').update(identity).digest('hex').slice(0, 12))
    const length = Buffer.byteLength(directory) + 1 + longestName
    if (length > longestAddress) {
      throw new FST_LATENCY_ERR_GROUP_DIRECTORY(temporary,
        `its name is too long for Unix sockets in it, by ${length - longestAddress} bytes`, {})
    }
    for (const folder of [ofUser, directory]) await makeOwn(folder, user)
    return directory
  } catch (error) {
    if (isCoded(error)) throw error
    throw new FST_LATENCY_ERR_GROUP_DIRECTORY(temporary, describe(error), causeOf(error))
  }
}

/** Checks that nobody else can rename or remove what is in a folder, by what they may do in it or in one above it. */
async function checkAbove (folder: string, user: number): Promise<void> {
  const stats = await lstat(folder)
  const isTrusted = stats.uid === user || stats.uid === 0
  if (!isTrusted || ((stats.mode & writableByOthers) !== 0 && (stats.mode & sticky) === 0)) {
    throw new FST_LATENCY_ERR_GROUP_DIRECTORY(folder, `others could replace what is in it (${show(stats)})`, {})
  }
  const above = path.dirname(folder)
  if (above !== folder) await checkAbove(above, user)
}

async function makeOwn (folder: string, user: number): Promise<void> {
  await mkdir(folder, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  const stats = await lstat(folder)
  if (!stats.isDirectory() || stats.uid !== user || (stats.mode & usableByOthers) !== 0) {
    throw new FST_LATENCY_ERR_GROUP_DIRECTORY(folder, `somebody else could have prepared it (${show(stats)})`, {})
  }
}

function show (stats: Stats): string {
  const kind = stats.isDirectory() ? 'a directory' : 'not a directory'
  return `${kind}, of the user ${stats.uid}, with the mode ${(stats.mode & 0o7777).toString(8)}`
}
