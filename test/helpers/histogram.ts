import { HistogramFamily } from '../../lib/histogram/family'
import type { NativeConfig } from '../../lib/histogram/native'
import { SeriesIndex } from '../../lib/histogram/series-index'
import type { FastifyInstance } from 'fastify'

export interface HistogramDescription {
  readonly name: string
  readonly help: string
  readonly labelNames: readonly string[]
  readonly upperBounds: readonly number[]
  readonly native?: NativeConfig
}

/** A histogram of seconds with an index of series of its own. */
export function createHistogram ({ labelNames, native, ...definition }: HistogramDescription): HistogramFamily {
  return new HistogramFamily({ ...definition, native, unit: 'seconds' }, new SeriesIndex(labelNames))
}

/** Observes something in the series with these label values, so that it is there. Returns its slot. */
export function observe (family: HistogramFamily, labelValues: readonly string[], value = 0): number {
  const slot = family.index.slot(labelValues)
  family.observe(slot, value)
  return slot
}

/** The columns of an application's latency histogram. */
export function familyOf (app: FastifyInstance): HistogramFamily {
  return (app.latency.histogram as unknown as { family: HistogramFamily }).family
}
