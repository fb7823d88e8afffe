import type { MetricFamily } from '../snapshot'
import { allocate, Page } from './chunk'
import { escapeQuoted, writeHistogram, writeSamples } from './series'

/** Those of "Units and Base Units" in the specification that Prometheus' own naming advice lists too. */
const units: ReadonlySet<string> = new Set(['seconds', 'bytes', 'joules', 'grams', 'meters', 'ratio', 'volts', 'amperes', 'celsius'])

/** OpenMetrics 1.0.0: https://prometheus.io/docs/specs/om/open_metrics_spec/ */
export function * writeOpenMetrics (families: readonly MetricFamily[], withCreated: boolean, allocatePage = allocate): Generator<Uint8Array> {
  const names = new Set(families.map(family => family.name))
  const page = new Page(allocatePage)
  for (const family of families) {
    const counter = counterName(family, names)
    const name = counter ?? family.name
    const unit = name.slice(name.lastIndexOf('_') + 1)
    page.text(`# HELP ${name} ${escapeQuoted(family.help)}\n# TYPE ${name} ${typeOf(family, counter)}\n`)
    // A name that is nothing but a unit does not end in one, as readers understand it.
    if (units.has(unit) && unit !== name) page.text(`# UNIT ${name} ${unit}\n`)
    if (family.layout === 'columns') yield * writeHistogram(page, family, withCreated)
    else yield * writeSamples(page, family.samples, counter !== undefined && withCreated ? `${counter}_created` : undefined)
  }
  page.text('# EOF\n')
  yield page.take()
}

/**
 * A counter's family is named without the `_total` of its sample. Undefined where that is not possible: the name has no `_total`, or another
 * family has the shorter one. Such a family is written with the type `unknown`, so that its series is called the same in every format.
 */
function counterName ({ type, name }: MetricFamily, names: ReadonlySet<string>): string | undefined {
  if (type !== 'counter' || !name.endsWith('_total')) return undefined
  const short = name.slice(0, -'_total'.length)
  return names.has(short) || names.has(`${short}_created`) ? undefined : short
}

function typeOf ({ type }: MetricFamily, counter: string | undefined): string {
  if (type === 'untyped' || (type === 'counter' && counter === undefined)) return 'unknown'
  return type
}
