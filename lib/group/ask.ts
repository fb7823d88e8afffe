import type { Socket } from 'node:net'
import type { GatherRequest } from '../snapshot'
import { inSlices, type TimeSlices } from '../time-slices'
import { clearTimeout, setImmediate, setTimeout, type Timer } from '../timers'
import { decodeInSteps, lengthOf } from './encoding'
import type { Told } from './families'
import type { LabelLists } from './label-lists'
import { connectTo, isHeld } from './sockets'

/**
 * How members ask each other. A question is one line of JSON, with the names of families, and the time to wait. While
 * the member gathers what it has counted, it shows by a byte now and then that its event loop turns. Then it answers.
 */
interface Question {
  /** Undefined stands for all families. */
  readonly names?: readonly string[]
  readonly timeoutMs: number
}

const longestQuestion = 64 * 1024

/** The byte by which a member shows that its event loop turns. No encoding begins with it. */
const presence = 1

/** How often a member shows that its event loop turns, in milliseconds. */
const presentMs = 100

/** A member that has shown nothing for so long hangs, in milliseconds. */
const silentMs = 500

/** How long a member waits for a question, and for its answer to be read, in milliseconds. */
const patienceMs = 5000

/** Another member, as it is asked what it has counted. */
export class Neighbour {
  readonly #address: string
  readonly #slices: TimeSlices
  readonly #labels: LabelLists
  /** A connection at which the member was asked, and has not answered for too long. */
  #late: Socket | undefined

  /** `labels` are the lists of label sets that have been read before, of this member or another one. */
  constructor (address: string, slices: TimeSlices, labels: LabelLists) {
    this.#address = address
    this.#slices = slices
    this.#labels = labels
  }

  /**
   * Asks the member what it has counted. Resolves to undefined if there is none, or it has gone while it answered.
   * Rejects if it hangs up, which is not to go, or answers anything else, or not in time. One that hangs is asked once,
   * and then no more until it shows something; one that shows that its event loop turns, and does not answer, until it
   * does. So nobody has to wait for it again.
   */
  async ask ({ names, timeoutMs }: GatherRequest): Promise<Told | undefined> {
    if (this.#late !== undefined) throw new Error('it still hangs')
    const socket = await connectTo(this.#address)
    if (socket === undefined) return undefined
    const question: Question = { timeoutMs, ...names !== undefined && { names: [...names] } }
    socket.write(`${JSON.stringify(question)}\n`)
    let answer: Buffer | undefined
    try {
      answer = await readAnswer(socket, timeoutMs)
    } catch (error) {
      if (error instanceof Silence) this.#keep(socket, () => true)
      else if (error instanceof Delay) this.#keep(socket, data => withoutPresence(data).length > 0)
      else socket.destroy()
      throw error
    }
    socket.destroy()
    if (answer !== undefined) return inSlices(decodeInSteps(answer, this.#labels), this.#slices)
    if (await isHeld(this.#address)) throw new Error('it has hung up; its own log may say why')
    return undefined
  }

  /** Waits no more for the member to answer. */
  forget (): void {
    this.#late?.destroy()
  }

  /** Does not ask the member until it has sent what is waited for, or the connection ends. */
  #keep (socket: Socket, isEnough: (data: Buffer) => boolean): void {
    this.forget()
    this.#late = socket
    socket.on('data', data => { if (isEnough(data)) socket.destroy() }).once('close', () => {
      if (this.#late === socket) this.#late = undefined
    })
  }
}

/** A member was asked, and its event loop does not turn. */
class Silence extends Error {
  constructor () {
    super(`it has shown nothing for ${silentMs} ms`)
  }
}

/** A member was asked, its event loop turns, and it does not answer. */
class Delay extends Error {
  constructor (timeoutMs: number) {
    super(`it was not done in ${timeoutMs} ms`)
  }
}

/** Reads an answer. Resolves to undefined if the connection ends before. */
async function readAnswer (socket: Socket, timeoutMs: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let received = 0
  let expected: number | undefined
  let silence: Timer | undefined
  let deadline: Timer | undefined
  let read: ((data: Buffer) => void) | undefined
  try {
    return await new Promise((resolve, reject) => {
      const listen = (): void => {
        clearTimeout(silence)
        // If this process was busy itself, it reads now what has come meanwhile.
        silence = setTimeout(() => setImmediate(() => { if (silence === current) reject(new Silence()) }), silentMs)
        const current = silence.unref()
      }
      read = data => {
        listen()
        const chunk = received === 0 ? withoutPresence(data) : data
        received += chunk.length
        chunks.push(chunk)
        try {
          // The length is among the first bytes. No more than it says is kept, and it has a limit.
          expected ??= lengthOf(Buffer.concat(chunks))
          if (expected !== undefined && received >= expected) resolve(Buffer.concat(chunks))
        } catch (error) {
          reject(error)
        }
      }
      listen()
      // The member gives its metrics this time, and then needs some for all else.
      deadline = setTimeout(() => reject(new Delay(timeoutMs)), timeoutMs + silentMs).unref()
      socket.on('data', read).once('close', () => resolve(undefined))
    })
  } finally {
    clearTimeout(silence)
    clearTimeout(deadline)
    socket.off('data', read!)
  }
}

function withoutPresence (data: Buffer): Buffer {
  const start = data.findIndex(byte => byte !== presence)
  return start === -1 ? Buffer.alloc(0) : data.subarray(start)
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
    socket.setTimeout(0)
    const stop = show(socket)
    const bytes = await read(request).finally(stop)
    socket.setTimeout(patienceMs)
    // The connection is not needed any more, whether or not the other end closes it.
    socket.end(bytes, () => socket.destroy())
  }
}

/** Shows that the event loop turns, until the function is called that is returned. */
function show (socket: Socket): () => void {
  let timer: Timer | undefined
  const send = (): void => {
    socket.write(Buffer.of(presence))
    timer = setTimeout(send, presentMs).unref()
  }
  send()
  return () => clearTimeout(timer)
}

/** Reads a question. Throws if it is none. */
function readQuestion (text: string): GatherRequest {
  const { names, timeoutMs } = JSON.parse(text) as Question
  return { names: names === undefined ? undefined : new Set(names), timeoutMs: Math.min(Math.max(timeoutMs, 0), 1e9) }
}
