import { inspect } from 'node:util'
import createError = require('@fastify/error')
import type { FastifyBaseLogger, FastifyError } from 'fastify'

// The table below is documented, code by code, in README.md.

export const FST_LATENCY_ERR_OPTION_UNKNOWN = createError<[option: string, hint: string, known: string]>(
  'FST_LATENCY_ERR_OPTION_UNKNOWN', 'Unknown option "%s"%s; known here: %s', 500, TypeError)

export const FST_LATENCY_ERR_OPTION_INVALID = createError<[option: string, rule: string, received: string]>(
  'FST_LATENCY_ERR_OPTION_INVALID', 'Option "%s" must be %s; received %s', 500, TypeError)

export const FST_LATENCY_ERR_HISTOGRAM_CONFLICT = createError<[name: string, part: string, existing: string, wanted: string]>(
  'FST_LATENCY_ERR_HISTOGRAM_CONFLICT', 'Histogram "%s" is registered with the %s %s; it cannot be registered again with %s')

export const FST_LATENCY_ERR_HISTOGRAM_RECORDED = createError<[name: string]>(
  'FST_LATENCY_ERR_HISTOGRAM_RECORDED',
  'Histogram "%s" already records requests of this context in another way; recording them again would count each twice')

export const FST_LATENCY_ERR_NAME_TAKEN = createError<[name: string]>(
  'FST_LATENCY_ERR_NAME_TAKEN', 'The registry already holds a metric named "%s" that is not of this plugin')

export const FST_LATENCY_ERR_OPTION_CONFLICT = createError<[option: string, existing: string, wanted: string]>(
  'FST_LATENCY_ERR_OPTION_CONFLICT', 'Option "%s" is already %s for this application; it cannot also be %s')

export const FST_LATENCY_ERR_SERVER_LISTEN = createError<[host: string, port: number, reason: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_SERVER_LISTEN', 'The metrics server cannot listen on host %s, port %d: %s')

export const FST_LATENCY_ERR_CONNECTION_LIMIT = createError<[connections: number]>(
  'FST_LATENCY_ERR_CONNECTION_LIMIT', 'There are %d connections to the metrics server; it refuses more')

export const FST_LATENCY_ERR_CERTIFICATE = createError<[file: string, reason: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_CERTIFICATE', 'The metrics server cannot use %s: %s')

export const FST_LATENCY_ERR_CLUSTER_PORT = createError(
  'FST_LATENCY_ERR_CLUSTER_PORT',
  'A worker of a node:cluster has counts of its own, and cannot share a metrics port with the others; give each its own "server.port"')

export const FST_LATENCY_ERR_SERVER_CLOSED = createError(
  'FST_LATENCY_ERR_SERVER_CLOSED', 'The metrics server is closed')

export const FST_LATENCY_ERR_SERVER_OFF = createError(
  'FST_LATENCY_ERR_SERVER_OFF', 'There is no metrics server: the option "server" is false')

export const FST_LATENCY_ERR_CALLBACK = createError<[option: string, problem: string]>(
  'FST_LATENCY_ERR_CALLBACK', 'The function given as "%s" failed: %s')

export const FST_LATENCY_ERR_METRIC_FAILED = createError<[name: string, reason: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_METRIC_FAILED', 'Metric "%s" could not be read: %s')

export const FST_LATENCY_ERR_NAME_HIDDEN = createError<[name: string]>(
  'FST_LATENCY_ERR_NAME_HIDDEN', 'More than one registry holds a metric named "%s"; only the first is served')

/**
 * For what goes wrong after registration and must neither reach the request nor end the process: written to the application's log, which
 * is off by default, and emitted as a process warning, which is not.
 */
export function warn (log: FastifyBaseLogger, error: FastifyError): void {
  log.error({ err: error }, error.message)
  process.emitWarning(error.message, { type: 'FastifyLatencyWarning', code: error.code })
}

/** Reports what may go wrong again at every request or scrape: only the first error about each subject. */
export type WarnOnce = (subject: string, error: FastifyError) => void

export function createWarnOnce (log: FastifyBaseLogger): WarnOnce {
  const subjects = new Set<string>()
  return (subject, error) => {
    if (subjects.has(subject)) return
    subjects.add(subject)
    warn(log, error)
  }
}

/** A value as an error message shows it: on one line, and short. */
export function describe (value: unknown): string {
  if (value instanceof Error) return value.message
  const text = inspect(value, { depth: 1, compact: true, breakLength: Infinity, maxStringLength: 80, maxArrayLength: 20 })
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
