/**
 * How long a scrape takes, and how long it holds the event loop, beside `register.metrics()` of prom-client with the same series, and beside
 * the same page sent ready-made, which shows what the machine and the network do by themselves: `npm run scrape`. Scrapes alternate; the
 * client is a process of its own.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import Fastify from 'fastify'
import { Histogram, Registry } from 'prom-client'
import latency = require('../..')

const scrapes = 15

/** In the client: scrapes once for each message. */
function scrapeOnMessage (): void {
  process.on('message', async (url: string) => {
    const start = performance.now()
    const { byteLength } = await (await fetch(url, { headers: { 'accept-encoding': 'identity' } })).arrayBuffer()
    process.send!([performance.now() - start, byteLength])
  })
}

/** The longest time between two turns of the event loop while something happens, in milliseconds. */
async function longestTurn (happening: Promise<unknown>): Promise<number> {
  let longest = 0
  let last = performance.now()
  let next = setImmediate(function turn () {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
    next = setImmediate(turn)
  })
  await happening
  clearImmediate(next)
  return longest
}

function * slices (page: Buffer): Generator<Buffer> {
  for (let start = 0; start < page.length; start += 32_768) yield page.subarray(start, start + 32_768)
}

async function measure (series: number): Promise<void> {
  const app = Fastify()
  await app.register(latency, { server: { port: 0 }, processMetrics: false, seriesLimit: series + 1 })
  const registry = new Registry()
  const peer = new Histogram({ name: 'peer_seconds', help: 'x', labelNames: ['method', 'route', 'status_code'], registers: [registry], buckets: [...app.latency.histogram.buckets] })
  app.get('/peer', { config: { latency: false } }, async () => registry.metrics())
  let page = Buffer.alloc(0)
  app.get('/ready-made', { config: { latency: false } }, async () => Readable.from(slices(page)))
  for (let index = 0; index < series; index++) app.get(`/users/:id/${index}`, async () => 'x')
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  for (let index = 0; index < series; index++) {
    await app.inject(`/users/1/${index}`)
    peer.observe({ method: 'GET', route: `/users/:id/${index}`, status_code: '200' }, 0.003)
  }

  const urls = { 'fastify-latency': await app.latency.start(), 'prom-client': `${address}/peer`, 'ready-made': `${address}/ready-made` }
  page = Buffer.from(await (await fetch(urls['fastify-latency'])).arrayBuffer())
  const client = fork(__filename, ['client'])
  const results: Record<string, Array<[stall: number, total: number, bytes: number]>> = { 'fastify-latency': [], 'prom-client': [], 'ready-made': [] }
  for (let scrape = 0; scrape < scrapes; scrape++) {
    for (const [name, url] of Object.entries(urls)) {
      const answer = once(client, 'message')
      client.send(url)
      const stall = await longestTurn(answer)
      const [[total, bytes]] = await answer as [[number, number]]
      if (scrape > 1) results[name]!.push([stall, total, bytes])
    }
  }
  client.kill()
  await app.close()
  for (const [name, rows] of Object.entries(results)) {
    const column = (index: 0 | 1 | 2): number[] => rows.map(row => row[index]).sort((a, b) => a - b)
    const median = (values: number[]): string => values[values.length >> 1]!.toFixed(1)
    console.log(`| ${series} | ${name} | ${median(column(1))} | ${median(column(0))} | ${column(0).at(-1)!.toFixed(1)} | ${median(column(2).map(bytes => bytes / 1e6))} |`)
  }
}

async function main (): Promise<void> {
  console.log('| series | | scrape, ms | longest turn of the event loop, ms | the worst of those | MB |\n|---|---|---|---|---|---|')
  for (const series of [100, 1000, 10_000]) await measure(series)
}

if (process.argv[2] === 'client') scrapeOnMessage()
else main().catch(error => { throw error })
