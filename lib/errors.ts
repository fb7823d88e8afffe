import { inspect } from 'node:util'
import createError = require('@fastify/error')
import type { FastifyBaseLogger, FastifyError } from 'fastify'

// README.md documents each of the following codes.

export const FST_LATENCY_ERR_OPTION_UNKNOWN = createError<[option: string, hint: string, known: string]>(
  'FST_LATENCY_ERR_OPTION_UNKNOWN', 'Unknown option "%s"%s; known here: %s', 500, TypeError)

export const FST_LATENCY_ERR_OPTION_INVALID = createError<[option: string, rule: string, received: string]>(
  'FST_LATENCY_ERR_OPTION_INVALID', 'Option "%s" must be %s; received %s', 500, TypeError)

export const FST_LATENCY_ERR_HISTOGRAM_CONFLICT = createError<
  [name: string, part: string, existing: string, wanted: string]
>(
  'FST_LATENCY_ERR_HISTOGRAM_CONFLICT',
  'Histogram "%s" is registered with the %s %s; it cannot be registered again with %s')

export const FST_LATENCY_ERR_HISTOGRAM_RECORDED = createError<[name: string]>(
  'FST_LATENCY_ERR_HISTOGRAM_RECORDED',
  'Histogram "%s" already records the requests of this context with other options; ' +
  'to record them again would count each request twice')

export const FST_LATENCY_ERR_NAME_TAKEN = createError<[name: string]>(
  'FST_LATENCY_ERR_NAME_TAKEN', 'The registry already holds a metric named "%s" that does not belong to this plugin')

export const FST_LATENCY_ERR_OPTION_CONFLICT = createError<[option: string, existing: string, wanted: string]>(
  'FST_LATENCY_ERR_OPTION_CONFLICT', 'Option "%s" is already %s for this application; it cannot also be %s')

export const FST_LATENCY_ERR_SERVER_LISTEN = createError<
  [host: string, port: number, reason: string, options: ErrorOptions]
>(
  'FST_LATENCY_ERR_SERVER_LISTEN', 'The metrics server cannot listen on host %s, port %d: %s')

export const FST_LATENCY_ERR_PORT_OF_APPLICATION = createError<[port: number, options: ErrorOptions]>(
  'FST_LATENCY_ERR_PORT_OF_APPLICATION',
  'Port %d is that of the application itself; give the metrics server another one, as "server.port"')

export const FST_LATENCY_ERR_CONNECTION_LIMIT = createError<[connections: number]>(
  'FST_LATENCY_ERR_CONNECTION_LIMIT',
  'The metrics server has reached its limit of %d connections, and drops idle ones in favour of new ones')

export const FST_LATENCY_ERR_UNAUTHORIZED = createError<[requests: number, address: string]>(
  'FST_LATENCY_ERR_UNAUTHORIZED',
  'The metrics server has refused requests with wrong credentials: %d since the last such warning, if there was one; ' +
  'the latest came from %s')

export const FST_LATENCY_ERR_CERTIFICATE = createError<[file: string, reason: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_CERTIFICATE', 'The metrics server cannot use %s: %s')

export const FST_LATENCY_ERR_CLUSTER_PORT = createError(
  'FST_LATENCY_ERR_CLUSTER_PORT',
  'A worker of a node:cluster has its own counts, and cannot share a metrics port with the other workers; ' +
  'give each worker its own "server.port"')

export const FST_LATENCY_ERR_SERVER_CLOSED = createError(
  'FST_LATENCY_ERR_SERVER_CLOSED', 'The metrics server is closed')

export const FST_LATENCY_ERR_SERVER_OFF = createError(
  'FST_LATENCY_ERR_SERVER_OFF', 'There is no metrics server: the option "server" is false')

export const FST_LATENCY_ERR_CALLBACK = createError<[option: string, problem: string]>(
  'FST_LATENCY_ERR_CALLBACK', 'The function given as "%s" failed: %s')

export const FST_LATENCY_ERR_NOT_RECORDED = createError<[reason: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_NOT_RECORDED', 'A request could not be recorded: %s')

export const FST_LATENCY_ERR_METRIC_FAILED = createError<[name: string, reason: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_METRIC_FAILED', 'Metric "%s" could not be read: %s')

export const FST_LATENCY_ERR_NAME_HIDDEN = createError<[name: string]>(
  'FST_LATENCY_ERR_NAME_HIDDEN',
  'More than one registry holds a metric named "%s"; only that of the first registry is served')

/**
 * Warns of an error that occurs after registration, and that must neither reach a request nor end the process. The
 * error is written to the application's log, which is off by default. It is also emitted as a process warning, which is
 * on by default.
 */
export function warn (log: FastifyBaseLogger, error: FastifyError): void {
  log.error({ err: error }, error.message)
  process.emitWarning(error.message, { type: 'FastifyLatencyWarning', code: error.code })
}

/**
 * Warns of an error that may occur again at every request or scrape. Only the first error about each subject is warned
 * of.
 */
export type WarnOnce = (subject: string, error: FastifyError) => void

export function createWarnOnce (log: FastifyBaseLogger): WarnOnce {
  const subjects = new Set<string>()
  return (subject, error) => {
    if (subjects.has(subject)) return
    subjects.add(subject)
    warn(log, error)
  }
}

/** The text of a value for an error message, on one line and not longer than about 200 characters. */
export function describe (value: unknown): string {
  if (value instanceof Error) return value.message
  const limits = { depth: 1, maxStringLength: 80, maxArrayLength: 20 }
  const text = inspect(value, { ...limits, compact: true, breakLength: Infinity })
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
