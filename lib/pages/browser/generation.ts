import type { CellDefinition, Changes, RowDefinition } from './feed'

/** What a number of the server counts: requests in a bucket of a row, the seconds of a row, or a cell. */
export interface Place {
  /** The index of the row. It is -1 for the whole application. */
  readonly row: number
  /** The index of the classic bucket, one more than that of `+Inf` for the sum, and -1 for anything else. */
  readonly bucket: number
  readonly cell?: CellDefinition
  /** The schema and the index of the native bucket. */
  readonly native?: readonly [schema: number, index: number]
}

/** The rows and cells of one generation of the server's numbers, and all that it has counted. */
export class Generation {
  readonly name: string
  readonly rows: RowDefinition[] = []
  /** What each number counts. */
  readonly places: Place[] = []
  /** Everything that was counted since the server started, by number. */
  totals: number[] = []
  /** How far the clock of the page is ahead of that of the server, as the fastest answer tells. */
  offset = Infinity
  readonly #numbersOfRow: number

  constructor (name: string, upperBounds: readonly number[]) {
    this.name = name
    this.#numbersOfRow = upperBounds.length + 2
  }

  /** Adds what has changed, and the rows and cells that are new. */
  add ({ rows, cells, natives = [], counts }: Changes): void {
    for (const row of rows) {
      const index = this.rows.push(row) - 1
      for (let bucket = 0; bucket < this.#numbersOfRow; bucket++) {
        this.places[row[2] + bucket] = { row: index, bucket }
      }
    }
    for (const cell of cells) this.places[cell[0]] = { row: cell[1], bucket: -1, cell }
    for (const [first, row, schema, ...indexes] of natives) {
      indexes.forEach((index, place) => {
        this.places[first + place] = { row, bucket: -1, native: [schema, index ?? -Infinity] }
      })
    }
    addTo(this.totals, counts)
  }

  /** Begins anew with all counts of the server. */
  replace (all: Changes): void {
    this.rows.length = 0
    this.places.length = 0
    this.totals = []
    this.add(all)
  }
}

/** Adds changes to numbers. */
export function addTo (numbers: number[], changes: readonly number[]): void {
  for (let index = 0; index < changes.length; index += 2) {
    const id = changes[index]!
    numbers[id] = (numbers[id] ?? 0) + changes[index + 1]!
  }
}
