import type { HistogramPoints, NativePoints, Points, ValuePoints } from '../snapshot'
import type { TimeSlices } from '../time-slices'
import type { CellDefinition, CellKind, NativeDefinition, RowDefinition, ShownHistogram } from './browser/feed'

/** How many series, how many that have native buckets, or how many counts, are handled in one step. */
const seriesPerStep = 1000
const nativeSeriesPerStep = 100
const countsPerStep = 20_000

/** What the families beside the histogram tell: the kind of their cells, and the label that tells cells apart. */
const kinds: Readonly<Record<string, { readonly kind: CellKind, readonly nameLabel?: string }>> = {
  http_requests_aborted_total: { kind: 'aborted', nameLabel: 'phase' },
  http_requests_rejected_total: { kind: 'rejected', nameLabel: 'reason' },
  http_requests_in_flight: { kind: 'in flight' },
  http_request_oldest_seconds: { kind: 'oldest' },
  http_long_lived_requests: { kind: 'long lived', nameLabel: 'kind' },
  http_request_busy_seconds_total: { kind: 'busy' }
}

/** The names of the families that a tally of a histogram is made of. */
export function familyNames ({ name, waits }: ShownHistogram): string[] {
  return [name, ...waits === undefined ? [] : [waits.name], ...Object.keys(kinds)]
}

/** What has been read at one moment: counts by number, and the gauges that are not 0. */
export interface Reading {
  readonly counts: Float64Array
  readonly gauges: readonly number[]
}

type LabelSet = ReadonlyArray<string | undefined>

/** Where a series of the histogram is added: its row, the number of the row's first count, and that of its status. */
interface Place {
  readonly row: number
  readonly first: number
  readonly status: number | undefined
}

/**
 * Adds up the series of a histogram, and of what is counted beside it, by method and route. Each count has a number
 * that stays the same, so that two readings can be compared, and what has changed can be told in few bytes.
 */
export class Tally {
  readonly rows: RowDefinition[] = []
  readonly cells: CellDefinition[] = []
  readonly natives: NativeDefinition[] = []
  readonly #histogram: ShownHistogram
  readonly #slices: TimeSlices
  readonly #rowIds = new Map<string, number>()
  readonly #cellIds = new Map<string, number>()
  /** The number of each native bucket of each row, by schema and index. */
  readonly #nativeIds: Array<Map<number, number>> = []
  /** The numbers of all native buckets. */
  readonly #moving = new Set<number>()
  /** The row and status of each series of the histogram. A series has the same label set in most readings. */
  readonly #places = new WeakMap<LabelSet, Place>()
  #size = 0

  constructor (histogram: ShownHistogram, slices: TimeSlices) {
    this.#histogram = histogram
    this.#slices = slices
  }

  /** Reads families in steps, between which others may use the event loop. */
  async read (families: readonly Points[]): Promise<Reading> {
    /** Numbers one after the other: an id, and an amount. */
    const added: number[] = []
    const gauges: number[] = []
    let counts = new Float64Array(this.#size)
    for (const points of families) {
      if (points.name === this.#histogram.waits?.name) await this.#readWaits(points as HistogramPoints, added)
      else if (points.type === 'histogram') counts = await this.#readHistogram(points, added)
      else if (points.name in kinds) this.#readValues(points as ValuePoints, added, gauges)
    }
    const all = new Float64Array(this.#size)
    all.set(counts)
    for (let index = 0; index < added.length; index += 2) all[added[index]!]! += added[index + 1]!
    return { counts: all, gauges }
  }

  /**
   * By how much each count has grown. Undefined: one has become smaller, so that the readings cannot be compared. Those
   * of native buckets move to other ones when the resolution is halved; they are reset only together with all others.
   */
  async changes (before: Float64Array, counts: Float64Array): Promise<number[] | undefined> {
    const changes: number[] = []
    for (let id = 0; id < counts.length; id++) {
      if (id % countsPerStep === 0) await this.#slices.next()
      const change = counts[id]! - (before[id] ?? 0)
      if (change < 0 && !this.#moving.has(id)) return undefined
      if (change !== 0) changes.push(id, roundSeconds(change))
    }
    return changes
  }

  async #readHistogram (points: HistogramPoints, added: number[]): Promise<Float64Array<ArrayBuffer>> {
    const buckets = points.upperBounds.length + 1
    const places: Place[] = []
    const perStep = points.native === undefined ? seriesPerStep : nativeSeriesPerStep
    for (const [series, labelSet] of points.labelSets.entries()) {
      if (series % perStep === 0) await this.#slices.next()
      const place = this.#places.get(labelSet) ?? this.#place(points, labelSet)
      places.push(place)
      if (points.native !== undefined) this.#readNative(points.native, series, place.row, added)
    }
    const counts = new Float64Array(this.#size)
    for (const [series, { first, status }] of places.entries()) {
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

  /** Reads how long requests waited, as buckets and a sum of the whole application. */
  async #readWaits ({ upperBounds, labelSets, counts, sums }: HistogramPoints, added: number[]): Promise<void> {
    const buckets = [...upperBounds, Infinity].map(() => 0)
    let sum = 0
    for (const series of labelSets.keys()) {
      if (series % seriesPerStep === 0) await this.#slices.next()
      buckets.forEach((_count, bucket) => { buckets[bucket]! += counts[series * buckets.length + bucket]! })
      sum += sums[series]!
    }
    buckets.forEach((count, bucket) => added.push(this.#cell(-1, 'waited', String(bucket)), count))
    added.push(this.#cell(-1, 'waited', 'sum'), sum)
  }

  #readNative (
    { schemas, zeroCounts, ends, indexes, counts }: NativePoints, series: number, row: number, added: number[]
  ): void {
    const schema = schemas[series]!
    const ids = this.#nativeIds[row] ??= new Map()
    const first = this.#size
    const news: Array<number | null> = []
    const add = (index: number | null, count: number): void => {
      const key = nativeKey(schema, index)
      let id = ids.get(key)
      if (id === undefined) {
        ids.set(key, id = this.#size++)
        this.#moving.add(id)
        news.push(index)
      }
      added.push(id, count)
    }
    if (zeroCounts[series]! > 0) add(null, zeroCounts[series]!)
    const begin = series === 0 ? 0 : ends[series - 1]!
    for (let bucket = begin; bucket < ends[series]!; bucket++) add(indexes[bucket]!, counts[bucket]!)
    if (news.length > 0) this.natives.push([first, row, schema, ...news])
  }

  #place ({ labelNames }: HistogramPoints, labelSet: LabelSet): Place {
    const { methodLabel, routeLabel, statusLabel } = this.#histogram
    const label = (name: string | undefined): string | null =>
      name === undefined ? null : labelSet[labelNames.indexOf(name)] ?? ''
    const row = this.#row(label(methodLabel), label(routeLabel))
    const status = label(statusLabel)
    const place = {
      row, first: this.rows[row]![2], status: status === null ? undefined : this.#cell(row, 'status', status)
    }
    this.#places.set(labelSet, place)
    return place
  }

  /** Reads a counter or a gauge. Its method or route is left out if the histogram has no such label. */
  #readValues (
    { name, type, labelNames, labelSets, values }: ValuePoints, added: number[], gauges: number[]
  ): void {
    const { methodLabel, routeLabel } = this.#histogram
    const { kind, nameLabel } = kinds[name]!
    const found = new Map<number, number>()
    for (const [series, labelSet] of labelSets.entries()) {
      const label = (name: string): string => labelSet[labelNames.indexOf(name)] ?? ''
      const row = kind === 'rejected'
        ? -1
        : this.#row(
          methodLabel === undefined ? null : label('method'), routeLabel === undefined ? null : label('route')
        )
      const id = this.#cell(row, kind, nameLabel === undefined ? '' : label(nameLabel))
      const [value, other] = [values[series]!, found.get(id) ?? 0]
      found.set(id, kind === 'oldest' ? Math.max(other, value) : other + value)
    }
    if (type === 'gauge') for (const [id, value] of found) gauges.push(id, roundSeconds(value))
    else for (const [id, value] of found) added.push(id, value)
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

/** Indexes at the finest schema are less than half of this, above and below 0. */
const indexes = 2 ** 20

/** Another number for each bucket of each schema. */
function nativeKey (schema: number, index: number | null): number {
  return schema * indexes + (index ?? indexes / 2 - 1)
}

/** Rounds to nanoseconds, because the difference of two sums has digits that mean nothing. */
function roundSeconds (value: number): number {
  return Math.round(value * 1e9) / 1e9
}
