import type { FastifyInstance } from 'fastify'

/**
 * Gives the requests of an application a property, which is undefined until something is stored in it. Returns false if
 * an outer context or an earlier registration has done so already.
 */
export function declareProperty (app: FastifyInstance, key: symbol): boolean {
  if (app.hasRequestDecorator(key)) return false
  app.decorateRequest(key, undefined)
  return true
}
