import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Exposition } from './exposition'

/** How many clients send requests, each with a connection of its own for each of them. */
const clients = 4

/**
 * How long a client waits for an answer, in milliseconds. The primary of a node:cluster never closes a connection that
 * it has handed to a worker which was killed before it had taken it.
 */
const patienceMs = 10_000

/** A counter of a process begins at zero with each process, and what has a label of its own may go with it. */
const processName = /^(?:process|nodejs)_/

/** How long a killed member may have counted without saving, in milliseconds: a second, on a busy machine. */
const unsavedMs = 2000

async function ask (url: string): Promise<{ status: number | undefined, body: string }> {
  const request = get(url, { agent: false, signal: AbortSignal.timeout(patienceMs) })
  const [response] = await once(request, 'response') as [IncomingMessage]
  return { status: response.statusCode, body: await text(response) }
}

function codeOf (error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code
}

/**
 * Clients of an application that is several processes or threads, each of which answers with its name; and somebody who
 * scrapes them at random moments, and notes each counter that is lower than before or ahead of what clients have sent.
 */
export class Watch {
  /** What was wrong with a scrape. */
  readonly faults: string[] = []
  /** How many scrapes were answered. */
  scrapes = 0
  /** The longest time for which nobody listened at the metrics port, in milliseconds. */
  gapMs = 0
  /** How long the slowest scrape took, in milliseconds. */
  slowestMs = 0
  readonly #url: string
  readonly #addresses: () => readonly string[]
  readonly #count: string
  readonly #answers: Array<{ readonly name: string, readonly at: number }> = []
  readonly #shown = new Map<string, number>()
  #sent = 0
  #lost = 0

  /**
   * @param url Where the members are scraped.
   * @param addresses Where they serve now, between which clients choose.
   * @param count The counter of what they have answered.
   */
  constructor (url: string, addresses: () => readonly string[], count = 'http_request_duration_seconds_count') {
    this.#url = url
    this.#addresses = addresses
    this.#count = count
  }

  /** Sends and scrapes while something else happens. Resolves when every request has its answer, or never will. */
  async during (act: () => Promise<void>): Promise<void> {
    const acting = new AbortController()
    const { signal } = acting
    const working = [this.#scrapeOften(signal), this.#probe(signal)]
    for (let client = 0; client < clients; client++) working.push(this.#send(signal))
    try {
      await act()
    } finally {
      acting.abort()
      await Promise.all(working)
    }
  }

  /** Notes that a member has just been killed. What it had not saved is missing from now on. */
  killed (name: string): void {
    const since = performance.now() - unsavedMs
    this.#lost += this.#answers.filter(answer => answer.name === name && answer.at > since).length
  }

  /** How many requests may have been counted: those that were answered, and perhaps others whose connection was cut. */
  get counted (): { least: number, most: number } {
    return { least: this.#answers.length - this.#lost, most: this.#sent }
  }

  /** Scrapes once. Resolves to what is shown. */
  async look (): Promise<{ total: number, page: Exposition }> {
    const begun = performance.now()
    const { status, body } = await ask(this.#url)
    if (status !== 200) throw new Error(`${status}: ${body}`)
    this.slowestMs = Math.max(this.slowestMs, performance.now() - begun)
    const page = new Exposition(body)
    const total = page.samples(this.#count).reduce((sum, { value }) => sum + value, 0)
    if (total > this.#sent) this.faults.push(`${total} are counted of ${this.#sent} that were sent`)
    this.#compare(page)
    this.scrapes++
    return { total, page }
  }

  #compare (page: Exposition): void {
    const values = new Map<string, number>()
    for (const [name, { type, samples }] of page.families) {
      if (processName.test(name) || (type !== 'counter' && type !== 'histogram')) continue
      for (const { name, labels, value } of samples) values.set(JSON.stringify([name, labels]), value)
    }
    for (const [series, before] of this.#shown) {
      const value = values.get(series)
      if (value === undefined || value < before) this.faults.push(`${series} is ${value} after ${before}`)
    }
    for (const [series, value] of values) this.#shown.set(series, value)
  }

  async #send (signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const addresses = this.#addresses()
      const address = addresses[Math.floor(Math.random() * addresses.length)]!
      this.#sent++
      try {
        const { status, body } = await ask(address)
        if (status === 200) this.#answers.push({ name: body, at: performance.now() })
        // It is closing, and has turned the request away.
        else this.#sent--
      } catch (error) {
        // Nobody has got the request.
        if (codeOf(error) === 'ECONNREFUSED') this.#sent--
        else if (!['ECONNRESET', 'EPIPE', 'ABORT_ERR'].includes(codeOf(error)!)) throw error
      }
      await sleep(20 * Math.random())
    }
  }

  async #scrapeOften (signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.look()
      } catch (error) {
        // The member that serves has just gone.
        if (codeOf(error) !== 'ECONNREFUSED' && codeOf(error) !== 'ECONNRESET') throw error
      }
      await sleep(20 * Math.random())
    }
  }

  async #probe (signal: AbortSignal): Promise<void> {
    const { hostname, port } = new URL(this.#url)
    let since: number | undefined
    while (!signal.aborted) {
      const begun = performance.now()
      const socket = connect(Number(port), hostname)
      const isOpen = await once(socket, 'connect').then(() => true, () => false)
      socket.destroy()
      if (isOpen) {
        if (since !== undefined) this.gapMs = Math.max(this.gapMs, performance.now() - since)
        since = undefined
      } else since ??= begun
      await sleep(2)
    }
  }
}
