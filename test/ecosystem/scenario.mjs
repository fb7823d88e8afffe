// Runs the same scenario in an application without the plugin and in one with it. What the client is told must be the
// same, and what is scraped must be what the client counted.
import { createRequire } from 'node:module'
import { isDeepStrictEqual } from 'node:util'
import Fastify from 'fastify'
import { Exposition } from '../../dist/test/helpers/exposition.js'
import { until } from '../../dist/test/helpers/until.js'
import { Client } from './client.mjs'

export { until }

/** The package as built, which resolves what it needs as when it is installed. */
export const latency = createRequire(import.meta.url)('../..')

/** Options that depend on no port being free. */
export const anyPort = { server: { host: '127.0.0.1', port: 0 } }

const kinds = [
  ['replied', 'http_request_duration_seconds_count', ({ method, route, status_code: status }) =>
    `${method} ${route} ${status}`],
  ['aborted', 'http_requests_aborted_total', ({ method, route, phase }) => `${method} ${route} ${phase}`],
  ['rejected', 'http_requests_rejected_total', ({ reason }) => reason],
  ['longLived', 'http_long_lived_requests_ended_total', ({ method, route, kind }) => `${method} ${route} ${kind}`]
]

const gauges = ['http_requests_in_flight', 'http_long_lived_requests']

/**
 * What a page of metrics counts, in the form in which a client counts. What somebody else has answered on the server of
 * the application may be counted as `other`, or not at all.
 */
export function countsOf (page) {
  const exposition = new Exposition(page)
  const counts = {}
  for (const [kind, name, series] of kinds) {
    const samples = exposition.samples(name).filter(({ labels, value }) => value > 0 && labels.reason !== 'other')
    counts[kind] = Object.fromEntries(samples.map(({ labels, value }) => [series(labels), value]))
  }
  const open = gauges.flatMap(name => exposition.samples(name)).reduce((sum, { value }) => sum + value, 0)
  return { counts, open }
}

/** The page at an address. */
export async function scrape (url) {
  return (await fetch(url)).text()
}

/** Compares what is scraped with the counts of a client, once no request is open. */
export async function compareCounts (t, url, expected) {
  let counts
  for (let attempt = 0; attempt < 40; attempt++) {
    const scraped = countsOf(await scrape(url))
    counts = scraped.counts
    if (scraped.open === 0 && isDeepStrictEqual(counts, expected)) break
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  t.same(counts, expected, 'the metrics are what the client counted')
  t.equal(countsOf(await scrape(url)).open, 0, 'no request is open')
}

/**
 * @param t the test
 * @param {object} scenario
 * @param {(app) => unknown} scenario.declare plugins and routes of the application, after the plugin
 * @param {(app) => unknown} [scenario.before] what is registered before the plugin
 * @param {(client: Client, app) => unknown} scenario.use what clients do
 * @param {object} [scenario.fastify] options of the application
 * @param {object} [scenario.options] options of the plugin
 */
export async function compare (t, { declare, before = () => {}, use, fastify = {}, options = {} }) {
  const runs = []
  for (const isWatched of [false, true]) {
    const app = Fastify({ ...fastify })
    t.teardown(() => app.close())
    await before(app)
    if (isWatched) await app.register(latency, { ...anyPort, processMetrics: false, ...options })
    await declare(app)
    const client = new Client(app, await app.listen({ host: '127.0.0.1', port: 0 }))
    await use(client, app)
    runs.push(client)
    if (isWatched) await compareCounts(t, await app.latency.start(), client.counts)
  }
  const [without, watched] = runs
  t.same(watched.answers, without.answers, 'answers are the same as without the plugin')
  t.same(watched.counts, without.counts, 'outcomes are the same as without the plugin')
}
