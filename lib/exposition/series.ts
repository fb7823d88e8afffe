import type { HistogramSnapshot, Labels, Sample } from '../snapshot'
import { canonicalFloat, sampleValue } from './float'
import type { Page } from './chunk'

/**
 * The lines of a histogram of ours. They are the same in the text format and in OpenMetrics, but for `_created`. Makes next to no strings, whose
 * collection would hold up the application.
 */
export function * writeHistogram (page: Page, histogram: HistogramSnapshot, withCreated: boolean): Generator<Uint8Array> {
  const { name, labelNames, upperBounds, labelSets, counts, sums, createdSeconds, defaultLabels } = histogram
  const stride = upperBounds.length + 1
  const bounds = [...upperBounds, Infinity].map(bound => `${canonicalFloat(bound)}"} `)
  const missing = Object.entries(defaultLabels).filter(([label]) => !labelNames.includes(label)).map(renderLabel).join(',')
  const hasLabels = labelNames.length > 0 || missing !== ''
  const [open, close] = hasLabels ? ['{', '} '] : ['', ' ']
  const beforeValues = labelNames.map((label, index) => `${index > 0 ? '",' : ''}${label}="`)
  const afterValues = `${labelNames.length > 0 ? '"' : ''}${labelNames.length > 0 && missing !== '' ? ',' : ''}`
  const lineStart = `${name}_bucket{`
  const le = hasLabels ? ',le="' : 'le="'
  for (let slot = 0; slot < labelSets.length; slot++) {
    const start = page.length
    page.ascii(lineStart)
    const labels = page.length
    const values = labelSets[slot]!
    for (let index = 0; index < beforeValues.length; index++) {
      page.ascii(beforeValues[index]!)
      if (!page.plain(values[index]!)) page.text(escapeQuoted(values[index]!))
    }
    page.ascii(afterValues)
    if (missing !== '') page.text(missing)
    const labelsLength = page.length - labels
    page.ascii(le)
    const length = page.length - start
    let cumulativeCount = 0
    for (let bucket = 0; bucket < stride; bucket++) {
      if (bucket > 0) page.repeat(start, length)
      page.ascii(bounds[bucket]!)
      cumulativeCount += counts[slot * stride + bucket]!
      page.countLine(cumulativeCount)
    }
    const begin = (suffix: string): void => {
      page.repeat(start, name.length)
      page.ascii(suffix)
      page.ascii(open)
      page.repeat(labels, labelsLength)
      page.ascii(close)
    }
    begin('_sum')
    page.ascii(sampleValue(sums[slot]!))
    page.ascii('\n')
    begin('_count')
    page.countLine(cumulativeCount)
    if (withCreated) {
      begin('_created')
      page.ascii(`${createdSeconds[slot]!}\n`)
    }
    if (page.isFull) yield page.take()
  }
}

/** The lines of a family as a client library reports it. `createdName` is the name of the samples that say since when others count. */
export function * writeSamples (page: Page, samples: readonly Sample[], createdName?: string): Generator<Uint8Array> {
  for (const { name, labels, value, createdSeconds } of samples) {
    const pairs = Object.entries(labels).map(renderLabel).join(',')
    const series = pairs === '' ? '' : `{${pairs}}`
    page.text(`${name}${series} ${sampleValue(value)}\n`)
    if (createdName !== undefined && createdSeconds !== undefined) page.text(`${createdName}${series} ${createdSeconds}\n`)
    if (page.isFull) yield page.take()
  }
}

export function escapeLineFeed (text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
}

export function escapeQuoted (text: string): string {
  return /[\\\n"]/.test(text) ? escapeLineFeed(text).replaceAll('"', '\\"') : text
}

function renderLabel ([name, value]: readonly [string, Labels[string]]): string {
  // A client library holds the bounds of its own histograms and summaries as numbers.
  const text = typeof value === 'number' && (name === 'le' || name === 'quantile') ? canonicalFloat(value) : String(value)
  return `${name}="${escapeQuoted(text)}"`
}
