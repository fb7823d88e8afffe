/** The finest and the coarsest resolution of native histograms that Prometheus reads. */
export const [coarsestSchema, finestSchema] = [-4, 8]

// The bits of a double are read through two views of the same memory. The high half has the exponent and the beginning
// of the fraction. On which side it is depends on the machine.
const double = new Float64Array(1)
const halves = new Uint32Array(double.buffer)
double[0] = 1
const high = halves.findIndex(half => half !== 0)
const exponentOfOne = halves[high]!

const smallestNormal = 2 ** -1022

/** The first bits of a fraction, by which a bucket is looked up. */
const lookupBits = 11
const lookupMask = 2 ** lookupBits - 1

/** The bits of a fraction that are in the high half. */
const highFractionBits = 20

/**
 * The buckets of a native histogram at one resolution. Between one power of two and the next there are `2^schema`
 * buckets, each as much wider than the one before it. The bucket with the index `i` counts the values above
 * `2^((i - 1) / 2^schema)`, up to and including `2^(i / 2^schema)`.
 * https://prometheus.io/docs/specs/native_histograms/#standard-schemas
 *
 * A logarithm would be wrong at some bounds. Here the exponent of a value is read from its bits. The first bits of its
 * fraction tell the bucket, unless a bound begins with the same bits: then the value is compared with bounds that are
 * exact.
 */
export class NativeScale {
  /** The number of buckets between one power of two and the next. */
  readonly #perOctave: number
  /** The largest double that is in each bucket from 1 to 2. The first of them is 1. */
  readonly #bounds: Float64Array
  /**
   * For the first bits of a fraction, the bucket of every number that begins with them. If they are not all in one
   * bucket, it is the first one, with all bits inverted, which makes it negative.
   */
  readonly #lookup: Int16Array

  /** `schema` is 0 or finer. The indexes of coarser schemas follow from those of schema 0, see `coarser()`. */
  constructor (schema: number) {
    this.#perOctave = 2 ** schema
    this.#bounds = Float64Array.from({ length: this.#perOctave + 1 }, (_, index) => exactBound(index, this.#perOctave))
    let bucket = 0
    this.#lookup = Int16Array.from({ length: 2 ** lookupBits }, (_, bits) => {
      while (1 + bits / 2 ** lookupBits > this.#bounds[bucket]!) bucket++
      return 1 + (bits + 1) / 2 ** lookupBits > this.#bounds[bucket]! ? ~bucket : bucket
    })
  }

  /** The index of the bucket that counts a value, which is finite and above 0. */
  index (value: number): number {
    if (value < smallestNormal) return this.index(value * 2 ** 52) - 52 * this.#perOctave
    double[0] = value
    const bits = halves[high]!
    const exponent = (bits >>> highFractionBits) - (exponentOfOne >>> highFractionBits)
    const found = this.#lookup[(bits >>> (highFractionBits - lookupBits)) & lookupMask]!
    return exponent * this.#perOctave + (found < 0 ? this.#compare(value / 2 ** exponent, ~found) : found)
  }

  /** The bucket of a number from 1 to 2, which is not before `first`. */
  #compare (fraction: number, first: number): number {
    let bucket = first
    while (fraction > this.#bounds[bucket]!) bucket++
    return bucket
  }
}

/** The index of a bucket when the resolution has been halved a number of times. Each time, two buckets become one. */
export function coarser (index: number, halvings: number): number {
  return (index + (1 << halvings) - 1) >> halvings
}

/** The largest double that is not above `2^(index / perOctave)`, which is from 1 to 2. */
function exactBound (index: number, perOctave: number): number {
  if (index === perOctave) return 2
  const isInBucket = (bound: number): boolean =>
    BigInt(bound * 2 ** 52) ** BigInt(perOctave) <= 1n << BigInt(index + 52 * perOctave)
  // The power is rounded, but not by more than this.
  let bound = 2 ** (index / perOctave) + 4 * Number.EPSILON
  while (!isInBucket(bound)) bound -= Number.EPSILON
  return bound
}
