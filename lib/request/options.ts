import type { FastifyContextConfig } from 'fastify'
import type { ExemplarFunction, LabelSource, Options, RegistryLike } from '../../index'
import {
  check, isBoolean, isFunction, isObject, isObjectOrBoolean, isPositiveInteger, isText, optional, readable, readObject,
  required
} from '../checks'
import { describe } from '../errors'
import { hintAboutConstant, hintAboutLabels, hintAboutSource } from '../option-hints'
import { histogramOptions, parseHistogramOptions, type HistogramConfig } from '../histogram/options'
import { labelSources } from './label-sources'
import { measures, queueTime, type Measure, type MeasuredConfig } from './measures'

/** The options that say what is recorded of the requests of one registration, and how. */
export interface RequestConfig extends MeasuredConfig {
  readonly histogram: LatencyConfig
  readonly labels: Readonly<Record<string, LabelSource>>
  readonly constLabels: Readonly<Record<string, string>>
  readonly ignore: Options['ignore']
  readonly routes: Options['routes']
  /** The methods that are told apart on requests that match no route. */
  readonly knownMethods: readonly string[]
  readonly seriesLimit: number
  readonly inFlight: boolean
  /** Undefined: it is not estimated how long requests waited. */
  readonly queueTime: QueueTimeConfig | undefined
  /** Whether to count for how long the event loop was busy while requests were open. */
  readonly busyTime: boolean
  /** Undefined: an aborted request has the status of its reply. */
  readonly abortedStatus: number | undefined
  /** Which requests are exemplars: none, those of a sampled trace, or those that a function labels. */
  readonly exemplars: boolean | ExemplarFunction
  /** Undefined: the registry of the application's first registration. */
  readonly registry: RegistryLike | undefined
}

export interface LatencyConfig extends HistogramConfig {
  /** The moment at which the latency begins. */
  readonly from: 'router' | 'arrival'
}

export interface QueueTimeConfig extends HistogramConfig {
  readonly labels: RequestConfig['labels']
  /** The header in which proxies say when they received a request, in lower case. Undefined: none is read. */
  readonly header: string | undefined
}

export const requestOptions = [
  ...measures.map(({ option }) => option),
  'queueTime', 'busyTime', 'labels', 'constLabels', 'routes', 'ignore', 'knownMethods', 'seriesLimit',
  'inFlight', 'abortedStatus', 'exemplars', 'registry'
]

const defaultLabels: RequestConfig['labels'] = { method: 'method', route: 'route', status_code: 'status' }

/** The methods of RFC 9110, section 9, PATCH (RFC 5789), and QUERY. */
const defaultMethods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY']

const registryMethods: ReadonlyArray<keyof RegistryLike> =
  ['registerMetric', 'getSingleMetric', 'removeSingleMetric', 'getMetricsAsArray', 'getMetricsAsJSON']

export function parseRequestOptions (given: Readonly<Record<string, unknown>>): RequestConfig {
  const labels = readable('labels', () => parseLabels('labels', given.labels, defaultLabels))
  const queueTime = parseQueueTime(given.queueTime)
  const varying = { ...labels, ...queueTime?.labels }
  return {
    ...parseMeasures(given),
    queueTime,
    busyTime: optional('busyTime', given.busyTime, isBoolean, 'a boolean') ?? false,
    labels,
    constLabels: readable('constLabels', () => parseConstLabels(given.constLabels, varying)),
    ignore: optional('ignore', given.ignore, isFunction<NonNullable<Options['ignore']>>, 'a function'),
    routes: optional('routes', given.routes, isFunction<NonNullable<Options['routes']>>, 'a function'),
    knownMethods: Object.freeze([...optional('knownMethods', given.knownMethods, isMethods,
      "an array of at least one method in capital letters, such as 'PROPFIND'") ?? defaultMethods]),
    seriesLimit: optional('seriesLimit', given.seriesLimit, isPositiveInteger, 'an integer from 1') ?? 2000,
    inFlight: optional('inFlight', given.inFlight, isBoolean, 'a boolean') ?? true,
    abortedStatus: parseAbortedStatus(given.abortedStatus),
    exemplars: optional('exemplars', given.exemplars, isExemplars, 'a boolean or a function') ?? false,
    registry: optional('registry', given.registry, isRegistry,
      `an object with the methods ${registryMethods.join(', ')}`)
  }
}

function parseAbortedStatus (value: unknown): number | undefined {
  const status = optional('abortedStatus', value, isAbortedStatus, "a status code from 100 to 599, or 'reply'") ?? 499
  return status === 'reply' ? undefined : status
}

function parseMeasures (given: Readonly<Record<string, unknown>>): MeasuredConfig & Pick<RequestConfig, 'histogram'> {
  const histograms = measures.map(measure => {
    const parse = measure.isOnByDefault ? parseLatency : parseMeasure
    return [measure.option, parse(measure, given[measure.option])]
  })
  return Object.fromEntries(histograms) as MeasuredConfig & Pick<RequestConfig, 'histogram'>
}

function parseLatency (measure: Measure, value: unknown): LatencyConfig {
  const { from, ...histogram } = readObject(measure.option, value, [...histogramOptions, 'from'])
  return Object.freeze({
    ...parseHistogramOptions(measure.option, histogram, measure),
    from: optional(`${measure.option}.from`, from, isMoment, "'router' or 'arrival'") ?? 'router'
  })
}

/**
 * The histogram of a measure that is off by default. It is turned on by `true`, or by an object with the parts of the
 * histogram that differ from the defaults.
 */
function parseMeasure (measure: Measure, value: unknown): HistogramConfig | undefined {
  const parts = partsIfOn(measure.option, value)
  return parts && parseHistogramOptions(measure.option, parts, measure)
}

/** What is given of a histogram that is off by default. Undefined: it stays off. */
function partsIfOn (option: string, value: unknown): Record<string, unknown> | undefined {
  const given = optional(option, value, isObjectOrBoolean, 'a boolean or an object')
  if (given === undefined || given === false) return undefined
  return given === true ? {} : given
}

/** The histogram of how long requests waited. Unlike the other ones, it has no labels by default. */
function parseQueueTime (value: unknown): QueueTimeConfig | undefined {
  const parts = partsIfOn('queueTime', value)
  if (parts === undefined) return undefined
  const { labels, header, ...histogram } = readObject('queueTime', parts, [...histogramOptions, 'labels', 'header'])
  return Object.freeze({
    ...parseHistogramOptions('queueTime', histogram, queueTime),
    labels: readable('queueTime.labels', () => parseLabels('queueTime.labels', labels, {})),
    header: optional('queueTime.header', header, isHeader, "the name of a header, such as 'x-request-start'")
      ?.toLowerCase()
  })
}

function parseLabels (option: string, given: unknown, defaults: RequestConfig['labels']): RequestConfig['labels'] {
  const value = given === undefined ? defaults : given
  const sources = Object.keys(labelSources)
  check(option, isObject(value), 'an object', value, hintAboutLabels(value, sources))
  const labels = { ...value as Record<string, unknown> }
  for (const [name, source] of Object.entries<unknown>(labels)) {
    checkLabelName(option, name)
    if (typeof source === 'function' || sources.includes(source as string)) continue
    const rule = `${sources.map(describe).join(', ')} or a function`
    check(`${option}.${name}`, false, rule, source, hintAboutSource(name, source, sources))
  }
  return Object.freeze(labels as Record<string, LabelSource>)
}

function parseConstLabels (value: unknown, labels: RequestConfig['labels']): RequestConfig['constLabels'] {
  const constLabels = { ...optional('constLabels', value, isObject, 'an object') }
  for (const [name, value] of Object.entries(constLabels)) {
    checkLabelName('constLabels', name)
    check(`constLabels.${name}`, !Object.hasOwn(labels, name), 'a name that is not in "labels" too', name)
    check(`constLabels.${name}`, typeof value === 'string', 'a string', value, hintAboutConstant(value))
  }
  return Object.freeze(constLabels as Record<string, string>)
}

/**
 * Checks `config.latency` of a route. In the result, `route` is undefined where the label `route` has the route's own
 * pattern.
 */
export function parseRouteConfig (
  config: FastifyContextConfig | undefined
): { recorded: boolean, route: string | undefined } {
  return readable('config.latency', () => readRouteConfig(config))
}

function readRouteConfig (config: FastifyContextConfig | undefined): ReturnType<typeof parseRouteConfig> {
  const given = config?.latency
  if (given === undefined) return { recorded: true, route: undefined }
  required('config.latency', given, isRouteConfig, 'false or an object')
  if (given === false) return { recorded: false, route: undefined }
  const { route } = readObject('config.latency', given, ['route'])
  return {
    recorded: true, route: required('config.latency.route', route, isText, 'a string that is not empty')
  }
}

function isRouteConfig (value: unknown): value is false | Record<string, unknown> {
  return value === false || isObject(value)
}

const labelNameRule = 'keyed by label names, [a-zA-Z_][a-zA-Z0-9_]*, not beginning with __ and not "le"'

function checkLabelName (option: string, name: string): void {
  required(option, name, isLabelName, labelNameRule)
}

function isMoment (value: unknown): value is LatencyConfig['from'] {
  return value === 'router' || value === 'arrival'
}

function isMethods (value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.length > 0 &&
    value.every(method => typeof method === 'string' && /^[\dA-Z!#$%&'*+.^_`|~-]+$/.test(method))
}

function isHeader (value: unknown): value is string {
  return typeof value === 'string' && /^[\w!#$%&'*+.^`|~-]+$/.test(value)
}

function isExemplars (value: unknown): value is boolean | ExemplarFunction {
  return isBoolean(value) || isFunction(value)
}

function isLabelName (value: unknown): value is string {
  return typeof value === 'string' && /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(value) && !value.startsWith('__') && value !== 'le'
}

function isAbortedStatus (value: unknown): value is number | 'reply' {
  return value === 'reply' || (Number.isInteger(value) && (value as number) >= 100 && (value as number) <= 599)
}

function isRegistry (value: unknown): value is RegistryLike {
  return registryMethods.every(method => typeof (value as RegistryLike | null)?.[method] === 'function')
}
