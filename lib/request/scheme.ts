import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { declareProperty } from './request-property'

/** The property of a request that holds its scheme. */
const kScheme = Symbol('fastify-latency.scheme')

type Request = FastifyRequest & { [kScheme]?: string }

/**
 * Stores the scheme of each request when the request begins. When a request has been aborted, its connection no longer
 * tells whether it was encrypted, nor whether it came from a trusted proxy.
 */
export function noteSchemes (app: FastifyInstance): void {
  if (declareProperty(app, kScheme)) app.addHook('onRequest', noteScheme)
}

function noteScheme (request: Request, _reply: FastifyReply, done: () => void): void {
  request[kScheme] = readScheme(request)
  done()
}

/**
 * The scheme of a request, `http` or `https`. If `trustProxy` trusts the proxy, the scheme is the one that the proxy
 * says its client used; otherwise it is that of the connection.
 */
export function schemeOf (request: Request): string {
  // Nothing is stored if an earlier hook has replied.
  return request[kScheme] ?? readScheme(request)
}

function readScheme (request: Request): string {
  try {
    const protocol: string = request.protocol
    // A proxy may name any scheme; some proxies name `wss`.
    if (protocol === 'http' || protocol === 'https') return protocol
  } catch {
    // `trustProxy` may be a function, and the function may throw.
  }
  return (request.raw.socket as { encrypted?: boolean } | null)?.encrypted === true ? 'https' : 'http'
}
