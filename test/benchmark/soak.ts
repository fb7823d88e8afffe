// Sends more than 200,000 requests of mixed endings, over connections that are kept, pipelined and HTTP/2. Then, for a
// minute or for as many minutes as are asked for, sends requests that end in every way there is, while three scrapers
// read ten times per second. Fails if a request is not accounted for, if a counter fell, or if memory grew:
// npm run bench -- soak 10
import { deepStrictEqual, ok } from 'node:assert'
import { once } from 'node:events'
import http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import latency, { type Options } from 'fastify-latency'
import { Registry } from 'prom-client'
import { Connection, exchange, leaveAfter } from '../helpers/connection'
import { Exposition } from '../helpers/exposition'
import { Gates, play, scenarios, type Scenario } from '../scenarios/endings'

const rounds = 80
const request = (path: string): string => `GET ${path} HTTP/1.1\nhost: x\n\n`

/** What each round adds, by route, status or reason. */
const expected: Record<string, number> = {}

function expect (key: string, count = 1): void {
  expected[key] = (expected[key] ?? 0) + count
}

async function start (name: string, options: object): Promise<{ app: FastifyInstance, address: string }> {
  const app = Fastify(options)
  await app.register(latency, {
    server: { host: '127.0.0.1', port: 0 },
    processMetrics: false,
    constLabels: { protocol: name },
    timeToFirstByte: true
  })
  app.get('/ok', async () => 'x')
  app.post('/echo', async request => request.body)
  app.get('/wait', (_request, reply) => { reply.raw.writeEarlyHints({ link: '</x>; rel=preload' }) })
  app.get('/endless', (_request, reply) => {
    const source = new Readable({ read () {} })
    source.push('first')
    reply.send(source)
  })
  return { app, address: await app.listen({ host: '127.0.0.1', port: 0 }) }
}

async function times (count: number, action: () => Promise<unknown>): Promise<void> {
  await Promise.all(Array.from({ length: count }, action))
}

async function keepAlive (address: string): Promise<void> {
  const connection = await Connection.open(address)
  for (let n = 0; n < 50; n++) {
    connection.send(request('/ok'))
    await connection.until('\r\n\r\nx')
    connection.received = ''
  }
  connection.leave()
  expect('http1 /ok 200', 50)
}

async function pipelined (address: string): Promise<void> {
  await exchange(address, request('/ok').repeat(99) + 'GET /nothing HTTP/1.1\nhost: x\nconnection: close\n\n')
  expect('http1 /ok 200', 99)
  expect('http1 unmatched 404')
}

async function leave (address: string, text: string, until: string, key: string): Promise<void> {
  await leaveAfter(address, text, until)
  expect(key)
}

async function streams (address: string): Promise<void> {
  const session = http2.connect(address)
  session.on('error', () => {})
  const open = async (path: string, event: string): Promise<void> => {
    const stream = session.request({ ':path': path })
    stream.on('error', () => {}).resume()
    await once(stream, event)
    if (event !== 'close') stream.close(http2.constants.NGHTTP2_CANCEL)
    if (!stream.closed || !stream.destroyed) await new Promise(resolve => stream.once('close', resolve))
  }
  await times(90, async () => open('/ok', 'close'))
  await times(5, async () => open('/endless', 'data'))
  await times(5, async () => open('/wait', 'headers'))
  session.close()
  if (!session.destroyed) await once(session, 'close')
  expect('http2 /ok 200', 90)
  expect('http2 /endless 200', 5)
  expect('http2 /wait 499', 5)
}

async function accounted (app: FastifyInstance): Promise<Record<string, number>> {
  const exposition = new Exposition(await (await fetch(await app.latency.start())).text())
  const counts: Record<string, number> = {}
  for (const metric of [
    'http_request_duration_seconds_count', 'http_requests_in_flight', 'http_requests_rejected_total'
  ]) {
    for (const { labels, value } of exposition.samples(metric)) {
      if (value > 0) {
        counts[[labels.protocol, labels.route ?? labels.reason, labels.status_code ?? 'open'].join(' ')] = value
      }
    }
  }
  return counts
}

async function quiet (app: FastifyInstance): Promise<void> {
  while (await new Promise<number>((resolve, reject) =>
    app.server.getConnections((error, count) => error === null ? resolve(count) : reject(error))) > 0) {
    await new Promise(resolve => setImmediate(resolve))
  }
}

function heapBytes (): number {
  for (let n = 0; n < 4; n++) globalThis.gc!()
  return process.memoryUsage().heapUsed
}

/**
 * Asks for 100,000 URLs that nobody declared, with as many label values of the client's own choice,
 * before and between declared routes.
 */
async function flood (): Promise<void> {
  const app = Fastify()
  await app.register(latency, {
    server: { host: '127.0.0.1', port: 0 },
    processMetrics: false,
    labels: {
      method: 'method', route: 'route', status: 'status', tenant: request => request.headers['x-tenant'] as string
    }
  })
  const routes = Array.from({ length: 500 }, (_, n) => `/route/${n}`)
  for (const route of routes) app.get(route, async () => 'x')
  const connection = await Connection.open(await app.listen({ host: '127.0.0.1', port: 0 }))
  const methods = ['GET', 'PURGE', 'REPORT', 'M-SEARCH', 'POST']
  for (let first = 0; first < 100_000; first += 1000) {
    const texts = Array.from({ length: 1000 }, (_, n) => {
      const method = methods[n % methods.length]!
      return `${method} /${first + n} HTTP/1.1\nhost: x\nx-tenant: ${first + n}\n\n`
    })
    connection.received = ''
    connection.send(texts.join('') + 'GET /route/0 HTTP/1.1\nhost: x\nx-tenant: x\n\n')
    await connection.until('\r\n\r\nx')
  }
  for (const route of routes) {
    connection.received = ''
    connection.send(`GET ${route} HTTP/1.1\nhost: x\n\n`)
    await connection.until('\r\n\r\nx')
  }
  connection.leave()
  const exposition = new Exposition(await (await fetch(await app.latency.start())).text())
  const series = exposition.samples('http_request_duration_seconds_count')
  console.log(`${series.length} series after 100,000 URLs and label values`)
  ok(series.length <= 2000, 'More series than seriesLimit')
  deepStrictEqual(
    routes.filter(route => !series.some(({ labels }) => labels.route === route)), [], 'Routes are missing'
  )
  deepStrictEqual(series.reduce((sum, { value }) => sum + value, 0), 100_000 + 100 + routes.length)
  await app.close()
}

/** A scenario, with an application of its own in which it is played again and again. */
class Stage {
  readonly #scenario: Scenario
  readonly #app: FastifyInstance
  readonly #gates = new Gates()
  #requests = 0
  /** Rounds of which the application has seen a request. On a busy machine a connection may time out before. */
  #rounds = 0

  constructor (scenario: Scenario) {
    this.#scenario = scenario
    this.#app = Fastify({ ...scenario.options })
    this.#app.addHook('onRequest', (_request, _reply, done) => {
      this.#requests++
      done()
    })
  }

  /** Where its metrics are. */
  async url (): Promise<string> {
    return this.#app.latency.start()
  }

  async open (options: Options): Promise<void> {
    const { name: scenario, before, declare } = this.#scenario
    before?.(this.#app, this.#gates)
    await this.#app.register(latency, { ...options, constLabels: { scenario } })
    declare?.(this.#app, this.#gates)
    await this.#app.listen({ host: '127.0.0.1', port: 0 })
  }

  async play (): Promise<void> {
    this.#gates.reached.close()
    this.#gates.released.close()
    const { port } = this.#app.server.address() as AddressInfo
    const before = this.#requests
    await play(this.#scenario, this.#app, this.#gates, `http://127.0.0.1:${port}`)
    if (this.#requests > before) this.#rounds++
  }

  /** Compares what is scraped with what has been played. Returns the number of requests. */
  check (exposition: Exposition): number {
    const { name, observed, aborted = {}, longLived = {} } = this.#scenario
    const metrics: Record<string, Record<string, number>> = {
      http_request_duration_seconds_count: observed,
      http_requests_aborted_total: aborted,
      http_long_lived_requests_ended_total: longLived,
      http_requests_rejected_total: {},
      http_requests_in_flight: {},
      http_long_lived_requests: {}
    }
    for (const [metric, once] of Object.entries(metrics)) {
      const samples = exposition.samples(metric).filter(({ labels, value }) => labels.scenario === name && value !== 0)
      const counted = samples.map(({ labels: { scenario, ...labels }, value }) =>
        [Object.values(labels).join(' '), value])
      const played = Object.entries(once).map(([labels, count]) => [labels, count * this.#rounds])
      deepStrictEqual(Object.fromEntries(counted), Object.fromEntries(played), `${metric}, ${name}`)
    }
    return this.#rounds * [...Object.values(observed), ...Object.values(longLived)].reduce((sum, count) => sum + count)
  }

  async close (): Promise<void> {
    await this.#app.close()
  }
}

/** Reads what is served ten times per second, and fails if a counter is lower than before. */
async function keepScraping (url: string, isOver: () => boolean): Promise<number> {
  const latest = new Map<string, number>()
  let scrapes = 0
  for (let start = performance.now(); !isOver(); scrapes++) {
    await setTimeout(Math.max(0, start + 100 * scrapes - performance.now()))
    const response = await fetch(url)
    const text = await response.text()
    // Three scrapers that are slow may be more than are answered at a time.
    if (response.status === 503) continue
    for (const [, series, value] of text.matchAll(/^(\w+(?:_count|_bucket|_total)\{.*\}) (\S+)$/gm)) {
      ok(Number(value) >= (latest.get(series!) ?? 0), `${series!} fell from ${latest.get(series!)!} to ${value!}`)
      latest.set(series!, Number(value))
    }
  }
  return scrapes
}

/** Plays every scenario again and again, a few at a time. */
async function everyEnding (minutes: number): Promise<void> {
  const registry = new Registry()
  const stages = scenarios.map(scenario => new Stage(scenario))
  for (const [index, stage] of stages.entries()) {
    const server = index === 0 && { host: '127.0.0.1', port: 0 }
    await stage.open({ registry, server, processMetrics: false, timeToFirstByte: true })
  }
  const url = await stages[0]!.url()
  async function playFor (seconds: number): Promise<number> {
    const end = performance.now() + 1000 * seconds
    const isOver = (): boolean => performance.now() > end
    const players = Array.from({ length: 4 }, async (_, player) => {
      const own = stages.filter((_, index) => index % 4 === player)
      for (let index = 0; !isOver(); index = (index + 1) % own.length) await own[index]!.play()
    })
    const scrapers = Array.from({ length: 3 }, async () => keepScraping(url, isOver))
    const [scrapes] = await Promise.all([Promise.all(scrapers), Promise.all(players)])
    const exposition = new Exposition(await (await fetch(url)).text())
    const requests = stages.map(stage => stage.check(exposition)).reduce((sum, count) => sum + count)
    const heap = heapBytes()
    console.log(`${requests} requests of ${stages.length} scenarios, all accounted for; ` +
      `${scrapes.reduce((sum, count) => sum + count)} scrapes; heap ${(heap / 1e6).toFixed(1)} MB`)
    return heap
  }
  // The code that runs takes room of its own until it has been compiled.
  await playFor(60)
  const growth = -await playFor(30 * minutes) + await playFor(30 * minutes)
  console.log(`Heap growth over the second half: ${(growth / 1e3).toFixed(0)} kB`)
  ok(growth < 1e6, 'Memory grew')
  for (const stage of stages) await stage.close()
}

async function main (): Promise<void> {
  await flood()
  const http1 = await start('http1', {})
  const http2App = await start('http2', { http2: true })
  const body = 'content-type: text/plain\ncontent-length: 4\n\n'
  let heapBefore = 0
  for (let round = 1; round <= rounds; round++) {
    await times(20, async () => keepAlive(http1.address))
    await times(10, async () => pipelined(http1.address))
    await times(5, async () => streams(http2App.address))
    await times(50, async () => leave(http1.address, request('/wait'), 'HTTP/1.1 103', 'http1 /wait 499'))
    await times(50, async () => leave(http1.address, request('/endless'), 'first', 'http1 /endless 200'))
    await times(20, async () =>
      leave(http1.address, `POST /echo HTTP/1.1\nhost: x\nexpect: 100-continue\n${body}ab`, '100 Continue',
        'http1 /echo 499'))
    await times(20, async () => leave(http1.address, request('/%zz'), '400', 'http1 bad_url open'))
    await times(20, async () => leave(http1.address, 'NONSENSE\n\n', '400', 'http1 invalid_method open'))
    await Promise.all([quiet(http1.app), quiet(http2App.app)])
    if (round % 10 !== 0) continue
    deepStrictEqual({ ...await accounted(http1.app), ...await accounted(http2App.app) }, expected)
    const heap = heapBytes()
    if (round === rounds / 2) heapBefore = heap
    const requests = Object.values(expected).reduce((sum, count) => sum + count)
    console.log(`${requests} requests, all accounted for; heap ${(heap / 1e6).toFixed(1)} MB`)
  }
  const growth = heapBytes() - heapBefore
  console.log(`Heap growth over the second half: ${(growth / 1e3).toFixed(0)} kB`)
  ok(growth < 1e6, 'Memory grew')
  await Promise.all([http1.app.close(), http2App.app.close()])
  await everyEnding(Number(process.argv[2] ?? 1))
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
