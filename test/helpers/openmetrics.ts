import { quotedEscapes, readLabels, unescape } from './exposition'

/**
 * A strict reader of OpenMetrics 1.0.0, written against the specification and not against the writer:
 * https://prometheus.io/docs/specs/om/open_metrics_spec/
 */
export interface OpenMetricsFamily {
  readonly type: string
  unit?: string
  readonly help: string
  /** By series, as text: the name and the labels in the order of their names. */
  readonly samples: Map<string, number>
}

const suffixes: Record<string, string[]> = {
  counter: ['_total', '_created'],
  gauge: [''],
  unknown: [''],
  histogram: ['_bucket', '_sum', '_count', '_created'],
  summary: ['', '_sum', '_count', '_created']
}

export function series (name: string, labels: Record<string, string>): string {
  return JSON.stringify([name, Object.entries(labels).sort()])
}

export function readOpenMetrics (text: string): Map<string, OpenMetricsFamily> {
  if (!text.endsWith('# EOF\n')) throw new Error('It does not end in # EOF')
  const families = new Map<string, OpenMetricsFamily>()
  /** Names of samples, by the family they belong to. */
  const sampleNames = new Map<string, string>()
  let family: OpenMetricsFamily | undefined
  let familyName = ''
  let help = ''
  for (const line of text.slice(0, -'# EOF\n'.length).split('\n').slice(0, -1)) {
    const metadata = /^# (HELP|TYPE|UNIT) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/s.exec(line) as unknown as
      [string, string, string, string] | null
    if (metadata !== null) {
      const [, keyword, name, rest] = metadata
      if (keyword === 'HELP') {
        if (/(?<!\\)(\\\\)*"/.test(rest)) throw new Error(`A quote that is not escaped: ${line}`)
        help = unescape(rest, quotedEscapes)
        familyName = name
      } else if (name !== familyName) {
        throw new Error(`Metadata of another family: ${line}`)
      } else if (keyword === 'TYPE') {
        if (!(rest in suffixes)) throw new Error(`Unknown type: ${line}`)
        if (rest === 'counter' && name.endsWith('_total')) {
          throw new Error(`The name of a counter without its suffix: ${line}`)
        }
        for (const suffix of suffixes[rest]!) {
          if (sampleNames.has(name + suffix)) {
            throw new Error(`The samples of ${name} are called as those of ${sampleNames.get(name + suffix)}`)
          }
          sampleNames.set(name + suffix, name)
        }
        families.set(name, family = { type: rest, help, samples: new Map() })
      } else {
        if (!name.endsWith(`_${rest}`)) throw new Error(`The unit is not in the name: ${line}`)
        family!.unit = rest
      }
      continue
    }
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.+)\})? (NaN|[+-]Inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/s.exec(line)
    if (sample === null) throw new Error(`Not a sample: ${line}`)
    const [, name, pairs, number] = sample as unknown as [string, string, string | undefined, string]
    if (family === undefined || sampleNames.get(name) !== familyName) {
      throw new Error(`Sample of another family: ${line}`)
    }
    const labels = readLabels(pairs ?? '')
    for (const bound of [labels.le, labels.quantile]) if (bound !== undefined) checkCanonical(bound)
    const value = Number(number.replace('Inf', 'Infinity'))
    const counts = family.type === 'counter' || /_(bucket|count)$/.test(name.slice(familyName.length))
    if (counts && !(value >= 0)) throw new Error(`A count that is none: ${line}`)
    if (family.samples.has(series(name, labels))) throw new Error(`Series twice: ${line}`)
    family.samples.set(series(name, labels), value)
  }
  return families
}

/** "Considerations: Canonical Numbers": what Go's `%g` prints, with `.0` where that would be an integer. */
function checkCanonical (bound: string): void {
  if (!/^(\+Inf|-?(\d+\.\d+|\d(\.\d*[1-9])?e[+-]\d{2,}))$/.test(bound)) throw new Error(`Not canonical: ${bound}`)
}
