import type { Objective, ShownHistogram } from './browser/feed'

/**
 * The facts about an application that the pages show: plain data without secrets, which could come from another thread.
 */
export interface Facts {
  /** The path of the metrics. */
  readonly path: string
  readonly histograms: readonly ShownHistogram[]
  /** Whether the metrics are of several processes. */
  readonly isGroup: boolean
  /** Whether requests in flight are counted. */
  readonly inFlight: boolean
  /** Whether the metrics of the process are served. */
  readonly processMetrics: boolean
  /** Whether other times than the latency are measured, and whether there are exemplars. */
  readonly timeToFirstByte: boolean
  readonly queueTime: boolean
  /** Whether it is counted for how long the event loop was busy while requests were open. */
  readonly busyTime: boolean
  readonly exemplars: boolean
  /** Where the trace of an exemplar is shown, with the names of labels in braces. Undefined: nobody has said. */
  readonly traceUrl: string | undefined
  /** Undefined: no objective is configured. */
  readonly objective: Objective | undefined
  /** The options in effect. */
  readonly tables: readonly OptionTable[]
}

export interface OptionTable {
  readonly caption: string
  readonly options: Readonly<Record<string, string>>
}
