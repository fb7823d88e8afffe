import type { HistogramSnapshot, Labels, MetricFamily, SampleSnapshot } from '../snapshot'
import { canonicalFloat, sampleValue } from './float'

export interface ExpositionWriter {
  readonly contentType: string
  write (families: readonly MetricFamily[]): string
}

/** The Prometheus text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format */
export const textWriter: ExpositionWriter = {
  contentType: 'text/plain; version=0.0.4; charset=utf-8',
  write: families => families.map(writeFamily).join('')
}

function writeFamily (family: MetricFamily): string {
  return `# HELP ${family.name} ${escapeHelp(family.help)}\n# TYPE ${family.name} ${family.type}\n` +
    (family.layout === 'columns' ? writeColumns(family) : writeSamples(family))
}

function writeColumns ({ name, labelNames, upperBounds, labelSets, counts, sums, defaultLabels }: HistogramSnapshot): string {
  const stride = upperBounds.length + 1
  const buckets = [...upperBounds, Infinity].map(bound => `le="${canonicalFloat(bound)}"} `)
  const missing = Object.entries(defaultLabels).filter(([label]) => !labelNames.includes(label)).map(renderLabel)
  let text = ''
  for (let slot = 0; slot < labelSets.length; slot++) {
    const labels = [...labelSets[slot]!.map((value, index) => renderLabel([labelNames[index]!, value])), ...missing].join(',')
    const bucketStart = `${name}_bucket{${labels}${labels === '' ? '' : ','}`
    let cumulativeCount = 0
    for (let bucket = 0; bucket < stride; bucket++) {
      cumulativeCount += counts[slot * stride + bucket]!
      text += bucketStart + buckets[bucket]! + String(cumulativeCount) + '\n'
    }
    const series = labels === '' ? '' : `{${labels}}`
    text += `${name}_sum${series} ${sampleValue(sums[slot]!)}\n${name}_count${series} ${cumulativeCount}\n`
  }
  return text
}

function writeSamples ({ samples }: SampleSnapshot): string {
  let text = ''
  for (const { name, labels, value } of samples) {
    const series = Object.entries(labels).map(renderLabel).join(',')
    text += `${name}${series === '' ? '' : `{${series}}`} ${sampleValue(value)}\n`
  }
  return text
}

function renderLabel ([name, value]: readonly [string, Labels[string]]): string {
  // A client library holds the bounds of its own histograms and summaries as numbers.
  const text = typeof value === 'number' && (name === 'le' || name === 'quantile') ? canonicalFloat(value) : String(value)
  return `${name}="${escapeLabelValue(text)}"`
}

function escapeLabelValue (value: string): string {
  return /[\\\n"]/.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"') : value
}

function escapeHelp (help: string): string {
  return help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
}
