import { allocate, type Allocate } from '../exposition/chunk'
import type { TimeSlices } from '../time-slices'

/** The number of chunks of about 64 KiB that a reader may lag behind the foremost one. */
const longestLag = 32

interface SharedChunk {
  readonly bytes: Uint8Array
  /** Whether a reader keeps the bytes, so that nothing else may be written to their memory. */
  isKept: boolean
}

/**
 * The chunks of one exposition. They are rendered once for all readers that begin together and keep up with each other.
 * Chunks are not stored for a reader that falls behind: such a reader renders the exposition again for itself. In this
 * way a client that reads slowly costs time instead of memory.
 *
 * When all readers have read a chunk, its memory is used for a later chunk. V8 counts memory outside its heap like its
 * own. With new memory for each chunk, a large exposition would make V8 stop the application several times to collect
 * chunks that have been sent.
 */
export class SharedChunks {
  readonly #render: (allocate: Allocate) => Generator<Uint8Array>
  readonly #slices: TimeSlices
  readonly #chunks: Generator<Uint8Array>
  /** The latest chunks, beginning with the one that the hindmost reader is at. */
  readonly #recent: SharedChunk[] = []
  /** The memory of chunks that all readers have read. */
  readonly #spare: Buffer[] = []
  /** The readers that keep up, and the index of the chunk that each of them is at. */
  readonly #readers = new Set<{ index: number }>()
  /** The number of chunks that have been rendered. */
  #rendered = 0
  /**
   * The error that ended rendering. Every later reader must get this error too: a generator that has thrown looks as if
   * it had finished.
   */
  #failure: { readonly error: unknown } | undefined

  constructor (render: (allocate: Allocate) => Generator<Uint8Array>, slices: TimeSlices) {
    this.#render = render
    this.#slices = slices
    this.#chunks = render(() => this.#spare.pop() ?? allocate())
  }

  /**
   * Yields all chunks. A chunk is rendered when a reader asks for it and the event loop has time for it. A borrowed
   * chunk belongs to the reader only until the reader asks for the next one.
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

  /** Whether there is a chunk with this index. The chunk is rendered now if no reader has asked for it yet. */
  async #has (index: number): Promise<boolean> {
    await this.#slices.next()
    if (index === this.#rendered) this.#renderNext()
    return index < this.#rendered
  }

  #renderNext (): void {
    if (this.#failure !== undefined) throw this.#failure.error
    this.#forget()
    let step
    try {
      step = this.#chunks.next()
    } catch (error) {
      this.#failure = { error }
      throw error
    }
    const { done, value } = step
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
    // The memory of this chunk is not used again, because the reader that lags behind may still hold it.
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
