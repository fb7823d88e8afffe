import cluster from 'node:cluster'
import fs from 'node:fs'
import os from 'node:os'
import { isMainThread } from 'node:worker_threads'

/** What decides which processes and threads answer scrapes as one. */
export interface GroupConfig {
  /** The name of the group. Undefined: workers and threads find each other by themselves. False: there is no group. */
  readonly group: string | false | undefined
  readonly host: string | undefined
  readonly port: number | undefined
  readonly socket: string | undefined
}

/**
 * What all members of a group have in common, and the members of no other group. Undefined: there is no group.
 *
 * Workers of one primary, and threads of one process, are a group if they run the same program, and are to be scraped
 * at the same port. With a port that the operating system chooses, each of them is to be scraped at its own.
 */
export function identify ({ group, host, port, socket }: GroupConfig): string | undefined {
  if (group === false) return undefined
  if (group !== undefined) return JSON.stringify(['name', group])
  const common = circumstances()
  if (common === undefined || port === 0) return undefined
  return JSON.stringify([...common, os.hostname(), readNamespace(), host, port, socket])
}

/**
 * Within what the number of a process says which one it is. Containers may share a folder of temporary files, the name
 * of their host too, and have processes of the same number. Only Linux has it.
 */
function readNamespace (): string | undefined {
  try {
    return fs.readlinkSync('/proc/self/ns/pid')
  } catch {
    return undefined
  }
}

function circumstances (): unknown[] | undefined {
  const program = process.argv[1]
  if (!isMainThread) return ['thread', process.pid, program]
  if (!cluster.isWorker) return undefined
  // The primary of all applications that PM2 runs in cluster mode is PM2 itself. It says which one this is.
  const { pm_id: id, name, namespace } = process.env
  return ['worker', process.ppid, program, ...id === undefined ? [] : [namespace, name]]
}
