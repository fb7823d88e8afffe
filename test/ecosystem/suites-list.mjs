/** The packages whose tests are run: those that end requests in ways of their own. */
export const packages = [
  'fastify', '@fastify/compress', '@fastify/cors', '@fastify/express', '@fastify/helmet', '@fastify/http-proxy',
  '@fastify/middie', '@fastify/multipart', '@fastify/otel', '@fastify/rate-limit', '@fastify/restartable',
  '@fastify/static', '@fastify/under-pressure', '@fastify/websocket'
]

/** How many of their tests pass, at least. Some are for newer versions of Node.js. */
export const leastPassed = 3500

/** Those whose tests are run with `--all` only. */
export const morePackages = [
  '@fastify/autoload', '@fastify/basic-auth', '@fastify/cookie', '@fastify/reply-from', '@fastify/swagger',
  '@fastify/swagger-ui', 'mercurius'
]

/**
 * Files in which the metrics server starts with the application. In the others it does not, since the line in which it
 * says where it listens is one more than their tests of logs expect.
 */
export const listening = ['fastify/test/hooks.on-listen.test.js']

const noTests = 'no tests, but what tests load'
const needsMore = 'needs services, or packages that are not installed here'
const spans = 'compares the names of spans, in which the names of all registered plugins are'

/** Files that are not run, and why. */
export const notRun = {
  '@fastify/autoload/test/commonjs/basic/foo/ignored.test.js': noTests,
  '@fastify/autoload/test/module/basic/foo/ignored.test.js': noTests,
  // Fastify's own tests need JSONStream. npm installs only one of two packages whose names differ by case alone.
  '@fastify/compress/test/global-compress.test.js': 'needs jsonstream, beside which JSONStream cannot be installed',
  '@fastify/otel/test/api.test.js': spans,
  '@fastify/otel/test/env-vars.test.js': spans,
  '@fastify/otel/test/index.test.js': spans,
  '@fastify/otel/test/sdk.test.js': needsMore,
  '@fastify/rate-limit/test/redis-rate-limit.test.js': needsMore,
  '@fastify/reply-from/test/connect-timeout.test.js': 'connects to an address outside this machine'
}

const countsHooks = 'counts the hooks of a route, of which this plugin adds some'
const namesPlugins = 'compares the names of all registered plugins'

/** Tests whose results may differ, by file, and why. */
export const notCompared = {
  '@fastify/cors/test/hooks.test.js': {
    'Should set hook onRequest if hook option is not set': countsHooks,
    'Should set hook onRequest if hook option is set to onRequest': countsHooks,
    'Should set hook preParsing if hook option is set to preParsing': countsHooks,
    'Should set hook preValidation if hook option is set to preValidation': countsHooks,
    'Should set hook preHandler if hook option is set to preHandler': countsHooks,
    'Should set hook preSerialization if hook option is set to preSerialization': countsHooks
  },
  '@fastify/rate-limit/test/route-rate-limit.test.js': {
    'on rateLimitHook should not be set twice on HEAD': countsHooks,
    'on undefined hook should use onRequest-hook': countsHooks
  },
  'fastify/test/hooks.on-ready.test.js': {
    'onReady does not call done': 'of several hooks Fastify names another one than that which timed out'
  },
  'fastify/test/hooks.test.js': {
    'onRequest hook should support encapsulation / 2': countsHooks,
    'onResponse hook should support encapsulation / 2': countsHooks
  },
  'fastify/test/internals/schema-controller-perf.test.js': {
    'SchemaController are NOT loaded when the controllers are custom':
      'looks at which modules are loaded, of which the metrics server, a Fastify as well, needs some'
  },
  'fastify/test/plugin.2.test.js': {
    'plugin name will change when using no encapsulation': namesPlugins,
    'set the plugin name based on the plugin displayName symbol': namesPlugins
  },
  'fastify/test/plugin.4.test.js': { 'hasPlugin returns true when using no encapsulation': namesPlugins },
  'fastify/test/pretty-print.test.js': {
    'pretty print - empty plugins': namesPlugins,
    'pretty print - includeMeta, includeHooks': countsHooks
  }
}
