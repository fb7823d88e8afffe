import type { Exemplar, HistogramPoints, Labels, Points, SummaryPoints, ValuePoints } from '../snapshot'
import type { Chunk } from './chunk'
import { ExemplarReader } from './exemplars'
import { canonicalFloat, sampleValue } from './float'

/** The parts in which the text formats differ when they write samples. */
export interface SeriesStyle {
  /** The name of the samples that say when each series began to count. Undefined: there are no such samples. */
  readonly createdName: string | undefined
  /** Whether the format has exemplars. */
  readonly exemplars: boolean
}

/** Writes the samples of one family, and yields full chunks. */
export function writeSeries (chunk: Chunk, points: Points, style: SeriesStyle): Generator<Uint8Array> {
  switch (points.type) {
    case 'histogram': return writeHistogram(chunk, points, style)
    case 'summary': return writeSummary(chunk, points, style)
    default: return writeValues(chunk, points, style)
  }
}

/** Creates nearly no strings, because collecting them as garbage would hold up the application. */
function * writeHistogram (chunk: Chunk, histogram: HistogramPoints, style: SeriesStyle): Generator<Uint8Array> {
  const { name, labelNames, upperBounds, labelSets, counts, sums, startSeconds, sharedLabels } = histogram
  const { createdName } = style
  const exemplars = style.exemplars ? new ExemplarReader(histogram.exemplars) : undefined
  const stride = upperBounds.length + 1
  const bounds = [...upperBounds, Infinity].map(bound => `${canonicalFloat(bound)}"} `)
  const shared = Object.entries(sharedLabels).map(renderLabel).join(',')
  const beforeValues = labelNames.map(label => `${label}="`)
  for (let series = 0; series < labelSets.length; series++) {
    const start = chunk.length
    chunk.ascii(name)
    chunk.ascii('_bucket{')
    const labels = chunk.length
    writeLabelSet(chunk, beforeValues, labelSets[series]!, shared)
    const labelsLength = chunk.length - labels
    chunk.ascii(labelsLength > 0 ? ',le="' : 'le="')
    const length = chunk.length - start
    let cumulativeCount = 0
    for (let bucket = 0; bucket < stride; bucket++) {
      if (bucket > 0) chunk.repeat(start, length)
      chunk.ascii(bounds[bucket]!)
      cumulativeCount += counts[series * stride + bucket]!
      chunk.count(cumulativeCount)
      if (exemplars !== undefined) writeExemplar(chunk, exemplars.read(series, bucket))
      chunk.endLine()
    }
    const [open, close] = labelsLength > 0 ? ['{', '} '] : ['', ' ']
    const begin = (suffix: string): void => {
      chunk.repeat(start, name.length)
      chunk.ascii(suffix)
      chunk.ascii(open)
      chunk.repeat(labels, labelsLength)
      chunk.ascii(close)
    }
    begin('_sum')
    chunk.ascii(sampleValue(sums[series]!))
    chunk.endLine()
    begin('_count')
    chunk.count(cumulativeCount)
    chunk.endLine()
    if (createdName !== undefined && isKnown(startSeconds?.[series])) {
      begin('_created')
      chunk.ascii(sampleValue(startSeconds![series]!))
      chunk.endLine()
    }
    if (chunk.isFull) yield chunk.take()
  }
}

function * writeSummary (chunk: Chunk, summary: SummaryPoints, { createdName }: SeriesStyle): Generator<Uint8Array> {
  const { name, quantiles, quantileValues, counts, sums, labelSets, startSeconds } = summary
  for (let series = 0; series < labelSets.length; series++) {
    const labels = renderLabels(summary, series)
    const braced = labels === '' ? '' : `{${labels}}`
    quantiles.forEach((quantile, index) => {
      const label = renderLabel(['quantile', canonicalFloat(quantile)])
      chunk.text(`${name}{${labels === '' ? label : `${labels},${label}`}} `)
      chunk.text(`${sampleValue(quantileValues[series * quantiles.length + index]!)}\n`)
    })
    chunk.text(`${name}_sum${braced} ${sampleValue(sums[series]!)}\n`)
    chunk.text(`${name}_count${braced} ${sampleValue(counts[series]!)}\n`)
    if (createdName !== undefined && isKnown(startSeconds?.[series])) {
      chunk.text(`${createdName}${braced} ${startSeconds![series]!}\n`)
    }
    if (chunk.isFull) yield chunk.take()
  }
}

function * writeValues (chunk: Chunk, points: ValuePoints, style: SeriesStyle): Generator<Uint8Array> {
  const { name, values, labelSets, startSeconds } = points
  const { createdName } = style
  const exemplars = style.exemplars ? new ExemplarReader(points.exemplars) : undefined
  for (let series = 0; series < labelSets.length; series++) {
    const labels = renderLabels(points, series)
    const braced = labels === '' ? '' : `{${labels}}`
    chunk.text(`${name}${braced} ${sampleValue(values[series]!)}`)
    writeExemplar(chunk, exemplars?.read(series, 0))
    chunk.endLine()
    if (createdName !== undefined && isKnown(startSeconds?.[series])) {
      chunk.text(`${createdName}${braced} ${startSeconds![series]!}\n`)
    }
    if (chunk.isFull) yield chunk.take()
  }
}

/** Writes the exemplar of a bucket, if there is one, behind the sample of the bucket. */
function writeExemplar (chunk: Chunk, exemplar: Exemplar | undefined): void {
  if (exemplar === undefined) return
  const { labels, value, timestampSeconds } = exemplar
  chunk.text(` # {${Object.entries(labels).map(renderLabel).join(',')}} ${sampleValue(value)}`)
  if (timestampSeconds !== undefined) chunk.text(` ${sampleValue(timestampSeconds)}`)
}

export function isKnown (seconds: number | undefined): seconds is number {
  return seconds !== undefined && !Number.isNaN(seconds)
}

function writeLabelSet (
  chunk: Chunk, beforeValues: readonly string[], labelSet: ReadonlyArray<string | undefined>, shared: string
): void {
  let isFirst = true
  for (let index = 0; index < beforeValues.length; index++) {
    const value = labelSet[index]
    if (value === undefined) continue
    if (!isFirst) chunk.ascii(',')
    isFirst = false
    chunk.ascii(beforeValues[index]!)
    if (!chunk.plain(value)) chunk.text(escapeQuoted(value))
    chunk.ascii('"')
  }
  if (shared === '') return
  if (!isFirst) chunk.ascii(',')
  chunk.text(shared)
}

/** All labels of a series, without braces. */
function renderLabels ({ labelNames, labelSets, sharedLabels }: Points, series: number): string {
  const own = labelNames.flatMap((name, index) => {
    const value = labelSets[series]![index]
    return value === undefined ? [] : [renderLabel([name, value])]
  })
  return [...own, ...Object.entries(sharedLabels).map(renderLabel)].join(',')
}

function renderLabel ([name, value]: readonly [name: string, value: Labels[string]]): string {
  return `${name}="${escapeQuoted(value)}"`
}

export function escapeLineFeed (text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
}

export function escapeQuoted (text: string): string {
  return /[\\\n"]/.test(text) ? escapeLineFeed(text).replaceAll('"', '\\"') : text
}
