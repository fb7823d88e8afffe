/**
 * A number as OpenMetrics writes it in `le` and `quantile`: like Go's `%g`, with `.0` added to an integer. `1` is
 * `1.0`, `0.00001` is `1e-05`, `1000000` is `1e+06`. See "Considerations: Canonical Numbers" in the OpenMetrics 1.0
 * specification. Prometheus 3 converts other forms to this one when it scrapes. A series whose bounds have this form
 * from the start keeps its identity for every reader and in every format.
 */
export function canonicalFloat (value: number): string {
  if (!Number.isFinite(value)) return sampleValue(value)
  const [mantissa, exponent] = value.toExponential().split('e') as [string, string]
  const power = Number(exponent)
  if (power < -4 || power > 5) {
    const digits = String(Math.abs(power)).padStart(2, '0')
    return `${mantissa}e${power < 0 ? '-' : '+'}${digits}`
  }
  const text = String(value)
  return text.includes('.') ? text : `${text}.0`
}

/** The value of a sample, in a form that Go's `ParseFloat` reads. */
export function sampleValue (value: number): string {
  if (value === Infinity) return '+Inf'
  if (value === -Infinity) return '-Inf'
  return String(value)
}
