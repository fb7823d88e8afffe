import type { Socket } from 'node:net'
import type { Gathered } from '../snapshot'
import { clearTimeout, setTimeout } from '../timers'
import { decode, lengthOf } from './encoding'
import { connectTo } from './sockets'

/**
 * How members ask each other. Who asks says how long it waits, in milliseconds, in four bytes. The member answers at
 * once with one byte, by which it shows that its event loop turns, and then with what it has gathered.
 */
const questionLength = 4
const presence = Buffer.of(1)

/** How long a member may take to show that its event loop turns, in milliseconds. */
const presenceMs = 500

/** How long a member waits for a question, and for its answer to be read, in milliseconds. */
const patienceMs = 5000

/**
 * Asks a member what it has counted. Resolves to undefined if there is none, or it has gone while it answered. Rejects
 * if it answers anything else, or not in time: in `timeoutMs`, and with its first byte much sooner.
 */
export async function ask (address: string, timeoutMs: number): Promise<Gathered | undefined> {
  const socket = await connectTo(address)
  if (socket === undefined) return undefined
  const question = Buffer.alloc(questionLength)
  question.writeUInt32LE(timeoutMs)
  socket.write(question)
  let timer = setTimeout(() => socket.destroy(new Error(`it did not answer in ${presenceMs} ms`)), presenceMs).unref()
  try {
    return await readAnswer(socket, () => {
      clearTimeout(timer)
      timer = setTimeout(() => socket.destroy(new Error(`it was not done in ${timeoutMs} ms`)), timeoutMs).unref()
    })
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
}

/** Reads an answer. Resolves to undefined if the connection ends before. */
async function readAnswer (socket: Socket, present: () => void): Promise<Gathered | undefined> {
  const chunks: Buffer[] = []
  let received = 0
  let expected: number | undefined
  const all = (): Buffer => Buffer.concat(chunks).subarray(presence.length)
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => {
      if (received === 0) present()
      received += chunk.length
      chunks.push(chunk)
      try {
        // The length is among the first bytes. No more than it says is kept, and it has a limit.
        expected ??= lengthOf(all())
        if (expected !== undefined && received >= presence.length + expected) resolve(decode(all()))
      } catch (error) {
        reject(error)
      }
    })
    // An error with a code is that of a connection which the other end has cut.
    socket.once('error', error => 'code' in error ? resolve(undefined) : reject(error))
    socket.once('close', () => resolve(undefined))
  })
}

/** Answers whoever has connected, with what `read` resolves to in the time that is asked for. */
export function answer (socket: Socket, read: (timeoutMs: number) => Promise<Buffer>): void {
  socket.setTimeout(patienceMs, () => socket.destroy())
  socket.once('data', (question: Buffer) => {
    socket.pause()
    if (question.length !== questionLength) return socket.destroy()
    socket.write(presence)
    socket.setTimeout(0)
    read(question.readUInt32LE()).then(bytes => {
      socket.setTimeout(patienceMs)
      socket.end(bytes)
    }, () => socket.destroy())
  })
}
