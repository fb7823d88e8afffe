import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Counter, Gauge, Histogram, Summary } from 'prom-client'
import t, { type Test } from 'tap'
import { createListening, registryOf } from '../helpers/application'
import { Exposition } from '../helpers/exposition'
import { missing, Program, temporaryFolder, until, withEach } from './programs'

const hostile = ['', '\\', '\\n', 'a\nb', '"', '\\"', '}', '{a="b"}', ',', '# EOF', 'ü😀', ' ', 'le="1"', '\u2028']

/** Samples by name and labels. To Prometheus an empty label is none. */
type Samples = Map<string, number>

function key (name: string, labels: Record<string, string>): string {
  return JSON.stringify([name, Object.entries(labels).filter(([, value]) => value !== '').sort()])
}

/** An application whose counts do not change any more, with all that may stand in an exposition. */
async function createHostile (t: Test): Promise<{ url: string, expected: Samples, page: string }> {
  const { app } = await createListening(t, {
    labels: { a: request => request.headers['x-a'] as string, method: 'method' }, processMetrics: true
  }, app => { app.get('/', async () => 'x') })
  for (const value of hostile) await app.inject({ url: '/', headers: { 'x-a': value } })
  const registers = [registryOf(app)]
  const help = 'Back\\slash, "quotes",\na line feed and 😀.'
  const counter = new Counter({ name: 'jobs_total', help, labelNames: ['queue'], registers })
  const histogram = new Histogram({
    name: 'job_seconds', help, labelNames: ['queue'], buckets: [0.00001, 1, 1e6, 1e21], registers
  })
  const summary = new Summary({ name: 'rpc_bytes', help, labelNames: ['queue'], percentiles: [0.5, 0.99], registers })
  for (const queue of hostile) {
    counter.inc({ queue }, 1.5)
    histogram.observe({ queue }, 2)
    summary.observe({ queue }, 0.1 + 0.2)
  }
  const gauge = new Gauge({ name: 'level', help, labelNames: ['of'], registers })
  for (const value of [0, -1.5, 1e-9, 1e21, 2 ** 53, Infinity, -Infinity, NaN]) gauge.set({ of: String(value) }, value)
  new Gauge({ name: 'jobs_failed', help, registers }).set(1)
  new Counter({ name: 'jobs_failed_total', help: 'A gauge has the shorter name.', registers }).inc(2)
  new Counter({ name: 'unsuffixed', help, registers }).inc(3)
  const names = [
    'http_request_duration_seconds', 'jobs_total', 'job_seconds', 'rpc_bytes', 'level', 'jobs_failed',
    'jobs_failed_total', 'unsuffixed'
  ]
  const url = `${app.latency.url}?${names.map(name => `name[]=${name}`).join('&')}`
  const page = await (await fetch(url)).text()
  const samples = [...new Exposition(page).families.values()].flatMap(family => family.samples)
  const expected = new Map(samples.map(({ name, labels, value }) => [key(name, labels), value]))
  t.equal(expected.size, samples.length)
  t.ok(expected.size > 300)
  return { url, expected, page }
}

function sorted (samples: Samples): unknown {
  return [...samples].map(([name, value]) => [name, String(value)]).sort()
}

const python = '/usr/bin/python3'
const hasParser = process.env.REQUIRE_E2E === '1' || spawnSync(python, ['-c', 'import prometheus_client']).status === 0

t.test("Python's strict OpenMetrics parser reads the numbers of the text format", {
  skip: !hasParser && 'not installed: prometheus_client of Python'
}, async t => {
  const { url, expected } = await createHostile(t)
  const page = await (await fetch(url, { headers: { accept: 'application/openmetrics-text' } })).text()
  const { status, stdout, stderr } = spawnSync(python, ['-c', `
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
page = sys.stdin.buffer.read().decode()
print(json.dumps([[s.name, s.labels, repr(float(s.value))] ` +
    `for f in text_string_to_metric_families(page) for s in f.samples]))
`], { input: page, encoding: 'utf8', maxBuffer: 1e8 })
  t.equal(status, 0, stderr)
  const read = JSON.parse(stdout) as Array<[name: string, labels: Record<string, string>, value: string]>
  t.strictSame(
    sorted(new Map(read.map(([name, labels, value]) => [key(name, labels), Number(value.replace('inf', 'Infinity'))]))),
    sorted(expected)
  )
})

t.test('promtool has nothing to say about the text format ' +
  'but about names that are not ours', withEach(['promtool'], async (t, installation) => {
  const { page } = await createHostile(t)
  t.equal(
    installation.promtool(['check', 'metrics'], page).output.trim(),
    'unsuffixed counter metrics should have "_total" suffix'
  )
}))

t.test('Prometheus stores the numbers of the text format, ' +
  'from OpenMetrics', withEach(['prometheus'], async (t, installation) => {
  const { url, expected } = await createHostile(t)
  const { address } = await installation.start(t, scrapeConfig(url))
  t.strictSame(sorted(await stored(address)), sorted(expected))
}))

t.test('VictoriaMetrics stores them too', { skip: missing('victoria-metrics') }, async t => {
  const { url, expected } = await createHostile(t)
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'prometheus.yml'), scrapeConfig(url))
  // It prints the address that it was given, not the port that it got.
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await once(server.close(), 'close')
  // eslint-disable-next-line no-new -- it runs until the test ends
  new Program(t, 'victoria-metrics', [
    `-promscrape.config=${join(folder, 'prometheus.yml')}`, `-storageDataPath=${join(folder, 'data')}`,
    `-httpListenAddr=127.0.0.1:${port}`,
    '-search.latencyOffset=0s'
  ])
  const read = await until('VictoriaMetrics to answer', () => stored(`http://127.0.0.1:${port}`).catch(() => undefined))
  // It does not keep NaN, nor every digit.
  const finite = new Map([...expected].filter(([, value]) => !Number.isNaN(value)))
  t.same([...read.keys()].sort(), [...finite.keys()].sort())
  const wrong = [...finite].filter(([name, value]) => read.get(name) !== value &&
    !(Math.abs(read.get(name)! - value) <= 1e-9 * Math.abs(value)))
  t.same(wrong, [])
})

function scrapeConfig (url: string): string {
  const { host, searchParams } = new URL(url)
  const names = searchParams.getAll('name[]').map(name => JSON.stringify(name)).join(', ')
  return 'global: { scrape_interval: 1s }\nscrape_configs:\n  - job_name: hostile\n' +
    `    params: { 'name[]': [${names}] }\n    static_configs: [{ targets: ['${host}'] }]\n`
}

/** All that a server holds of the job, once it holds anything. */
async function stored (server: string): Promise<Samples> {
  const result = await until('a scrape', async () => {
    const query = encodeURIComponent('{job="hostile",__name__!~"up|scrape_.*"}')
    const response = await (await fetch(`${server}/api/v1/query?query=${query}`)).json() as {
      data: { result: Array<{ metric: Record<string, string>, value: [number, string] }> }
    }
    return response.data.result.length > 0 && response.data.result
  })
  return new Map(result.map(({ metric: { __name__: name, job, instance, ...labels }, value: [, text] }) => [
    key(name!, labels), Number(text.replace('Inf', 'Infinity'))
  ]))
}
