import type { Socket } from 'node:net'
import type { Gathered, GatherRequest } from '../snapshot'
import { clearTimeout, setTimeout } from '../timers'
import { decode, lengthOf } from './encoding'
import { connectTo } from './sockets'

/**
 * How members ask each other. A question is one line of JSON, with the names of families, and the time to wait. The
 * member answers at once with one byte, by which it shows that its event loop turns, and then with what it has
 * gathered.
 */
interface Question {
  /** Undefined stands for all families. */
  readonly names?: readonly string[]
  readonly timeoutMs: number
}

const longestQuestion = 64 * 1024
const presence = Buffer.of(1)

/** How long a member may take to show that its event loop turns, in milliseconds. */
const presenceMs = 500

/** How long a member waits for a question, and for its answer to be read, in milliseconds. */
const patienceMs = 5000

/**
 * Asks a member what it has counted. Resolves to undefined if there is none, or it has gone while it answered. Rejects
 * if it answers anything else, or not in time: in `timeoutMs`, and with its first byte much sooner.
 */
export async function ask (address: string, { names, timeoutMs }: GatherRequest): Promise<Gathered | undefined> {
  const socket = await connectTo(address)
  if (socket === undefined) return undefined
  const question: Question = { timeoutMs, ...names !== undefined && { names: [...names] } }
  socket.write(`${JSON.stringify(question)}\n`)
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

/** Answers whoever has connected, with what `read` resolves to. */
export function answer (socket: Socket, read: (request: GatherRequest) => Promise<Buffer>): void {
  let received = ''
  socket.setEncoding('utf8').setTimeout(patienceMs, () => socket.destroy())
  socket.on('data', function receive (text: string) {
    received += text
    if (!received.endsWith('\n') && received.length < longestQuestion) return
    socket.off('data', receive).pause()
    answerTo(received).catch(() => socket.destroy())
  })

  async function answerTo (text: string): Promise<void> {
    const request = readQuestion(text)
    socket.write(presence)
    socket.setTimeout(0)
    const bytes = await read(request)
    socket.setTimeout(patienceMs)
    // The connection is not needed any more, whether or not the other end closes it.
    socket.end(bytes, () => socket.destroy())
  }
}

/** Reads a question. Throws if it is none. */
function readQuestion (text: string): GatherRequest {
  const { names, timeoutMs } = JSON.parse(text) as Question
  return { names: names === undefined ? undefined : new Set(names), timeoutMs: Math.min(Math.max(timeoutMs, 0), 1e9) }
}
