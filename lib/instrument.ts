import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { parseRouteConfig, type Config } from './config'
import { describe, FST_LATENCY_ERR_CALLBACK, type ReportOnce } from './errors'
import type { HistogramFamily } from './histogram/family'
import { notRecorded, SeriesResolver } from './labels'

/**
 * Records the requests of a context, and of the contexts inside it, into a histogram. The only place that runs per request.
 *
 * There is no hook at the start: once an `onResponse` hook exists, Fastify itself reads the clock when a request arrives, before any
 * `onRequest` hook, and again when its reply has been handed to the operating system. `reply.elapsedTime` is the difference.
 */
export function instrument (app: FastifyInstance, family: HistogramFamily, config: Config, report: ReportOnce): void {
  const resolver = new SeriesResolver(family, config, report)
  const ignore = config.ignore === undefined ? undefined : guarded(config.ignore, report)

  app.addHook('onRoute', route => { parseRouteConfig(route.config) })

  app.addHook('onResponse', function recordLatency (request, reply, done) {
    if (ignore === undefined || !ignore(request, reply)) {
      const slot = resolver.resolve(request, reply)
      if (slot !== notRecorded) family.observe(slot, reply.elapsedTime / 1000)
    }
    done()
  })
}

function guarded (ignore: NonNullable<Config['ignore']>, report: ReportOnce): NonNullable<Config['ignore']> {
  return (request: FastifyRequest, reply: FastifyReply) => {
    try {
      const ignored: unknown = ignore(request, reply)
      if (typeof ignored === 'boolean') return ignored
      report('ignore', new FST_LATENCY_ERR_CALLBACK('ignore', `it returned ${describe(ignored)}`))
    } catch (error) {
      report('ignore', new FST_LATENCY_ERR_CALLBACK('ignore', describe(error)))
    }
    return false
  }
}
