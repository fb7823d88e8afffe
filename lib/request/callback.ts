import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { causeOf, describe, FST_LATENCY_ERR_CALLBACK, kindOf, settled, type Warn } from '../errors'

/** The greatest length of a label value that a function returns, in UTF-16 code units. */
export const longestValue = 1024

export interface CallbackOptions<T> {
  /** The name of the option. */
  readonly option: string
  readonly function: (request: FastifyRequest, reply: FastifyReply) => unknown
  /** What a returned value means. Undefined: the function must not return this value. */
  readonly read: (value: unknown) => T | undefined
  /** What the function may return, as a message says it. */
  readonly rule: string
  /** What is used in place of a result when the function has failed. */
  readonly otherwise: T
  readonly warn: Warn
}

/**
 * A function that the user has given as an option, and that is called for each request. Whatever it does, there is a
 * result. Its first failure is warned of.
 */
export class Callback<T> {
  readonly #options: CallbackOptions<T>
  #hasFailed = false

  constructor (options: CallbackOptions<T>) {
    this.#options = options
  }

  call (request: FastifyRequest, reply: FastifyReply): T {
    const { option, function: callback, read, rule } = this.#options
    let value: unknown
    try {
      value = callback(request, reply)
    } catch (error) {
      return this.#fail(error, () => thrownBy(option, error))
    }
    return read(value) ?? this.#fail(value, () => refusedOf(option, value, rule))
  }

  #fail (result: unknown, create: () => FastifyError): T {
    // What was returned or thrown may be a promise that is rejected, now or later.
    settled(result)
    if (!this.#hasFailed) {
      this.#hasFailed = true
      this.#options.warn(create())
    }
    return this.#options.otherwise
  }
}

/** The error to tell that a function has thrown. */
export function thrownBy (option: string, thrown: unknown): FastifyError {
  return new FST_LATENCY_ERR_CALLBACK(option, describe(thrown), causeOf(thrown))
}

/** The error to tell that a function has returned what it must not. `rule` says what it may return. */
export function refusedOf (option: string, value: unknown, rule: string): FastifyError {
  return new FST_LATENCY_ERR_CALLBACK(
    option, `it returned ${kindOf(value)}, and must return ${rule}`, causeOf(undefined))
}
