import type { HistogramPoints, Points, ValuePoints } from '../snapshot'
import type { TimeSlices } from '../time-slices'
import type { CellDefinition, CellKind, RowDefinition, ShownHistogram } from './browser/feed'

/** How many series, or how many counts, are handled in one step. */
const seriesPerStep = 1000
const countsPerStep = 20_000

/** What the families beside the histogram tell: the kind of their cells, and the label that tells cells apart. */
const kinds: Readonly<Record<string, { readonly kind: CellKind, readonly nameLabel?: string }>> = {
  http_requests_aborted_total: { kind: 'aborted', nameLabel: 'phase' },
  http_requests_rejected_total: { kind: 'rejected', nameLabel: 'reason' },
  http_requests_in_flight: { kind: 'in flight' },
  http_long_lived_requests: { kind: 'long lived', nameLabel: 'kind' }
}

/** The names of the families that a tally of a histogram is made of. */
export function familyNames ({ name }: ShownHistogram): string[] {
  return [name, ...Object.keys(kinds)]
}

/** What has been read at one moment: counts by number, and the gauges that are not 0. */
export interface Reading {
  readonly counts: Float64Array
  readonly gauges: readonly number[]
}

type LabelSet = ReadonlyArray<string | undefined>

/**
 * Adds up the series of a histogram, and of what is counted beside it, by method and route. Each count has a number
 * that stays the same, so that two readings can be compared, and what has changed can be told in few bytes.
 */
export class Tally {
  readonly rows: RowDefinition[] = []
  readonly cells: CellDefinition[] = []
  readonly #histogram: ShownHistogram
  readonly #slices: TimeSlices
  readonly #rowIds = new Map<string, number>()
  readonly #cellIds = new Map<string, number>()
  /** The row and status of each series of the histogram. A series has the same label set in most readings. */
  readonly #places = new WeakMap<LabelSet, readonly [first: number, status: number | undefined]>()
  #size = 0

  constructor (histogram: ShownHistogram, slices: TimeSlices) {
    this.#histogram = histogram
    this.#slices = slices
  }

  /** Reads families in steps, between which others may use the event loop. */
  async read (families: readonly Points[]): Promise<Reading> {
    const added: Array<[id: number, amount: number]> = []
    const gauges: number[] = []
    let counts = new Float64Array(this.#size)
    for (const points of families) {
      if (points.type === 'histogram') counts = await this.#readHistogram(points)
      else if (points.name in kinds) this.#readValues(points as ValuePoints, added, gauges)
    }
    const all = new Float64Array(this.#size)
    all.set(counts)
    for (const [id, amount] of added) all[id]! += amount
    return { counts: all, gauges }
  }

  /** By how much each count has grown. Undefined: one has become smaller, so that the readings cannot be compared. */
  async changes (before: Float64Array, counts: Float64Array): Promise<number[] | undefined> {
    const changes: number[] = []
    for (let id = 0; id < counts.length; id++) {
      if (id % countsPerStep === 0) await this.#slices.next()
      const change = counts[id]! - (before[id] ?? 0)
      if (change < 0) return undefined
      if (change > 0) changes.push(id, roundSeconds(change))
    }
    return changes
  }

  async #readHistogram (points: HistogramPoints): Promise<Float64Array<ArrayBuffer>> {
    const buckets = points.upperBounds.length + 1
    const places: Array<readonly [first: number, status: number | undefined]> = []
    for (const [series, labelSet] of points.labelSets.entries()) {
      if (series % seriesPerStep === 0) await this.#slices.next()
      places.push(this.#places.get(labelSet) ?? this.#place(points, labelSet))
    }
    const counts = new Float64Array(this.#size)
    for (const [series, [first, status]] of places.entries()) {
      if (series % seriesPerStep === 0) await this.#slices.next()
      let requests = 0
      for (let bucket = 0; bucket < buckets; bucket++) {
        const count = points.counts[series * buckets + bucket]!
        counts[first + bucket]! += count
        requests += count
      }
      counts[first + buckets]! += points.sums[series]!
      if (status !== undefined) counts[status]! += requests
    }
    return counts
  }

  #place (
    { labelNames }: HistogramPoints, labelSet: LabelSet
  ): readonly [first: number, status: number | undefined] {
    const { methodLabel, routeLabel, statusLabel } = this.#histogram
    const label = (name: string | undefined): string | null =>
      name === undefined ? null : labelSet[labelNames.indexOf(name)] ?? ''
    const row = this.#row(label(methodLabel), label(routeLabel))
    const status = label(statusLabel)
    const place = [this.rows[row]![2], status === null ? undefined : this.#cell(row, 'status', status)] as const
    this.#places.set(labelSet, place)
    return place
  }

  /** Reads a counter or a gauge. Its method or route is left out if the histogram has no such label. */
  #readValues (
    { name, type, labelNames, labelSets, values }: ValuePoints, added: Array<[id: number, amount: number]>,
    gauges: number[]
  ): void {
    const { methodLabel, routeLabel } = this.#histogram
    const { kind, nameLabel } = kinds[name]!
    const sums = new Map<number, number>()
    for (const [series, labelSet] of labelSets.entries()) {
      const label = (name: string): string => labelSet[labelNames.indexOf(name)] ?? ''
      const row = kind === 'rejected'
        ? -1
        : this.#row(
          methodLabel === undefined ? null : label('method'), routeLabel === undefined ? null : label('route')
        )
      const id = this.#cell(row, kind, nameLabel === undefined ? '' : label(nameLabel))
      sums.set(id, (sums.get(id) ?? 0) + values[series]!)
    }
    if (type === 'gauge') for (const [id, value] of sums) gauges.push(id, value)
    else added.push(...sums)
  }

  #row (method: string | null, route: string | null): number {
    const key = JSON.stringify([method, route])
    let row = this.#rowIds.get(key)
    if (row === undefined) {
      row = this.rows.push([method, route, this.#size]) - 1
      this.#rowIds.set(key, row)
      this.#size += this.#histogram.upperBounds.length + 2
    }
    return row
  }

  #cell (row: number, kind: CellKind, name: string): number {
    const key = JSON.stringify([row, kind, name])
    let id = this.#cellIds.get(key)
    if (id === undefined) {
      id = this.#size++
      this.#cellIds.set(key, id)
      this.cells.push([id, row, kind, name])
    }
    return id
  }
}

/** Rounds to nanoseconds, because the difference of two sums has digits that mean nothing. */
function roundSeconds (value: number): number {
  return Math.round(value * 1e9) / 1e9
}
