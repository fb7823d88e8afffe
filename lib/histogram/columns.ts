/** Hands out the memory of one segment: so many numbers, all of them 0. */
export type AllocateSegment = (length: number) => Float64Array

/** Takes memory from the heap of this thread. */
export const allocateSegment: AllocateSegment = length => new Float64Array(length)

/** A slot shifted by this many bits is the index of the segment that holds it. */
export const segmentBits = 6

/** How many series share a segment. */
export const segmentSlots = 1 << segmentBits

/** These bits of a slot are its place in its segment. */
export const placeMask = segmentSlots - 1

/**
 * One row of numbers for each series. A column grows by segments: what has been handed out is never moved, so that another thread can read
 * it while this one counts. Numbers are doubles, which count exactly to 2^53, where 32 bits would silently begin again at 0.
 */
export class Column {
  /** How many numbers a series has. */
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
    const segment = this.segments[slot >> segmentBits]!
    const start = (slot & placeMask) * this.width
    for (let index = start; index < start + this.width; index++) if (segment[index] !== 0) return false
    return true
  }

  clear (): void {
    for (const segment of this.segments) segment.fill(0)
  }
}
