import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'
import type { Options } from '../index'
import { Application } from './application'
import { parseOptions } from './config'
import {
  causeOf, describe, FST_LATENCY_ERR_NOT_REGISTERED, FST_LATENCY_ERR_REGISTRATION_FAILED, isCoded
} from './errors'
import { openTelemetry } from './presets'

function latencyPlugin (app: FastifyInstance | undefined, options: Options): Promise<void> {
  // Not in the promise: the stack is then that of the program which has called the plugin instead of registering it.
  if (typeof app?.register !== 'function') throw new FST_LATENCY_ERR_NOT_REGISTERED()
  return registerLatency(app, options)
}

async function registerLatency (app: FastifyInstance, options: Options): Promise<void> {
  try {
    const config = parseOptions(options)
    const application = Application.of(app, config)
    application.register(app, config)
    if (!app.hasDecorator('latency')) app.decorate('latency', application)
  } catch (error) {
    // Fastify refuses some things itself, such as a second route for the same path.
    throw isCoded(error) ? error : new FST_LATENCY_ERR_REGISTRATION_FAILED(describe(error), causeOf(error))
  }
}

// fastify-plugin gives the function the properties `default` and `fastifyLatency`. Node.js reads the text of this file
// to find the names that an ES module may import. The following two lines are there only for that.
exports.fastifyLatency = undefined
exports.openTelemetry = undefined

export = Object.assign(fp(latencyPlugin, { name: 'fastify-latency', fastify: '5.x' }), { openTelemetry })
