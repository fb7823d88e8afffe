import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

/** A client's connection, on which every byte is the test's own. */
export class Connection {
  readonly socket: Socket
  received = ''

  private constructor (socket: Socket) {
    this.socket = socket
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => { this.received += text })
    // What the server does to the connection is for the test to see in what it answers.
    socket.on('error', () => {})
  }

  static async open (address: string): Promise<Connection> {
    const { protocol, hostname, port } = new URL(address)
    const options = { port: Number(port), host: hostname.replace(/^\[|\]$/g, ''), rejectUnauthorized: false }
    const socket = protocol === 'https:' ? connectTls(options) : connect(options)
    await once(socket, protocol === 'https:' ? 'secureConnect' : 'connect')
    return new Connection(socket)
  }

  send (text: string): void {
    this.socket.write(text.replaceAll('\n', '\r\n'))
  }

  /** Resolves when this has arrived; rejects if the server closes the connection before. */
  async until (text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const arrived = this.received.includes(text)
        if (!arrived && !this.socket.closed) return
        this.socket.off('data', look).off('close', look)
        if (arrived) resolve()
        else reject(new Error(`The connection closed before ${JSON.stringify(text)}: ${this.received}`))
      }
      this.socket.on('data', look).on('close', look)
      look()
    })
  }

  async closed (): Promise<void> {
    if (!this.socket.closed) await new Promise(resolve => this.socket.once('close', resolve))
  }

  leave (): void {
    this.socket.destroy()
  }

  /** Leaves without the courtesy of a FIN, as a crashed client or a load balancer does. */
  reset (): void {
    this.socket.resetAndDestroy()
  }
}

/** Sends bytes on a connection of their own, until the server closes it. Resolves to what the server answered. */
export async function exchange (address: string, text: string): Promise<string> {
  const connection = await Connection.open(address)
  connection.send(text)
  await connection.closed()
  return connection.received
}

/** Sends bytes on a connection of their own, and leaves when this has arrived. */
export async function leaveAfter (address: string, text: string, answer: string): Promise<void> {
  const connection = await Connection.open(address)
  connection.send(text)
  await connection.until(answer)
  connection.leave()
}
