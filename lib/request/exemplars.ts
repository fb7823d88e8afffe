import type { FastifyRequest } from 'fastify'
import type { ExemplarFunction } from '../../index'
import { isObject } from '../checks'
import type { Warn } from '../errors'
import type { ExemplarLabels } from '../histogram/exemplars'
import type { Labels } from '../snapshot'
import { Callback } from './callback'

/** The function that reads of a request what its exemplars are labelled with. False: the request is no exemplar. */
export function exemplarCallback (option: true | ExemplarFunction, warn: Warn): Callback<ExemplarLabels | false> {
  const common = { option: 'exemplars', otherwise: false, warn } as const
  return option === true
    ? new Callback<ExemplarLabels | false>({ ...common, function: traceOf, read: asTrace, rule: 'a trace' })
    : new Callback<ExemplarLabels | false>({ ...common, function: option, read: readLabels, rule: labelsRule })
}

/** The trace of a request, if it is sampled: by the active span of OpenTelemetry, or by the client's `traceparent`. */
function traceOf (request: FastifyRequest): string | false {
  const span = activeSpan()
  const own = span !== undefined && (span.traceFlags & sampled) !== 0 ? `00-${span.traceId}-${span.spanId}-01` : ''
  if (isSampledTrace(own)) return own
  const { traceparent } = request.headers
  return typeof traceparent === 'string' && isSampledTrace(traceparent) ? traceparent : false
}

function asTrace (trace: unknown): string | false {
  return trace as string | false
}

/** The flag of a trace of which something is recorded. */
const sampled = 1

// Every copy and version 1 of `@opentelemetry/api` keeps what is registered with it under the first symbol, and the
// active span of a context under the second, so that copies work together. test/exemplars.test.ts fails with an API
// that does it in another way. The API itself is no dependency: it might not be found from here, or be another copy.
const kApi = Symbol.for('opentelemetry.js.api.1')
const kSpan = Symbol.for('OpenTelemetry Context Key SPAN')

interface SpanContext {
  readonly traceId: string
  readonly spanId: string
  readonly traceFlags: number
}

interface OpenTelemetryApi {
  /** The context manager that an SDK has registered. */
  readonly context?: { active (): { getValue (key: symbol): { spanContext (): SpanContext } | undefined } }
}

function activeSpan (): SpanContext | undefined {
  const api = (globalThis as { [kApi]?: OpenTelemetryApi })[kApi]
  return api?.context?.active().getValue(kSpan)?.spanContext()
}

/** The places of the parts of a `traceparent`: version, trace, span and flags, with hyphens between them. */
const [traceStart, spanStart, flagsStart, end] = [3, 36, 53, 55]

/**
 * Whether a `traceparent` is valid and says that the trace is sampled. A regular expression would take several times as
 * long.
 */
export function isSampledTrace (text: string): boolean {
  if (text.length < end || (hexDigit(text, end - 1) & sampled) === 0 || hexDigit(text, flagsStart) < 0) return false
  const version = hexDigit(text, 0) * 16 + hexDigit(text, 1)
  // A version after the first may have more behind the flags. The version 255 is not allowed.
  const isEnd = text.length === end || (version > 0 && text[end] === '-')
  return isEnd && version >= 0 && version < 255 &&
    text[traceStart - 1] === '-' && isId(text, traceStart, spanStart - 1) &&
    text[spanStart - 1] === '-' && isId(text, spanStart, flagsStart - 1) && text[flagsStart - 1] === '-'
}

/** Whether a part of a text consists of hexadecimal digits that are not all 0. */
function isId (text: string, start: number, end: number): boolean {
  let bits = 0
  for (let index = start; index < end; index++) bits |= hexDigit(text, index)
  return bits > 0
}

/** What is no digit makes every sum and every combination of bits negative. */
const notHex = -128

/** By UTF-16 code unit. To look digits up is faster than to compare, since nobody can foresee the digits of an id. */
const hexDigits = new Int8Array(2 ** 16).fill(notHex)
for (const [value, digit] of [...'0123456789abcdef'].entries()) hexDigits[digit.charCodeAt(0)] = value

/** The value of a hexadecimal digit in lower case. */
function hexDigit (text: string, index: number): number {
  return hexDigits[text.charCodeAt(index)]!
}

/** The greatest number of characters in all labels of an exemplar, which is a limit of OpenMetrics. */
const longestLabels = 128

const labelsRule = `undefined, or labels of at most ${longestLabels} characters`

function readLabels (value: unknown): Labels | false | undefined {
  if (value === undefined) return false
  try {
    if (!isObject(value)) return undefined
    const labels = { ...value }
    return isExemplar(labels) ? labels : undefined
  } catch {
    // A getter of the value has thrown.
    return undefined
  }
}

function isExemplar (labels: Record<string, unknown>): labels is Labels {
  const entries = Object.entries(labels)
  const isLabels = entries.every(([name, value]) => /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) && typeof value === 'string')
  return isLabels && entries.length > 0 && [...entries.flat().join('')].length <= longestLabels
}
