// Has other plugins count the requests of test/scenarios/endings.ts, and prints what became of
// them as a table: npm run bench -- comparison
import { setTimeout } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import latency from 'fastify-latency'
import { Gates, play, scenarios, type Scenario } from '../scenarios/endings'

interface Sample {
  readonly metricName?: string
  readonly labels: Record<string, string | number>
  readonly value: number
}

interface Registry {
  getMetricsAsJSON (): Promise<ReadonlyArray<{ name: string, values: Sample[] }>>
}

interface Plugin {
  readonly name: string
  readonly metric: string
  /** Resolves to where its metrics are. */
  readonly register: (app: FastifyInstance) => Promise<Registry>
}

// Installed in this folder only, and not when the types are checked.
const load = (name: string): any => require(`../../../test/benchmark/peers/node_modules/${name}`)

const plugins: readonly Plugin[] = [
  {
    name: 'fastify-latency',
    metric: 'http_request_duration_seconds',
    async register (app) {
      await app.register(latency, { server: false })
      return app.latency.registry as Registry
    }
  },
  {
    name: 'fastify-metrics',
    metric: 'http_request_duration_seconds',
    async register (app) {
      const { Registry } = load('prom-client')
      const register = new Registry()
      await app.register(load('fastify-metrics'), {
        defaultMetrics: { enabled: false },
        endpoint: null,
        routeMetrics: { overrides: { histogram: { registers: [register] }, summary: { registers: [register] } } }
      })
      return register
    }
  },
  {
    name: '@platformatic/fastify-http-metrics',
    metric: 'http_request_duration_seconds',
    async register (app) {
      const { Registry } = load('prom-client')
      const registry = new Registry()
      await app.register(load('@platformatic/fastify-http-metrics'), { registry })
      return registry
    }
  },
  {
    name: '@promster/fastify',
    metric: 'http_request_duration_seconds',
    async register (app) {
      const { plugin, defaultRegister } = load('@promster/fastify')
      // It knows no other registry, and refuses to be registered twice in one.
      defaultRegister.clear()
      await app.register(plugin, { detectKubernetes: false })
      return defaultRegister
    }
  }
]

async function statuses (registry: Registry, metric: string): Promise<Record<string, number>> {
  const family = (await registry.getMetricsAsJSON()).find(({ name }) => name === metric)
  const counts: Record<string, number> = {}
  for (const { metricName, labels, value } of family?.values ?? []) {
    if (metricName === `${metric}_count`) counts[labels.status_code!] = (counts[labels.status_code!] ?? 0) + value
  }
  return counts
}

/** What a plugin made of a scenario: statuses and how many requests have them. */
async function count (scenario: Scenario, { metric, register }: Plugin): Promise<Record<string, number>> {
  const app = Fastify({ ...scenario.options, forceCloseConnections: true })
  const gates = new Gates()
  scenario.before?.(app, gates)
  const registry = await register(app)
  const before = await statuses(registry, metric)
  scenario.declare?.(app, gates)
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  await Promise.race([play(scenario, app, gates, address), setTimeout(5000)])
  await app.close()
  const after = await statuses(registry, metric)
  return Object.fromEntries(Object.entries(after)
    .map(([status, value]) => [status, value - (before[status] ?? 0)])
    .filter(([, value]) => value !== 0))
}

function expectedOf ({ observed }: Scenario): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const [series, value] of Object.entries(observed)) {
    const status = series.split(' ').at(-1)!
    counts[status] = (counts[status] ?? 0) + value
  }
  return counts
}

function describe (counts: Record<string, number>): string {
  const parts = Object.entries(counts).map(([status, value]) => value === 1 ? status : `${value} × ${status}`)
  return parts.length === 0 ? '–' : parts.join(', ')
}

async function main (): Promise<void> {
  const right = plugins.map(() => 0)
  console.log(`| what happens | should be | ${plugins.map(({ name }) => name).join(' | ')} |\n` +
    `|${'---|'.repeat(plugins.length + 2)}`)
  for (const scenario of scenarios) {
    const expected = describe(expectedOf(scenario))
    const cells: string[] = []
    for (const [index, plugin] of plugins.entries()) {
      const found = describe(await count(scenario, plugin))
      if (found === expected) right[index]!++
      cells.push(found === expected ? found : `**${found}**`)
    }
    console.log(`| ${scenario.name} | ${expected} | ${cells.join(' | ')} |`)
  }
  console.log(`| right, of ${scenarios.length} | | ${right.join(' | ')} |`)
}

main().then(() => process.exit(), error => {
  console.error(error)
  process.exit(1)
})
