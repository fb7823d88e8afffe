import { readFileSync } from 'node:fs'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import type { Arrival, Arrivals } from '../../../lib/http/arrivals'
import { Client } from '../client'
import { quantile, type Figures, type Part } from '../part'
import { loadInternal } from '../subjects'

const seconds = 8
const shares = [0.3, 0.6, 0.9, 1.1]

/** The quantiles that are compared, by the name that they have in the table. */
const quantiles = { p50: 0.5, p90: 0.9, p99: 0.99, 'p99.9': 0.999 }

function work (ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

let garbage: unknown[] = []
let handled = 0

const handlers: Readonly<Record<string, () => Promise<string>>> = {
  async short () {
    work(1)
    return 'Hello World'
  },
  async mixed () {
    work(++handled % 200 === 0 ? 60 : 1)
    return 'Hello World'
  },
  async waiting () {
    work(0.5)
    await sleep(20)
    work(0.5)
    return 'Hello World'
  },
  async garbage () {
    for (let index = 0; index < 2000; index++) garbage.push({ index, list: [index] })
    if (garbage.length > 400_000) garbage = []
    work(0.5)
    return 'Hello World'
  }
}

type Protocol = 'HTTP/1' | 'TLS' | 'HTTP/2'

function createApplication (protocol: Protocol): FastifyInstance {
  if (protocol === 'HTTP/1') return Fastify()
  const pem = readFileSync(path.join(__dirname, '..', '..', '..', '..', 'test', 'fixtures', 'localhost.pem'))
  const https = { key: pem, cert: pem }
  return (protocol === 'TLS' ? Fastify({ https }) : Fastify({ http2: true, https })) as unknown as FastifyInstance
}

/** What is known of a request, in milliseconds. */
interface Seen {
  readonly arrival: Arrival
  readonly elapsedMs: number
}

/** Has every request noted when it has ended. */
function observe (app: FastifyInstance): Seen[] {
  const { Arrivals: Observer } = loadInternal('http/arrivals') as { Arrivals: new (app: FastifyInstance) => Arrivals }
  const arrivals = new Observer(app)
  const seen: Seen[] = []
  const begun = new WeakMap<FastifyReply, Arrival | undefined>()
  app.addHook('onRequest', (request, reply, done) => {
    begun.set(reply, arrivals.begin(request, reply))
    done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    const arrival = begun.get(reply)
    if (arrival !== undefined) seen.push({ arrival, elapsedMs: reply.elapsedTime })
    arrivals.ended(request)
    done()
  })
  app.addHook('onClose', async () => arrivals.stop())
  return seen
}

async function compare (handler: string, protocol: Protocol, share: number): Promise<Figures> {
  const app = createApplication(protocol)
  const seen = observe(app)
  app.get('/', handlers[handler]!)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const client = new Client()
  client.pin(1)
  const capacity = await client.do('capacity', url, 3)
  const delays = monitorEventLoopDelay({ resolution: 10 })
  delays.enable()
  const { latencies, lateness, began } = await client.do('latenciesAtRandom', url, seconds, capacity * share)
  delays.disable()
  client.end()
  await app.close()
  const known = seen.filter(({ arrival: { wait, startMs } }) =>
    wait !== undefined && performance.timeOrigin + startMs - wait.estimateMs >= began)
  const times = (waitMs: (arrival: Arrival) => number): number[] =>
    known.map(({ arrival, elapsedMs }) => elapsedMs + waitMs(arrival))
  const found = {
    clients: latencies,
    lateness,
    elapsed: times(() => 0),
    least: times(({ wait }) => wait!.leastMs),
    estimate: times(({ wait }) => wait!.estimateMs),
    most: times(({ wait }) => wait!.mostMs)
  }
  const figures: Record<string, number> = { requests: latencies.length, rate: capacity * share }
  for (const [name, share] of Object.entries(quantiles)) {
    for (const [what, values] of Object.entries(found)) figures[`${what} ${name}`] = quantile(values, share)
    figures[`lag ${name}`] = delays.percentile(100 * share) / 1e6
  }
  return figures
}

const scenarios = [
  ...Object.keys(handlers).flatMap(handler => shares.map(share => [handler, 'HTTP/1', share] as const)),
  ...(['TLS', 'HTTP/2'] as const).flatMap(protocol => shares.map(share => ['short', protocol, share] as const))
]

const error = (figures: Figures, name: string): number =>
  100 * (figures[`estimate ${name}`]! / figures[`clients ${name}`]! - 1)

/** In how many of the quantiles what the clients waited lies between the bounds. */
function between (figures: Figures): number {
  const names = Object.keys(quantiles)
  return 100 / names.length * names.filter(name =>
    figures[`least ${name}`]! <= figures[`clients ${name}`]! && figures[`clients ${name}`]! <= figures[`most ${name}`]!
  ).length
}

export const queue: Part = {
  title: 'What clients waited',
  method: 'Another process sends requests at random moments over 900 kept connections (HTTP/2: 10), whatever becomes ' +
    'of those before, and measures each from the moment of sending. The rate is a share of what the server can do. A ' +
    'handler takes 1 ms (short); 1 ms and, for each 200th request, 60 ms (mixed); 0.5 ms before and after 20 ms of ' +
    'waiting (waiting); or half a millisecond and garbage for the collector. `elapsed` is what the router measures. ' +
    'The estimate is `elapsed` and the wait before. Lag is `monitorEventLoopDelay()`, of which prom-client tells.',
  samples: 9,
  scenarios: Object.fromEntries(scenarios.map(([handler, protocol, share]) => [
    `${handler}, ${protocol}, ${Math.round(100 * share)} %`, () => compare(handler, protocol, share)
  ])),
  columns: [
    ...['p50', 'p99'].flatMap(name => [
      { heading: `clients ${name}, ms`, digits: 1, value: (figures: Figures) => figures[`clients ${name}`]! },
      { heading: `elapsed ${name}`, digits: 1, value: (figures: Figures) => figures[`elapsed ${name}`]! },
      { heading: `estimate ${name}`, digits: 1, value: (figures: Figures) => figures[`estimate ${name}`]! },
      { heading: 'error, %', digits: 0, value: (figures: Figures) => error(figures, name) },
      { heading: `lag ${name}`, digits: 1, value: (figures: Figures) => figures[`lag ${name}`]! }
    ]),
    { heading: 'between the bounds, % of quantiles', digits: 0, value: between },
    { heading: 'clients late, p99', digits: 1, value: (figures: Figures) => figures['lateness p99']! }
  ]
}
