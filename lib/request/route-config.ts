import type { FastifyContextConfig, FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'

/** The property of a request that holds the `config` of its route. */
const kConfig = Symbol('fastify-latency.config')

type Request = FastifyRequest & { [kConfig]?: FastifyContextConfig }

/**
 * Adds a hook to each route that stores the route's `config` in its requests. The `config` could also be read from
 * `request.routeOptions`, but Fastify builds that object anew at every access, which takes three times as long as
 * everything else that is done to record a request.
 */
export function handOutRouteConfigs (app: FastifyInstance): void {
  // An outer context has added the hooks already.
  if (app.hasRequestDecorator(kConfig)) return
  app.decorateRequest(kConfig, undefined)
  app.addHook('onRoute', addHandOut)
}

function addHandOut (route: RouteOptions): void {
  let config: FastifyContextConfig | undefined
  route.onRequest = [handOutConfig, route.onRequest ?? []].flat()

  function handOutConfig (request: Request, _reply: FastifyReply, done: () => void): void {
    request[kConfig] = config ??= request.routeOptions.config
    done()
  }
}

/** The `config` of the current route of a request. All requests of a route have the same object. */
export function routeConfigOf (request: FastifyRequest): FastifyContextConfig {
  // After `callNotFound()` the stored `config` is that of another route. Nothing is stored if an earlier hook has
  // replied, or if the route was declared before this plugin was registered.
  const config = request.is404 ? undefined : (request as Request)[kConfig]
  return config ?? request.routeOptions.config
}
