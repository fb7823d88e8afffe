import type { FastifyContextConfig, FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import { declareProperty } from './request-property'

/** The property of a request that holds the `config` of its route. */
const kConfig = Symbol('fastify-latency.config')

type Request = FastifyRequest & { [kConfig]?: FastifyContextConfig }

/**
 * Adds a hook to each route that stores the route's `config` in its requests. The `config` could also be read from
 * `request.routeOptions`, but Fastify builds that object anew at every access, which takes three times as long as
 * everything else that is done to record a request.
 */
export function handOutRouteConfigs (app: FastifyInstance): void {
  if (declareProperty(app, kConfig)) app.addHook('onRoute', addHandOut)
}

/** The hooks that `addHandOut()` has added. */
const handOuts = new WeakSet<object>()

/**
 * Adds the hook once all other `onRoute` hooks have run. Those of @fastify/otel, for example, make a span of each hook
 * that they find.
 */
function addHandOut (route: RouteOptions): void {
  Promise.resolve().then(() => addHandOutNow(route))
}

function addHandOutNow (route: RouteOptions): void {
  let config: FastifyContextConfig | undefined
  // What is no function stays in its place, so that Fastify refuses it with the same error as ever. Whoever declares a
  // route with the options of another one brings the hook of that route along.
  const others = ([] as unknown[]).concat(route.onRequest === undefined ? [] : route.onRequest)
    .filter(hook => typeof hook !== 'function' || !handOuts.has(hook))
  route.onRequest = [handOutConfig, ...others as []]
  handOuts.add(handOutConfig)

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

/** The pattern that `routePatternOf()` will give to a route that is being declared. */
export function declaredPatternOf (
  { url, prefix = '', prefixTrailingSlash = 'both' }: RouteOptions & { readonly prefix?: string }
): string {
  return isSecondOfPrefix(url, prefix, prefixTrailingSlash) ? prefix : url
}

/**
 * The pattern of the current route of a request, or undefined if no route matched. In a context with a prefix, Fastify
 * declares the route `/` twice: as the prefix, and as the prefix with a slash behind it. Newer versions of Fastify give
 * the prefix as the pattern of both, except for HEAD. This function does so in every version, and for every method.
 */
export function routePatternOf ({ routeOptions, server }: FastifyRequest): string | undefined {
  const { url, prefixTrailingSlash } = routeOptions
  return isSecondOfPrefix(url, server.prefix, prefixTrailingSlash) ? server.prefix : url
}

function isSecondOfPrefix (url: string | undefined, prefix: string, prefixTrailingSlash: string | undefined): boolean {
  return prefixTrailingSlash === 'both' && prefix !== '' && url === `${prefix}/`
}
