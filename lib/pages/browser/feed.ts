// What the server answers at `/live/data`. The types are the contract between lib/pages/watch.ts and the page.

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
  /** The resolution of its native buckets, and the option that describes it. Undefined: it has no native buckets. */
  readonly native?: { readonly schema: number, readonly option: string } | undefined
  /** The histogram of how long the same requests waited before they began. Undefined: there is none. */
  readonly waits?: { readonly name: string, readonly upperBounds: readonly number[] } | undefined
  /** Whether it is counted for how long the event loop was busy while these requests were open. */
  readonly hasBusyTime?: boolean
}

/** An objective: this share of requests, below 1, takes `latency` seconds or less. */
export interface Objective {
  readonly latency: number
  readonly share: number
}

/** What the page knows before it asks for anything. */
export interface PageData {
  readonly histograms: readonly ShownHistogram[]
  /** Whether open requests are counted. */
  readonly inFlight: boolean
  /** The objective, and the name of the histogram that it is about. */
  readonly objective?: (Objective & { readonly histogram: string }) | undefined
}

/**
 * The method and route of a row, null where the histogram has no such label, and the number of the row's first count.
 * That is the count of its first bucket; those of the other buckets follow, with `+Inf`, and then the sum in seconds.
 */
export type RowDefinition = readonly [method: string | null, route: string | null, first: number]

export type CellKind = 'status' | 'aborted' | 'rejected' | 'in flight' | 'oldest' | 'long lived' | 'busy' | 'waited'

/**
 * A further number of a row, such as the count of one status, or the age of the oldest open request in seconds. The row
 * is -1 for numbers of the whole application. The name is the status, the phase of the abort, the reason of the
 * rejection, or the kind of long-lived request; of `waited` it is the index of a bucket, or `sum` for the seconds.
 */
export type CellDefinition = readonly [id: number, row: number, kind: CellKind, name: string]

/**
 * Native buckets of a row that had no number before: the number of the first, which those of the others follow, the
 * schema, and the index of each. The index of the zero bucket is null.
 */
export type NativeDefinition = readonly [first: number, row: number, schema: number, ...indexes: Array<number | null>]

/**
 * What has changed. Numbers are written one after the other: an id, and by how much the count with it has grown. When
 * the resolution of a series has been halved, counts of native buckets have moved to other ones, and grown by less
 * than 0.
 */
export interface Changes {
  /** The rows and cells that are new. */
  readonly rows: readonly RowDefinition[]
  readonly cells: readonly CellDefinition[]
  /** New native buckets. Undefined: there are none. */
  readonly natives?: readonly NativeDefinition[]
  readonly counts: readonly number[]
}

/** What has changed in about a second. */
export interface Sample extends Changes {
  /** Samples have consecutive numbers. */
  readonly id: number
  /** The times of the previous sample and of this one, in seconds since 1970, by a clock that does not jump. */
  readonly from: number
  readonly time: number
  /** The share of the time since the previous sample in which the event loop was busy. */
  readonly busy: number
  /** The longest time since the previous sample in which the event loop did not turn, in seconds. */
  readonly stall: number
}

/** For each window of the objective: how many requests there were, and how many were slow. */
export interface ObjectiveWindow {
  readonly seconds: number
  /** How much of the window has been observed. It is less while the application is younger than the window. */
  readonly observedSeconds: number
  readonly requests: number
  readonly slow: number
}

/** A request that was slow, as an exemplar tells. */
export interface SlowRequest {
  /** When it was recorded, in seconds since 1970. */
  readonly time: number
  readonly seconds: number
  /** The method and the route, as far as the histogram distinguishes them. */
  readonly method: string | null
  readonly route: string | null
  /** The labels of the exemplar, such as the id of its trace. */
  readonly labels: Readonly<Record<string, string>>
  /** Where its trace is shown. Undefined: nobody has said where, or the labels do not tell. */
  readonly url?: string | undefined
}

export interface Answer {
  /** Another generation has other numbers for its rows and cells, and counts from 0. */
  readonly generation: string
  /** The time of the answer, by the clock of the samples. */
  readonly now: number
  /** When the next sample is due, in milliseconds from now. */
  readonly nextMs: number
  /** For how long the process has been running, in seconds. */
  readonly uptime: number
  /** The share of that time in which the event loop was busy. */
  readonly busy: number
  /** The id of the last sample. */
  readonly last: number
  /** The ids and values of the gauges, as of the last sample. */
  readonly gauges: readonly number[]
  /** All counts as of the last sample. It is there if the page did not know the generation or missed samples. */
  readonly all?: Changes
  /** The samples that the page has not had yet, as far as the server remembers them. */
  readonly samples: readonly Sample[]
  readonly objective?: readonly ObjectiveWindow[]
  /** The slowest requests of the last minutes, the slowest first. It is there if it is new to the page. */
  readonly slowest?: readonly SlowRequest[]
}
