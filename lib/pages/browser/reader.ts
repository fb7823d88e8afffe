/** A histogram that the page can show, as the server describes it to the page. */
export interface ShownHistogram {
  readonly name: string
  /** The upper bounds in seconds, without `+Inf`. */
  readonly upperBounds: readonly number[]
  /**
   * The names of the labels that hold the method, the route and the status. Undefined: the histogram has no such label.
   */
  readonly methodLabel?: string | undefined
  readonly routeLabel?: string | undefined
  readonly statusLabel?: string | undefined
}

/** The counts of some requests. Counts only grow until the server starts again. */
export interface Counts {
  /** The cumulative counts of the buckets. The last one is that of `+Inf`, and counts all requests. */
  readonly buckets: readonly number[]
  /** Requests with a status of 500 or more. */
  readonly errors: number
  readonly aborted: number
}

/** One row of the table: the requests of a method and route, as far as the histogram distinguishes them. */
export interface Row {
  readonly method: string | undefined
  readonly route: string | undefined
  readonly counts: Counts
  /** Requests in flight at the time of the answer. */
  readonly inFlight: number
}

/** The content of one answer of the server. */
export interface Reading {
  readonly rows: ReadonlyMap<string, Row>
  /** Requests that were answered before any hook could run. They have no route. */
  readonly rejected: number
}

const inFlightName = 'http_requests_in_flight'
const abortedName = 'http_requests_aborted_total'
const rejectedName = 'http_requests_rejected_total'

/** The names of the families that the page asks the server for. */
export function familyNames ({ name }: ShownHistogram): string[] {
  return [name, inFlightName, abortedName, rejectedName]
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

type MutableRow = Mutable<Row> & { counts: { buckets: number[], errors: number, aborted: number } }

/** The place of a sample's value in a reading. */
interface Place {
  readonly kind: 'bucket' | 'in flight' | 'aborted' | 'rejected'
  readonly key: string
  readonly method: string | undefined
  readonly route: string | undefined
  /** The index of the bucket in the histogram. It is -1 for an unknown bound, and for samples of other metrics. */
  readonly bucket: number
  readonly isError: boolean
}

/**
 * Reads the parts of the text format that the page needs. The name and labels of a sample stay the same from answer to
 * answer, so the reader remembers the place that it has found for them.
 */
export class Reader {
  readonly #histogram: ShownHistogram
  readonly #kinds: ReadonlyMap<string, Place['kind']>
  readonly #places = new Map<string, Place | undefined>()

  constructor (histogram: ShownHistogram) {
    this.#histogram = histogram
    this.#kinds = new Map([
      [`${histogram.name}_bucket`, 'bucket'],
      [inFlightName, 'in flight'],
      [abortedName, 'aborted'],
      [rejectedName, 'rejected']
    ])
  }

  /**
   * Reads one answer. Throws if the histogram is missing or has other buckets, which happens when the server has
   * started again with other options.
   */
  read (text: string): Reading {
    const { name, upperBounds } = this.#histogram
    if (!text.includes(`# TYPE ${name} histogram\n`)) throw new Error(`${name} is not served any more`)
    const rows = new Map<string, MutableRow>()
    let rejected = 0
    for (const line of text.split('\n')) {
      const space = line.lastIndexOf(' ')
      if (space === -1 || line.startsWith('#')) continue
      const place = this.#place(line.slice(0, space))
      if (place === undefined) continue
      const value = Number(line.slice(space + 1))
      if (place.kind === 'rejected') {
        rejected += value
        continue
      }
      const row = this.#findOrAddRow(rows, place)
      if (place.kind === 'in flight') row.inFlight += value
      else if (place.kind === 'aborted') row.counts.aborted += value
      else {
        if (place.bucket === -1) throw new Error(`${name} has other buckets now`)
        row.counts.buckets[place.bucket]! += value
        if (place.isError && place.bucket === upperBounds.length) row.counts.errors += value
      }
    }
    return { rows, rejected }
  }

  #findOrAddRow (rows: Map<string, MutableRow>, { key, method, route }: Place): MutableRow {
    let row = rows.get(key)
    if (row === undefined) {
      const buckets = Array<number>(this.#histogram.upperBounds.length + 1).fill(0)
      row = { method, route, counts: { buckets, errors: 0, aborted: 0 }, inFlight: 0 }
      rows.set(key, row)
    }
    return row
  }

  #place (series: string): Place | undefined {
    if (!this.#places.has(series)) this.#places.set(series, this.#find(series))
    return this.#places.get(series)
  }

  #find (series: string): Place | undefined {
    const [name] = series.split('{', 1) as [string]
    const kind = this.#kinds.get(name)
    if (kind === undefined) return undefined
    const { methodLabel, routeLabel, statusLabel, upperBounds } = this.#histogram
    const labels = readLabels(series.slice(name.length))
    // The other metrics have fixed label names. Their method or route is left out if the histogram has no such label.
    const label = (ofHistogram: string | undefined, ofOthers: string): string | undefined =>
      ofHistogram === undefined ? undefined : labels.get(kind === 'bucket' ? ofHistogram : ofOthers) ?? ''
    const [method, route] = [label(methodLabel, 'method'), label(routeLabel, 'route')]
    return {
      kind,
      key: JSON.stringify([method, route]),
      method,
      route,
      bucket: labels.get('le') === '+Inf' ? upperBounds.length : upperBounds.indexOf(Number(labels.get('le'))),
      isError: statusLabel !== undefined && labels.get(statusLabel)?.startsWith('5') === true
    }
  }
}

function readLabels (text: string): Map<string, string> {
  const labels = new Map<string, string>()
  for (const [, name, value] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    labels.set(name!, value!.replace(/\\(.)/g, (_escape, character) => character === 'n' ? '\n' : character))
  }
  return labels
}
