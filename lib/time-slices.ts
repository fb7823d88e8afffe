const sliceMs = 0.5

/**
 * Shares out the event loop among pieces of work that would hold it for long. All of them together get one slice in each of the loop's turns,
 * and the rest of the turn is for everything else. Waiting for `drain` of a socket is no substitute: on a fast connection it comes at once.
 */
export class TimeSlices {
  readonly #waiting: Array<() => void> = []
  #sliceEnd = 0

  /** Resolves when the caller may go on, for one short step. */
  async next (): Promise<void> {
    if (performance.now() < this.#sliceEnd) return
    if (this.#waiting.length === 0) setImmediate(() => this.#begin())
    await new Promise<void>(resolve => { this.#waiting.push(resolve) })
  }

  #begin (): void {
    this.#sliceEnd = performance.now() + sliceMs
    this.#waiting.shift()!()
    if (this.#waiting.length > 0) setImmediate(() => this.#begin())
  }
}
