import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'
import type { Options } from '../index'
import { Application } from './application'
import { attempt } from './checks'
import { parseOptions } from './config'
import { FST_LATENCY_ERR_NOT_REGISTERED } from './errors'
import { openTelemetry } from './presets'

function latencyPlugin (app: FastifyInstance | undefined, options: Options): Promise<void> {
  // Not in the promise: the stack is then that of the program which has called the plugin instead of registering it.
  if (typeof app?.register !== 'function') throw new FST_LATENCY_ERR_NOT_REGISTERED()
  return registerLatency(app, options)
}

async function registerLatency (app: FastifyInstance, options: Options): Promise<void> {
  const config = attempt('options', 'an object whose properties can be read', () => parseOptions(options))
  const application = Application.of(app, config)
  attempt('registry', 'a registry whose methods can be called', () => application.register(app, config))
  if (!app.hasDecorator('latency')) app.decorate('latency', application)
}

// fastify-plugin gives the function the properties `default` and `fastifyLatency`. Node.js reads the text of this file
// to find the names that an ES module may import. The following two lines are there only for that.
exports.fastifyLatency = undefined
exports.openTelemetry = undefined

export = Object.assign(fp(latencyPlugin, { name: 'fastify-latency', fastify: '5.x' }), { openTelemetry })
