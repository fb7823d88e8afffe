import type { FastifyInstance, FastifyRequest } from 'fastify'

/** Where a request carries its scheme. */
const kScheme = Symbol('fastify-latency.scheme')

type Request = FastifyRequest & { [kScheme]?: string }

/**
 * Has requests carry the scheme that they came with. When one has been aborted, its connection no longer tells whether it was encrypted, nor
 * whether it came from a proxy that is trusted.
 */
export function noteSchemes (app: FastifyInstance): void {
  // An outer context, or an earlier registration, does it already.
  if (app.hasRequestDecorator(kScheme)) return
  app.decorateRequest(kScheme, undefined)
  app.addHook('onRequest', (request: Request, _reply, done) => {
    request[kScheme] = readScheme(request)
    done()
  })
}

/** `http` or `https`: what the client used, if a proxy that `trustProxy` trusts says so, else what the connection uses. */
export function schemeOf (request: Request): string {
  // Nothing was noted if a hook before ours has replied.
  return request[kScheme] ?? readScheme(request)
}

function readScheme (request: Request): string {
  try {
    const protocol: string = request.protocol
    // A proxy may name any other: some have `wss`.
    if (protocol === 'http' || protocol === 'https') return protocol
  } catch {
    // `trustProxy` may be a function that throws.
  }
  return (request.raw.socket as { encrypted?: boolean } | null)?.encrypted === true ? 'https' : 'http'
}
