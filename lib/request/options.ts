import type { FastifyContextConfig } from 'fastify'
import type { ExemplarFunction, LabelSource, Options, RegistryLike } from '../../index'
import {
  check, isBoolean, isFunction, isObject, isObjectOrBoolean, isPositiveInteger, isText, optional, readable, readObject
} from '../checks'
import { describe } from '../errors'
import { hintAboutLabels, hintAboutSource } from '../option-hints'
import { parseHistogramOptions, type HistogramConfig } from '../histogram/options'
import { labelSources } from './label-sources'
import { measures, type Measure, type MeasuredConfig } from './measures'

/** The options that say what is recorded of the requests of one registration, and how. */
export interface RequestConfig extends MeasuredConfig {
  readonly labels: Readonly<Record<string, LabelSource>>
  readonly constLabels: Readonly<Record<string, string>>
  readonly ignore: Options['ignore']
  readonly routes: Options['routes']
  readonly seriesLimit: number
  readonly inFlight: boolean
  /** Undefined: an aborted request has the status of its reply. */
  readonly abortedStatus: number | undefined
  /** Which requests are exemplars: none, those of a sampled trace, or those that a function labels. */
  readonly exemplars: boolean | ExemplarFunction
  /** Undefined: the registry of the application's first registration. */
  readonly registry: RegistryLike | undefined
}

export const requestOptions = [
  ...measures.map(({ option }) => option),
  'labels', 'constLabels', 'routes', 'ignore', 'seriesLimit', 'inFlight', 'abortedStatus', 'exemplars', 'registry'
]

const defaultLabels: RequestConfig['labels'] = { method: 'method', route: 'route', status_code: 'status' }

const registryMethods: ReadonlyArray<keyof RegistryLike> =
  ['registerMetric', 'getSingleMetric', 'removeSingleMetric', 'getMetricsAsArray', 'getMetricsAsJSON']

export function parseRequestOptions (given: Readonly<Record<string, unknown>>): RequestConfig {
  const labels = readable('labels', () => parseLabels(given.labels))
  return {
    ...parseMeasures(given),
    labels,
    constLabels: readable('constLabels', () => parseConstLabels(given.constLabels, labels)),
    ignore: optional('ignore', given.ignore, isFunction<NonNullable<Options['ignore']>>, 'a function'),
    routes: optional('routes', given.routes, isFunction<NonNullable<Options['routes']>>, 'a function'),
    seriesLimit: optional('seriesLimit', given.seriesLimit, isPositiveInteger, 'an integer from 1') ?? 2000,
    inFlight: optional('inFlight', given.inFlight, isBoolean, 'a boolean') ?? true,
    abortedStatus: given.abortedStatus === 'reply'
      ? undefined
      : optional('abortedStatus', given.abortedStatus, isStatus, "a status code from 100 to 599, or 'reply'") ?? 499,
    exemplars: optional('exemplars', given.exemplars, isExemplars, 'a boolean or a function') ?? false,
    registry: optional('registry', given.registry, isRegistry,
      `an object with the methods ${registryMethods.join(', ')}`)
  }
}

function parseMeasures (given: Readonly<Record<string, unknown>>): MeasuredConfig {
  const histograms = measures.map(measure => [measure.option, parseMeasure(measure, given[measure.option])])
  return Object.fromEntries(histograms) as MeasuredConfig
}

/**
 * The histogram of a measure. A measure that is off by default is turned on by `true`, or by an object with the parts
 * of the histogram that differ from the defaults.
 */
function parseMeasure (measure: Measure, value: unknown): HistogramConfig | undefined {
  if (measure.isOnByDefault) return parseHistogramOptions(measure.option, value, measure)
  const given = optional(measure.option, value, isObjectOrBoolean, 'a boolean or an object')
  if (given === undefined || given === false) return undefined
  return parseHistogramOptions(measure.option, given === true ? {} : given, measure)
}

function parseLabels (value: unknown): RequestConfig['labels'] {
  const sources = Object.keys(labelSources)
  check('labels', value === undefined || isObject(value), 'an object', value, hintAboutLabels(value, sources))
  const labels = { ...value ?? defaultLabels }
  const rule = `${sources.map(describe).join(', ')} or a function`
  for (const [name, source] of Object.entries<unknown>(labels)) {
    checkLabelName('labels', name)
    const valid = typeof source === 'function' || sources.includes(source as string)
    check(`labels.${name}`, valid, rule, source, hintAboutSource(source, sources))
  }
  return Object.freeze(labels as Record<string, LabelSource>)
}

function parseConstLabels (value: unknown, labels: RequestConfig['labels']): RequestConfig['constLabels'] {
  const constLabels = { ...optional('constLabels', value, isObject, 'an object') }
  for (const [name, value] of Object.entries(constLabels)) {
    checkLabelName('constLabels', name)
    check(`constLabels.${name}`, !Object.hasOwn(labels, name), 'a name that is not in "labels" too', name)
    check(`constLabels.${name}`, typeof value === 'string', 'a string', value)
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
  if (given === undefined || given === false) return { recorded: given === undefined, route: undefined }
  check('config.latency', isObject(given), 'false or an object', given)
  const { route } = readObject('config.latency', given, ['route'])
  check('config.latency.route', isText(route), 'a string that is not empty', route)
  return { recorded: true, route: route as string }
}

function checkLabelName (option: string, name: string): void {
  check(option, /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) && !name.startsWith('__') && name !== 'le',
    'keyed by label names, [a-zA-Z_][a-zA-Z0-9_]*, not beginning with __ and not "le"', name)
}

function isExemplars (value: unknown): value is boolean | ExemplarFunction {
  return isBoolean(value) || isFunction(value)
}

function isStatus (value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 100 && (value as number) <= 599
}

function isRegistry (value: unknown): value is RegistryLike {
  return registryMethods.every(method => typeof (value as RegistryLike | null)?.[method] === 'function')
}
