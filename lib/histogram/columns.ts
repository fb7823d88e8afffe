/** Returns the memory of one segment: `length` numbers, all of them 0. */
export type AllocateSegment = (length: number) => Float64Array

/** Takes the memory from the heap of this thread. */
export const allocateSegment: AllocateSegment = length => new Float64Array(length)

/** An array with arbitrary numbers. To fill the numbers of 100,000 series with zeros would take milliseconds. */
export function unfilled (length: number): Float64Array<ArrayBuffer> {
  return new Float64Array(Buffer.allocUnsafeSlow(length * Float64Array.BYTES_PER_ELEMENT).buffer)
}

/** A slot shifted right by this many bits is the index of its segment. */
export const segmentBits = 6

/** The number of series in a segment. */
export const segmentSlots = 1 << segmentBits

/** The bits of a slot that are its place in its segment. */
export const placeMask = segmentSlots - 1

/**
 * A row of numbers for each series. A column grows by segments, and a segment never moves. Another thread could
 * therefore read a column while this thread counts. The numbers are doubles, which count exactly up to 2^53, while a
 * 32-bit integer would silently begin again at 0.
 */
export class Column {
  /** How many numbers each series has. */
  readonly width: number
  readonly segments: Float64Array[] = []
  readonly #allocate: AllocateSegment

  constructor (width: number, allocate: AllocateSegment) {
    this.width = width
    this.#allocate = allocate
  }

  /** Makes room for this many series. */
  reserve (slots: number): void {
    while (this.segments.length * segmentSlots < slots) this.segments.push(this.#allocate(segmentSlots * this.width))
  }

  /** The first number of a series. */
  get (slot: number): number {
    return this.segments[slot >> segmentBits]![(slot & placeMask) * this.width]!
  }

  /** Sets the first number of a series. */
  set (slot: number, value: number): void {
    this.segments[slot >> segmentBits]![(slot & placeMask) * this.width] = value
  }

  /** Adds to the first number of a series. */
  add (slot: number, amount: number): void {
    this.segments[slot >> segmentBits]![(slot & placeMask) * this.width]! += amount
  }

  /** Whether every number of a series is 0. */
  isZero (slot: number): boolean {
    const segment = this.segments[slot >> segmentBits]
    if (segment === undefined) return true
    const start = (slot & placeMask) * this.width
    for (let index = start; index < start + this.width; index++) if (segment[index] !== 0) return false
    return true
  }

  clear (): void {
    for (const segment of this.segments) segment.fill(0)
  }
}
