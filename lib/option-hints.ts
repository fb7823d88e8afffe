import { describe } from './errors'

/** Where each option belongs. `timeToFirstByte` has the parts of `histogram`. */
const paths = [
  'histogram', 'histogram.name', 'histogram.help', 'histogram.buckets', 'histogram.native', 'histogram.native.schema',
  'histogram.native.maxBuckets', 'timeToFirstByte', 'labels', 'constLabels', 'routes', 'ignore', 'seriesLimit',
  'inFlight', 'abortedStatus', 'exemplars', 'registry', 'processMetrics', 'endpoint',
  'server', 'server.host', 'server.port', 'server.path', 'server.live', 'server.live.objective',
  'server.live.objective.latency', 'server.live.objective.share', 'server.start', 'server.lastScrapeSeconds',
  'server.https', 'server.https.certFile', 'server.https.keyFile', 'server.https.clientCaFile',
  'server.auth', 'server.auth.users', 'server.auth.tokens',
  'scrape', 'scrape.errorHandling', 'scrape.concurrency', 'scrape.timeoutSeconds', 'scrape.created'
]

const places: ReadonlyMap<string, string> = new Map(paths.map(path => [path.slice(path.lastIndexOf('.') + 1), path]))

/** What to say beside the place of an option that people look for in another place. */
const notes: Readonly<Record<string, string>> = {
  https: ', with "certFile" and "keyFile", the names of files',
  path: ', or "endpoint" for a route of the application'
}

const leaveOut = '"routes", a function, or "config: { latency: false }" on the route'
const labelFunctions = '"labels", with functions'
const ofProcess = '"processMetrics", a boolean; for anything else call collectDefaultMetrics() of prom-client'
const ofRoute = '"endpoint" for a route of the application, or "server.path"'
const statusClass = 'the label source \'status_class\' in "labels"'

/**
 * What is meant by names that options have elsewhere: in Fastify, Node.js, client libraries and other metrics plugins.
 * Each is the end of "did you mean …?". A name with the option that it is in goes before the name alone.
 */
const meanings: Readonly<Record<string, string>> = {
  // In Fastify and Node.js.
  ca: '"server.https.clientCaFile", the name of a file',
  cert: '"server.https.certFile", the name of a file',
  hostname: '"server.host"',
  http2: '"server.https": the metrics server speaks HTTP/1.1',
  key: '"server.https.keyFile", the name of a file',
  listen: '"server.host" and "server.port"',
  tls: '"server.https"',
  url: '"server.path", or "endpoint" for a route of the application',
  // For credentials.
  apiKey: '"server.auth.tokens", an array',
  basic: '"server.auth.users", an object of names and passwords',
  basicAuth: '"server.auth.users", an object of names and passwords',
  bearer: '"server.auth.tokens", an array',
  bearerAuth: '"server.auth.tokens", an array',
  password: '"server.auth.users", an object of names and passwords',
  token: '"server.auth.tokens", an array',
  username: '"server.auth.users", an object of names and passwords',
  // Of prom-client.
  boundaries: '"histogram.buckets"',
  collectDefaultMetrics: ofProcess,
  defaultLabels: '"constLabels"',
  enableExemplars: '"exemplars"',
  eventLoopMonitoringPrecision: ofProcess,
  gcDurationBuckets: ofProcess,
  labelNames: '"labels", an object of label names and their sources',
  prefix: '"histogram.name" in full; the other metrics have fixed names',
  register: '"registry"',
  registers: '"registry", of which there is one',
  // Of fastify-metrics.
  defaultMetrics: ofProcess,
  disableMetrics: '"config: { latency: false }" on the route',
  getRouteLabel: '"routes"',
  groupStatusCodes: statusClass,
  methodBlacklist: '"ignore", a function',
  overrides: '"histogram", and "labels" with other keys',
  promClient: '"registry"',
  registeredRoutesOnly: '"ignore: request => request.is404"',
  routeBlacklist: leaveOut,
  routeMetrics: '"histogram" and "labels"',
  statsId: '"config: { latency: { route } }" on the route',
  // Of @platformatic/fastify-http-metrics.
  customLabels: '"constLabels" for values, or "labels" for functions',
  getCustomLabels: labelFunctions,
  ignoreMethods: '"ignore", a function',
  ignoreRoutes: leaveOut,
  // Of promster.
  disableGcMetrics: ofProcess,
  getLabelValues: labelFunctions,
  metricBuckets: '"histogram.buckets"',
  metricNames: '"histogram.name"',
  metricPrefix: '"histogram.name", with its beginning',
  normalizeMethod: labelFunctions,
  normalizePath: '"routes"',
  normalizeStatusCode: `${statusClass}, or a function`,
  skip: '"ignore"',
  // Of express-prom-bundle.
  blacklist: leaveOut,
  bypass: '"ignore"',
  excludeRoutes: leaveOut,
  formatStatusCode: `${statusClass}, or a function`,
  httpDurationMetricName: '"histogram.name"',
  includeMethod: '"labels", which has the ones that are wanted',
  includePath: '"labels", which has the ones that are wanted',
  includeStatusCode: '"labels", which has the ones that are wanted',
  keepDefaultMetrics: ofProcess,
  metricsApp: ofRoute,
  metricsPath: ofRoute,
  autoregister: '"server: false", and "endpoint" for a route of the application',
  promRegistry: '"registry"',
  transformLabels: labelFunctions,
  whitelist: leaveOut,
  // Of OpenTelemetry.
  ignorePaths: leaveOut,
  preventServerStart: '"server: false", or "server.start: \'manual\'"',
  withResourceConstantLabels: '"constLabels"',
  // Of several, or of none.
  aborted: '"abortedStatus"',
  enabled: '"config: { latency: false }" on a route, or not to register the plugin',
  enableDefaultMetrics: ofProcess,
  exclude: leaveOut,
  excludePaths: leaveOut,
  filter: '"ignore", a function',
  ignorePath: leaveOut,
  'server.enabled': '"server: false" for no metrics server, and true otherwise',
  'server.route': '"server.path"',
  route: '"endpoint", the path of a route that serves the metrics, or "routes", names for routes',
  timeout: '"scrape.timeoutSeconds"',
  'timeToFirstByte.enabled': '"timeToFirstByte: true" or false'
}

/** Names that options have elsewhere, and why there is nothing like them here. Each is the end of "leave it out: …". */
const needless: Readonly<Record<string, string>> = {
  ageBuckets: 'there is no summary',
  aggregator: 'counts are added up',
  appendTimestamp: 'samples have no timestamps',
  clearRegisterOnInit: 'each application has a registry of its own',
  collect: 'only requests are recorded',
  detectKubernetes: 'the plugin works wherever it is registered',
  includeUp: 'Prometheus makes "up" for every target',
  instrumentHandler: 'there are no traces',
  instrumentHooks: 'there are no traces',
  invalidRouteGroup: 'requests that match no route have the route "unmatched"',
  lifecycleHook: 'there are no traces',
  maxAgeSeconds: 'there is no summary',
  metricPercentiles: 'there is no summary, and "histogram.buckets" decides how exact quantiles are',
  metricType: 'the histogram is all there is, and its count is the counter',
  metricTypes: 'the histogram is all there is, and its count is the counter',
  percentiles: 'there is no summary, and "histogram.buckets" decides how exact quantiles are',
  pruneAgedBuckets: 'there is no summary',
  recordExceptions: 'there are no traces',
  registerOnInitialization: 'the plugin is registered with app.register()',
  requestHook: 'there are no traces',
  summary: 'there is no summary, and "histogram" has its count and sum',
  urlPathReplacement: 'labels have routes, never URLs',
  urlValueParser: 'labels have routes, never URLs',
  withoutScopeInfo: 'there are no scopes',
  zeroFill: 'a series begins with its first request'
}

/** What is meant by names in `config.latency` of a route, which has one option only. */
const routeMeanings: Readonly<Record<string, string>> = {
  disabled: '"config: { latency: false }"',
  disableMetrics: '"config: { latency: false }"',
  enabled: '"config: { latency: false }"',
  exclude: '"config: { latency: false }"',
  ignore: '"config: { latency: false }"',
  label: '"route"',
  name: '"route"',
  skip: '"config: { latency: false }"',
  statsId: '"route"'
}

/** What is meant by values of labels that are no sources. */
const sourceMeanings: Readonly<Record<string, string>> = {
  code: 'status',
  endpoint: 'route',
  error: 'error_type',
  flavor: 'protocol_version',
  http_flavor: 'protocol_version',
  http_method: 'method',
  http_request_method: 'method',
  http_response_status_code: 'status',
  http_route: 'route',
  http_scheme: 'scheme',
  http_status_code: 'status',
  http_version: 'protocol_version',
  network_protocol_version: 'protocol_version',
  path: 'route',
  pathname: 'route',
  protocol: 'scheme',
  response_status: 'status',
  statusCode: 'status',
  status_code: 'status',
  uri: 'route',
  url: 'route',
  url_scheme: 'scheme',
  verb: 'method',
  version: 'protocol_version'
}

/**
 * What was probably meant by a name that is unknown in the value of an option. Empty if there is no guess. `option` is
 * `options` for the options of the plugin.
 */
export function hintAt (option: string, name: string, known: readonly string[]): string {
  const [table, reasons] = option === 'config.latency' ? [routeMeanings, {}] : [meanings, needless]
  const find = (name: string): string | undefined => {
    const meaning = entry(table, `${option}.${name}`) ?? placeOf(option, name) ?? entry(table, name)
    const reason = entry(reasons, name)
    return meaning === undefined ? reason && ` (leave it out: ${reason})` : didYouMean(meaning)
  }
  const typo = nearest(name, known)
  return find(name) ?? (typo === undefined ? undefined : didYouMean(`"${typo}"`)) ??
    find(nearest(name, [...places.keys(), ...Object.keys(table), ...Object.keys(reasons)]) ?? '') ?? ''
}

/** Where an option belongs that is in another one. */
function placeOf (option: string, name: string): string | undefined {
  const path = places.get(name)
  if (path === undefined) return undefined
  if (option === 'config.latency') return entry(routeMeanings, name) ?? `"${path}" among the options of the plugin`
  const beside = path.includes('.') || option === 'options' ? '' : `, beside "${option.split('.')[0]}"`
  return `"${path}"${beside}${entry(notes, name) ?? ''}`
}

/** What was probably meant by a value that an option must not have. Empty if there is no guess. */
export function hintAbout (option: string, value: unknown): string {
  return didYouMean(entry(valueMeanings, option)?.(value))
}

const valueMeanings: Readonly<Record<string, (value: unknown) => string | undefined>> = {
  histogram: value => Array.isArray(value) ? `{ buckets: ${describe(value)} }` : undefined,
  ignore: value => Array.isArray(value) || typeof value === 'string' || value instanceof RegExp ? leaveOut : undefined,
  processMetrics: value => typeof value === 'object' ? ofProcess : undefined,
  registry: value => typeof Object(value).register === 'object' ? 'the property "register" of it' : undefined,
  server: value => typeof value === 'number'
    ? `{ port: ${value} }`
    : typeof value === 'string' ? '"server.host" or "server.path"' : undefined
}

/** What was probably meant by labels that are a list of names. `sources` are the sources that have a name. */
export function hintAboutLabels (value: unknown, sources: readonly string[]): string {
  if (!Array.isArray(value)) return ''
  const labels = value.slice(0, 5).map(name => [String(name), sourceOf(String(name), sources) ?? 'a source'])
  return didYouMean(describe(Object.fromEntries(labels)))
}

/** What was probably meant by the source of a label that is none. */
export function hintAboutSource (value: unknown, sources: readonly string[]): string {
  if (typeof value !== 'string' || value === '') return ''
  const source = sourceOf(value, sources)
  return didYouMean(source === undefined ? '"constLabels", for a fixed value' : describe(source))
}

/** The source that a name stands for, or that reads most like it. */
function sourceOf (name: string, sources: readonly string[]): string | undefined {
  return sources.includes(name)
    ? name
    : entry(sourceMeanings, name.replaceAll('.', '_')) ?? nearest(name, sources) ??
      entry(sourceMeanings, nearest(name, Object.keys(sourceMeanings)) ?? '')
}

function didYouMean (meaning: string | undefined): string {
  return meaning === undefined ? '' : ` (did you mean ${meaning}?)`
}

function entry<T> (table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined
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
