import dns from 'node:dns'
import { once } from 'node:events'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * The servers on which one Fastify instance answers. `localhost` may be two addresses, and a server listens on one.
 * Fastify would make the second server itself, but would not show it, so that nobody could set its limits.
 */
export class Bindings {
  readonly #create: (handler: RequestListener) => Server
  #handler!: RequestListener
  #first!: Server

  /** `create` is called once for each server. */
  constructor (create: (handler: RequestListener) => Server) {
    this.#create = create
  }

  /** The function for Fastify's option `serverFactory`. */
  readonly serverFactory = (handler: RequestListener): Server => {
    this.#handler = handler
    this.#first = this.#create(handler)
    return this.#first
  }

  /**
   * Listens on the other addresses of a host, after Fastify has begun to listen on the first one. The further servers
   * close together with the first. An address that this machine does not have is passed over. Resolves to the errors of
   * the addresses that are in use.
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
  return new Promise(resolve => {
    dns.lookup(host, { all: true }, (_error, addresses = []) => resolve(addresses.map(({ address }) => address)))
  })
}
