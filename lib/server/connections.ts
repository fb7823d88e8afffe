import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate } from '../timers'

/** The number of connections that stay open. It leaves file descriptors for the application. */
export const maxConnections = 256

/** The number of connections, the newest ones, that are not dropped, so that whoever has just connected can ask. */
const safeConnections = maxConnections / 2

/** The number of connections that an address may have for a moment, until those that are too many are dropped. */
export const mostAtOnce = 2048

interface Connection {
  readonly socket: Socket
  /** The number of requests that are being answered. */
  requests: number
  /** When the oldest of these requests began. */
  busySinceMs: number
  /** When a request of a client who may read the metrics was last answered; 0 if there was none. */
  servedMs: number
}

/**
 * The connections of the metrics server, at all of its addresses. If there are too many, new ones stay and others are
 * dropped, so that nobody can keep others out by holding connections. The first to be dropped are those of which no
 * client has been let in, the oldest first; then those that have been idle for longest; then those that have been busy
 * for longest.
 */
export class Connections {
  /** By their remote ends, since a request over TLS does not know the connection below. The oldest comes first. */
  readonly #connections = new Map<string | Socket, Connection>()
  readonly #onLimit: () => void
  #isDue = false

  /** `onLimit` is called when connections are dropped or refused. */
  constructor (onLimit: () => void) {
    this.#onLimit = onLimit
  }

  /** Follows the connections of a server, which does not listen yet. */
  follow (server: Server): void {
    server.maxConnections = mostAtOnce
    server.on('drop', this.#onLimit)
    // This listener has to run before the one that begins a TLS handshake.
    server.prependListener('connection', socket => this.#add(socket))
  }

  /**
   * To be called when a request begins. The function that it returns is to be called when the request has ended, and is
   * told whether the client may read the metrics.
   */
  begin (socket: Socket): (mayRead: boolean) => void {
    const connection = this.#connections.get(remoteEnd(socket))
    if (connection === undefined) return () => {}
    if (connection.requests === 0) connection.busySinceMs = performance.now()
    connection.requests++
    return mayRead => {
      connection.requests--
      if (mayRead) connection.servedMs = performance.now()
    }
  }

  /** Drops all connections, whatever state they are in. */
  dropAll (): void {
    for (const { socket } of this.#connections.values()) socket.destroy()
  }

  #add (socket: Socket): void {
    const key = remoteEnd(socket)
    // The application keeps the process alive; a scraper that keeps its connection does not.
    socket.unref()
    this.#connections.set(key, { socket, requests: 0, busySinceMs: 0, servedMs: 0 })
    socket.once('close', () => this.#connections.delete(key))
    if (this.#connections.size <= maxConnections || this.#isDue) return
    this.#isDue = true
    // What a client has sent together with its connection is read in the next turn of the event loop. Without that
    // turn, a probe that comes in the middle of many connections would be dropped before it could be answered.
    setImmediate(() => setImmediate(() => {
      this.#isDue = false
      this.#dropTooMany()
    }))
  }

  #dropTooMany (): void {
    this.#onLimit()
    // Some may have been closed since.
    const tooMany = Math.max(0, this.#connections.size - maxConnections)
    const candidates = [...this.#connections.values()].slice(0, -safeConnections).sort(compareForDropping)
    for (const { socket } of candidates.slice(0, tooMany)) socket.destroy()
  }
}

function compareForDropping (a: Connection, b: Connection): number {
  if (a.requests > 0 && b.requests > 0) return a.busySinceMs - b.busySinceMs
  if (a.requests > 0 || b.requests > 0) return a.requests - b.requests
  return a.servedMs - b.servedMs
}

/** The remote end of a connection. One that is closed has none, nor has one of a Unix socket: it stands for itself. */
function remoteEnd (socket: Socket): string | Socket {
  const { remoteAddress, remotePort, localAddress } = socket
  return remoteAddress === undefined ? socket : `${remoteAddress} ${remotePort} ${localAddress}`
}
