/** Where the tests are, below node_modules. */
export const suites = [
  'fastify', '@fastify/autoload', '@fastify/basic-auth', '@fastify/compress', '@fastify/cookie', '@fastify/cors',
  '@fastify/express', '@fastify/helmet', '@fastify/middie', '@fastify/multipart', '@fastify/otel',
  '@fastify/rate-limit', '@fastify/reply-from', '@fastify/restartable', '@fastify/static', '@fastify/swagger',
  '@fastify/swagger-ui', '@fastify/under-pressure', '@fastify/websocket', '@fastify/http-proxy', 'mercurius'
].map(name => `${name}/test`)

/** Files that are not run, and why. */
export const notRun = {}

/** Tests whose results may differ, by file, and why. */
export const notCompared = {}
