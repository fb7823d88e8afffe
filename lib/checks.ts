import { types } from 'node:util'
import {
  causeOf, describe, FST_LATENCY_ERR_OPTION_INVALID, FST_LATENCY_ERR_OPTION_UNKNOWN, printable
} from './errors'
import { hintAt, hintOf } from './option-hints'

/**
 * Checks of options, for the parsers of all rooms. Each check throws a coded error that names the option, the rule and
 * the value received. Values such as 0, false and port 0 are legitimate, so only undefined stands for a default.
 */

/**
 * Checks that a value is an object without unknown options. Undefined stands for the empty object. Names in `ignored`
 * are none of the options, and may be there.
 */
export function readObject (
  option: string, value: unknown, known: readonly string[], ignored: readonly string[] = []
): Record<string, unknown> {
  const object = optional(option, value, isObject, 'an object') ?? {}
  for (const key of Object.keys(object)) {
    if (known.includes(key) || ignored.includes(key)) continue
    const name = printable(option === 'options' ? key : `${option}.${key}`)
    throw new FST_LATENCY_ERR_OPTION_UNKNOWN(name, hintAt(option, key, known), known.join(', '))
  }
  return object
}

/** Checks the value of an option, and returns it. Undefined is valid, and means that the option is not given. */
export function optional<T> (
  option: string, value: unknown, isValid: (value: unknown) => value is T, rule: string
): T | undefined {
  if (value === undefined) return undefined
  check(option, isValid(value), rule, value)
  return value as T
}

export function check (option: string, valid: boolean, rule: string, received: unknown): void {
  if (!valid) throw new FST_LATENCY_ERR_OPTION_INVALID(option, rule + hintOf(option, received), describe(received))
}

/**
 * Calls a function that reads an option, or calls what was given as an option. Whatever somebody else's code throws
 * meanwhile becomes the cause of a coded error.
 */
export function attempt<T> (option: string, rule: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (hasCode(error)) throw error
    throw new FST_LATENCY_ERR_OPTION_INVALID(option, rule, `an error: ${describe(error)}`, causeOf(error))
  }
}

function hasCode (error: unknown): boolean {
  // Nothing of a foreign error is called: it may be a proxy, and its code a getter.
  if (types.isProxy(error) || typeof error !== 'object' || error === null) return false
  return typeof Object.getOwnPropertyDescriptor(error, 'code')?.value === 'string'
}

/** Whether a value is an object with properties of its own, and no collection, date or the like. */
export function isObject (value: unknown): value is Record<string, unknown> {
  return Object.prototype.toString.call(value) === '[object Object]'
}

export function isObjectOrBoolean (value: unknown): value is Record<string, unknown> | boolean {
  return isBoolean(value) || isObject(value)
}

export function isFunction<T extends Function> (value: unknown): value is T {
  return typeof value === 'function'
}

export function isBoolean (value: unknown): value is boolean {
  return typeof value === 'boolean'
}

export function isText (value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

export function isPositiveInteger (value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0
}

/** Whether a value is a timeout in seconds: above 0, and at most an hour. */
export function isTimeout (value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value <= 3600
}

export const pathRule =
  'a literal path that begins with / (no parameter, wildcard, query, fragment, escape or dot segment)'

export function isPath (value: unknown): value is string {
  return typeof value === 'string' && /^\/[^:*?#%\s]*$/.test(value) && !/\/\.{1,2}(?:\/|$)/.test(value)
}
