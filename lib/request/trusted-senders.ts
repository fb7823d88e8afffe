import type { FastifyRequest } from 'fastify'
import { connectionOf } from '../http/endings'

/** The headers of a request that came through a proxy from an address that nobody has. */
const forwarded = { 'x-forwarded-for': '192.0.2.1' }

/** Tells which connections come from a proxy that the application trusts, by Fastify's option `trustProxy`. */
export class TrustedSenders {
  readonly #ofConnections = new WeakMap<object, boolean>()

  /** Whether the sender of a request is trusted. Undefined if the application trusts no proxies at all. */
  trusts (request: FastifyRequest): boolean | undefined {
    const connection = connectionOf(request)
    const known = connection && this.#ofConnections.get(connection)
    if (known !== undefined) return known
    const trusted = isTrusted(request)
    if (connection !== undefined && trusted !== undefined) this.#ofConnections.set(connection, trusted)
    return trusted
  }
}

/**
 * Fastify tells whom it trusts by `request.ips` only: there is more than one address if it trusts the sender and the
 * sender names another address. Whether this sender does so does not matter here, and how many it names must not cost
 * anything. So a view of the request is asked that names one.
 */
function isTrusted (request: FastifyRequest): boolean | undefined {
  const raw = { value: { headers: forwarded, socket: request.raw.socket } }
  try {
    const { ips } = Object.create(request, { raw }) as FastifyRequest
    return ips && ips.length > 1
  } catch {
    // `trustProxy` may be a function, and the function may throw.
    return false
  }
}
