/**
 * `traceparent`, the header that tells which trace a request belongs to: https://www.w3.org/TR/trace-context/
 */

/** The flag of a trace of which something is recorded. */
export const sampled = 1

/** The places of its parts: version, trace, span and flags, with hyphens between them. */
const [traceStart, spanStart, flagsStart, end] = [3, 36, 53, 55]

/**
 * Whether a valid `traceparent` would be one of a sampled trace. This looks at one digit only, so that it can be asked
 * for each request.
 */
export function mayBeSampled (text: string): boolean {
  return text.length >= end && (hexDigit(text, end - 1) & sampled) !== 0
}

/**
 * Whether a `traceparent` is valid and says that the trace is sampled. A regular expression would take several times as
 * long.
 */
export function isSampledTrace (text: string): boolean {
  if (!mayBeSampled(text) || hexDigit(text, end - 1) < 0 || hexDigit(text, flagsStart) < 0) return false
  const version = hexDigit(text, 0) * 16 + hexDigit(text, 1)
  // A version after the first may have more behind the flags. The version 255 is not allowed.
  const isEnd = text.length === end || (version > 0 && text[end] === '-')
  return isEnd && version >= 0 && version < 255 &&
    text[traceStart - 1] === '-' && isId(text, traceStart, spanStart - 1) &&
    text[spanStart - 1] === '-' && isId(text, spanStart, flagsStart - 1) && text[flagsStart - 1] === '-'
}

/** The ids in a `traceparent`, in memory of their own: the text may be long. */
export function idsOf (text: string): { trace_id: string, span_id: string } {
  const ids = Buffer.from(text.slice(traceStart, flagsStart - 1), 'latin1').toString('latin1')
  return { trace_id: ids.slice(0, spanStart - 1 - traceStart), span_id: ids.slice(spanStart - traceStart) }
}

/** Whether a part of a text consists of hexadecimal digits that are not all 0. */
function isId (text: string, start: number, end: number): boolean {
  let bits = 0
  for (let index = start; index < end; index++) bits |= hexDigit(text, index)
  return bits > 0
}

/** What is no digit makes every sum and every combination of bits negative, and has no flag. */
const notHex = -128

/** By UTF-16 code unit. To look digits up is faster than to compare, since nobody can foresee the digits of an id. */
const hexDigits = new Int8Array(2 ** 16).fill(notHex)
for (const [value, digit] of [...'0123456789abcdef'].entries()) hexDigits[digit.charCodeAt(0)] = value

/** The value of a hexadecimal digit in lower case. */
function hexDigit (text: string, index: number): number {
  return hexDigits[text.charCodeAt(index)]!
}
