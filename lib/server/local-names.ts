import { isIP } from 'node:net'

/** The last labels of names that mean nothing outside a machine or a private network. */
const privateDomains = /\.(?:localhost|localdomain|internal)$/

/**
 * Whether a `Host` header is an IP address, or a name that nobody can have in the public domain name system: a name
 * without a dot, or one in a private domain.
 */
export function isLocalName (host: string): boolean {
  const name = host.toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '')
  return isIP(name) !== 0 || name.startsWith('[') || !name.includes('.') || privateDomains.test(name)
}
