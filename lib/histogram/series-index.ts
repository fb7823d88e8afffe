import { allocateSegment, Column, type AllocateSegment } from './columns'

/** One level of the index: label value to the next level, or on the last level to the slot. */
type Branch = Map<string, Branch | number>

/**
 * The series of one registration: which label sets there are, and the slot of each. A slot is a number that indexes columns, of which there
 * may be any number beside the index: the labels of a request are looked up once, whatever is measured of it.
 */
export class SeriesIndex {
  readonly labelNames: readonly string[]
  readonly #allocate: AllocateSegment
  readonly #columns = new Set<Column>()
  /** When each series was added, in seconds since 1970. */
  readonly #starts: Column
  #labelSets: (readonly string[])[] = []
  /** There is a level for each label, so that no two label sets can share a key. */
  #slots: Branch = new Map()
  #epoch = 0

  constructor (labelNames: readonly string[], allocate: AllocateSegment = allocateSegment) {
    this.labelNames = labelNames
    this.#allocate = allocate
    this.#starts = this.addColumn(1)
    this.#addUnlabelled()
  }

  /** Changes whenever what was counted so far, or the slots that were given out so far, are no longer valid. */
  get epoch (): number {
    return this.#epoch
  }

  /** How many series there are. */
  get size (): number {
    return this.#labelSets.length
  }

  labelSet (slot: number): readonly string[] {
    return this.#labelSets[slot]!
  }

  startSeconds (slot: number): number {
    return this.#starts.get(slot)
  }

  /** Adds a column that has room for every series, those included that are added later. */
  addColumn (width: number): Column {
    const column = new Column(width, this.#allocate)
    column.reserve(this.size)
    this.#columns.add(column)
    return column
  }

  /** The slot of a label set, if there is one. Takes one value for each label name. */
  find (labelValues: readonly string[]): number | undefined {
    let branch: Branch | number | undefined = this.#slots
    for (let depth = 0; depth < labelValues.length && branch !== undefined; depth++) {
      branch = (branch as Branch).get(labelValues[depth]!)
    }
    return labelValues.length === 0 ? 0 : branch as number | undefined
  }

  /** The slot of a label set, which is added if it is new. The array is not kept. */
  slot (labelValues: readonly string[]): number {
    return this.find(labelValues) ?? this.#add([...labelValues])
  }

  /** Forgets what is counted in some columns; and all series, once no column holds anything that was counted of them. */
  clear (columns: readonly Column[]): void {
    this.#epoch++
    for (const column of columns) column.clear()
    for (const column of this.#columns) {
      if (column !== this.#starts && this.#labelSets.some((_labelSet, slot) => !column.isZero(slot))) return
    }
    this.#slots = new Map()
    this.#labelSets = []
    this.#addUnlabelled()
  }

  /** A series without labels is there from the start, so that `rate()` sees its first observation. */
  #addUnlabelled (): void {
    if (this.labelNames.length === 0) this.#add([])
  }

  #add (labelValues: readonly string[]): number {
    const slot = this.#labelSets.push(labelValues) - 1
    for (const column of this.#columns) column.reserve(this.size)
    this.#starts.set(slot, Date.now() / 1000)
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
