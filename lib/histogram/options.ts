import { isText, optional, readObject } from '../checks'
import { isUpperBounds } from './bounds'

/** A histogram as its option describes it. */
export interface HistogramConfig {
  readonly name: string
  readonly help: string
  readonly upperBounds: readonly number[]
}

export const histogramOptions = ['name', 'help', 'buckets']

export function parseHistogramOptions (option: string, value: unknown, defaults: HistogramConfig): HistogramConfig {
  const given = readObject(option, value, histogramOptions)
  const nameRule = 'a metric name, [a-zA-Z_:][a-zA-Z0-9_:]*'
  const bucketsRule = 'an array of at least one finite number, strictly increasing (+Inf is added by itself)'
  const upperBounds = optional(`${option}.buckets`, given.buckets, isUpperBounds, bucketsRule) ?? defaults.upperBounds
  return Object.freeze({
    name: optional(`${option}.name`, given.name, isMetricName, nameRule) ?? defaults.name,
    help: optional(`${option}.help`, given.help, isText, 'a string that is not empty') ?? defaults.help,
    upperBounds: Object.freeze([...upperBounds])
  })
}

function isMetricName (value: unknown): value is string {
  return typeof value === 'string' && /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(value)
}
