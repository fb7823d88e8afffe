const pageBytes = 65_536
/** Leaves room for one more series of a common size. */
const fullBytes = pageBytes - 4096
const lineFeed = 10
const zero = 48
const largestInt32 = 0x7fffffff

/**
 * Bytes of an exposition, written one after the other and taken away in pieces of about 64 KiB. A page is bytes and not a string since most
 * of a histogram is the beginning of the line before, which is copied within the page: a string of the same lines takes three times as long.
 */
export class Page {
  #bytes = Buffer.allocUnsafeSlow(pageBytes)
  #length = 0

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

  /** Writes again what stands at `start`. */
  repeat (start: number, length: number): void {
    this.#reserve(length)
    this.#bytes.copyWithin(this.#length, start, start + length)
    this.#length += length
  }

  /** Short text, one byte a character: for a few of them a loop is faster than a call of `write()`. */
  ascii (text: string): void {
    this.#reserve(text.length)
    for (let index = 0; index < text.length; index++) this.#bytes[this.#length++] = text.charCodeAt(index)
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
    let rest = count
    for (let index = this.#length + digits - 1; index >= this.#length; index--) {
      const tenth = (rest / 10) | 0
      this.#bytes[index] = zero + rest - tenth * 10
      rest = tenth
    }
    this.#length += digits
    this.#bytes[this.#length++] = lineFeed
  }

  /** What has been written since the last time. */
  take (): Uint8Array {
    const taken = this.#bytes.subarray(0, this.#length)
    this.#bytes = Buffer.allocUnsafeSlow(pageBytes)
    this.#length = 0
    return taken
  }

  #reserve (length: number): void {
    if (this.#length + length <= this.#bytes.length) return
    const larger = Buffer.allocUnsafeSlow(2 * (this.#length + length))
    this.#bytes.copy(larger, 0, 0, this.#length)
    this.#bytes = larger
  }
}
