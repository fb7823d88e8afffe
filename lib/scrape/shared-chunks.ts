import { allocate, type Allocate } from '../exposition/chunk'
import type { TimeSlices } from '../time-slices'

/** How far behind the foremost reader another one may be, in pages of about 64 KiB. */
const longestLag = 32

interface SharedPage {
  readonly bytes: Uint8Array
  /** Whether a reader keeps it, so that nothing else may be written there. */
  isKept: boolean
}

/**
 * The pages of one exposition, rendered once for all readers that begin together and keep up with each other. No page is kept for one who does
 * not: it renders for itself from where it is, so that a client who reads slowly costs time and not memory.
 *
 * A page that all have read is written over with one of the next. To V8, memory outside its heap counts like its own, and a large exposition
 * would make it stop the application several times to collect what has been sent.
 */
export class SharedPages {
  readonly #render: (allocate: Allocate) => Generator<Uint8Array>
  readonly #slices: TimeSlices
  readonly #pages: Generator<Uint8Array>
  /** The last pages that were rendered, from the one that the last reader is at. */
  readonly #recent: SharedPage[] = []
  /** Memory of pages that all have read. */
  readonly #spare: Buffer[] = []
  /** Those who keep up, by the page that each is at. */
  readonly #readers = new Set<{ index: number }>()
  /** How many pages were rendered. */
  #rendered = 0
  /** Why there are no more than those. A generator that has thrown seems to be done. */
  #failure: { readonly error: unknown } | undefined

  constructor (render: (allocate: Allocate) => Generator<Uint8Array>, slices: TimeSlices) {
    this.#render = render
    this.#slices = slices
    this.#pages = render(() => this.#spare.pop() ?? allocate())
  }

  /**
   * Yields all pages, no more at a time than the event loop can spare, and none ahead of the reader who is foremost. A page that is borrowed
   * is the reader's until it asks for the next one.
   */
  async * read (use: 'kept' | 'borrowed'): AsyncGenerator<Uint8Array> {
    const reader = { index: 0 }
    this.#readers.add(reader)
    try {
      for (; await this.#has(reader.index); reader.index++) {
        const page = this.#recent[this.#recent.length - this.#rendered + reader.index]
        if (page === undefined) break
        if (use === 'kept') page.isKept = true
        yield page.bytes
      }
    } finally {
      this.#readers.delete(reader)
    }
    if (reader.index < this.#rendered) yield * this.#readAlone(reader.index)
  }

  /** Whether there is such a page, which is rendered now if nobody has read it yet. */
  async #has (index: number): Promise<boolean> {
    await this.#slices.next()
    if (index === this.#rendered) this.#renderNext()
    return index < this.#rendered
  }

  #renderNext (): void {
    if (this.#failure !== undefined) throw this.#failure.error
    this.#forget()
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
    this.#recent.push({ bytes: value, isKept: false })
  }

  #forget (): void {
    const last = Math.min(...Array.from(this.#readers, ({ index }) => index))
    while (this.#recent.length > 0 && this.#rendered - this.#recent.length < last) {
      const { bytes, isKept } = this.#recent.shift()!
      if (!isKept) this.#spare.push(Buffer.from(bytes.buffer))
    }
    // Whoever is there may not be done with it.
    if (this.#recent.length === longestLag) this.#recent.shift()
  }

  async * #readAlone (from: number): AsyncGenerator<Uint8Array> {
    let index = 0
    for (const page of this.#render(allocate)) {
      if (index++ >= from) yield page
      await this.#slices.next()
    }
  }
}
