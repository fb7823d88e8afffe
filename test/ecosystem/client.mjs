import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import WebSocket from 'ws'

/** Headers that differ from one run to the next, whatever the application does. */
const variable = ['date', 'x-ratelimit-reset', 'set-cookie']

/**
 * Sends requests to an application. Keeps what it was told, and counts the outcomes under the names that the metrics
 * have for them.
 */
export class Client {
  answers = []
  counts = { replied: {}, aborted: {}, rejected: {}, longLived: {} }
  #app
  #address

  constructor (app, address) {
    this.#app = app
    this.#address = address
  }

  /** Counts an outcome that the client has brought about by other means than the methods below. */
  count (kind, series, times = 1) {
    this.counts[kind][series] = (this.counts[kind][series] ?? 0) + times
  }

  /** Sends a request and reads all of the reply. `route` is the route that answers, if it is not the path. */
  async send (method, path, { route = path, ...init } = {}) {
    const response = await fetch(this.#address + path, { method, redirect: 'manual', ...init })
    const body = await response.text()
    const headers = Object.fromEntries([...response.headers].filter(([name]) => !variable.includes(name)))
    this.answers.push({ method, path, status: response.status, headers, body })
    this.count('replied', `${method} ${route} ${response.status}`)
    return { status: response.status, headers: response.headers, body }
  }

  /** Sends a request and leaves as soon as the application has got it. */
  async leaveBeforeReply (method, path, { route = path, headers = {}, body = '' } = {}) {
    const request = httpRequest(this.#address + path, { method, headers }).on('error', () => {})
    const received = once(this.#app.server, 'request')
    request.write(body)
    if (headers['content-length'] === undefined) request.end()
    else request.flushHeaders()
    const [, response] = await received
    const closed = once(response, 'close')
    request.destroy()
    await closed
    this.count('replied', `${method} ${route} 499`)
    this.count('aborted', `${method} ${route} before_reply`)
  }

  /** Sends a request and leaves when it has got a part of the reply. */
  async leaveInReply (method, path, { route = path, headers = {} } = {}) {
    await this.breakOff(method, path, request => request.destroy(), { route, headers })
  }

  /** Sends a request, of whose reply `breakOff` breaks off the rest. */
  async breakOff (method, path, breakOff, { route = path, headers = {} } = {}) {
    const { response, request } = await this.#begin(method, path, headers)
    const closed = new Promise(resolve => response.on('close', resolve))
    breakOff(request)
    await closed
    this.answers.push({ method, path, status: response.statusCode, left: true })
    this.count('replied', `${method} ${route} ${response.statusCode}`)
    this.count('aborted', `${method} ${route} in_reply`)
  }

  /** Reads a stream of events as far as `events` of them, and leaves. */
  async stream (method, path, { route = path, events = 2, headers = {}, body } = {}) {
    const { response, request, text } = await this.#begin(method, path, headers, body, events)
    request.destroy()
    this.answers.push({ method, path, status: response.statusCode, type: response.headers['content-type'], text })
    this.count('longLived', `${method} ${route} stream`)
  }

  async #begin (method, path, headers, body, events = 1) {
    const request = httpRequest(this.#address + path, { method, headers }).on('error', () => {})
    request.end(body)
    const [response] = await once(request, 'response')
    response.setEncoding('utf8')
    let text = ''
    for await (const part of response.iterator({ destroyOnReturn: false })) {
      text += part
      if (text.split('\n\n').length > events || events === 1) break
    }
    response.on('error', () => {})
    return { request, response, text: text.split('\n\n').slice(0, events).join('\n\n') }
  }

  /** Opens a WebSocket, has every message echoed, and closes it. An answer that is no upgrade is a reply. */
  async webSocket (path, { route = path, messages = [], protocols = [], headers = {} } = {}) {
    const socket = new WebSocket(this.#address.replace('http', 'ws') + path, protocols, { headers })
    const refused = once(socket, 'unexpected-response').then(([request, response]) => {
      request.destroy()
      return response.statusCode
    })
    refused.catch(() => {})
    const status = await Promise.race([once(socket, 'open').then(() => 101), refused])
    const received = []
    if (status === 101) {
      for (const message of messages) {
        socket.send(message)
        const [data] = await once(socket, 'message')
        received.push(String(data))
      }
      socket.close()
      await once(socket, 'close')
    }
    this.answers.push({ path, status, received })
    if (status === 101) this.count('longLived', `GET ${route} upgrade`)
    else this.count('replied', `GET ${route} ${status}`)
  }
}
