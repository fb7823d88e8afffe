import { sampleValue } from './float'

const chunkBytes = 65_536
/** A chunk is full from this length on, so that one more series of a common size has room. */
const fullBytes = chunkBytes - 4096
const lineFeed = 10
const quote = 34
const zero = 48
const backslash = 92
const largestAscii = 127
const int32Limit = 2 ** 31

/** Returns memory for a chunk. */
export type Allocate = () => Buffer

export function allocate (): Buffer {
  return Buffer.allocUnsafeSlow(chunkBytes)
}

/**
 * The bytes of an exposition. They are written one after the other, and taken away in chunks of about 64 KiB. Most
 * lines of a histogram begin like the line before. To copy that beginning within the chunk takes a quarter of the time
 * that it takes to make the same lines as a string.
 */
export class Chunk {
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

  /** Whether the chunk should be taken now. A chunk that is written to nevertheless grows, and loses nothing. */
  get isFull (): boolean {
    return this.#length >= fullBytes
  }

  text (text: string): void {
    // A UTF-16 code unit takes at most three bytes in UTF-8.
    this.#reserve(text.length * 3)
    this.#length += this.#bytes.write(text, this.#length)
  }

  /**
   * Writes a copy of the bytes from `start` on. Of a hundred bytes, copying eight at a time takes a quarter of the time
   * that `copyWithin()` takes.
   */
  repeat (start: number, length: number): void {
    this.#reserve(length + 8)
    const view = this.#view
    const end = this.#length
    // The bytes of a NaN might change when they are copied as a number, but no UTF-8 text contains such bytes. Bytes
    // that are copied beyond the end are written over later.
    for (let offset = 0; offset < length; offset += 8) {
      view.setFloat64(end + offset, view.getFloat64(start + offset, true), true)
    }
    this.#length = end + length
  }

  /** Writes a short ASCII text. For a few characters a loop is faster than a call of `write()`. */
  ascii (text: string): void {
    this.#reserve(text.length)
    const bytes = this.#bytes
    const start = this.#length
    for (let index = 0; index < text.length; index++) bytes[start + index] = text.charCodeAt(index)
    this.#length = start + text.length
  }

  /**
   * Writes a short text like `ascii()`, if the whole text may stand between quotes without escaping. Otherwise nothing
   * is written, and the result is false.
   */
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

  /** Writes a count without creating a string, as `String(count)` would. */
  count (count: number): void {
    const int32 = count | 0
    if (int32 !== count || int32 < 0) {
      this.ascii(sampleValue(count))
      return
    }
    let digits = 1
    for (let power = 10; power <= int32; power *= 10) digits++
    this.#reserve(digits)
    const bytes = this.#bytes
    const end = this.#length + digits
    let rest = int32
    for (let index = end - 1; index >= end - digits; index--) {
      const tenth = (rest / 10) | 0
      bytes[index] = zero + rest - tenth * 10
      rest = tenth
    }
    this.#length = end
  }

  endLine (): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = lineFeed
  }

  /** Writes the bytes of another chunk. */
  copy (other: Chunk): void {
    this.#reserve(other.#length)
    this.#bytes.set(other.#bytes.subarray(0, other.#length), this.#length)
    this.#length += other.#length
  }

  // The methods from here to `close()` write Protocol Buffers. A field begins with its key, which is one byte here.

  /** Writes a field that is a double. */
  doubleField (key: number, value: number): void {
    this.#reserve(9)
    this.#bytes[this.#length] = key
    this.#view.setFloat64(this.#length + 1, value, true)
    this.#length += 9
  }

  /** Writes a field that is a non-negative integer. */
  integerField (key: number, value: number): void {
    this.#reserve(1 + longestVarint)
    this.#bytes[this.#length] = key
    this.#length = putVarint(this.#bytes, this.#length + 1, value)
  }

  /** Writes a field that is an integer, of which a small negative one takes few bytes too (`sint64`). */
  signedField (key: number, value: number): void {
    this.#reserve(1 + longestVarint)
    this.#bytes[this.#length] = key
    this.#length = putSigned(this.#bytes, this.#length + 1, value)
  }

  /**
   * Writes the first of some such integers, without keys. To write each by a call would make an object of each, because
   * they are doubles.
   */
  signed (values: Float64Array, count: number): void {
    this.#reserve(count * longestVarint)
    const bytes = this.#bytes
    let place = this.#length
    for (let index = 0; index < count; index++) place = putSigned(bytes, place, values[index]!)
    this.#length = place
  }

  /** Writes a field that is text. For a few characters a loop is faster than a call of `write()`. */
  textField (key: number, text: string): void {
    this.#reserve(text.length + 2)
    const bytes = this.#bytes
    const start = this.#length + 2
    bytes[start - 2] = key
    bytes[start - 1] = text.length
    let index = text.length > 127 ? Infinity : 0
    for (; index < text.length; index++) {
      const code = text.charCodeAt(index)
      if (code > largestAscii) break
      bytes[start + index] = code
    }
    this.#length = start
    if (index === text.length) {
      this.#length += index
    } else {
      this.text(text)
      this.close(start, 1)
    }
  }

  /**
   * Writes a field that is a message of an integer and a double. The buckets of a histogram are such messages, and are
   * most of what is written.
   */
  pairField (key: number, integerKey: number, integer: number, doubleKey: number, double: number): void {
    this.#reserve(12 + longestVarint)
    const bytes = this.#bytes
    const start = this.#length + 2
    bytes[start - 2] = key
    bytes[start] = integerKey
    const end = putVarint(bytes, start + 1, integer)
    bytes[end] = doubleKey
    this.#view.setFloat64(end + 1, double, true)
    bytes[start - 1] = end + 9 - start
    this.#length = end + 9
  }

  /** Writes a non-negative integer in groups of seven bits, the lowest first. */
  varint (value: number): void {
    this.#reserve(longestVarint)
    this.#length = putVarint(this.#bytes, this.#length, value)
  }

  /**
   * Begins a field that has its length before it. Returns the start of what follows, for `close()`. Room is left for a
   * length of so many bytes.
   */
  open (key: number, lengthBytes: number): number {
    this.#reserve(1 + lengthBytes)
    this.#bytes[this.#length] = key
    this.#length += 1 + lengthBytes
    return this.#length
  }

  /** Writes the length of a field. If the room for it has another size, what follows is moved. */
  close (start: number, lengthBytes: number): void {
    const length = this.#length - start
    const needed = varintBytes(length)
    if (needed !== lengthBytes) {
      this.#reserve(longestVarint)
      this.#bytes.copyWithin(start + needed - lengthBytes, start, this.#length)
      this.#length += needed - lengthBytes
    }
    putVarint(this.#bytes, start - lengthBytes, length)
  }

  /** Forgets what has been written. */
  clear (): void {
    this.#length = 0
  }

  /** Returns the bytes that have been written since the last call, and continues in other memory. */
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

/** The number of bytes that `varint()` writes at most. */
const longestVarint = 10

// V8 inlines what follows only if it is short. To destructure an array would make it three times as long.

/** Returns the place behind the number. */
function putVarint (bytes: Buffer, start: number, value: number): number {
  let place = start
  let large = value
  // Shifts are for 32 bits. To divide a double by 128 is exact too.
  for (; large >= int32Limit; large = Math.floor(large / 128)) bytes[place++] = large % 128 | 128
  return putInt32(bytes, place, large | 0)
}

function putInt32 (bytes: Buffer, start: number, value: number): number {
  let place = start
  let rest = value
  for (; rest > 127; rest >>= 7) bytes[place++] = rest & 127 | 128
  bytes[place] = rest
  return place + 1
}

/** The sign is the lowest bit. To double a large number first would not be exact. */
function putSigned (bytes: Buffer, start: number, value: number): number {
  const doubled = value << 1
  if (doubled >> 1 === value) return putInt32(bytes, start, doubled ^ doubled >> 31)
  const magnitude = value < 0 ? -value - 1 : value
  bytes[start] = magnitude % 64 * 2 + (value < 0 ? 1 : 0) | 128
  return putVarint(bytes, start + 1, Math.floor(magnitude / 64))
}

function varintBytes (value: number): number {
  let bytes = 1
  for (let rest = value; rest > 127; rest >>= 7) bytes++
  return bytes
}
