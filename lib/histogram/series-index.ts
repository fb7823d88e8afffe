import { nowSeconds } from './clock'
import { allocateSegment, Column, type AllocateSegment } from './columns'

/** One level of the index. It maps a label value to the next level or, on the last level, to the slot. */
type Branch = Map<string, Branch | number>

/**
 * The series of one registration: their label sets, and a slot for each. A slot is a number that indexes columns. Any
 * number of columns may be beside the index, so that the labels of a request are looked up once for all measures.
 */
export class SeriesIndex {
  readonly labelNames: readonly string[]
  readonly #allocate: AllocateSegment
  readonly #columns = new Set<Column>()
  /** When each series was added, in seconds since 1970. */
  readonly #starts: Column
  #labelSets: (readonly string[])[] = []
  /** There is one level for each label, so that two label sets can never share a key. */
  #slots: Branch = new Map()
  #epoch = 0
  #clears = 0

  constructor (labelNames: readonly string[], allocate: AllocateSegment = allocateSegment) {
    this.labelNames = labelNames
    this.#allocate = allocate
    this.#starts = this.addColumn(1)
    this.#addUnlabelled()
  }

  /** A number that changes whenever the slots from before are no longer valid. */
  get epoch (): number {
    return this.#epoch
  }

  /** How many times columns were cleared. */
  get clears (): number {
    return this.#clears
  }

  /** The number of series. */
  get size (): number {
    return this.#labelSets.length
  }

  labelSet (slot: number): readonly string[] {
    return this.#labelSets[slot]!
  }

  startSeconds (slot: number): number {
    return this.#starts.get(slot)
  }

  /** Adds a column, which has room for all series, including those that are added later. */
  addColumn (width: number): Column {
    const column = new Column(width, this.#allocate)
    column.reserve(this.size)
    this.#columns.add(column)
    return column
  }

  /** Removes a column that nobody counts in any more. It has no room for series that are added later. */
  removeColumn (column: Column): void {
    this.#columns.delete(column)
  }

  /** The slot of a label set, or undefined if there is none. `labelValues` has one value for each label name. */
  find (labelValues: readonly string[]): number | undefined {
    let branch: Branch | number | undefined = this.#slots
    for (let depth = 0; depth < labelValues.length && branch !== undefined; depth++) {
      branch = (branch as Branch).get(labelValues[depth]!)
    }
    return labelValues.length === 0 ? 0 : branch as number | undefined
  }

  /** The slot of a label set. A new label set is added. The array itself is not kept. */
  slot (labelValues: readonly string[]): number {
    return this.find(labelValues) ?? this.#add([...labelValues])
  }

  /** Clears some columns. If no other column has counts either, all series are forgotten. */
  clear (columns: readonly Column[]): void {
    this.#clears++
    for (const column of columns) column.clear()
    for (const column of this.#columns) {
      if (column !== this.#starts && this.#labelSets.some((_labelSet, slot) => !column.isZero(slot))) return
    }
    this.#epoch++
    this.#slots = new Map()
    this.#labelSets = []
    this.#addUnlabelled()
  }

  /** The series without labels exists from the start, so that `rate()` sees its first observation. */
  #addUnlabelled (): void {
    if (this.labelNames.length === 0) this.#add([])
  }

  #add (labelValues: readonly string[]): number {
    const slot = this.#labelSets.push(labelValues) - 1
    for (const column of this.#columns) column.reserve(this.size)
    this.#starts.set(slot, nowSeconds())
    let branch = this.#slots
    labelValues.forEach((value, depth) => {
      if (depth === labelValues.length - 1) {
        branch.set(value, slot)
      } else {
        let nextLevel = branch.get(value) as Branch | undefined
        if (nextLevel === undefined) branch.set(value, nextLevel = new Map())
        branch = nextLevel
      }
    })
    return slot
  }
}
