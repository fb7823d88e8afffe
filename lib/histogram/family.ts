import type { HistogramSnapshot } from '../snapshot'
import { bucketIndex } from './bounds'

export interface HistogramDefinition {
  readonly name: string
  readonly help: string
  readonly labelNames: readonly string[]
  readonly upperBounds: readonly number[]
}

type Branch = Map<string, Branch | number>

const initialCapacity = 16

/** How many series are copied at a time. */
const seriesPerStep = 10_000

/** At most a third of the columns is empty. */
const growth = 1.5

/**
 * A histogram and all its series. A series is a slot: a number that indexes the columns. Nothing is kept per series but its label values,
 * one sum and one count per bucket.
 */
export class HistogramFamily {
  readonly definition: HistogramDefinition
  readonly #upperBounds: Float64Array
  /** Counts per series: one slot more than upper bounds, for `+Inf`. */
  readonly #stride: number
  /** Bucket counts, not cumulative. Doubles, since they count exactly to 2^53 where a Uint32Array would wrap silently. */
  #counts = new Float64Array(0)
  #sums = new Float64Array(0)
  /** When each series began to count, in seconds since 1970. */
  #created = new Float64Array(0)
  #labelSets: (readonly string[])[] = []
  /** Label values to slot, one level per label, so that no two label sets can share a key. */
  #slots: Branch = new Map()
  #epoch = 0

  constructor (definition: HistogramDefinition) {
    this.definition = definition
    this.#upperBounds = Float64Array.from(definition.upperBounds)
    this.#stride = definition.upperBounds.length + 1
    this.reset()
  }

  /** Changes when the slots given out so far are no longer valid. */
  get epoch (): number {
    return this.#epoch
  }

  /** How many series there are. */
  get size (): number {
    return this.#labelSets.length
  }

  /** The slot of a label set, if there is one. Takes one value per label name. */
  find (labelValues: readonly string[]): number | undefined {
    let branch: Branch | number | undefined = this.#slots
    for (let depth = 0; depth < labelValues.length && branch !== undefined; depth++) branch = (branch as Branch).get(labelValues[depth]!)
    return labelValues.length === 0 ? 0 : branch as number | undefined
  }

  /** The slot of a label set, which is created when it is new. The array is not kept. */
  slot (labelValues: readonly string[]): number {
    return this.find(labelValues) ?? this.#addSeries([...labelValues])
  }

  /** Counts one request. A negative duration counts as 0; one that is no number is counted in the `+Inf` bucket and adds nothing to the sum. */
  observe (slot: number, seconds: number): void {
    const first = slot * this.#stride
    if (!Number.isFinite(seconds)) {
      this.#counts[first + this.#stride - 1]!++
      return
    }
    const duration = seconds > 0 ? seconds : 0
    this.#counts[first + bucketIndex(this.#upperBounds, duration)]!++
    this.#sums[slot]! += duration
  }

  /** The counts at one instant: later observations do not change it. */
  snapshot (): HistogramSnapshot {
    const steps = this.snapshotInSteps()
    let step = steps.next()
    while (step.done !== true) step = steps.next()
    return step.value
  }

  /** The same in steps of less than a millisecond, between which there may be observations. Each series is as at one instant. */
  * snapshotInSteps (): Generator<undefined, HistogramSnapshot> {
    const epoch = this.#epoch
    const size = this.#labelSets.length
    const labelSets: (readonly string[])[] = []
    const [counts, sums, createdSeconds] = [unfilled(size * this.#stride), unfilled(size), unfilled(size)]
    for (let first = 0; first < size; first += seriesPerStep) {
      if (first > 0) yield
      if (this.#epoch !== epoch) return yield * this.snapshotInSteps()
      const end = Math.min(first + seriesPerStep, size)
      for (let slot = first; slot < end; slot++) labelSets.push(this.#labelSets[slot]!)
      counts.set(this.#counts.subarray(first * this.#stride, end * this.#stride), first * this.#stride)
      sums.set(this.#sums.subarray(first, end), first)
      createdSeconds.set(this.#created.subarray(first, end), first)
    }
    return { ...this.definition, layout: 'columns', type: 'histogram', labelSets, counts, sums, createdSeconds, defaultLabels: {} }
  }

  /** Forgets all series. One without labels is there from the start, at zero, so that `rate()` sees its first request. */
  reset (): void {
    this.#epoch++
    this.#slots = new Map()
    this.#labelSets = []
    this.#counts = new Float64Array(initialCapacity * this.#stride)
    this.#sums = new Float64Array(initialCapacity)
    this.#created = new Float64Array(initialCapacity)
    if (this.definition.labelNames.length === 0) this.#addSeries([])
  }

  #addSeries (labelValues: readonly string[]): number {
    const slot = this.#labelSets.push(labelValues) - 1
    if (slot === this.#sums.length) {
      const capacity = Math.ceil(slot * growth)
      this.#counts = grown(this.#counts, capacity * this.#stride)
      this.#sums = grown(this.#sums, capacity)
      this.#created = grown(this.#created, capacity)
    }
    this.#created[slot] = Date.now() / 1000
    let branch = this.#slots
    labelValues.forEach((value, depth) => {
      if (depth === labelValues.length - 1) {
        branch.set(value, slot)
      } else {
        let next = branch.get(value) as Branch | undefined
        if (next === undefined) branch.set(value, next = new Map())
        branch = next
      }
    })
    return slot
  }
}

/** Holds anything: to fill those of 100,000 series with zeros takes milliseconds. */
function unfilled (length: number): Float64Array<ArrayBuffer> {
  return new Float64Array(Buffer.allocUnsafeSlow(length * Float64Array.BYTES_PER_ELEMENT).buffer)
}

function grown (column: Float64Array, length: number): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(length)
  larger.set(column)
  return larger
}
