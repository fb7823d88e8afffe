const sliceMs = 0.5

/** While others use the event loop too, they get so many times as long as all pieces of work together. */
const shareOfOthers = 3

/** A turn of the loop that takes no longer than this had nothing else to do. */
const idleTurnMs = 0.05

/**
 * Shares out the event loop among pieces of work that would hold it for long. All of them together get one slice at a time, in which they take
 * turns, and the next one when the loop is idle or has spent three times as long on everything else. Waiting for `drain` of a socket is no
 * substitute: on a fast connection it comes at once.
 */
export class TimeSlices {
  readonly #waiting: Array<() => void> = []
  #isDue = false
  #sliceEnd = 0
  /** When a piece of work was last done with a step. */
  #stepEnd = 0
  /** Time that others are to have before the next slice. */
  #owedMs = 0

  /** Resolves when the caller may go on, for one short step. */
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

  /** Lets the event loop turn, until a slice is due. */
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
