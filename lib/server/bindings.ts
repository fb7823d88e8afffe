import dns from 'node:dns'
import { once } from 'node:events'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * The servers that one Fastify instance answers on: `localhost` may be two addresses, and a server has one. Fastify would make the second
 * itself, but not show it, so that nobody could set its limits.
 */
export class Bindings {
  readonly #create: (handler: RequestListener) => Server
  #handler!: RequestListener
  #first!: Server

  /** `create` is called once for each server. */
  constructor (create: (handler: RequestListener) => Server) {
    this.#create = create
  }

  /** Fastify's option `serverFactory`. */
  readonly serverFactory = (handler: RequestListener): Server => {
    this.#handler = handler
    this.#first = this.#create(handler)
    return this.#first
  }

  /**
   * Also listens on the other addresses of a host whose first one Fastify listens on, until Fastify does not. An address that this machine does
   * not have is none. Resolves to the errors of those that cannot be listened on.
   */
  async listenToRest (host: string): Promise<NodeJS.ErrnoException[]> {
    const { address: first, port } = this.#first.address() as AddressInfo
    const errors: NodeJS.ErrnoException[] = []
    for (const address of await addressesOf(host)) {
      if (address === first) continue
      const server = this.#create(this.#handler)
      try {
        await once(server.listen({ host: address, port, exclusive: true }), 'listening')
        this.#first.once('close', () => server.close().closeAllConnections())
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') errors.push(error as NodeJS.ErrnoException)
      }
    }
    return errors
  }
}

async function addressesOf (host: string): Promise<string[]> {
  return new Promise(resolve => dns.lookup(host, { all: true }, (_error, addresses = []) => resolve(addresses.map(({ address }) => address))))
}
