import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'
import type { Options } from '../index'
import { parseOptions } from './config'
import { ApplicationLatency } from './application'
import { openTelemetry } from './presets'
import { kLatency } from './symbols'

async function latencyPlugin (app: FastifyInstance, options: Options): Promise<void> {
  const config = parseOptions(options)
  const server: typeof app.server & { [kLatency]?: ApplicationLatency } = app.server
  if (server[kLatency] === undefined) {
    server[kLatency] = new ApplicationLatency(app, config)
    server[kLatency].followLifecycle()
  }
  server[kLatency].record(app, config)
  if (!(app.latency instanceof ApplicationLatency)) app.decorate('latency', server[kLatency])
}

// fastify-plugin gives the function the properties `default` and `fastifyLatency`. Node.js tells the names that an ES module may import
// from the text of this file, which is all that these lines are for.
exports.fastifyLatency = undefined
exports.openTelemetry = undefined

export = Object.assign(fp(latencyPlugin, { name: 'fastify-latency', fastify: '5.x' }), { openTelemetry })
