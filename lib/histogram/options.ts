import { isObjectOrBoolean, isText, optional, readObject } from '../checks'
import { isUpperBounds } from './bounds'
import type { NativeConfig } from './native'
import { coarsestSchema, finestSchema } from './native-scale'

/** A histogram as its option describes it. */
export interface HistogramConfig {
  readonly name: string
  readonly help: string
  readonly upperBounds: readonly number[]
  /** How native buckets are kept beside the classic ones. Undefined: there are none. */
  readonly native: NativeConfig | undefined
}

export const histogramOptions = ['name', 'help', 'buckets', 'native']

export type HistogramDefaults = Omit<HistogramConfig, 'native'>

export function parseHistogramOptions (option: string, value: unknown, defaults: HistogramDefaults): HistogramConfig {
  const given = readObject(option, value, histogramOptions)
  const nameRule = 'a metric name, [a-zA-Z_:][a-zA-Z0-9_:]*'
  const bucketsRule = 'an array of at least one finite number, strictly increasing (+Inf is added by itself)'
  const upperBounds = optional(`${option}.buckets`, given.buckets, isUpperBounds, bucketsRule) ?? defaults.upperBounds
  return Object.freeze({
    name: optional(`${option}.name`, given.name, isMetricName, nameRule) ?? defaults.name,
    help: optional(`${option}.help`, given.help, isText, 'a string that is not empty') ?? defaults.help,
    upperBounds: Object.freeze([...upperBounds]),
    native: parseNative(`${option}.native`, given.native)
  })
}

function parseNative (option: string, value: unknown): NativeConfig | undefined {
  const isOn = optional(option, value, isObjectOrBoolean, 'a boolean or an object') ?? false
  if (isOn === false) return undefined
  const given = readObject(option, isOn === true ? {} : isOn, ['schema', 'maxBuckets'])
  return Object.freeze({
    schema: optional(`${option}.schema`, given.schema, isSchema,
      `an integer from ${coarsestSchema} to ${finestSchema}`) ?? 3,
    maxBuckets: optional(`${option}.maxBuckets`, given.maxBuckets, isBucketLimit, 'an integer from 10 to 1000') ?? 160
  })
}

function isSchema (value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= coarsestSchema && (value as number) <= finestSchema
}

function isBucketLimit (value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 10 && (value as number) <= 1000
}

function isMetricName (value: unknown): value is string {
  return typeof value === 'string' && /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(value)
}
