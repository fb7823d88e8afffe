/** What a test opens once something has happened, and waits at until then. */
export class Gate {
  #promise!: Promise<void>
  open!: () => void

  constructor () {
    this.close()
  }

  /** Makes whoever comes from now on wait again. */
  close (): void {
    this.#promise = new Promise(resolve => { this.open = resolve })
  }

  async passed (): Promise<void> {
    return this.#promise
  }
}
