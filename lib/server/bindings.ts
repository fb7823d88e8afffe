import dns from 'node:dns'
import { once } from 'node:events'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { mostAtOnce } from './connections'
import { describe } from '../errors'
import { clearTimeout, setTimeout, type Timer } from '../timers'
import type { ServerConfig } from './options'
import { removeLeftover } from './socket-file'

const firstRetryMs = 1000
const longestRetryMs = 10_000

/** The codes of the errors that say that this machine has no such address. */
const missingAddressCodes: ReadonlyArray<string | undefined> = ['EADDRNOTAVAIL', 'EAFNOSUPPORT']

const otherHost = 'Let "server.host" be an address of this machine, or a name of one'

/** What helps, by the code of the operating system's error. */
const cures: ReadonlyMap<string | undefined, string> = new Map([
  ['EADDRINUSE', 'Another process, or another application in this process, has this port. ' +
    'Give this application another "server.port", or "server: false" if it needs no metrics server'],
  ['EACCES', 'The operating system keeps this port for others. Give another "server.port", such as one from 1024 on'],
  ['EADDRNOTAVAIL', otherHost],
  ['EAFNOSUPPORT', otherHost],
  ['ENOTFOUND', otherHost]
])

/** The same, of a Unix socket. */
const curesOfSocket: ReadonlyMap<string | undefined, string> = new Map([
  ['EADDRINUSE', 'Another server answers there, or the file is no socket. ' +
    'Give this application another "server.socket", or "server: false" if it needs no metrics server'],
  // Node.js has this code for a folder that does not exist, too.
  ['EACCES', 'The folder of "server.socket" has to exist, and this process has to be allowed to write there']
])

/** Why the metrics server cannot listen, what becomes of it, and what helps. */
export function reasonOf (
  error: NodeJS.ErrnoException & { readonly address?: string },
  { start, socket }: Pick<ServerConfig, 'start' | 'socket'>
): string {
  const cure = (socket === undefined ? cures : curesOfSocket).get(error.code)
  // Whoever logs the error logs its cause too. What the cause says is not repeated, if its code is enough.
  const problem = cure === undefined
    ? describe(error)
    : `${error.code}${error.address === undefined ? '' : ` at ${error.address}`}`
  const outcome = start === 'listen' ? 'The application goes on, and binding is tried again' : undefined
  return [problem, outcome, cure].filter(text => text !== undefined).join('. ')
}

/** The delay before binding is tried again. `attempt` counts the failed attempts from 0. */
export function retryDelayMs (attempt: number): number {
  return Math.min(firstRetryMs * 2 ** attempt, longestRetryMs)
}

export interface BindingsOptions {
  /** Called once for each server. */
  readonly create: (handler: RequestListener) => Server
  /**
   * Called when an address cannot be bound while others are, each time that it is tried. Returns whether it is to be
   * tried again.
   */
  readonly failed: (error: NodeJS.ErrnoException, port: number) => boolean
  /** Called when an address could be bound that had failed before. */
  readonly recovered: (address: string) => void
}

/**
 * The servers on which one Fastify instance answers. `localhost` may be two addresses, and a server listens on one.
 * Fastify would make the second server itself, but would not show it, so that nobody could set its limits.
 */
export class Bindings {
  readonly #options: BindingsOptions
  #handler!: RequestListener
  /** The server that the Fastify instance knows. */
  #first!: Server
  /** The servers that listen. */
  readonly #listening: Server[] = []
  readonly #retries = new Set<Timer>()
  #isClosed = false

  constructor (options: BindingsOptions) {
    this.#options = options
  }

  /** The function for Fastify's option `serverFactory`. */
  readonly serverFactory = (handler: RequestListener): Server => {
    this.#handler = handler
    this.#first = this.#options.create(handler)
    return this.#first
  }

  /**
   * Listens on the addresses of a host: on all that `localhost` has, and on the first that another name has. One that
   * can be bound is enough. The others are then tried again until they can be bound too. An address that this machine
   * does not have is passed over. Resolves to the first address that could be bound. Rejects if there is none.
   */
  async listen (app: FastifyInstance, host: string, port: number): Promise<AddressInfo> {
    const addresses = await addressesOf(host)
    const failed: Array<{ server: Server | undefined, address: string, error: NodeJS.ErrnoException }> = []
    for (const address of host === 'localhost' ? addresses : addresses.slice(0, 1)) {
      const server = this.#listening.length === 0 ? undefined : this.#options.create(this.#handler)
      try {
        await this.#bind(app, server, { host: address, port: this.#boundPort() ?? port })
      } catch (error) {
        failed.push({ server, address, error: error as NodeJS.ErrnoException })
      }
    }
    const toRetry = failed.filter(({ error }) => !missingAddressCodes.includes(error.code))
    if (this.#listening.length === 0) throw (toRetry[0] ?? failed[0]!).error
    for (const { server = this.#options.create(this.#handler), address, error } of toRetry) {
      this.#retry(app, server, address, error, 0)
    }
    return this.#first.address() as AddressInfo
  }

  /** Listens on a Unix socket, in place of one that was left behind. Resolves to its path. */
  async listenOnSocket (app: FastifyInstance, path: string): Promise<string> {
    try {
      await this.#bind(app, undefined, { path })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || !await removeLeftover(path)) throw error
      await this.#bind(app, undefined, { path })
    }
    return path
  }

  /** Stops listening at all addresses, and does not listen again. */
  close (): void {
    this.#isClosed = true
    for (const timer of this.#retries) clearTimeout(timer)
    for (const server of this.#listening) server.close()
  }

  #boundPort (): number | undefined {
    return (this.#listening[0]?.address() as AddressInfo | undefined)?.port
  }

  /** Has a server listen. Undefined stands for the server of the Fastify instance. */
  async #bind (
    app: FastifyInstance, server: Server | undefined, address: { host: string, port: number } | { path: string }
  ): Promise<void> {
    if (this.#isClosed) throw new Error('The server is closed')
    // The port is not shared with the other workers of a `node:cluster`, where each scrape would reach another worker.
    // A client that finds no room among those who wait to be accepted would try again only after a second.
    const options = { ...address, exclusive: true, backlog: mostAtOnce }
    if (server === undefined) await app.listen(options)
    else await once(server.listen(options), 'listening')
    this.#listening.push(server ?? this.#first)
    if (this.#isClosed) this.close()
  }

  #retry (
    app: FastifyInstance, server: Server, address: string, error: NodeJS.ErrnoException, attempt: number
  ): void {
    const port = this.#boundPort()!
    if (this.#isClosed || !this.#options.failed(error, port)) return
    const timer = setTimeout(() => {
      this.#retries.delete(timer)
      this.#bind(app, server, { host: address, port }).then(
        () => this.#options.recovered(address),
        error => this.#retry(app, server, address, error, attempt + 1)
      )
    }, retryDelayMs(attempt)).unref()
    this.#retries.add(timer)
  }
}

/** The time that the addresses of a name have to be found in. The boot may wait for them, and closing for the boot. */
const lookupMs = 5000

/**
 * The lookups that have not ended. Node.js cannot give one up, and has few threads for them: with a second one for the
 * same name, nobody in the process might get another name resolved.
 */
const lookups = new Map<string, Promise<string[]>>()

async function addressesOf (host: string): Promise<string[]> {
  const looking = lookups.get(host) ?? lookUp(host).finally(() => lookups.delete(host))
  lookups.set(host, looking)
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the name was not resolved in ${lookupMs} ms`)), lookupMs).unref()
    looking.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

async function lookUp (host: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    dns.lookup(host, { all: true }, (error, addresses) => {
      if (error === null) resolve([...new Set(addresses.map(({ address }) => address))])
      else reject(error)
    })
  })
}
