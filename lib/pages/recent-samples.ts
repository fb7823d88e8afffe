/** A sample in the form in which it is sent. */
export interface WrittenSample {
  readonly id: number
  /** Its time in seconds. */
  readonly time: number
  readonly json: Buffer
}

export interface RecentSamplesOptions {
  readonly keepSeconds: number
  readonly mostBytes: number
}

/** The samples of the last minutes. The oldest are forgotten earlier if together they take too many bytes. */
export class RecentSamples {
  readonly #options: RecentSamplesOptions
  #samples: WrittenSample[] = []
  #bytes = 0

  constructor (options: RecentSamplesOptions) {
    this.#options = options
  }

  /** The id of the oldest sample that is remembered. Undefined: there is none. */
  get first (): number | undefined {
    return this.#samples[0]?.id
  }

  add (sample: WrittenSample): void {
    this.#samples.push(sample)
    this.#bytes += sample.json.length
    const begin = sample.time - this.#options.keepSeconds
    while (this.#samples.length > 0 && (this.#samples[0]!.time <= begin || this.#bytes > this.#options.mostBytes)) {
      this.#bytes -= this.#samples.shift()!.json.length
    }
  }

  after (id: number): Buffer[] {
    return this.#samples.filter(sample => sample.id > id).map(({ json }) => json)
  }

  clear (): void {
    this.#samples = []
    this.#bytes = 0
  }
}
