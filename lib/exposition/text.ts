import type { Points } from '../snapshot'
import { allocate, Chunk } from './chunk'
import { escapeLineFeed, writeSeries, type SeriesStyle } from './series'

const style: SeriesStyle = { createdName: undefined, exemplars: false }

/**
 * Writes the Prometheus text format, version 0.0.4:
 * https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
 */
export function * writeText (families: readonly Points[], allocateChunk = allocate): Generator<Uint8Array> {
  const chunk = new Chunk(allocateChunk)
  for (const family of families) {
    const type = family.type === 'unknown' ? 'untyped' : family.type
    chunk.text(`# HELP ${family.name} ${escapeLineFeed(family.help)}\n# TYPE ${family.name} ${type}\n`)
    yield * writeSeries(chunk, family, style)
  }
  yield chunk.take()
}
