const pageBytes = 65_536
/** Leaves room for one more series of a common size. */
const fullBytes = pageBytes - 4096
const lineFeed = 10
const quote = 34
const zero = 48
const backslash = 92
const largestAscii = 127
const largestInt32 = 0x7fffffff

/** Where a page has its memory from. */
export type Allocate = () => Buffer

export function allocate (): Buffer {
  return Buffer.allocUnsafeSlow(pageBytes)
}

/**
 * Bytes of an exposition, written one after the other and taken away in pieces of about 64 KiB. A page is bytes and not a string since most
 * of a histogram is the beginning of the line before, which is copied within the page: a string of the same lines takes four times as long.
 */
export class Page {
  #bytes!: Buffer
  #view!: DataView
  #length!: number
  readonly #allocate: Allocate

  constructor (allocate: Allocate) {
    this.#allocate = allocate
    this.#use(allocate())
  }

  get length (): number {
    return this.#length
  }

  /** Whether it is time to take it. What is written nevertheless is not lost: the page grows. */
  get isFull (): boolean {
    return this.#length >= fullBytes
  }

  text (text: string): void {
    // No character takes more than three bytes per UTF-16 code unit.
    this.#reserve(text.length * 3)
    this.#length += this.#bytes.write(text, this.#length)
  }

  /** Writes again what stands at `start`. For a hundred bytes, eight at a time are four times as fast as `copyWithin()`. */
  repeat (start: number, length: number): void {
    this.#reserve(length + 8)
    const view = this.#view
    const end = this.#length
    // No text holds the bytes of a NaN, which might not be kept as they are. What is written beyond the end is written over.
    for (let offset = 0; offset < length; offset += 8) view.setFloat64(end + offset, view.getFloat64(start + offset, true), true)
    this.#length = end + length
  }

  /** Short text, one byte a character: for a few of them a loop is faster than a call of `write()`. */
  ascii (text: string): void {
    this.#reserve(text.length)
    const bytes = this.#bytes
    const start = this.#length
    for (let index = 0; index < text.length; index++) bytes[start + index] = text.charCodeAt(index)
    this.#length = start + text.length
  }

  /** The same, but false, with nothing written, if there is anything in it that is not to be written as it is between quotes. */
  plain (text: string): boolean {
    this.#reserve(text.length)
    const bytes = this.#bytes
    const start = this.#length
    for (let index = 0; index < text.length; index++) {
      const code = text.charCodeAt(index)
      if (code > largestAscii || code === lineFeed || code === quote || code === backslash) return false
      bytes[start + index] = code
    }
    this.#length = start + text.length
    return true
  }

  /** A count and the end of its line, without the string that `String(count)` makes. */
  countLine (count: number): void {
    if (count > largestInt32) {
      this.ascii(`${count}\n`)
      return
    }
    let digits = 1
    for (let power = 10; power <= count; power *= 10) digits++
    this.#reserve(digits + 1)
    const bytes = this.#bytes
    const end = this.#length + digits
    let rest = count | 0
    for (let index = end - 1; index >= end - digits; index--) {
      const tenth = (rest / 10) | 0
      bytes[index] = zero + rest - tenth * 10
      rest = tenth
    }
    bytes[end] = lineFeed
    this.#length = end + 1
  }

  /** What has been written since the last time. */
  take (): Uint8Array {
    const taken = this.#bytes.subarray(0, this.#length)
    this.#use(this.#allocate())
    return taken
  }

  #reserve (length: number): void {
    if (this.#length + length <= this.#bytes.length) return
    const written = this.#bytes.subarray(0, this.#length)
    this.#use(Buffer.allocUnsafeSlow(2 * (written.length + length)))
    this.#bytes.set(written)
    this.#length = written.length
  }

  #use (bytes: Buffer): void {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer)
    this.#length = 0
  }
}
