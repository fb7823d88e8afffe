import type { HistogramSnapshot, Labels, Sample } from '../snapshot'
import { canonicalFloat, sampleValue } from './float'
import type { Page } from './page'

/** The lines of a histogram of ours. They are the same in the text format and in OpenMetrics, but for `_created`. */
export function * writeHistogram (page: Page, histogram: HistogramSnapshot, withCreated: boolean): Generator<Uint8Array> {
  const { name, labelNames, upperBounds, labelSets, counts, sums, createdSeconds, defaultLabels } = histogram
  const stride = upperBounds.length + 1
  const bounds = [...upperBounds, Infinity].map(bound => `${canonicalFloat(bound)}"} `)
  const missing = Object.entries(defaultLabels).filter(([label]) => !labelNames.includes(label)).map(renderLabel)
  for (let slot = 0; slot < labelSets.length; slot++) {
    const labels = [...labelSets[slot]!.map((value, index) => renderLabel([labelNames[index]!, value])), ...missing].join(',')
    const series = labels === '' ? '' : `{${labels}}`
    const start = page.length
    page.text(`${name}_bucket{${labels}${labels === '' ? '' : ','}le="`)
    const length = page.length - start
    let cumulativeCount = 0
    for (let bucket = 0; bucket < stride; bucket++) {
      if (bucket > 0) page.repeat(start, length)
      page.ascii(bounds[bucket]!)
      cumulativeCount += counts[slot * stride + bucket]!
      page.countLine(cumulativeCount)
    }
    page.text(`${name}_sum${series} ${sampleValue(sums[slot]!)}\n${name}_count${series} `)
    page.countLine(cumulativeCount)
    if (withCreated) page.text(`${name}_created${series} ${createdSeconds[slot]!}\n`)
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
