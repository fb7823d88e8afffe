import type { FastifyContextConfig, FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'

/** Where a request carries the `config` of its route. */
const kConfig = Symbol('fastify-latency.config')

type Request = FastifyRequest & { [kConfig]?: FastifyContextConfig }

/**
 * Has a hook of each route hand its `config` to the requests of the route. They could read it from `request.routeOptions`, but Fastify builds
 * that anew at every access, which takes three times as long as everything else that is done to record a request.
 */
export function handOutRouteConfigs (app: FastifyInstance): void {
  // An outer context hands them out already.
  if (app.hasRequestDecorator(kConfig)) return
  app.decorateRequest(kConfig, undefined)
  app.addHook('onRoute', route => {
    let config: FastifyContextConfig | undefined
    const handOutConfig: RouteOptions['onRequest'] = (request, _reply, done) => {
      (request as Request)[kConfig] = config ??= request.routeOptions.config
      done()
    }
    route.onRequest = [handOutConfig, route.onRequest ?? []].flat()
  })
}

/** `config` of the route that a request has now. It is the same object for all requests of the route. */
export function routeConfigOf (request: FastifyRequest): FastifyContextConfig {
  // What was handed out is of another route after `callNotFound()`. Nothing was if a hook has replied, or to routes older than this plugin.
  const config = request.is404 ? undefined : (request as Request)[kConfig]
  return config ?? request.routeOptions.config
}
