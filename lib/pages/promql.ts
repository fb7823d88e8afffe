import type { Objective, ShownHistogram } from './browser/feed'
import type { Facts } from './facts'
import { windowSeconds } from './objective'

/** The requests that a query is about. */
export interface Scope {
  readonly histogram: ShownHistogram
  /** Undefined: of all methods, or of all routes. */
  readonly method?: string | undefined
  readonly route?: string | undefined
  /** The window in seconds. Undefined: since the server started. */
  readonly seconds: number | undefined
  /** Whether Prometheus has the metrics of the process. */
  readonly processMetrics: boolean
}

/**
 * A chart shows what there is between two samples. So does `irate()`, which takes the last two samples of this range,
 * however far they are apart.
 */
const chartRange = '[5m]'

/** The range of the quantiles at a point of their chart. */
const quantileRange = '[10s]'

type Matchers = ReadonlyArray<readonly [label: string | undefined, matcher: string]>

/**
 * The queries that give the same numbers in Prometheus, by the names of the numbers. A query is undefined if the labels
 * cannot tell.
 */
export function queries (scope: Scope): Readonly<Record<string, string | undefined>> {
  const { histogram, method, route, seconds, processMetrics } = scope
  const { name, methodLabel, routeLabel, statusLabel, native, waits } = histogram
  const chosen: Matchers = [[methodLabel, equals(method)], [routeLabel, equals(route)]]
  // The other metrics always have these names of labels.
  const chosenOfOthers: Matchers = [
    [methodLabel && 'method', equals(method)], [routeLabel && 'route', equals(route)]
  ]
  const isRow = method !== undefined || route !== undefined
  /** A query of native histograms, and behind it that of the classic ones, for where these alone are stored. */
  const withNative = (query: string, classic: string): string =>
    native === undefined ? classic : `${query} or ${classic}`
  const grown = (metric: string, matchers: Matchers): string => {
    const series = `${metric}${selector(matchers)}`
    return seconds === undefined ? series : `increase(${series}[${seconds}s])`
  }
  const rate = (metric: string, matchers: Matchers): string => {
    const series = `${metric}${selector(matchers)}`
    return seconds === undefined ? series : `rate(${series}[${seconds}s])`
  }
  const count = (matchers: Matchers): string => `sum(${grown(`${name}_count`, [...chosen, ...matchers])})`
  const classicQuantile = (q: number): string =>
    `histogram_quantile(${q}, sum by (le) (${rate(`${name}_bucket`, chosen)}))`
  const quantile = (q: number): string =>
    withNative(`histogram_quantile(${q}, sum(${rate(name, chosen)}))`, classicQuantile(q))
  const line = (value: string, label: string, query: string): string =>
    `label_replace(${query}, "${label}", "${value}", "", "")`
  const quantileLine = (q: number): string => line(String(q), 'quantile', withNative(
    `histogram_quantile(${q}, sum(rate(${name}${selector(chosen)}${quantileRange})))`,
    `histogram_quantile(${q}, sum by (le) (rate(${name}_bucket${selector(chosen)}${quantileRange})))`))
  const chart = (metric: string, matchers: Matchers): string => `(irate(${metric}${selector(matchers)}${chartRange}))`
  const failures = [
    ...statusLabel === undefined
      ? []
      : [`sum by (${statusLabel}) ${chart(`${name}_count`, [...chosen, [statusLabel, '=~"[45].*"']])}`],
    line('aborted', 'ending', `sum${chart('http_requests_aborted_total', chosenOfOthers)}`),
    ...isRow ? [] : [line('rejected', 'ending', `sum${chart('http_requests_rejected_total', [])}`)]
  ]
  const [active, idle] = ['active', 'idle'].map(state => `sum(${rate(`nodejs_eventloop_${state}_seconds_total`, [])})`)
  const ofProcess = (query: string): string | undefined => processMetrics ? query : undefined
  const withStatus = (status: string): string | undefined =>
    statusLabel === undefined ? undefined : count([[statusLabel, `=~"${status}.*"`]])
  const onlyOf = (metric: string): string => `sum(${metric}${selector(chosenOfOthers)})`
  return {
    rate: seconds === undefined
      ? ofProcess(`${count([])} / (time() - max(process_start_time_seconds))`)
      : `sum(${rate(`${name}_count`, chosen)})`,
    mean: `sum(${rate(`${name}_sum`, chosen)}) / sum(${rate(`${name}_count`, chosen)})`,
    p50: quantile(0.5),
    p90: quantile(0.9),
    p99: quantile(0.99),
    'classic-p50': classicQuantile(0.5),
    'classic-p90': classicQuantile(0.9),
    'classic-p99': classicQuantile(0.99),
    'status-2': withStatus('2'),
    'status-3': withStatus('3'),
    'status-4': withStatus('4'),
    'status-5': withStatus('5'),
    aborted: `sum(${grown('http_requests_aborted_total', chosenOfOthers)})`,
    rejected: isRow ? undefined : `sum(${grown('http_requests_rejected_total', [])})`,
    'in-flight': onlyOf('http_requests_in_flight'),
    oldest: `max(http_request_oldest_seconds${selector(chosenOfOthers)})`,
    'long-lived': onlyOf('http_long_lived_requests'),
    waited: waits && `sum(${rate(`${waits.name}_sum`, [])}) / sum(${rate(`${waits.name}_count`, [])})`,
    'loop-busy': ofProcess(`${active} / (${active} + ${idle})`),
    heat: `sum by (le) ${chart(`${name}_bucket`, chosen)}`,
    quantiles: [0.5, 0.9, 0.99].map(quantileLine).join(' or '),
    rates: `sum${chart(`${name}_count`, chosen)}`,
    failures: failures.join(' or '),
    loop: ofProcess(`sum${chart('nodejs_eventloop_active_seconds_total', [])}`)
  }
}

/**
 * The queries of how fast the budget of an objective is used up, of what is left of it, and of how many open requests
 * may be late: those of the routes whose oldest is.
 */
export function objectiveQueries (
  { objective, histograms: [histogram], inFlight }: Facts
): Readonly<Record<string, string>> {
  if (objective === undefined) return {}
  const burns = windowSeconds.map(seconds => burnQuery(histogram!.name, objective, seconds))
  return {
    ...Object.fromEntries(burns.map((query, index) => [`burn-${windowSeconds[index]!}`, query])),
    // The budget is that of the longest window, which is the last.
    budget: `1 - ${burns.at(-1)!}`,
    ...inFlight && { late: `sum(http_requests_in_flight and http_request_oldest_seconds > ${objective.latency})` }
  }
}

/** The share of requests that took longer than an objective allows, divided by the share that it allows to. */
function burnQuery (name: string, { latency, share }: Objective, seconds: number): string {
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
