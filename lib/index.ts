import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'
import type { Options } from '../index'
import { Application } from './application'
import { parseOptions } from './config'
import { openTelemetry } from './presets'

async function latencyPlugin (app: FastifyInstance, options: Options): Promise<void> {
  const config = parseOptions(options)
  const application = Application.of(app, config)
  application.register(app, config)
  if (!(app.latency instanceof Application)) app.decorate('latency', application)
}

// fastify-plugin gives the function the properties `default` and `fastifyLatency`. Node.js reads the text of this file
// to find the names that an ES module may import. The following two lines are there only for that.
exports.fastifyLatency = undefined
exports.openTelemetry = undefined

export = Object.assign(fp(latencyPlugin, { name: 'fastify-latency', fastify: '5.x' }), { openTelemetry })
