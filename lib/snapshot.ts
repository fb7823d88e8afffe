import type { FastifyError } from 'fastify'

/**
 * What crosses the boundary between counting and showing: plain data without methods, so that it can be cloned to another thread or
 * process. Bucket counts are never cumulative here; a writer accumulates them.
 */

/** A histogram of ours, in the columns it is counted in. */
export interface HistogramSnapshot {
  readonly layout: 'columns'
  readonly type: 'histogram'
  readonly name: string
  readonly help: string
  readonly labelNames: readonly string[]
  /** Ascending, without the implied `+Inf`. */
  readonly upperBounds: readonly number[]
  /** Label values of each series, in the order of `labelNames`. An entry is the same array in every snapshot of its series. */
  readonly labelSets: readonly (readonly string[])[]
  /** `upperBounds.length + 1` bucket counts per series, the last for `+Inf`. */
  readonly counts: Float64Array
  /** Seconds, one per series. */
  readonly sums: Float64Array
  /** When each series began to count, in seconds since 1970. */
  readonly createdSeconds: Float64Array
  /** Labels of the registry, for every series that has no label of the same name. */
  readonly defaultLabels: Labels
}

/** A family as a client library reports it: samples ready to be written. */
export interface SampleSnapshot {
  readonly layout: 'samples'
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary' | 'untyped'
  readonly name: string
  readonly help: string
  readonly samples: readonly Sample[]
}

export interface Sample {
  /** The family's name, with a suffix where the type has any. */
  readonly name: string
  readonly labels: Labels
  readonly value: number
  /** When a counter of ours began to count, in seconds since 1970. */
  readonly createdSeconds?: number | undefined
}

export type Labels = Readonly<Record<string, string | number>>

export type MetricFamily = HistogramSnapshot | SampleSnapshot

/** Where families come from. Rejects only if a registry cannot even list its metrics. */
export type Gatherer = (request: GatherRequest) => Promise<Gathered>

export interface GatherRequest {
  /** The families that are wanted. Undefined: all. */
  readonly names: ReadonlySet<string> | undefined
  /** What has not been read when this rejects counts as failed, for the reason it gives. */
  readonly deadline: Promise<never>
}

export interface Gathered {
  readonly families: readonly MetricFamily[]
  readonly failures: readonly GatherFailure[]
}

/** A metric that could not be read. */
export interface GatherFailure {
  readonly name: string
  readonly error: FastifyError
}
