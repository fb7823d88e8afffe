import { lstatSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'

/**
 * Removes the file of a Unix socket on which nobody listens: a process that is killed leaves it behind. Resolves to
 * whether it is gone. A file that is no socket, or whose server answers, stays.
 */
export async function removeLeftover (path: string): Promise<boolean> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found?.isSocket() !== true || await isAnswered(path)) return false
  // Another process may have removed it meanwhile, and listen on one of its own.
  const now = lstatSync(path, { throwIfNoEntry: false })
  if (now?.ino !== found.ino || now.ctimeMs !== found.ctimeMs) return false
  unlinkSync(path)
  return true
}

/** Whether somebody listens. Only a connection that is refused says that nobody does. */
async function isAnswered (path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(path, () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'))
  })
}
