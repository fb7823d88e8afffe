import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Counter, Gauge, Histogram, Summary } from 'prom-client'
import t, { type Test } from 'tap'
import { createListening, registryOf } from '../helpers/application'
import { Exposition } from '../helpers/exposition'
import { describeSchema, protobuf } from '../helpers/protobuf'
import { missing, Program, temporaryFolder, until, victoriaMetrics, withEach } from './programs'

const hostile = ['', '\\', '\\n', 'a\nb', '"', '\\"', '}', '{a="b"}', ',', '# EOF', 'ü😀', ' ', 'le="1"', '\u2028']

/** Samples by name and labels. To Prometheus an empty label is none. */
type Samples = Map<string, number>

function key (name: string, labels: Record<string, string>): string {
  return JSON.stringify([name, Object.entries(labels).filter(([, value]) => value !== '').sort()])
}

/** An application whose counts do not change any more, with all that may stand in an exposition. */
async function createHostile (t: Test): Promise<{ url: string, expected: Samples, page: string }> {
  const { app } = await createListening(t, {
    labels: { a: request => request.headers['x-a'] as string, method: 'method' },
    histogram: { native: true },
    // Python's parser believes that a brace ends the labels of an exemplar, even where it is quoted.
    exemplars: request => ({ a: String(request.headers['x-a']).replaceAll('}', ')') }),
    processMetrics: true
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

/** A reason to skip a test: that Python has no such module. */
function noModule (name: string): string | false {
  const isThere = process.env.REQUIRE_E2E === '1' || spawnSync(python, ['-c', `import ${name}`]).status === 0
  return !isThere && `not installed: ${name} of Python`
}

t.test("Python's strict OpenMetrics parser reads the numbers of the text format", {
  skip: noModule('prometheus_client')
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

/** The samples that a text would have for these families, and for native histograms how many values they count. */
const readProtobuf = `
import base64, json, sys
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.decoder import _DecodeVarint32

pool = descriptor_pool.DescriptorPool()
for file in descriptor_pb2.FileDescriptorSet.FromString(base64.b64decode(sys.argv[1])).file:
    pool.Add(file)
# The newer of the two ways in which this library makes a class has no factory.
class_of = getattr(message_factory, 'GetMessageClass', None) or message_factory.MessageFactory(pool).GetPrototype
Family = class_of(pool.FindMessageTypeByName('io.prometheus.client.MetricFamily'))

samples, native = [], []
page = sys.stdin.buffer.read()
end = 0
while end < len(page):
    length, start = _DecodeVarint32(page, end)
    end = start + length
    family = Family.FromString(page[start:end])
    for metric in family.metric:
        labels = {pair.name: pair.value for pair in metric.label}
        def add(suffix, value, more = {}):
            samples.append([family.name + suffix, {**labels, **more}, repr(float(value))])
        for kind in ('counter', 'gauge', 'untyped'):
            if metric.HasField(kind): add('', getattr(metric, kind).value)
        if metric.HasField('summary'):
            for quantile in metric.summary.quantile: add('', quantile.value, {'quantile': repr(quantile.quantile)})
        if metric.HasField('histogram'):
            for bucket in metric.histogram.bucket:
                add('_bucket', bucket.cumulative_count, {'le': repr(bucket.upper_bound)})
        for distribution in [getattr(metric, k) for k in ('summary', 'histogram') if metric.HasField(k)]:
            add('_sum', distribution.sample_sum)
            add('_count', distribution.sample_count)
        if metric.histogram.HasField('schema'):
            counts, count = [metric.histogram.zero_count], 0
            for delta in metric.histogram.positive_delta:
                count += delta
                counts.append(count)
            native.append([metric.histogram.sample_count, sum(counts)])
print(json.dumps([samples, native]))
`

t.test('the protobuf library of Python reads the numbers of the text format', {
  skip: noModule('google.protobuf')
}, async t => {
  const { url, expected } = await createHostile(t)
  const page = await (await fetch(url, { headers: { accept: protobuf } })).arrayBuffer()
  const schema = describeSchema().toString('base64')
  const { status, stdout, stderr } = spawnSync(python, ['-c', readProtobuf, schema], {
    input: Buffer.from(page), encoding: 'utf8', maxBuffer: 1e8
  })
  t.equal(status, 0, stderr)
  const number = (text: string): number => Number(text.replace(/inf$/i, 'Infinity'))
  // A text may write the number of a bound in another way.
  const keyOf = (name: string, labels: Record<string, string>): string => key(name, Object.fromEntries(
    Object.entries(labels).map(([label, value]) =>
      [label, ['le', 'quantile'].includes(label) ? String(number(value)) : value])))
  const [samples, native]: [Array<[name: string, labels: Record<string, string>, value: string]>, unknown[][]] =
    JSON.parse(stdout)
  const inText = [...expected].map(([text, value]): [string, number] => {
    const [name, labels] = JSON.parse(text)
    return [keyOf(name, Object.fromEntries(labels)), value]
  })
  t.strictSame(
    sorted(new Map(samples.map(([name, labels, value]) => [keyOf(name, labels), number(value)]))),
    sorted(new Map(inText))
  )
  t.equal(native.length, hostile.length)
  for (const [count, inBuckets] of native) t.same([count, inBuckets], [1, 1])
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

for (const command of victoriaMetrics) {
  t.test(`${command} stores them too`, { skip: missing(command) }, async t => {
    const { url, expected } = await createHostile(t)
    const folder = temporaryFolder(t)
    writeFileSync(join(folder, 'prometheus.yml'), scrapeConfig(url))
    // It prints the address that it was given, not the port that it got.
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    await once(server.close(), 'close')
    // eslint-disable-next-line no-new -- it runs until the test ends
    new Program(t, command, [
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
}

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
