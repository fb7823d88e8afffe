import { constants, renameSync, rmSync, writeFileSync } from 'node:fs'
import { open, rename, rm, type FileHandle } from 'node:fs/promises'
import { inSlices, type TimeSlices } from '../time-slices'
import { decodeInSteps, mostBytes } from './encoding'
import type { Told } from './families'
import { LabelLists } from './label-lists'

/** Opens what is a file, and neither follows a link nor waits for somebody to open the other end of a pipe. */
const safely = constants.O_NOFOLLOW | constants.O_NONBLOCK

/** Makes a file, or empties what is there. */
const replacing = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC

/**
 * Writes the file of a slot. Whoever reads it finds what was there before or all of the new, at whichever instruction
 * the process is killed.
 */
export async function save (file: string, bytes: Buffer): Promise<void> {
  const next = `${file}.next`
  try {
    await using(next, replacing, handle => handle.writeFile(bytes))
    await rename(next, file)
  } catch (error) {
    // What is there may be no file, or take the last room of a disk.
    await rm(next, { force: true, recursive: true })
    throw error
  }
}

/**
 * The same at once, for a process that ends. Another writing that is not done does not come in between, nor later: the
 * operating system may still be about to rename what it has written, and finds nothing.
 */
export function saveAtOnce (file: string, bytes: Buffer): void {
  const last = `${file}.last`
  rmSync(`${file}.next`, { force: true, recursive: true })
  // The types know flags by their letters only.
  writeFileSync(last, bytes, { mode: 0o600, flag: (replacing | safely) as unknown as string })
  renameSync(last, file)
}

/** Reads the file of a slot. Resolves to undefined if there is none. Rejects if it is not what `save()` has written. */
export async function load (file: string, slices: TimeSlices): Promise<Told | undefined> {
  try {
    return await using(file, constants.O_RDONLY, async handle => {
      const { size } = await handle.stat()
      if (size > mostBytes) throw new Error(`it has ${size} bytes`)
      const bytes = await read(handle, size)
      return inSlices(decodeInSteps(bytes, new LabelLists()), slices)
    })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Reads no more than a file had when it was looked at. */
async function read (handle: FileHandle, size: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(size)
  const { bytesRead } = await handle.read(bytes, 0, size, 0)
  return bytes.subarray(0, bytesRead)
}

async function using<T> (file: string, flags: number, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(file, flags | safely, 0o600)
  try {
    if (!(await handle.stat()).isFile()) throw new Error('it is no file')
    return await use(handle)
  } finally {
    await handle.close()
  }
}
