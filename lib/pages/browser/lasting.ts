/** A condition that goes on for some seconds after it was last so, so that what it is shown by does not flicker. */
export class Lasting {
  readonly #seconds: number
  #until = -Infinity

  constructor (seconds: number) {
    this.#seconds = seconds
  }

  /** Whether the condition goes on at a time, in seconds, at which it is so or not. */
  at (time: number, isSo: boolean): boolean {
    if (isSo) this.#until = time + this.#seconds
    return time < this.#until
  }
}
