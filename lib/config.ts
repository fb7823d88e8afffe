import cluster from 'node:cluster'
import { inspect } from 'node:util'
import type { FastifyContextConfig } from 'fastify'
import type { LabelSource, Options, RegistryLike, ScrapeOptions, ServerOptions } from '../index'
import { describe, FST_LATENCY_ERR_OPTION_INVALID, FST_LATENCY_ERR_OPTION_UNKNOWN } from './errors'
import { defaultUpperBounds, isUpperBounds } from './histogram/bounds'

/** The options of one registration, checked and complete. Nothing else reads options. */
export interface Config {
  readonly histogram: HistogramConfig
  readonly labels: Readonly<Record<string, LabelSource>>
  readonly constLabels: Readonly<Record<string, string>>
  readonly ignore: Options['ignore']
  readonly seriesLimit: number
  readonly inFlight: boolean
  /** Undefined: the status that the reply has. */
  readonly abortedStatus: number | undefined
  /** Undefined: not measured. */
  readonly timeToFirstByte: HistogramConfig | undefined
  /** Undefined: that of the application's first registration. */
  readonly registry: RegistryLike | undefined
  readonly route: string | undefined
  /** Undefined: what the application's first registration said, else the default. */
  readonly scrape: ScrapeConfig | undefined
  /** Undefined: what the application's first registration said, else true. */
  readonly processMetrics: boolean | undefined
  /** Undefined: what the application's first registration said, else the default server. */
  readonly server: ServerConfig | false | undefined
}

export interface HistogramConfig {
  readonly name: string
  readonly help: string
  readonly upperBounds: readonly number[]
}

export interface ServerConfig {
  /** Undefined: where the application listens. */
  readonly host: string | undefined
  /** Undefined: none, because the workers of a `node:cluster` would share it. */
  readonly port: number | undefined
  readonly path: string
  readonly live: boolean
  readonly start: NonNullable<ServerOptions['start']>
  readonly lastScrapeSeconds: number
  /** Undefined: plain HTTP. */
  readonly https: HttpsConfig | undefined
  /** Undefined: everyone may read. */
  readonly auth: AuthConfig | undefined
}

/** Names of PEM files. */
export interface HttpsConfig {
  readonly certFile: string
  readonly keyFile: string
  /** Undefined: clients need no certificate. */
  readonly clientCaFile: string | undefined
}

export type AuthConfig =
  | { readonly users: Readonly<Record<string, string>>, readonly tokens: undefined }
  | { readonly users: undefined, readonly tokens: readonly string[] }

export interface ScrapeConfig {
  /** What becomes of a scrape when a metric cannot be read. */
  readonly errorHandling: NonNullable<ScrapeOptions['errorHandling']>
  readonly concurrency: number
  readonly timeoutSeconds: number
  readonly created: boolean
}

export const defaultScrape: ScrapeConfig = Object.freeze({ errorHandling: 'fail', concurrency: 40, timeoutSeconds: 10, created: false })

export const defaultServer: ServerConfig = Object.freeze({
  host: undefined,
  port: cluster.isWorker ? undefined : 8000,
  path: '/metrics',
  live: true,
  start: 'listen',
  lastScrapeSeconds: 0,
  https: undefined,
  auth: undefined
})

const defaultLabels: Readonly<Record<string, LabelSource>> = { method: 'method', route: 'route', status_code: 'status' }

const labelSources: readonly unknown[] =
  ['method', 'route', 'status', 'status_class', 'matched_route', 'sent_status', 'error_type', 'scheme', 'protocol_version']

const startPolicies: readonly unknown[] = ['listen', 'ready', 'manual']

/** What Fastify itself puts among, or reads from, the options of a plugin. */
const registerOptions = ['prefix', 'logLevel', 'logSerializers']

const registryMethods: ReadonlyArray<keyof RegistryLike> =
  ['registerMetric', 'getSingleMetric', 'removeSingleMetric', 'getMetricsAsArray', 'getMetricsAsJSON']

export function parseOptions (options: unknown): Config {
  const given = readObject('options', options, [
    'histogram', 'labels', 'constLabels', 'ignore', 'seriesLimit', 'inFlight', 'abortedStatus', 'timeToFirstByte', 'registry', 'processMetrics',
    'server', 'route', 'scrape'
  ], registerOptions)

  const labels = { ...optional('labels', given.labels, isObject, 'an object') ?? defaultLabels }
  for (const [name, source] of Object.entries(labels)) {
    checkLabelName('labels', name)
    check(`labels.${name}`, typeof source === 'function' || labelSources.includes(source),
      `${labelSources.map(describe).join(', ')} or a function`, source)
  }

  const constLabels = { ...optional('constLabels', given.constLabels, isObject, 'an object') }
  for (const [name, value] of Object.entries(constLabels)) {
    checkLabelName('constLabels', name)
    check(`constLabels.${name}`, !Object.hasOwn(labels, name), 'a name that is not in "labels" too', name)
    check(`constLabels.${name}`, typeof value === 'string', 'a string', value)
  }

  return Object.freeze({
    histogram: parseHistogram('histogram', given.histogram, 'http_request_duration_seconds',
      'Time from receiving a request to handing its reply to the operating system, in seconds.'),
    labels: Object.freeze(labels as Config['labels']),
    constLabels: Object.freeze(constLabels as Config['constLabels']),
    ignore: optional('ignore', given.ignore, isFunction<NonNullable<Options['ignore']>>, 'a function'),
    seriesLimit: optional('seriesLimit', given.seriesLimit, isPositiveInteger, 'an integer from 1') ?? 2000,
    inFlight: optional('inFlight', given.inFlight, isBoolean, 'a boolean') ?? true,
    abortedStatus: given.abortedStatus === 'reply'
      ? undefined
      : optional('abortedStatus', given.abortedStatus, isStatus, "a status code from 100 to 599, or 'reply'") ?? 499,
    timeToFirstByte: given.timeToFirstByte === undefined || given.timeToFirstByte === false
      ? undefined
      : parseHistogram('timeToFirstByte', given.timeToFirstByte === true ? {} : given.timeToFirstByte, 'http_request_first_byte_seconds',
        'Time from receiving a request to sending the headers of its reply, in seconds.'),
    registry: optional('registry', given.registry, isRegistry, `an object with the methods ${registryMethods.join(', ')}`),
    route: optional('route', given.route, isPath, pathRule),
    processMetrics: optional('processMetrics', given.processMetrics, isBoolean, 'a boolean'),
    scrape: given.scrape === undefined ? undefined : parseScrape(given.scrape),
    server: given.server === undefined ? undefined : parseServer(given.server)
  })
}

/** Checks `config.latency` of a route. `route` is undefined where the route's own pattern is meant. */
export function parseRouteConfig (config: FastifyContextConfig | undefined): { recorded: boolean, route: string | undefined } {
  const given = config?.latency
  if (given === undefined || given === false) return { recorded: given === undefined, route: undefined }
  const { route } = readObject('config.latency', given, ['route'])
  check('config.latency.route', isText(route), 'a string that is not empty', route)
  return { recorded: true, route: route as string }
}

function parseHistogram (option: string, value: unknown, name: string, help: string): HistogramConfig {
  const given = readObject(option, value, ['name', 'help', 'buckets'])
  return Object.freeze({
    name: optional(`${option}.name`, given.name, isMetricName, 'a metric name, [a-zA-Z_:][a-zA-Z0-9_:]*') ?? name,
    help: optional(`${option}.help`, given.help, isText, 'a string that is not empty') ?? help,
    upperBounds: Object.freeze([...optional(`${option}.buckets`, given.buckets, isUpperBounds,
      'an array of at least one finite number, strictly increasing (+Inf is added by itself)') ?? defaultUpperBounds])
  })
}

function parseScrape (scrape: unknown): ScrapeConfig {
  const given = readObject('scrape', scrape, ['errorHandling', 'concurrency', 'timeoutSeconds', 'created'])
  return Object.freeze({
    errorHandling: optional('scrape.errorHandling', given.errorHandling, isErrorHandling, "'fail' or 'continue'") ?? defaultScrape.errorHandling,
    concurrency: optional('scrape.concurrency', given.concurrency, isPositiveInteger, 'an integer from 1') ?? defaultScrape.concurrency,
    timeoutSeconds: optional('scrape.timeoutSeconds', given.timeoutSeconds, isTimeout, 'a number above 0 and at most 3600') ?? defaultScrape.timeoutSeconds,
    created: optional('scrape.created', given.created, isBoolean, 'a boolean') ?? defaultScrape.created
  })
}

function parseServer (server: unknown): ServerConfig | false {
  if (server === false) return false
  if (server === true) return defaultServer
  const given = readObject('server', server, ['host', 'port', 'path', 'live', 'start', 'lastScrapeSeconds', 'https', 'auth'])
  return Object.freeze({
    host: optional('server.host', given.host, isText, 'a string that is not empty'),
    port: optional('server.port', given.port, isPort, 'an integer from 0 to 65535') ?? defaultServer.port,
    path: optional('server.path', given.path, isPath, pathRule) ?? defaultServer.path,
    live: optional('server.live', given.live, isBoolean, 'a boolean') ?? defaultServer.live,
    start: optional('server.start', given.start, isStartPolicy, "'listen', 'ready' or 'manual'") ?? defaultServer.start,
    lastScrapeSeconds: optional('server.lastScrapeSeconds', given.lastScrapeSeconds, isWait, 'a number from 0 to 3600') ??
      defaultServer.lastScrapeSeconds,
    https: given.https === undefined ? undefined : parseHttps(given.https),
    auth: given.auth === undefined ? undefined : parseAuth(given.auth)
  })
}

function parseHttps (https: unknown): HttpsConfig {
  const given = readObject('server.https', https, ['certFile', 'keyFile', 'clientCaFile'])
  const rule = 'the name of a file'
  check('server.https.certFile', isText(given.certFile), rule, given.certFile)
  check('server.https.keyFile', isText(given.keyFile), rule, given.keyFile)
  return Object.freeze({
    certFile: given.certFile as string,
    keyFile: given.keyFile as string,
    clientCaFile: optional('server.https.clientCaFile', given.clientCaFile, isText, rule)
  })
}

/** Keeps what is secret out of error messages. */
function parseAuth (auth: unknown): AuthConfig {
  const hidden = Object.freeze({ [inspect.custom]: () => 'a value that is not shown' })
  const rule = 'an object with either "users" or "tokens"'
  check('server.auth', isObject(auth), rule, hidden)
  const { users, tokens } = readObject('server.auth', auth, ['users', 'tokens'])
  check('server.auth', (users === undefined) !== (tokens === undefined), rule, hidden)
  if (users !== undefined) {
    check('server.auth.users', isUsers(users),
      'an object of user names and passwords, at least one: strings that are not empty, without control characters, names also without a colon', hidden)
    return Object.freeze({ users: Object.freeze({ ...users as Record<string, string> }), tokens: undefined })
  }
  check('server.auth.tokens', isTokens(tokens),
    'an array of at least one token, [A-Za-z0-9._~+/-]+=* (RFC 6750)', hidden)
  return Object.freeze({ users: undefined, tokens: Object.freeze([...tokens as string[]]) })
}

function readObject (
  option: string, value: unknown, known: readonly string[], alsoAllowed: readonly string[] = []
): Record<string, unknown> {
  const object = optional(option, value, isObject, 'an object') ?? {}
  for (const key of Object.keys(object)) {
    if (!known.includes(key) && !alsoAllowed.includes(key)) {
      throw new FST_LATENCY_ERR_OPTION_UNKNOWN(option === 'options' ? key : `${option}.${key}`, known.join(', '))
    }
  }
  return object
}

function optional<T> (option: string, value: unknown, isValid: (value: unknown) => value is T, rule: string): T | undefined {
  if (value === undefined) return undefined
  check(option, isValid(value), rule, value)
  return value as T
}

function check (option: string, valid: boolean, rule: string, received: unknown): void {
  if (!valid) throw new FST_LATENCY_ERR_OPTION_INVALID(option, rule, describe(received))
}

function checkLabelName (option: string, name: string): void {
  check(option, /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) && !name.startsWith('__') && name !== 'le',
    'keyed by label names, [a-zA-Z_][a-zA-Z0-9_]*, not beginning with __ and not "le"', name)
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isFunction<T extends Function> (value: unknown): value is T {
  return typeof value === 'function'
}

function isBoolean (value: unknown): value is boolean {
  return typeof value === 'boolean'
}

function isText (value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function isMetricName (value: unknown): value is string {
  return typeof value === 'string' && /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(value)
}

function isPositiveInteger (value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0
}

function isStatus (value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 100 && (value as number) <= 599
}

function isPort (value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65535
}

const pathRule = 'a literal path that begins with / (no parameter, wildcard, query or fragment)'

function isPath (value: unknown): value is string {
  return typeof value === 'string' && /^\/[^:*?#\s]*$/.test(value)
}

function isErrorHandling (value: unknown): value is ScrapeConfig['errorHandling'] {
  return value === 'fail' || value === 'continue'
}

function isTimeout (value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value <= 3600
}

function isWait (value: unknown): value is number {
  return value === 0 || isTimeout(value)
}

function isStartPolicy (value: unknown): value is ServerConfig['start'] {
  return startPolicies.includes(value)
}

function isUsers (value: unknown): value is Record<string, string> {
  return isObject(value) && Object.keys(value).length > 0 &&
    Object.entries(value).every(([user, password]) => isPrintable(user) && !user.includes(':') && isPrintable(password))
}

function isPrintable (value: unknown): boolean {
  return isText(value) && !/\p{Cc}/u.test(value)
}

function isTokens (value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every(token => typeof token === 'string' && /^[\w.~+/-]+=*$/.test(token))
}

function isRegistry (value: unknown): value is RegistryLike {
  return registryMethods.every(method => typeof (value as RegistryLike | null)?.[method] === 'function')
}
