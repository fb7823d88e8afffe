import { inspect, isDeepStrictEqual, types } from 'node:util'
import createError = require('@fastify/error')
import type { FastifyBaseLogger, FastifyError } from 'fastify'

// docs/errors.md documents each of the following codes.

export const FST_LATENCY_ERR_OPTION_UNKNOWN = createError<[option: string, hint: string, known: string]>(
  'FST_LATENCY_ERR_OPTION_UNKNOWN', 'Unknown option "%s"%s; known here: %s', 500, TypeError)

export const FST_LATENCY_ERR_OPTION_INVALID = createError<
  [option: string, rule: string, received: string, options?: ErrorOptions]
>(
  'FST_LATENCY_ERR_OPTION_INVALID', 'Option "%s" must be %s; received %s', 500, TypeError)

export const FST_LATENCY_ERR_HISTOGRAM_CONFLICT = createError<
  [name: string, part: string, existing: string, wanted: string, option: string]
>(
  'FST_LATENCY_ERR_HISTOGRAM_CONFLICT',
  'Histogram "%s" is registered with the %s %s; it cannot be registered again with %s. ' +
  'Give one of them another "%s.name"')

export const FST_LATENCY_ERR_HISTOGRAM_RECORDED = createError<
  [name: string, difference: string, option: string]
>(
  'FST_LATENCY_ERR_HISTOGRAM_RECORDED',
  'Histogram "%s" already records the requests of this context, and to record them again would count each twice: %s. ' +
  'Give the same options, to the outer context first, or another "%s.name"')

export const FST_LATENCY_ERR_NAME_TAKEN = createError<[name: string]>(
  'FST_LATENCY_ERR_NAME_TAKEN',
  'The registry already holds a metric named "%s" that does not belong to this plugin; ' +
  'rename one of them, or give another "registry"')

export const FST_LATENCY_ERR_OPTION_CONFLICT = createError<[difference: string]>(
  'FST_LATENCY_ERR_OPTION_CONFLICT',
  'The first registration of an application decides what it has one of, and a later one may leave it out: %s')

export const FST_LATENCY_ERR_SERVER_LISTEN = createError<
  [address: string, reason: string, options: ErrorOptions]
>(
  'FST_LATENCY_ERR_SERVER_LISTEN', 'The metrics server cannot listen on %s: %s')

export const FST_LATENCY_ERR_PORT_OF_APPLICATION = createError<[port: number, options: ErrorOptions]>(
  'FST_LATENCY_ERR_PORT_OF_APPLICATION',
  'Port %d is that of the application itself; give the metrics server another one, as "server.port"')

export const FST_LATENCY_ERR_CONNECTION_LIMIT = createError<[connections: number]>(
  'FST_LATENCY_ERR_CONNECTION_LIMIT',
  'The metrics server has reached its limit of %d connections, and drops idle ones in favour of new ones')

export const FST_LATENCY_ERR_UNAUTHORIZED = createError<[requests: number, source: string]>(
  'FST_LATENCY_ERR_UNAUTHORIZED',
  'The metrics server has refused requests with wrong credentials: %d since the last such warning, if there was one; ' +
  'the latest came from %s')

export const FST_LATENCY_ERR_CERTIFICATE = createError<
  [option: string, file: string, reason: string, options: ErrorOptions]
>(
  'FST_LATENCY_ERR_CERTIFICATE', 'The metrics server cannot use "server.https.%s", %s: %s')

export const FST_LATENCY_ERR_CLUSTER_PORT = createError(
  'FST_LATENCY_ERR_CLUSTER_PORT',
  'A worker of a node:cluster that is in no group has its own counts, and cannot share a metrics port with the other ' +
  'workers; leave "server.group" out, or give each worker its own "server.port": with PM2, ' +
  '8000 + Number(process.env.NODE_APP_INSTANCE); else what the primary gives to cluster.fork()')

export const FST_LATENCY_ERR_GROUP_DIRECTORY = createError<[folder: string, problem: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_GROUP_DIRECTORY', 'The processes of a group cannot meet in "%s": %s')

export const FST_LATENCY_ERR_GROUP_FAILED = createError<[subject: string, problem: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_GROUP_FAILED', 'Counts of the group may be old, be missing in scrapes, or get lost (%s): %s')

export const FST_LATENCY_ERR_GROUP_UNKNOWN = createError<[problem: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_GROUP_UNKNOWN',
  'A scrape has failed, since counters would have fallen in it: what all members of the group have counted cannot be ' +
  'told (%s)')

export const FST_LATENCY_ERR_SERVER_CLOSED = createError(
  'FST_LATENCY_ERR_SERVER_CLOSED', 'The metrics server is closed')

export const FST_LATENCY_ERR_SERVER_OFF = createError(
  'FST_LATENCY_ERR_SERVER_OFF', 'There is no metrics server: the option "server" is false')

export const FST_LATENCY_ERR_NOT_REGISTERED = createError(
  'FST_LATENCY_ERR_NOT_REGISTERED',
  'The plugin was called with something other than an application; ' +
  'write app.register(latency, options), and not app.register(latency(options))', 500, TypeError)

export const FST_LATENCY_ERR_REGISTRATION_FAILED = createError<[problem: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_REGISTRATION_FAILED', 'The plugin cannot be registered: %s')

export const FST_LATENCY_ERR_DECORATOR_TAKEN = createError<[owner: string]>(
  'FST_LATENCY_ERR_DECORATOR_TAKEN', 'The application already has a property "latency". It belongs to %s')

export const FST_LATENCY_ERR_UNIT = createError<[option: string, received: string, cure: string]>(
  'FST_LATENCY_ERR_UNIT', 'Option "%s" received %s, and the histogram is in seconds; %s')

export const FST_LATENCY_ERR_ROUTE_OPTION = createError<[route: string, option: string, meaning: string]>(
  'FST_LATENCY_ERR_ROUTE_OPTION', 'The route %s has the option "%s", which is not read; did you mean %s?')

export const FST_LATENCY_ERR_SERIES_LIMIT = createError<[histogram: string, limit: number, problem: string]>(
  'FST_LATENCY_ERR_SERIES_LIMIT', 'Histogram "%s" may have %d series ("seriesLimit"): %s')

export const FST_LATENCY_ERR_REQUEST_UNREADABLE = createError<[reason: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_REQUEST_UNREADABLE', 'A request could not be read, and was counted with labels "_INVALID": %s')

export const FST_LATENCY_ERR_CALLBACK = createError<[option: string, problem: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_CALLBACK', 'The function given as "%s" failed: %s')

export const FST_LATENCY_ERR_NOT_RECORDED = createError<[reason: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_NOT_RECORDED', 'A request could not be recorded: %s')

export const FST_LATENCY_ERR_QUEUE_HEADER = createError<[header: string, problem: string]>(
  'FST_LATENCY_ERR_QUEUE_HEADER',
  'The header "%s" ("queueTime.header") does not tell how long requests waited before this process: %s')

export const FST_LATENCY_ERR_METRIC_FAILED = createError<[name: string, reason: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_METRIC_FAILED', 'Metric "%s" could not be read: %s')

export const FST_LATENCY_ERR_METRIC_INVALID = createError<[name: string, problem: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_METRIC_INVALID', 'Metric "%s" is left out of scrapes: %s')

export const FST_LATENCY_ERR_REGISTRY_FAILED = createError<[registry: string, problem: string, options: ErrorOptions]>(
  'FST_LATENCY_ERR_REGISTRY_FAILED', 'A registry has failed (%s): %s')

/** How messages name a registry that the user has given. */
export const givenRegistry = 'that of the option "registry"'

export const FST_LATENCY_ERR_NAME_HIDDEN = createError<[name: string, shown: string, hidden: string]>(
  'FST_LATENCY_ERR_NAME_HIDDEN',
  'More than one registry holds a metric named "%s": that of %s is served, and that of %s is not')

export const FST_LATENCY_ERR_REGISTRY_UNSERVED = createError<[file: string]>(
  'FST_LATENCY_ERR_REGISTRY_UNSERVED',
  'The global registry of another client library has metrics that are not served; ' +
  'pass it as the option "registry", or load one copy of prom-client only. The library: %s')

/** Whether something that was thrown is an error of this plugin. */
export function isCoded (thrown: unknown): thrown is FastifyError {
  try {
    return (thrown as FastifyError).code.startsWith('FST_LATENCY_ERR_')
  } catch {
    return false
  }
}

/** The part of a logger that this plugin uses. */
export type Log = Pick<FastifyBaseLogger, 'error' | 'warn' | 'info'>

/** A log that writes to that of the application, which may be the user's own, and may fail in any way. */
export function guardLog (app: { readonly log: FastifyBaseLogger }): Log {
  return {
    error: (...line: [unknown]) => { settle(() => app.log.error(...line)) },
    warn: (...line: [unknown]) => { settle(() => app.log.warn(...line)) },
    info: (...line: [unknown]) => { settle(() => app.log.info(...line)) }
  }
}

/**
 * Warns of an error that occurs after registration, and that must neither reach a request nor end the process. The
 * error is written to the application's log, which is off by default. It is also emitted as a process warning, which is
 * on by default.
 */
export function warn (log: Log, error: FastifyError): void {
  log.error({ err: error }, error.message)
  const { message, code, cause } = error
  const warning = Object.assign(new Error(message), { name: 'FastifyLatencyWarning', code }, cause && { cause })
  // `process.emitWarning()` does the same, but what a listener throws would then end the process.
  process.nextTick(() => { settle(() => process.emit('warning', warning)) })
}

/** Warns of an error. */
export type Warn = (error: FastifyError) => void

/**
 * Warns of an error that may occur again at every request or scrape. Only the first error about each subject is warned
 * of, and made.
 */
export type WarnOnce = (subject: string, create: () => FastifyError) => void

export function createWarnOnce (log: Log): WarnOnce {
  const subjects = new Set<string>()
  return (subject, create) => {
    if (subjects.has(subject)) return
    subjects.add(subject)
    warn(log, create())
  }
}

/** Makes a function that writes a line at level `info`, but only the first about each subject. */
export function createInformOnce (log: Log): (subject: string, line: string) => void {
  const subjects = new Set<string>()
  return (subject, line) => {
    if (!subjects.has(subject)) log.info(line)
    subjects.add(subject)
  }
}

/**
 * Calls a function of somebody else, whose result is not needed. Whatever it throws, and whatever a promise that it
 * returns is rejected with, is dropped: a rejection that nobody handles would end the process.
 */
export function settle (call: () => unknown): void {
  try {
    settled(call())
  } catch {}
}

/**
 * What somebody else's function has returned. If it is a promise that is rejected, nobody has to handle that. The
 * method `then` of other objects, and one that a class of promises has itself, is not called, because that may begin
 * the work which the object stands for, such as a query.
 */
export function settled<T> (value: T): T {
  if (types.isPromise(value)) {
    try {
      Promise.prototype.then.call(value, undefined, () => {})
    } catch {
      // The class of the promise cannot be told of another handler, because it makes its promises in a way of its own.
    }
  }
  return value
}

/** The greatest number of characters of a text that somebody else has written, in a message. */
const longestText = 200

/** The text of a value for an error message. It is on one line, printable, and not long, whatever the value is. */
export function describe (value: unknown): string {
  try {
    return printable(value instanceof Error ? messageOf(value) : show(value))
  } catch {
    // A getter of the value has thrown.
    return 'a value that cannot be shown'
  }
}

/** What kind of value something is. The value itself may be a secret, such as a password or a header of a request. */
export function kindOf (value: unknown): string {
  if (value === undefined || value === null || value === '' || typeof value === 'boolean') return describe(value)
  if (typeof value === 'string') return `a string of ${value.length} characters`
  if (types.isPromise(value)) return 'a promise'
  if (ArrayBuffer.isView(value)) return 'bytes'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/** Says in which of their parts two values of an option differ, and how. Empty if they do not. */
export function differences (option: string, first: unknown, second: unknown): string {
  if (isDeepStrictEqual(first, second)) return ''
  if (!isParts(first) || !isParts(second)) {
    const [before, after] = describeBoth(first, second)
    return `"${option}" is ${before} at first, and then ${after}`
  }
  const names = new Set([...Object.keys(first), ...Object.keys(second)])
  const all = Array.from(names, name => differences(`${option}.${name}`, first[name], second[name]))
  return all.filter(text => text !== '').join('; ')
}

/** The texts of two values that differ, though they may read alike. */
export function describeBoth (first: unknown, second: unknown): [first: string, second: string] {
  const [before, after] = [shown(first), shown(second)]
  return [before, after === before ? 'another one' : after]
}

function shown (value: unknown): string {
  if (value === undefined) return 'not set'
  return isParts(value) ? 'an object' : describe(value)
}

/** Whether a value is an object of options. An object that shows itself in a way of its own may hold secrets. */
function isParts (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(inspect.custom in value)
}

function messageOf ({ message, name }: Error): string {
  if (typeof message !== 'string') return show(message)
  return message === '' ? `an error of the type ${show(name)}` : message
}

function show (value: unknown): string {
  const limits = { depth: 1, maxStringLength: 80, maxArrayLength: 20 }
  return inspect(value, { ...limits, compact: true, breakLength: Infinity })
}

/** What a terminal would not show as it is: line breaks, control sequences, and marks that turn text around. */
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/** A text on one line, with what is not printable escaped. A long text is cut. */
export function printable (text: string): string {
  const escaped = text.slice(0, longestText).toWellFormed().replace(unprintable, escapeCharacter)
  return text.length > longestText ? `${escaped}…` : escaped
}

function escapeCharacter (character: string): string {
  const code = character.codePointAt(0)!.toString(16)
  return character === '\n' ? '\\n' : `\\u${code.length > 4 ? `{${code}}` : code.padStart(4, '0')}`
}

/** The greatest number of characters of a stack that is logged. */
const longestStack = 4000

/**
 * What somebody else's code has thrown, as the `cause` of an error of this plugin. Loggers read the message and the
 * stack of a cause. If that could fail, or if the text could harm a log, the cause is a copy without these parts.
 */
export function causeOf (thrown: unknown): { readonly cause: Error | undefined } {
  if (typeof thrown !== 'object' || thrown === null) return { cause: undefined }
  try {
    const error = thrown as Error
    if (isHarmless(error)) return { cause: error }
    const copy = new Error(describe(error))
    const { stack } = error
    if (typeof stack === 'string') copy.stack = stack.slice(0, longestStack).split('\n').map(printable).join('\n')
    return { cause: copy }
  } catch {
    // A getter of the error has thrown.
    return { cause: new Error(describe(thrown)) }
  }
}

/** Whether a logger can write an error, and its own causes, in a few lines. */
function isHarmless (error: Error, depth = 0): boolean {
  const { message, stack, cause } = error
  const isReadable = (text: unknown): boolean =>
    typeof text === 'string' && text.length <= longestStack && text.replaceAll('\n', '').search(unprintable) === -1
  if (!types.isNativeError(error) || !isReadable(message) || !isReadable(stack)) return false
  return typeof cause !== 'object' || cause === null || (depth < 3 && isHarmless(cause as Error, depth + 1))
}
