/** A histogram that the page can show, as the server describes it. */
export interface ShownHistogram {
  readonly name: string
  /** In seconds, without `+Inf`. */
  readonly upperBounds: readonly number[]
  /** The labels that hold these, where the histogram has them. */
  readonly methodLabel?: string | undefined
  readonly routeLabel?: string | undefined
  readonly statusLabel?: string | undefined
}

/** What has been counted of some requests. Only grows, until the server starts again. */
export interface Counts {
  /** Cumulative, one for each upper bound and one for `+Inf`, which is that of all. */
  readonly buckets: readonly number[]
  /** Those with a status of 500 or more. */
  readonly errors: number
  readonly aborted: number
}

/** One row of the table: the requests of a method and route, as far as the histogram tells them apart. */
export interface Row {
  readonly method: string | undefined
  readonly route: string | undefined
  readonly counts: Counts
  /** Now. */
  readonly inFlight: number
}

/** What one answer of the server says. */
export interface Reading {
  readonly rows: ReadonlyMap<string, Row>
  /** Requests that were answered before any hook could run; they have no route. */
  readonly rejected: number
}

const inFlightName = 'http_requests_in_flight'
const abortedName = 'http_requests_aborted_total'
const rejectedName = 'http_requests_rejected_total'

/** The families to ask the server for. */
export function familyNames ({ name }: ShownHistogram): string[] {
  return [name, inFlightName, abortedName, rejectedName]
}

type MutableRow = { -readonly [K in keyof Row]: Row[K] } & { counts: { buckets: number[], errors: number, aborted: number } }

/** Where the value of a line goes. */
interface Place {
  readonly kind: 'bucket' | 'in flight' | 'aborted' | 'rejected'
  readonly key: string
  readonly method: string | undefined
  readonly route: string | undefined
  /** Index among the bounds; -1 for a bound that is not one of them, and for other kinds. */
  readonly bucket: number
  readonly isError: boolean
}

/** Reads the text format, as far as the page needs it. Remembers what it makes of the names and labels of a line, which stay the same. */
export class Reader {
  readonly #histogram: ShownHistogram
  readonly #kinds: ReadonlyMap<string, Place['kind']>
  readonly #places = new Map<string, Place | undefined>()

  constructor (histogram: ShownHistogram) {
    this.#histogram = histogram
    this.#kinds = new Map([
      [`${histogram.name}_bucket`, 'bucket'], [inFlightName, 'in flight'], [abortedName, 'aborted'], [rejectedName, 'rejected']
    ])
  }

  /** Throws if the histogram is not there, or not as described: the server has started again, with other options. */
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
    // The other metrics have labels of fixed names, and no method or route that the histogram does not have too.
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
