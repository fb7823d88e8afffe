import type { Estimate } from './quantile'

const unpadded = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 })
const padded = new Intl.NumberFormat('en', { minimumSignificantDigits: 3, maximumSignificantDigits: 3 })
const wholeNumber = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const twoDigits = new Intl.NumberFormat('en', { maximumSignificantDigits: 2 })
const oneDecimal = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 })

export const nothing = '–'

/** From this value on, a time would be rounded to 1,000 milliseconds, and is written in seconds. */
const oneSecond = 0.9995

/** A measured time, always with three digits, so that changing numbers keep their width. */
export function formatSeconds (seconds: number): string {
  if (Number.isNaN(seconds)) return nothing
  return seconds < oneSecond ? `${padded.format(seconds * 1000)} ms` : `${padded.format(seconds)} s`
}

/** The time that many requests took together. */
export function formatTotal (seconds: number): string {
  if (seconds < 60) return formatSeconds(seconds)
  if (seconds < 3600) return `${padded.format(seconds / 60)} min`
  return seconds < 360_000 ? `${padded.format(seconds / 3600)} h` : `${wholeNumber.format(seconds / 3600)} h`
}

/** An estimated quantile. A quantile above the last bound is only known to be more than that bound. */
export function formatEstimate ({ value, upper }: Pick<Estimate, 'value' | 'upper'>): string {
  return `${upper === Infinity ? '> ' : ''}${formatSeconds(value)}`
}

/** How far the true value may be from an estimate, if that is little enough to be told. */
function formatError ({ error }: Estimate): string {
  return error === undefined ? '' : `± ${twoDigits.format(100 * error)} %`
}

/** An estimate with its error, if there is one. */
export function formatFully (estimate: Estimate): string {
  return `${formatEstimate(estimate)} ${formatError(estimate)}`.trim()
}

/** A bucket of an estimate, and its error. */
export function formatBucketOf (estimate: Estimate): string {
  const { value, lower, upper } = estimate
  return Number.isNaN(value) ? '' : `${formatBucket(lower, upper)} ${formatError(estimate)}`.trim()
}

/** How far a value is from what was measured. */
export function formatDifference (value: number, measured: number): string {
  return `off by ${value < measured ? '−' : '+'}${twoDigits.format(Math.abs(100 * (value / measured - 1)))} %`
}

/** A bound of a bucket. */
export function formatBound (seconds: number): string {
  return seconds < oneSecond ? `${unpadded.format(seconds * 1000)} ms` : `${unpadded.format(seconds)} s`
}

/** A bucket, by its bounds. */
export function formatBucket (lower: number, upper: number): string {
  if (upper === Infinity) return `more than ${formatBound(lower)}`
  if (lower === -Infinity) return `at most ${formatBound(upper)}`
  const [from, to] = [formatBound(lower), formatBound(upper)]
  const unit = to.slice(to.indexOf(' '))
  return `${from.endsWith(unit) || lower === 0 ? from.slice(0, from.indexOf(' ')) : from} to ${to}`
}

/** A rate per second. That of some requests per hour is not written as 0. */
export function formatRate (rate: number): string {
  if (rate > 0 && rate < 0.095) return twoDigits.format(rate)
  return rate < 99.95 ? oneDecimal.format(rate) : wholeNumber.format(rate)
}

export function formatCount (count: number): string {
  return wholeNumber.format(count)
}

/** A part of a whole, as a percentage. A part that is neither 0 nor the whole is never written as 0 % or 100 %. */
export function formatShare (part: number, whole: number): string {
  if (part === 0) return '0 %'
  const percentage = 100 * part / whole
  if (percentage < 0.01) return '< 0.01 %'
  if (percentage < 100 && percentage > 99.9) return '> 99.9 %'
  return `${unpadded.format(percentage)} %`
}

/** A share from 0 to 1, as a whole percentage. */
export function formatPercentage (share: number): string {
  return Number.isNaN(share) ? nothing : `${wholeNumber.format(100 * share)} %`
}

/** The counts of several names, the largest first. */
export function formatCounts (counts: Readonly<Record<string, number>>): string {
  const sorted = Object.entries(counts).filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a)
  return sorted.map(([name, count]) => `${name.replaceAll('_', ' ')}: ${formatCount(count)}`).join(', ')
}

/** The length of a window of time. */
export function formatWindow (seconds: number): string {
  if (seconds >= 5400) return `${unpadded.format(seconds / 3600)} h`
  return seconds < 59.5 ? `${Math.round(seconds)} s` : `${oneDecimal.format(seconds / 60).replace('.0', '')} min`
}
