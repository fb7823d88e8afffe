import type { ShownHistogram } from './feed'

/** The requests that a query is about. */
export interface Scope {
  readonly histogram: ShownHistogram
  /** Undefined: of all methods, or of all routes. */
  readonly method?: string | undefined
  readonly route?: string | undefined
  /** The window in seconds. Undefined: since the server started. */
  readonly seconds: number | undefined
}

type Matchers = ReadonlyArray<readonly [label: string | undefined, matcher: string]>

/**
 * The queries that give the same numbers in Prometheus, by the names of the numbers. A query is undefined if the labels
 * cannot tell.
 */
export function queries (scope: Scope): Readonly<Record<string, string | undefined>> {
  const { histogram: { name, methodLabel, routeLabel, statusLabel }, method, route, seconds } = scope
  const chosen: Matchers = [[methodLabel, equals(method)], [routeLabel, equals(route)]]
  // The other metrics always have these names of labels.
  const chosenOfOthers: Matchers = [
    [methodLabel && 'method', equals(method)], [routeLabel && 'route', equals(route)]
  ]
  const grown = (metric: string, matchers: Matchers): string => {
    const series = `${metric}${selector(matchers)}`
    return seconds === undefined ? series : `increase(${series}[${seconds}s])`
  }
  const rate = (metric: string, matchers: Matchers): string => {
    const series = `${metric}${selector(matchers)}`
    return seconds === undefined ? series : `rate(${series}[${seconds}s])`
  }
  const count = (matchers: Matchers): string => `sum(${grown(`${name}_count`, [...chosen, ...matchers])})`
  const quantile = (q: number): string =>
    `histogram_quantile(${q}, sum by (le) (${rate(`${name}_bucket`, chosen)}))`
  const withStatus = (status: string): string | undefined =>
    statusLabel === undefined ? undefined : count([[statusLabel, `=~"${status}.*"`]])
  const isRow = method !== undefined || route !== undefined
  const onlyOf = (metric: string): string => `sum(${metric}${selector(chosenOfOthers)})`
  return {
    rate: seconds === undefined ? count([]) : `sum(${rate(`${name}_count`, chosen)})`,
    mean: `sum(${rate(`${name}_sum`, chosen)}) / sum(${rate(`${name}_count`, chosen)})`,
    p50: quantile(0.5),
    p90: quantile(0.9),
    p99: quantile(0.99),
    'status-2': withStatus('2'),
    'status-3': withStatus('3'),
    'status-4': withStatus('4'),
    'status-5': withStatus('5'),
    aborted: `sum(${grown('http_requests_aborted_total', chosenOfOthers)})`,
    rejected: isRow ? undefined : `sum(${grown('http_requests_rejected_total', [])})`,
    'in-flight': onlyOf('http_requests_in_flight'),
    'long-lived': onlyOf('http_long_lived_requests'),
    heat: `sum by (le) (${rate(`${name}_bucket`, chosen)})`,
    quantiles: quantile(0.99),
    rates: `sum(${rate(`${name}_count`, chosen)})`,
    failures: statusLabel === undefined
      ? undefined
      : `sum by (${statusLabel}) (${rate(`${name}_count`, [...chosen, [statusLabel, '=~"[45].*"']])})`
  }
}

/** The share of requests that took longer than an objective allows, divided by the share that it allows to. */
export function burnQuery (name: string, latency: number, share: number, seconds: number): string {
  const bound = Number.isInteger(latency) ? latency.toFixed(1) : String(latency)
  return `(1 - sum(rate(${name}_bucket{le="${bound}"}[${seconds}s])) / sum(rate(${name}_count[${seconds}s]))) / ` +
    `(1 - ${share})`
}

function equals (value: string | undefined): string {
  return value === undefined ? '' : `="${value.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')}"`
}

function selector (matchers: Matchers): string {
  const texts = matchers.filter(([label, matcher]) => label !== undefined && matcher !== '')
    .map(parts => parts.join(''))
  return texts.length === 0 ? '' : `{${texts.join(',')}}`
}
