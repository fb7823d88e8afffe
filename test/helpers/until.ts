import { setTimeout as sleep } from 'node:timers/promises'

/**
 * The first result of `check` that is not undefined, false or null, asked for again and again. Rejects
 * when there is none for a minute.
 */
export async function until<T> (what: string, check: () => T | Promise<T>): Promise<NonNullable<Exclude<T, false>>> {
  for (const deadline = performance.now() + 60_000; performance.now() < deadline; await sleep(50)) {
    const result = await check()
    if (result !== undefined && result !== null && result !== false) return result as NonNullable<Exclude<T, false>>
  }
  throw new Error(`Waited a minute for ${what}`)
}
