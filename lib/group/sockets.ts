import { once } from 'node:events'
import { lstatSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** The longest address of a Unix socket that every operating system allows, in bytes. Linux allows four more. */
export const longestAddress = 103

/**
 * The codes of the errors that say that nobody listens at an address, whatever is there, or that whoever did has just
 * stopped.
 */
const silentCodes: ReadonlyArray<string | undefined> = ['ECONNREFUSED', 'ENOENT', 'ENOTSOCK', 'ECONNRESET']

/**
 * Connects to a Unix socket. Resolves to undefined if nobody listens there. A process that has been stopped, or is
 * busy, listens: the operating system accepts connections for it.
 */
export async function connectTo (address: string): Promise<Socket | undefined> {
  const socket = connect(address)
  try {
    await once(socket, 'connect')
  } catch (error) {
    if (silentCodes.includes((error as NodeJS.ErrnoException).code)) return undefined
    throw error
  }
  // The event `close` follows.
  return socket.on('error', () => {}).unref()
}

/** For sockets that are there to be connected to, and to close when their process ends. Nobody says anything there. */
export function closeIfAnythingComes (connection: Socket): void {
  connection.once('data', () => connection.destroy())
}

/** Whether somebody listens at a Unix socket, or may do so: if it cannot be told, nobody else is to take its place. */
export async function isHeld (address: string): Promise<boolean> {
  try {
    const socket = await connectTo(address)
    socket?.destroy()
    return socket !== undefined
  } catch {
    return true
  }
}

/** No group has so many members. Whoever connects beyond them is disconnected. */
const mostConnections = 1000

/** A Unix socket that somebody listens at. It does not keep the process alive. */
export class Listener {
  readonly #address: string
  readonly #server: Server
  readonly #connections = new Set<Socket>()
  /** What tells the file of the socket from any other that may take its place. */
  #file = ''

  /** Listens at an address at which there is nothing yet. */
  static async open (address: string, connected: (socket: Socket) => void): Promise<Listener> {
    // Node.js would cut the address, and listen somewhere else.
    if (Buffer.byteLength(address) > longestAddress) throw new Error(`"${address}" is too long for a Unix socket`)
    const listener = new Listener(address, connected)
    // A worker of a `node:cluster` would otherwise ask the primary to listen for it.
    await once(listener.#server.listen({ path: address, exclusive: true }), 'listening')
    listener.#file = identityOf(address)
    return listener
  }

  private constructor (address: string, connected: (socket: Socket) => void) {
    this.#address = address
    this.#server = createServer(socket => {
      this.#connections.add(socket)
      socket.unref().on('error', () => {}).once('close', () => this.#connections.delete(socket))
      connected(socket)
    }).unref()
    this.#server.maxConnections = mostConnections
  }

  /** Whether others find it. */
  isThere (): boolean {
    return identityOf(this.#address) === this.#file
  }

  /** Whether others find somebody else. */
  isReplaced (): boolean {
    return !['', this.#file].includes(identityOf(this.#address))
  }

  /**
   * Stops listening, and drops every connection. Node.js removes what is at the address before, even if that is another
   * socket by now.
   */
  close (): void {
    this.#server.close()
    for (const socket of this.#connections) socket.destroy()
  }
}

/**
 * What tells a file or directory from any other that has or had its name. Empty if there is none. A process that ends
 * asks, too, and can wait for nothing.
 */
export function identityOf (file: string): string {
  try {
    const { ino, birthtimeMs } = lstatSync(file)
    return `${ino} ${birthtimeMs}`
  } catch {
    return ''
  }
}
