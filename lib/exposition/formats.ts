import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type Negotiator = require('negotiator')
import type { Points } from '../snapshot'
import type { Allocate } from './chunk'
import type { OpenMetricsOptions } from './openmetrics'

/** The options of all formats. */
export type FormatOptions = OpenMetricsOptions

interface Format {
  readonly contentType: string
  /** Parameters that a client may add to the content type. None of them changes the exposition. */
  readonly parameters: readonly string[]
  /** Writes families in chunks. No chunk takes long to write. */
  readonly write: (
    families: readonly Points[], options: FormatOptions, allocateChunk: Allocate
  ) => Generator<Uint8Array>
}

/**
 * The ways of escaping names outside `[a-zA-Z0-9_:]`, one of which Prometheus 3 asks for. The metrics here have no such
 * names.
 * https://prometheus.io/docs/instrumenting/escaping_schemes/
 */
const escapings = ['underscores', 'allow-utf-8', 'dots', 'values'].map(escaping => `; escaping=${escaping}`)

/**
 * Every format, in the order of preference for a client without preferences, such as a browser or curl. A new format is
 * a new row. Its file is loaded when a client first gets it.
 */
const formats: readonly Format[] = [
  {
    contentType: 'text/plain; version=0.0.4; charset=utf-8',
    parameters: ['', ...escapings],
    write: (families, _options, allocateChunk) =>
      (require('./text') as typeof import('./text')).writeText(families, allocateChunk)
  },
  {
    contentType: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
    parameters: ['', ...escapings],
    write: (...all) => (require('./openmetrics') as typeof import('./openmetrics')).writeOpenMetrics(...all)
  },
  {
    contentType: 'application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited',
    parameters: ['', ...escapings],
    write: (families, _options, allocateChunk) =>
      (require('./protobuf') as typeof import('./protobuf')).writeProtobuf(families, allocateChunk)
  }
]

/** A format with the parameters that a client has asked for. */
export type Exposition = Pick<Format, 'contentType' | 'write'>

/** Every format with each of its parameters. */
const expositions = formats.flatMap(({ contentType, parameters, write }) =>
  parameters.map(parameter => ({ parameter, contentType: contentType + parameter, write })))

/**
 * What is read of a header: so many characters and elements, from its beginning. Prometheus sends six elements,
 * browsers eight. Without a limit the time to read a header would grow with its length, and with every exposition.
 */
const longestHeader = 1024
const mostElements = 16

/**
 * The exposition that a client prefers. A client that accepts none of them gets the first one, because an error would
 * mean to a scraper that the target is down.
 */
export function negotiateExposition ({ headers }: IncomingMessage): Exposition {
  const accept = begin(headers.accept)
  // To compare types takes time. A client does not prefer one with a parameter whose value it does not name.
  const named = expositions.filter(({ parameter }) => accept.includes(parameter.slice(parameter.indexOf('=') + 1)))
  const types = named.map(({ contentType }) => contentType)
  const contentType = negotiator({ accept }).mediaType(types)
  return named.find(exposition => exposition.contentType === contentType) ?? expositions[0]!
}

/** The one of the encodings that a client prefers. Undefined: it prefers an answer that is not compressed. */
export function negotiateEncoding (
  { headers }: IncomingMessage, encodings: readonly string[]
): string | undefined {
  const accepted = { 'accept-encoding': begin(headers['accept-encoding']) }
  const preferred = negotiator(accepted).encoding([...encodings, 'identity'])
  return encodings.find(encoding => encoding === preferred)
}

function negotiator (headers: IncomingHttpHeaders): Negotiator {
  return new (require('negotiator') as typeof Negotiator)({ headers })
}

/** The part of a header that is read. */
function begin (header = ''): string {
  return header.slice(0, longestHeader).toLowerCase().split(',', mostElements).join()
}
