// What users of other packages know under other names. Only hints in error messages are made of it.

/** How requests of some routes are left out. */
export const leaveOut = '"routes", a function, or "config: { latency: false }" on the route'
const labelFunctions = '"labels", with functions'
const ofProcess = '"processMetrics", a boolean; for anything else call collectDefaultMetrics() of prom-client'
const ofRoute = '"endpoint" for a route of the application, or "server.path"'
const factor = '"histogram.native.schema", where 3 is a factor of 1.09, and 2 one of 1.19'
const statusClass = 'the label source \'status_class\' in "labels"'

/**
 * What is meant by names that options have elsewhere: in Fastify, Node.js, client libraries and other metrics plugins.
 * Each is the end of "did you mean …?". A name with the option that it is in goes before the name alone.
 */
export const meanings: Readonly<Record<string, string>> = {
  // In Fastify and Node.js.
  ca: '"server.https.clientCaFile", the name of a file',
  cert: '"server.https.certFile", the name of a file',
  hostname: '"server.host"',
  http2: '"server.https": the metrics server speaks HTTP/1.1',
  key: '"server.https.keyFile", the name of a file',
  listen: '"server.host" and "server.port"',
  socketPath: '"server.socket"',
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
  bucketFactor: factor,
  factor,
  growthFactor: factor,
  maxBucketNumber: '"histogram.native.maxBuckets"',
  nativeHistogramBucketFactor: factor,
  nativeHistogramMaxBucketNumber: '"histogram.native.maxBuckets"',
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
  'routeMetrics.enabled': '"config: { latency: false }" on routes, or not to register the plugin',
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
  openTelemetry: '"app.register(latency, openTelemetry)": it is a set of options',
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
export const needless: Readonly<Record<string, string>> = {
  zeroThreshold: 'it is as small as can be, so that no latency is taken for 0',
  nativeHistogramZeroThreshold: 'it is as small as can be, so that no latency is taken for 0',
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
export const routeMeanings: Readonly<Record<string, string>> = {
  disabled: '"config: { latency: false }"',
  disableMetrics: '"config: { latency: false }"',
  enabled: '"config: { latency: false }"',
  exclude: '"config: { latency: false }"',
  ignore: '"config: { latency: false }"',
  label: '"route"',
  latency: '"config: { latency: false }"',
  name: '"route"',
  skip: '"config: { latency: false }"',
  statsId: '"route"'
}

/** What is meant by options that other plugins read at a route or in its `config`. */
export const routeMeaningsElsewhere: Readonly<Record<string, string>> = {
  disableMetrics: '"config: { latency: false }"',
  statsId: '"config: { latency: { route } }"'
}

/** What is meant by values of labels that are no sources. */
export const sourceMeanings: Readonly<Record<string, string>> = {
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
