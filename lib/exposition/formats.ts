import type { IncomingMessage } from 'node:http'
import Negotiator = require('negotiator')
import type { MetricFamily } from '../snapshot'
import { writeOpenMetrics } from './openmetrics'
import type { Allocate } from './chunk'
import { writeText } from './text'

export interface Exposition {
  readonly contentType: string
  /** Writes families in pieces, none of which takes long. */
  write (families: readonly MetricFamily[], allocatePage: Allocate): Generator<Uint8Array>
}

const text = 'text/plain; version=0.0.4; charset=utf-8'
const openMetrics = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/**
 * How names outside `[a-zA-Z0-9_:]` are to be escaped, which Prometheus 3 asks for. There are no such names here: all schemes come to the same.
 * https://prometheus.io/docs/instrumenting/escaping_schemes/
 */
const escapings = ['underscores', 'allow-utf-8', 'dots', 'values']

/** In order of preference where the client has none, as a browser and curl. */
const contentTypes = ['', ...escapings.map(escaping => `; escaping=${escaping}`)]
  .flatMap(escaping => [text + escaping, openMetrics + escaping])

/** The exposition that a client likes best. A client that likes none gets the text format: to a scraper, an error is a target that is down. */
export function negotiateExposition (request: IncomingMessage, withCreated: boolean): Exposition {
  const contentType = new Negotiator(request).mediaType(contentTypes) ?? text
  return {
    contentType,
    write: contentType.startsWith(text) ? writeText : (families, allocatePage) => writeOpenMetrics(families, withCreated, allocatePage)
  }
}

/** Whether a client would have its answer compressed. */
export function negotiateGzip (request: IncomingMessage): boolean {
  return new Negotiator(request).encoding(['gzip', 'identity']) === 'gzip'
}
