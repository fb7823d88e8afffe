import Fastify from 'fastify'
import t from 'tap'
import latency from '../lib'
import { anyPort, createApplication, listen, scrape } from './helpers/application'
import { Gates, play, scenarios } from './helpers/endings'
import type { Exposition } from './helpers/exposition'

/** The series of a metric that are not 0, by their label values. */
function values (exposition: Exposition, name: string): Record<string, number> {
  const counted = exposition.samples(name).filter(({ value }) => value !== 0)
  return Object.fromEntries(counted.map(({ labels, value }) => [Object.values(labels).join(' '), value]))
}

const hasHandlerTimeout = 'handlerTimeout' in Fastify().initialConfig

for (const scenario of scenarios) {
  const skip = scenario.name === 'handlerTimeout' && !hasHandlerTimeout && 'Fastify has none before 5.8'
  t.test(`counted once: ${scenario.name}`, { skip }, async t => {
    const app = createApplication(t, scenario.options)
    const gates = new Gates()
    scenario.before?.(app, gates)
    await app.register(latency, { server: anyPort, processMetrics: false })
    scenario.declare?.(app, gates)
    await play(scenario, app, gates, await listen(app))

    const exposition = await scrape(app.latency.url)
    t.same(values(exposition, 'http_request_duration_seconds_count'), scenario.observed)
    t.same(values(exposition, 'http_requests_aborted_total'), scenario.aborted ?? {})
    t.same(values(exposition, 'http_long_lived_requests_ended_total'), scenario.longLived ?? {})
    t.same(values(exposition, 'http_requests_rejected_total'), {})
    t.same(values(exposition, 'http_requests_in_flight'), {})
    t.same(values(exposition, 'http_long_lived_requests'), {})
  })
}
