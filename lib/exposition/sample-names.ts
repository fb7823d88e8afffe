/** The names of a metric of any library that matter here. Of a foreign metric the type may be anything. */
export interface NamedMetric {
  readonly name: string
  readonly type?: unknown
}

/** The suffixes of the samples of a family, and those that OpenMetrics keeps for them. Other types have none. */
const suffixes: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['histogram', ['', '_bucket', '_sum', '_count', '_created']],
  ['summary', ['', '_sum', '_count', '_created']]
])

/** The names that no other family on the same page, and none of its samples, may have. */
export function namesOf ({ name, type }: NamedMetric): string[] {
  return (suffixes.get(type) ?? ['']).map(suffix => name + suffix)
}

/** Whether any of some names is that of a family, in any format, or of one of its samples. */
export function isAskedFor (metric: NamedMetric, names: ReadonlySet<string>): boolean {
  return namesOf(metric).some(name => names.has(name)) || names.has(familyName(metric) ?? metric.name)
}

/**
 * The name of a counter's family in OpenMetrics, which is the name of its samples without `_total`. Undefined if that
 * is no name of a counter.
 */
export function familyName ({ name, type }: NamedMetric): string | undefined {
  if (type !== 'counter' || !name.endsWith('_total')) return undefined
  const short = name.slice(0, -'_total'.length)
  return short === '' || short.endsWith('_total') ? undefined : short
}
