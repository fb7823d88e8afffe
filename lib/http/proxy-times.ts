/** What a header of a proxy says of when the proxy received a request, in milliseconds since 1970. */
export interface ProxyTime {
  /** The time that is written in the header. */
  readonly ms: number
  /** The latest time that is written in the same way: a time in whole seconds may be of any moment in its second. */
  readonly latestMs: number
}

/** How many characters of a header are read, from its end. No known form has half as many. */
const readLength = 512

/** Seconds, milliseconds or microseconds since 1970, behind `t=` or not. Seconds may have a fraction. */
const plain = /(?:^|t=)(\d{9,16})(\.\d{1,9})?$/

/** In `X-Amzn-Trace-Id`: the second in which this load balancer, or the first of the trace, has received a request. */
const ownTrace = /\bSelf=1-([\da-f]{8})-/i
const rootTrace = /\bRoot=1-([\da-f]{8})-/i

/** The least numbers that are meant as milliseconds and as microseconds. As seconds, the first is the year 5138. */
const leastMilliseconds = 1e11
const leastMicroseconds = 1e14

/**
 * Reads the time in a header such as `X-Request-Start`. Undefined if there is none. If the header was sent several
 * times, the last one counts, which the nearest proxy has added.
 */
export function readProxyTime (header: string): ProxyTime | undefined {
  const end = header.slice(-readLength)
  const last = end.slice(end.lastIndexOf(',') + 1).trim()
  const [, digits, fraction] = plain.exec(last) ?? []
  if (digits === undefined) {
    const trace = ownTrace.exec(last) ?? rootTrace.exec(last)
    return trace === null ? undefined : wholeSeconds(Number.parseInt(trace[1]!, 16))
  }
  const number = Number(digits)
  if (number >= leastMicroseconds) return exact(number / 1000)
  if (number >= leastMilliseconds) return exact(number)
  return fraction === undefined ? wholeSeconds(number) : exact(Number(digits + fraction) * 1000)
}

function wholeSeconds (seconds: number): ProxyTime {
  return { ms: seconds * 1000, latestMs: seconds * 1000 + 999 }
}

function exact (ms: number): ProxyTime {
  return { ms, latestMs: ms }
}
