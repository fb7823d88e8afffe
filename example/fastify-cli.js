// fastify start --options --port 8001 fastify-cli.js
const latency = require('fastify-latency')

module.exports = async function (app, options) {
  await app.register(latency, options.latency)

  app.get('/', async () => 'Hello World')
}

// Without this option, and without --options, fastify-cli makes this plugin a part of the application: requests that
// match no route would not be counted.
module.exports.options = { skipOverride: true }
