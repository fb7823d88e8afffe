/** What a test opens once something has happened, and waits at until then. */
export class Gate {
  readonly #promise: Promise<void>
  open!: () => void

  constructor () {
    this.#promise = new Promise(resolve => { this.open = resolve })
  }

  async passed (): Promise<void> {
    return this.#promise
  }
}
