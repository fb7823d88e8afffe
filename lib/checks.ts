import {
  causeOf, describe, FST_LATENCY_ERR_OPTION_INVALID, FST_LATENCY_ERR_OPTION_UNKNOWN, isCoded, printable
} from './errors'
import { hintAbout, hintAt, hintToLeaveOut } from './option-hints'

/**
 * Checks of options, for the parsers of all rooms. Each check throws a coded error that names the option, the rule and
 * the value received. Values such as 0, false and port 0 are legitimate, so only undefined stands for a default.
 */

/**
 * Reads an object without unknown options, each option once. Undefined stands for the empty object. Names in `ignored`
 * are none of the options, and may be there.
 */
export function readObject (
  option: string, value: unknown, known: readonly string[], ignored: readonly string[] = []
): Record<string, unknown> {
  const object = optional(option, value, isObject, 'an object') ?? {}
  const pathOf = (key: string): string => option === 'options' ? key : `${option}.${key}`
  for (const key of readable(option, () => Object.keys(object))) {
    if (known.includes(key) || ignored.includes(key)) continue
    const hint = readable(pathOf(key), () => hintAt(option, key, known, object[key]))
    throw new FST_LATENCY_ERR_OPTION_UNKNOWN(printable(pathOf(key)), hint, known.join(', '))
  }
  return Object.fromEntries([...known, ...ignored].map(key => [key, readable(pathOf(key), () => object[key])]))
}

/** Reads what somebody has given as an option: it may be an object with getters, or a proxy, that throw. */
export function readable<T> (option: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (isCoded(error)) throw error
    const received = `one that throws: ${describe(error)}`
    throw new FST_LATENCY_ERR_OPTION_INVALID(option, 'a value that can be read', received, causeOf(error))
  }
}

type IsValid<T> = (value: unknown) => value is T

/** Checks the value of an option, and returns it. Undefined is valid, and means that the option is not given. */
export function optional<T> (option: string, value: unknown, isValid: IsValid<T>, rule: string): T | undefined {
  if (value === undefined) return undefined
  return accept(option, value, isValid, rule, () => hintAbout(option, value, isValid) || hintToLeaveOut(value))
}

/** Checks the value of an option that must be given, and returns it. */
export function required<T> (option: string, value: unknown, isValid: IsValid<T>, rule: string): T {
  return accept(option, value, isValid, rule, () => hintAbout(option, value, isValid))
}

function accept<T> (option: string, value: unknown, isValid: IsValid<T>, rule: string, hint: () => string): T {
  if (!readable(option, () => isValid(value))) check(option, false, rule, value, readable(option, hint))
  return value as T
}

/** Refuses what `rule` does not allow. `hint` says what was probably meant, if that is known. */
export function check (option: string, valid: boolean, rule: string, received: unknown, hint = ''): void {
  if (!valid) throw new FST_LATENCY_ERR_OPTION_INVALID(option, rule, describe(received) + hint)
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
