import { allocate, type Allocate } from '../exposition/chunk'
import type { TimeSlices } from '../time-slices'

/** How far behind the foremost reader another one may be, in chunks of about 64 KiB. */
const longestLag = 32

interface SharedChunk {
  readonly bytes: Uint8Array
  /** Whether a reader keeps it, so that nothing else may be written there. */
  isKept: boolean
}

/**
 * The chunks of one exposition. They are rendered once for all readers that begin together and keep up with each other. For a reader that
 * does not keep up, no chunk is kept: that reader renders for itself from where it is, so that a client who reads slowly costs time and not
 * memory.
 *
 * Once all readers have had a chunk, the next one is written over it. To V8, memory outside its heap counts like its own, so that a large
 * exposition would make it stop the application several times to collect what has been sent.
 */
export class SharedChunks {
  readonly #render: (allocate: Allocate) => Generator<Uint8Array>
  readonly #slices: TimeSlices
  readonly #chunks: Generator<Uint8Array>
  /** The last chunks that were rendered, beginning with the one that the hindmost reader is at. */
  readonly #recent: SharedChunk[] = []
  /** The memory of chunks that all readers have had. */
  readonly #spare: Buffer[] = []
  /** The readers that keep up, with the index of the chunk that each is at. */
  readonly #readers = new Set<{ index: number }>()
  /** How many chunks were rendered. */
  #rendered = 0
  /** The error that ended rendering. Every later reader has to get it too, since a generator that has thrown only seems to be done. */
  #failure: { readonly error: unknown } | undefined

  constructor (render: (allocate: Allocate) => Generator<Uint8Array>, slices: TimeSlices) {
    this.#render = render
    this.#slices = slices
    this.#chunks = render(() => this.#spare.pop() ?? allocate())
  }

  /**
   * Yields all chunks, no more at a time than the event loop can spare, and none before a reader asks for it. A chunk that is borrowed is the
   * reader's until it asks for the next one.
   */
  async * read (use: 'kept' | 'borrowed'): AsyncGenerator<Uint8Array> {
    const reader = { index: 0 }
    this.#readers.add(reader)
    try {
      for (; await this.#has(reader.index); reader.index++) {
        const chunk = this.#recent[this.#recent.length - this.#rendered + reader.index]
        if (chunk === undefined) break
        if (use === 'kept') chunk.isKept = true
        yield chunk.bytes
      }
    } finally {
      this.#readers.delete(reader)
    }
    if (reader.index < this.#rendered) yield * this.#readAlone(reader.index)
  }

  /** Whether there is a chunk of this index, which is rendered now if no reader has asked for it yet. */
  async #has (index: number): Promise<boolean> {
    await this.#slices.next()
    if (index === this.#rendered) this.#renderNext()
    return index < this.#rendered
  }

  #renderNext (): void {
    if (this.#failure !== undefined) throw this.#failure.error
    this.#forget()
    let next
    try {
      next = this.#chunks.next()
    } catch (error) {
      this.#failure = { error }
      throw error
    }
    const { done, value } = next
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
    // Its memory is not used again, since a reader that lags behind may still hold it.
    if (this.#recent.length === longestLag) this.#recent.shift()
  }

  async * #readAlone (from: number): AsyncGenerator<Uint8Array> {
    let index = 0
    for (const chunk of this.#render(allocate)) {
      if (index++ >= from) yield chunk
      await this.#slices.next()
    }
  }
}
