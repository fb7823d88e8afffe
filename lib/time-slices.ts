import { setImmediate } from './timers'

const sliceMs = 0.5

/** Other work that uses the event loop gets this many times the time that all pieces of sliced work together get. */
const shareOfOthers = 3

/** A turn of the event loop that is not longer than this had no other work to do. */
const idleTurnMs = 0.05

/**
 * Divides the time of the event loop among pieces of work that would otherwise hold it for long. All pieces together
 * get one slice at a time, and take turns in it. The next slice comes when the loop is idle, or when other work has had
 * three times the length of a slice. To wait for the event `drain` of a socket would not be enough: on a fast
 * connection it comes at once.
 */
export class TimeSlices {
  readonly #waiting: Array<() => void> = []
  #isDue = false
  #sliceEnd = 0
  /** The time at which a piece of work last finished a step. */
  #stepEnd = 0
  /** The time that other work is to have before the next slice. */
  #owedMs = 0

  /** Resolves when the caller may do the next short step. */
  async next (): Promise<void> {
    this.#stepEnd = performance.now()
    const isOver = this.#stepEnd >= this.#sliceEnd
    const others = this.#waiting.length
    if (!isOver && others === 0) return
    const turn = new Promise<void>(resolve => { this.#waiting.push(resolve) })
    if (!isOver) this.#waiting.shift()!()
    else if (!this.#isDue) this.#letOthers()
    return turn
  }

  /** Lets the event loop turn until the next slice is due. */
  #letOthers (): void {
    this.#isDue = true
    const turnStart = performance.now()
    setImmediate(() => {
      const turnMs = performance.now() - Math.max(turnStart, this.#stepEnd)
      this.#owedMs = turnMs < idleTurnMs ? 0 : this.#owedMs - turnMs
      if (this.#owedMs > 0) this.#letOthers()
      else this.#begin()
    })
  }

  #begin (): void {
    this.#isDue = false
    this.#owedMs = shareOfOthers * sliceMs
    this.#sliceEnd = performance.now() + sliceMs
    this.#waiting.shift()?.()
    if (this.#waiting.length > 0) this.#letOthers()
  }
}

/** Runs steps to their end without a pause, and returns what they return. */
export function runAtOnce<T> (steps: Generator<undefined, T>): T {
  let step = steps.next()
  while (step.done !== true) step = steps.next()
  return step.value
}

/** Runs steps, between which others may use the event loop, and resolves to what they return. */
export async function inSlices<T> (steps: Generator<undefined, T>, slices: TimeSlices): Promise<T> {
  let step = steps.next()
  for (; step.done !== true; step = steps.next()) await slices.next()
  return step.value
}
