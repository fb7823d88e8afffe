import Fastify from 'fastify'
import t from 'tap'
import latency from '../lib'
import { anyPort, createApplication, listen, scrape } from './helpers/application'
import { Gates, play, scenarios, type Scenario } from './scenarios/endings'
import type { Exposition } from './helpers/exposition'

/** The series of a metric that are not 0, by their label values. */
function values (exposition: Exposition, name: string): Record<string, number> {
  const counted = exposition.samples(name).filter(({ value }) => value !== 0)
  return Object.fromEntries(counted.map(({ labels, value }) => [Object.values(labels).join(' '), value]))
}

const hasHandlerTimeout = 'handlerTimeout' in Fastify().initialConfig
/** Endings whose `error.type` is not told by a status, nor by what is counted as aborted. */
const errorTypes: Record<string, string> = {
  'requestTimeout in the body': 'timeout',
  'a body that is not what its headers say': 'malformed',
  'a body that is not what its headers say, while a hook before the plugin waits': 'malformed'
}

/** What is to be observed of a scenario with OpenTelemetry's labels. */
function attributes ({ name, observed, aborted = {} }: Scenario): Record<string, number> {
  return Object.fromEntries(Object.entries(observed).map(([labels, count]) => {
    const [method, route, status] = labels.split(' ') as [string, string, string]
    const phase = ['before_reply', 'in_reply'].find(phase => aborted[`${method} ${route} ${phase}`] === count &&
      (phase === 'in_reply' || status === '499'))
    const error = phase !== undefined ? 'aborted' : errorTypes[name] ?? (status >= '500' ? status : '')
    const sent = [method, route === 'unmatched' ? '' : route, phase === 'before_reply' ? '' : status]
    return [[...sent, error, 'http', name.startsWith('HTTP/2') ? '2' : '1.1'].join(' '), count]
  }))
}

for (const scenario of scenarios) {
  const skip = scenario.name === 'handlerTimeout' && !hasHandlerTimeout && 'Fastify has none before 5.8'
  t.test(`counted once: ${scenario.name}`, { skip }, async t => {
    const app = createApplication(t, scenario.options)
    const gates = new Gates()
    scenario.before?.(app, gates)
    await app.register(latency, { server: anyPort, processMetrics: false })
    await app.register(latency, latency.openTelemetry)
    scenario.declare?.(app, gates)
    await play(scenario, app, gates, await listen(app))

    const exposition = await scrape(app.latency.url)
    t.same(values(exposition, 'http_request_duration_seconds_count'), scenario.observed)
    t.same(values(exposition, 'http_server_request_duration_seconds_count'), attributes(scenario))
    t.same(values(exposition, 'http_requests_aborted_total'), scenario.aborted ?? {})
    t.same(values(exposition, 'http_long_lived_requests_ended_total'), scenario.longLived ?? {})
    t.same(values(exposition, 'http_requests_rejected_total'), {})
    t.same(values(exposition, 'http_requests_in_flight'), {})
    t.same(values(exposition, 'http_long_lived_requests'), {})
  })
}
