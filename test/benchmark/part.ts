/** What was measured in one process, by name. */
export type Figures = Readonly<Record<string, number>>

/** What was measured in one round, by scenario. */
export type Round = Readonly<Record<string, Figures>>

/** One part of the report. */
export interface Part {
  readonly title: string
  /** What is measured, and how. Markdown. */
  readonly method: string
  /** How many samples of each scenario. Each is a process of its own, and scenarios take turns. */
  readonly samples: number
  /** Options of Node.js for these processes. */
  readonly execArgv?: readonly string[]
  /** What is measured, by the name that it has in the report. */
  readonly scenarios: Readonly<Record<string, () => Promise<Figures>>>
  readonly columns: readonly Column[]
}

/** A column of the table. */
export interface Column {
  readonly heading: string
  readonly digits: number
  /** From one sample, and those of the same round that it may be compared with. Undefined: there is nothing to say. */
  readonly value: (figures: Figures, round: Round) => number | undefined
  /** The value that says that two scenarios do not differ: 0 for a difference, 1 for a ratio, 100 for a percentage. */
  readonly same?: number
}

/** Whether samples tell on which side of a value the truth is: at least three quarters of them are on one side. */
export function areOneSided (values: readonly number[], same: number): boolean {
  return quantile(values, 0.25) > same || quantile(values, 0.75) < same
}

export function median (values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** The value below which this share of the others is. */
export function quantile (values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)]!
}

/** Bytes of the heap and of array buffers, without garbage. */
export function bytesInUse (): number {
  for (let time = 0; time < 4; time++) globalThis.gc!()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

/** The longest time between two turns of the event loop while something happens, in milliseconds. */
export async function longestTurn (happening: Promise<unknown>): Promise<number> {
  let longest = 0
  let last = performance.now()
  let next = setImmediate(function turn () {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
    next = setImmediate(turn)
  })
  await happening
  clearImmediate(next)
  return longest
}
