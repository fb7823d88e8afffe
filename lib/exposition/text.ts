import type { MetricFamily } from '../snapshot'
import { allocate, Page } from './chunk'
import { escapeLineFeed, writeHistogram, writeSamples } from './series'

/** The Prometheus text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format */
export function * writeText (families: readonly MetricFamily[], allocatePage = allocate): Generator<Uint8Array> {
  const page = new Page(allocatePage)
  for (const family of families) {
    page.text(`# HELP ${family.name} ${escapeLineFeed(family.help)}\n# TYPE ${family.name} ${family.type}\n`)
    if (family.layout === 'columns') yield * writeHistogram(page, family, false)
    else yield * writeSamples(page, family.samples)
  }
  yield page.take()
}
