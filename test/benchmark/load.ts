/**
 * What scrapes do to the latency of the application: the 99th percentile of an application under as much load as it takes, without scrapes
 * and while ten scrapers fetch 10,000 series every second; beside the same with `register.metrics()` of prom-client, and with the same page
 * sent ready-made: `npm run load`. Rounds with and without alternate, in several servers of each kind, one at a time. Server, load and
 * scrapers are processes of their own.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import autocannon from 'autocannon'
import Fastify from 'fastify'
import { Histogram, Registry } from 'prom-client'
import latency = require('../..')

const series = 10_000
const scrapers = 10
const instances = 5
const rounds = 3
const connections = 32
const seconds = 3

const kinds = ['fastify-latency', 'prom-client', 'ready-made'] as const

type Kind = typeof kinds[number]

interface Addresses {
  readonly application: string
  readonly metrics: string
}

/** In the server: an application with so many series. */
async function serve (kind: Kind): Promise<void> {
  const app = Fastify()
  process.send!(await { 'fastify-latency': addOurs, 'prom-client': addPeer, 'ready-made': addReadyMade }[kind]())

  async function addOurs (): Promise<Addresses> {
    await app.register(latency, { server: { port: 0 }, seriesLimit: series + 10 })
    const application = await listen()
    await visitAll(application)
    return { application, metrics: await app.latency.start() }
  }

  async function addPeer (): Promise<Addresses> {
    const registry = new Registry()
    const histogram = new Histogram({
      name: 'http_request_duration_seconds',
      help: 'x',
      labelNames: ['method', 'route', 'status_code'],
      registers: [registry],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
    })
    app.addHook('onResponse', (request, reply, done) => {
      histogram.observe({ method: request.method, route: request.routeOptions.url ?? '', status_code: reply.statusCode }, reply.elapsedTime / 1000)
      done()
    })
    const application = await listen()
    await visitAll(application)
    const server = Fastify()
    server.get('/metrics', async () => registry.metrics())
    return { application, metrics: `${await server.listen({ host: '127.0.0.1', port: 0 })}/metrics` }
  }

  async function addReadyMade (): Promise<Addresses> {
    const { application, metrics } = await addOurs()
    const page = Buffer.from(await (await fetch(metrics)).arrayBuffer())
    const server = Fastify()
    server.get('/metrics', async () => Readable.from(slices(page)))
    return { application, metrics: `${await server.listen({ host: '127.0.0.1', port: 0 })}/metrics` }
  }

  /** Over HTTP: thousands of `inject()` would leave the heap in a state in which every garbage collection takes milliseconds. */
  async function visitAll (application: string): Promise<void> {
    const agent = new Agent({ keepAlive: true })
    for (let index = 0; index < series; index++) {
      const [response] = await once(get(`${application}/users/1/${index}`, { agent }), 'response') as [IncomingMessage]
      await once(response.resume(), 'end')
    }
    agent.destroy()
  }

  async function listen (): Promise<string> {
    app.get('/', async () => 'Hello World')
    for (let index = 0; index < series; index++) app.get(`/users/:id/${index}`, async () => 'x')
    return app.listen({ host: '127.0.0.1', port: 0 })
  }
}

function * slices (page: Buffer): Generator<Buffer> {
  for (let start = 0; start < page.length; start += 65_536) yield page.subarray(start, start + 65_536)
}

/** In the scrapers: scrapes a URL that it is sent once a second, as often at the same time as there are scrapers, until it is sent none. */
function scrapeOnMessage (): void {
  let url = ''
  let done = 0
  process.on('message', async (next: string) => {
    url = next
    if (url === '') {
      process.send!(done)
      done = 0
      return
    }
    const own = url
    for (let index = 0; index < scrapers; index++) {
      (async () => {
        while (url === own) { // eslint-disable-line no-unmodified-loop-condition -- by the next message
          const due = performance.now() + 1000
          const [response] = await once(get(own), 'response') as [IncomingMessage]
          await once(response.resume(), 'end')
          done++
          await sleep(Math.max(0, due - performance.now()))
        }
      })()
    }
  })
}

/** In the load: asks as fast as it gets answers. */
function askOnMessage (): void {
  process.on('message', async (url: string) => {
    const latencies: number[] = []
    const instance = autocannon({ url, connections, duration: seconds }, (error, result) => {
      latencies.sort((a, b) => a - b)
      process.send!({ error: error ?? undefined, failed: result.errors + result.non2xx, p99: latencies[Math.floor(latencies.length * 0.99)] ?? 1000 * seconds, rate: latencies.length / seconds })
    })
    instance.on('response', (_client, _status, _bytes, time) => { latencies.push(time) })
  })
}

interface Round {
  readonly p99: number
  readonly rate: number
  readonly failed: number
  readonly scrapes: number
}

async function run (load: ChildProcess, scraping: ChildProcess, { application, metrics }: Addresses, isScraped: boolean): Promise<Round> {
  if (isScraped) scraping.send(metrics)
  load.send(application)
  const [result] = await once(load, 'message')
  let scrapes = 0
  if (isScraped) {
    scraping.send('')
    scrapes = (await once(scraping, 'message'))[0]
    await sleep(1500) // The last of them end.
  }
  return { ...result, scrapes }
}

function median (values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!
}

async function main (): Promise<void> {
  const start = (...role: string[]): ChildProcess => fork(__filename, role)
  const [load, scraping] = [start('load'), start('scrapers')]
  const results = kinds.map(kind => ({ kind, without: [] as Round[], scraped: [] as Round[] }))
  // How the heap of a process comes to be laid out has a share in what is measured, and stays for as long as the process.
  for (let instance = 0; instance < instances; instance++) {
    for (const { kind, without, scraped } of results) {
      const server = start('server', kind)
      const [addresses] = await once(server, 'message') as [Addresses]
      for (let round = 0; round < rounds; round++) {
        without.push(await run(load, scraping, addresses, false))
        scraped.push(await run(load, scraping, addresses, true))
        const [before, after] = [without.at(-1)!, scraped.at(-1)!]
        console.error(`${kind}: p99 ${before.p99.toFixed(2)} ms, scraped ${after.p99.toFixed(2)} ms; ${before.rate.toFixed(0)} and ${after.rate.toFixed(0)} requests/s; ` +
          `${before.failed + after.failed} failed; ${after.scrapes} scrapes`)
      }
      server.kill()
    }
  }
  for (const child of [load, scraping]) child.kill()
  console.log('| | p99 without scrapes, ms | p99 with, ms | ratio (median of pairs) | requests/s without | with | scrapes/s |\n|---|---|---|---|---|---|---|')
  for (const { kind, without, scraped } of results) {
    const columns = [
      median(without.map(({ p99 }) => p99)).toFixed(2), median(scraped.map(({ p99 }) => p99)).toFixed(2),
      median(scraped.map(({ p99 }, index) => p99 / without[index]!.p99)).toFixed(2),
      median(without.map(({ rate }) => rate)).toFixed(0), median(scraped.map(({ rate }) => rate)).toFixed(0),
      median(scraped.map(({ scrapes }) => scrapes / seconds)).toFixed(1)
    ]
    console.log(`| ${kind} | ${columns.join(' | ')} |`)
  }
}

const [role, kind] = process.argv.slice(2)
if (role === 'server') serve(kind as Kind)
else if (role === 'scrapers') scrapeOnMessage()
else if (role === 'load') askOnMessage()
else main().catch(error => { throw error })
