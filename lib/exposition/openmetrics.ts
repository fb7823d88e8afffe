import type { Points } from '../snapshot'
import { allocate, Chunk } from './chunk'
import { familyName, namesOf } from './sample-names'
import { escapeQuoted, writeSeries } from './series'

export interface OpenMetricsOptions {
  /** Whether to write when each series began to count. */
  readonly created: boolean
}

/** Writes OpenMetrics 1.0.0: https://prometheus.io/docs/specs/om/open_metrics_spec/ */
export function * writeOpenMetrics (
  families: readonly Points[], { created }: OpenMetricsOptions, allocateChunk = allocate
): Generator<Uint8Array> {
  const names = new Set(families.flatMap(namesOf))
  const chunk = new Chunk(allocateChunk)
  for (const family of families) {
    const counter = counterName(family, names)
    const name = counter ?? family.name
    const type = family.type === 'counter' && counter === undefined ? 'unknown' : family.type
    chunk.text(`# HELP ${name} ${escapeQuoted(family.help)}\n# TYPE ${name} ${type}\n`)
    // Readers refuse a unit that is not the end of the name.
    if (family.unit !== undefined && name.endsWith(`_${family.unit}`)) chunk.text(`# UNIT ${name} ${family.unit}\n`)
    const hasCreated = created && type !== 'gauge' && type !== 'unknown'
    yield * writeSeries(chunk, family, {
      createdName: hasCreated ? `${name}_created` : undefined,
      exemplars: type === 'counter' || type === 'histogram'
    })
  }
  chunk.text('# EOF\n')
  yield chunk.take()
}

/**
 * The name of a counter's family, which is the name of its samples without `_total`. Undefined if the name has no
 * `_total`, or if another family or its samples have the shorter name. Such a counter is written with the type
 * `unknown`, so that its series have the same name in every format.
 */
function counterName (family: Points, names: ReadonlySet<string>): string | undefined {
  const short = familyName(family)
  return short === undefined || names.has(short) || names.has(`${short}_created`) ? undefined : short
}
