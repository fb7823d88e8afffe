import type { TimeSlices } from './time-slices'

/** How far behind the foremost reader another one may be, in pages of about 64 KiB. */
const longestLag = 32

/**
 * The pages of one exposition, rendered once for all readers that begin together and keep up with each other. No page is kept for one who does
 * not: it renders for itself from where it is, so that a client who reads slowly costs time and not memory.
 */
export class SharedPages {
  readonly #render: () => Generator<Uint8Array>
  readonly #slices: TimeSlices
  readonly #pages: Generator<Uint8Array>
  /** The last pages that were rendered. */
  readonly #recent: Uint8Array[] = []
  /** How many pages were rendered. */
  #rendered = 0
  /** Why there are no more than those. A generator that has thrown seems to be done. */
  #failure: { readonly error: unknown } | undefined

  constructor (render: () => Generator<Uint8Array>, slices: TimeSlices) {
    this.#render = render
    this.#slices = slices
    this.#pages = render()
  }

  /** Yields all pages, no more at a time than the event loop can spare, and none ahead of the reader who is foremost. */
  async * read (): AsyncGenerator<Uint8Array> {
    for (let index = 0; await this.#has(index); index++) {
      const lag = this.#rendered - index
      if (lag > this.#recent.length) {
        yield * this.#readAlone(index)
        return
      }
      yield this.#recent.at(-lag)!
    }
  }

  /** Whether there is such a page, which is rendered now if nobody has read it yet. */
  async #has (index: number): Promise<boolean> {
    await this.#slices.next()
    if (index === this.#rendered) this.#renderNext()
    return index < this.#rendered
  }

  #renderNext (): void {
    if (this.#failure !== undefined) throw this.#failure.error
    let page
    try {
      page = this.#pages.next()
    } catch (error) {
      this.#failure = { error }
      throw error
    }
    const { done, value } = page
    if (done === true) return
    this.#rendered++
    this.#recent.push(value)
    if (this.#recent.length > longestLag) this.#recent.shift()
  }

  async * #readAlone (from: number): AsyncGenerator<Uint8Array> {
    let index = 0
    for (const page of this.#render()) {
      if (index++ >= from) yield page
      await this.#slices.next()
    }
  }
}
