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
  // Of whatever has credentials.
  basicAuth: '"server.auth.users"',
  bearer: '"server.auth.tokens"',
  password: '"server.auth.users"',
  token: '"server.auth.tokens"',
  username: '"server.auth.users"',
  // Of Fastify and Node.js.
  ca: '"server.https.clientCaFile", the name of a file',
  cert: '"server.https.certFile", the name of a file',
  hostname: '"server.host"',
  http2: '"server.https": the metrics server speaks HTTP/1.1',
  key: '"server.https.keyFile", the name of a file',
  listen: '"server.host" and "server.port"',
  tls: '"server.https"',
  url: '"server.path", or "endpoint" for a route of the application',
  // Of prom-client and of most metrics plugins.
  enabled: '"server: false", to have no metrics server',
  exclude: '"routes", a function, or "config: { latency: false }" on the route',
  metricPrefix: '"histogram.name", the whole name',
  boundaries: '"histogram.buckets"',
  collectDefaultMetrics: '"processMetrics"',
  defaultLabels: '"constLabels"',
  labelNames: '"labels", an object of label names and their sources',
  percentiles: '"histogram.buckets": there is no summary',
  register: '"registry"',
  registers: '"registry", of which there is one',
  // Of fastify-metrics, @platformatic/fastify-http-metrics, promster and express-prom-bundle.
  bypass: '"ignore"',
  clearRegisterOnInit: '"registry", a new one',
  customLabels: '"constLabels" for values, or "labels" for functions',
  defaultMetrics: '"processMetrics", a boolean',
  excludeRoutes: '"routes", a function, or "config: { latency: false }" on the route',
  enableDefaultMetrics: '"processMetrics"',
  getCustomLabels: '"labels", with functions',
  getLabelValues: '"labels", with functions',
  getRouteLabel: '"routes"',
  groupStatusCodes: '"labels", with the source \'status_class\'',
  httpDurationMetricName: '"histogram.name"',
  ignoreMethods: '"ignore", a function',
  ignoreRoutes: '"routes", a function, or "config: { latency: false }" on the route',
  includeMethod: '"labels", with the source \'method\'',
  includePath: '"labels", with the source \'route\'',
  includeStatusCode: '"labels", with the source \'status\'',
  invalidRouteGroups: '"routes"',
  metricBuckets: '"histogram.buckets"',
  metricNames: '"histogram.name"',
  metricTypes: '"histogram" and "processMetrics"',
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
    : find(meanings, name) ?? quoted(nearest(name, known)) ?? find(meanings, nearest(name, Object.keys(meanings)))
  return meaning === undefined ? '' : ` (did you mean ${meaning}?)`
}

/**
 * What was probably meant by the value of an option whose type is another one. The keys are the option and the type of
 * the value.
 */
const meaningsOfValues: Readonly<Record<string, string>> = {
  'histogram array': '"histogram.buckets"',
  'ignore array': '"routes", a function, or "config: { latency: false }" on the route',
  'ignore string': '"routes", a function, or "config: { latency: false }" on the route',
  'labels array': 'an object of label names and their sources, such as { method: \'method\' }',
  'processMetrics object': 'true',
  'server number': '"server.port"',
  'server string': '"server.host" or "server.path"'
}

/** What was probably meant by a text that is no source of a label. */
const meaningsOfSources: Readonly<Record<string, string>> = {
  code: '\'status\'',
  path: '\'route\'',
  protocol: '\'scheme\'',
  status_code: '\'status\'',
  statusCode: '\'status\'',
  url: '\'route\''
}

/** What was probably meant by the value of an option that is not valid there. Empty if there is no guess. */
export function hintOf (option: string, value: unknown): string {
  const type = Array.isArray(value) ? 'array' : typeof value
  const meaning = option.startsWith('labels.')
    ? find(meaningsOfSources, type === 'string' ? value as string : undefined)
    : find(meaningsOfValues, `${option} ${type}`)
  return meaning === undefined ? '' : ` (did you mean ${meaning}?)`
}

function find (table: Readonly<Record<string, string>>, name: string | undefined): string | undefined {
  return name !== undefined && Object.hasOwn(table, name) ? table[name] : undefined
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
