import { Socket } from 'node:net'
import timers from 'node:timers'

/** A timer that does not keep the process alive after `unref()`. */
export interface Timer {
  unref: () => Timer
}

interface Timers {
  readonly setTimeout: (callback: () => void, ms: number) => Timer
  readonly clearTimeout: (timer: Timer | undefined) => void
  readonly setImmediate: (callback: () => void) => void
}

/**
 * What takes the place of the timers of Node.js if these are fake ones already when this module is loaded. Nobody fakes
 * the timeouts of sockets, or messages.
 */
const substitutes: Timers = {
  setTimeout: (callback, ms) => new Socket().setTimeout(Math.max(ms, 1), callback) as Timer,
  clearTimeout: timer => { (timer as Socket | undefined)?.destroy() },
  setImmediate: callback => {
    const { MessageChannel } = require('node:worker_threads') as typeof import('node:worker_threads')
    const { port1, port2 } = new MessageChannel()
    port1.once('message', () => {
      port1.close()
      callback()
    })
    port2.postMessage(undefined)
  }
}

/**
 * The timers of Node.js, as they are when this module is loaded. Tests of applications may put fake timers in the place
 * of the global functions. Time then stands still until the test says so, which closing and scrapes must not wait for.
 * No other module may use the global functions.
 */
export const { setTimeout, clearTimeout, setImmediate }: Timers = areReal() ? timers as Timers : substitutes

const nativeImmediate = setImmediate === substitutes.setImmediate ? undefined : timers.setImmediate

/**
 * Calls a function after the event loop has read from connections, once. This does not keep the process alive, nor the
 * loop from waiting. Returns false, and does nothing, where the timers of Node.js cannot be had.
 */
export function afterReading (callback: () => void): boolean {
  nativeImmediate?.(callback).unref()
  return nativeImmediate !== undefined
}

/** Waits until the time is over or the signal is given. Waiting does not keep the process alive. */
export async function pause (ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted === true) return
  await new Promise<void>(resolve => {
    const timer = setTimeout(end, ms).unref()
    signal?.addEventListener('abort', end)
    function end (): void {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      resolve()
    }
  })
}

/** Whether Node.js knows of what its timers are asked for. */
function areReal (): boolean {
  const before = countTimers()
  // They are not cleared: what Node.js does when it is to clear the fake of an immediate keeps the process alive.
  timers.setTimeout(() => {}, 0)
  timers.setImmediate(() => {})
  return countTimers() - before === 2
}

function countTimers (): number {
  return process.getActiveResourcesInfo().filter(name => name === 'Timeout' || name === 'Immediate').length
}
