import type { IncomingMessage } from 'node:http'
import Negotiator = require('negotiator')
import type { Points } from '../snapshot'
import type { Allocate } from './chunk'
import { writeOpenMetrics, type OpenMetricsOptions } from './openmetrics'
import { writeText } from './text'

/** What formats can be asked to do otherwise. */
export type FormatOptions = OpenMetricsOptions

interface Format {
  readonly contentType: string
  /** What a client may add to the content type, all of which comes to the same. */
  readonly parameters: readonly string[]
  /** Writes families in chunks, none of which takes long. */
  readonly write: (families: readonly Points[], options: FormatOptions, allocateChunk: Allocate) => Generator<Uint8Array>
}

/**
 * How names outside `[a-zA-Z0-9_:]` are to be escaped, which Prometheus 3 asks for. There are no such names here.
 * https://prometheus.io/docs/instrumenting/escaping_schemes/
 */
const escapings = ['underscores', 'allow-utf-8', 'dots', 'values'].map(escaping => `; escaping=${escaping}`)

/** Every format, in the order of preference for a client that has none, such as a browser or curl. A new format is a new row. */
const formats: readonly Format[] = [
  {
    contentType: 'text/plain; version=0.0.4; charset=utf-8',
    parameters: ['', ...escapings],
    write: (families, _options, allocateChunk) => writeText(families, allocateChunk)
  },
  {
    contentType: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
    parameters: ['', ...escapings],
    write: writeOpenMetrics
  }
]

/** A format, with the parameters that a client asked for. */
export type Exposition = Pick<Format, 'contentType' | 'write'>

/** Every format with each of its parameters. Those without parameters come first: they are what a client without preferences gets. */
const expositions: readonly Exposition[] = formats
  .flatMap(({ contentType, parameters, write }) => parameters.map((parameter, rank) => ({ rank, contentType: contentType + parameter, write })))
  .sort((a, b) => a.rank - b.rank)

/**
 * The exposition that a client likes best. A client that likes none of them gets the first: to a scraper, an error means that the target is
 * down.
 */
export function negotiateExposition (request: IncomingMessage): Exposition {
  const contentType = new Negotiator(request).mediaType(expositions.map(({ contentType }) => contentType))
  return expositions.find(exposition => exposition.contentType === contentType) ?? expositions[0]!
}

/** Whether a client would have its answer compressed. */
export function negotiateGzip (request: IncomingMessage): boolean {
  return new Negotiator(request).encoding(['gzip', 'identity']) === 'gzip'
}
