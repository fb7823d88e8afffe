/**
 * What is meant by names that are no options here: names of options in another place, and names that options have in
 * Fastify, in `prom-client` and in other metrics plugins. Each is the end of "did you mean …?".
 */
const meanings: Readonly<Record<string, string>> = {
  // Options of this plugin, found in another place.
  auth: '"server.auth"',
  buckets: '"histogram.buckets"',
  certFile: '"server.https.certFile"',
  clientCaFile: '"server.https.clientCaFile"',
  concurrency: '"scrape.concurrency"',
  created: '"scrape.created"',
  endpoint: '"endpoint", beside "server"',
  errorHandling: '"scrape.errorHandling"',
  help: '"histogram.help"',
  host: '"server.host"',
  https: '"server.https", with "certFile" and "keyFile", the names of files',
  keyFile: '"server.https.keyFile"',
  lastScrapeSeconds: '"server.lastScrapeSeconds"',
  live: '"server.live"',
  name: '"histogram.name"',
  path: '"server.path", or "endpoint" for a route of the application',
  port: '"server.port"',
  start: '"server.start"',
  timeoutSeconds: '"scrape.timeoutSeconds"',
  tokens: '"server.auth.tokens"',
  users: '"server.auth.users"',
  // Of Fastify and Node.js.
  ca: '"server.https.clientCaFile", the name of a file',
  cert: '"server.https.certFile", the name of a file',
  hostname: '"server.host"',
  http2: '"server.https": the metrics server speaks HTTP/1.1',
  key: '"server.https.keyFile", the name of a file',
  listen: '"server.host" and "server.port"',
  tls: '"server.https"',
  url: '"server.path", or "endpoint" for a route of the application',
  // Of prom-client.
  boundaries: '"histogram.buckets"',
  collectDefaultMetrics: '"processMetrics"',
  defaultLabels: '"constLabels"',
  labelNames: '"labels", an object of label names and their sources',
  percentiles: '"histogram.buckets": there is no summary',
  register: '"registry"',
  registers: '"registry", of which there is one',
  // Of fastify-metrics, @platformatic/fastify-http-metrics, promster and express-prom-bundle.
  bypass: '"ignore"',
  customLabels: '"constLabels" for values, or "labels" for functions',
  defaultMetrics: '"processMetrics", a boolean',
  excludeRoutes: '"routes", a function, or "config: { latency: false }" on the route',
  getCustomLabels: '"labels", with functions',
  getLabelValues: '"labels", with functions',
  getRouteLabel: '"routes"',
  httpDurationMetricName: '"histogram.name"',
  ignoreMethods: '"ignore", a function',
  ignoreRoutes: '"routes", a function, or "config: { latency: false }" on the route',
  metricBuckets: '"histogram.buckets"',
  metricNames: '"histogram.name"',
  metricsPath: '"server.path", or "endpoint" for a route of the application',
  normalizePath: '"routes"',
  promClient: '"registry"',
  promRegistry: '"registry"',
  route: '"endpoint", the path of a route that serves the metrics, or "routes", names for routes',
  routeBlacklist: '"routes", a function, or "config: { latency: false }" on the route',
  routeMetrics: '"histogram" and "labels"',
  skip: '"ignore"',
  summary: '"histogram": there is no summary',
  timeout: '"scrape.timeoutSeconds"',
  transformLabels: '"labels", with functions'
}

/** What was probably meant by a name in the value of an option that is unknown there. Empty if there is no guess. */
export function hintAt (option: string, name: string, known: readonly string[]): string {
  // A route's own config has none of the options of the plugin.
  const meaning = option === 'config.latency'
    ? quoted(nearest(name, known))
    : meaningOf(name) ?? quoted(nearest(name, known)) ?? meaningOf(nearest(name, Object.keys(meanings)))
  return meaning === undefined ? '' : ` (did you mean ${meaning}?)`
}

function meaningOf (name: string | undefined): string | undefined {
  return name !== undefined && Object.hasOwn(meanings, name) ? meanings[name] : undefined
}

function quoted (name: string | undefined): string | undefined {
  return name && `"${name}"`
}

/** The name that differs from another one by case, or by one letter in four at the most. */
function nearest (name: string, names: readonly string[]): string | undefined {
  const most = Math.floor(name.length / 4)
  const distances = names.map(other => distance(name.toLowerCase(), other.toLowerCase()))
  const least = Math.min(...distances)
  return least <= most ? names[distances.indexOf(least)] : undefined
}

/** How many letters have to be changed, added, left out or swapped with the next one to make one text of another. */
function distance (a: string, b: string): number {
  let [beforeLast, last]: number[][] = [[], Array.from({ length: b.length + 1 }, (_, index) => index)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1]
      row.push(Math.min(row[j - 1]! + 1, last![j]! + 1, last![j - 1]! + (isSame ? 0 : 1)))
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j]!, beforeLast![j - 2]! + 1)
    }
    [beforeLast, last] = [last!, row]
  }
  return last![b.length]!
}
