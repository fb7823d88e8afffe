import { existsSync, readdirSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import * as promClient from 'prom-client'
import type { RegistryLike } from '..'
import latency from '../lib'
import {
  anyPort, collectWarnings, createApplication, createListening, listen, registryOf, scrape, warningOf
} from './helpers/application'
import { Exposition } from './helpers/exposition'
import { readOpenMetrics, type OpenMetricsFamily } from './helpers/openmetrics'

const name = 'http_request_duration_seconds'

/** What the tests below need of a client library. */
interface Client {
  Registry: new () => RegistryLike & {
    metrics (): Promise<string>
    resetMetrics (): void
    clear (): void
    setContentType (type: string): void
    getSingleMetricAsString (name: string): Promise<string>
    setDefaultLabels (labels: object): void
  }
  Gauge: new (options: any) => { set (value: number): void }
  Counter: new (options: any) => { inc (value: number): void }
  Histogram: new (options: any) => { observe (labels: object, value: number): void }
}

const [major] = process.versions.node.split('.').map(Number)
const clients: Record<string, () => Client> = {
  'prom-client': () => promClient as unknown as Client,
  '@prometheus-io/client': () => require('@prometheus-io/client')
}

for (const [library, load] of Object.entries(clients)) {
  const skip = library === '@prometheus-io/client' && major! < 22 ? '@prometheus-io/client needs Node.js 22' : false
  t.test(`in a registry of ${library} the histogram is a metric like any other`, { skip }, async t => {
    const client = load()

    async function create (
      t: Test, declare?: (app: FastifyInstance) => void
    ): Promise<{ registry: InstanceType<Client['Registry']>, app: FastifyInstance, address: string }> {
      const registry = new client.Registry()
      const options = {
        registry, histogram: { buckets: [0.5, 1000] }, labels: { route: 'route', status: 'status' }
      } as const
      return { registry, ...await createListening(t, options, declare ?? (app => { app.get('/', async () => 'x') })) }
    }

    await t.test('registry.metrics() shows what the metrics server shows', async t => {
      const { registry, app, address } = await create(t)
      await fetch(address)
      await fetch(`${address}/nothing`)
      const served = (await scrape(app.latency.url)).families.get(name)!
      const shown = new Exposition((await registry.metrics()).replaceAll('\n\n', '\n')).families.get(name)!
      t.same(shown.samples, served.samples)
      t.equal(shown.samples.length, 2 * 5)
      t.equal(shown.help, served.help)
      t.equal(shown.type, 'histogram')
    })

    await t.test('getMetricsAsJSON() agrees with a histogram of the library', async t => {
      const { registry, address } = await create(t)
      await fetch(address)
      const reference = new client.Registry()
      new client.Histogram({
        name, help: 'h', labelNames: ['route', 'status'], buckets: [0.5, 1000], registers: [reference]
      }).observe({ route: '/', status: '200' }, 0.1)
      const samples = async (registry: RegistryLike): Promise<unknown> => {
        const [{ name, type, aggregator, values }] = await registry.getMetricsAsJSON() as [any]
        return {
          name,
          type,
          aggregator,
          values: values.map(({ metricName, labels, value }: any) => ({
            metricName,
            labels: {
              ...labels, ...labels.le !== undefined && { le: Number(String(labels.le).replace('+Inf', 'Infinity')) }
            },
            value: metricName.endsWith('_sum') || value
          }))
        }
      }
      t.same(await samples(registry), await samples(reference))
    })

    await t.test('getSingleMetric() finds it, removeSingleMetric() takes it away from the scrape, ' +
      'registering again brings it back', async t => {
      const { registry, app, address } = await create(t)
      const metric = registry.getSingleMetric(name)
      t.equal(metric, app.latency.histogram)
      t.match(await registry.getSingleMetricAsString(name), `# TYPE ${name} histogram`)
      registry.removeSingleMetric(name)
      t.notOk((await scrape(app.latency.url)).families.has(name))
      await fetch(address)
      registry.registerMetric(metric)
      t.equal((await scrape(app.latency.url)).value(`${name}_count`, { route: '/', status: '200' }), 1)
    })

    await t.test('resetMetrics() forgets, and recording goes on', async t => {
      const { registry, app, address } = await create(t)
      await fetch(address)
      registry.resetMetrics()
      t.same((await scrape(app.latency.url)).samples(`${name}_count`), [])
      await fetch(address)
      t.equal((await scrape(app.latency.url)).value(`${name}_count`, { route: '/', status: '200' }), 1)
    })

    await t.test('resetMetrics() keeps the zeros that were there from the start', async t => {
      const { registry, app } = await create(t)
      const before = (await scrape(app.latency.url)).samples('http_requests_rejected_total')
      registry.resetMetrics()
      t.same((await scrape(app.latency.url)).samples('http_requests_rejected_total'), before)
      t.ok(before.length > 10)
    })

    await t.test('after clear() the next scrape brings it back, with its counts', async t => {
      const { registry, app, address } = await create(t)
      await fetch(address)
      registry.clear()
      new client.Gauge({ name: 'mine', help: 'x', registers: [registry] }).set(1)
      const read = await scrape(app.latency.url)
      t.equal(read.value(`${name}_count`, { route: '/', status: '200' }), 1)
      t.equal(read.value('mine'), 1)
      t.equal(registry.getSingleMetric(name), app.latency.histogram)
      await app.close()
      t.same(registry.getMetricsAsArray().map(metric => (metric as { name: string }).name), ['mine'])
    })

    await t.test('to render the registry in OpenMetrics changes nothing here, ' +
      'and nothing of this plugin stays in it', async t => {
      const { registry, app, address } = await create(t)
      const counter = new client.Counter({ name: 'orders_total', help: 'x', registers: [registry] })
      counter.inc(3)
      await fetch(address)
      const headers = { accept: 'application/openmetrics-text' }
      const pages = async (): Promise<string[]> => [
        (await (await fetch(app.latency.url!)).text()), (await (await fetch(app.latency.url!, { headers })).text())
      ].map(page => page.split('\n').filter(line => !/^fastify_latency_scrape/.test(line)).join('\n'))
      const before = await pages()
      registry.setContentType('application/openmetrics-text; version=1.0.0; charset=utf-8')
      for (let n = 0; n < 2; n++) {
        const families = readOpenMetrics(await registry.metrics())
        t.equal(families.get('http_requests_rejected')!.type, 'counter')
        t.equal(families.get('orders')!.samples.size, 1)
        t.same(await pages(), before)
      }
      t.match(before, [/^orders_total 3$/m, /^orders_total 3$/m])
      registry.setContentType('text/plain; version=0.0.4; charset=utf-8')
      t.match(await registry.metrics(), /^# TYPE http_requests_rejected_total counter\nhttp_requests_rejected_total\{/m)
      await app.close()
      t.same(registry.getMetricsAsArray(), [counter])
    })

    await t.test('a name that another metric has is refused, and another may not take ours', async t => {
      const { registry } = await create(t)
      t.throws(() => new client.Gauge({ name, help: 'x', registers: [registry] }), /already been registered/)
      // eslint-disable-next-line no-new -- it registers itself
      new client.Gauge({ name: 'taken', help: 'x', registers: [registry] })
      const app = createApplication(t)
      await t.rejects(async () => await app.register(latency, { registry, histogram: { name: 'taken' } }), {
        code: 'FST_LATENCY_ERR_NAME_TAKEN'
      })
      const other = new client.Registry()
      // eslint-disable-next-line no-new -- it registers itself
      new client.Gauge({ name: 'http_requests_aborted_total', help: 'x', registers: [other] })
      const otherApp = createApplication(t)
      await t.rejects(async () => await otherApp.register(latency, { registry: other }), {
        code: 'FST_LATENCY_ERR_NAME_TAKEN'
      })
    })

    await t.test('its default labels are on our series too, unless a series has a label of that name', async t => {
      const { registry, app, address } = await create(t)
      registry.setDefaultLabels({ app: 'shop', route: 'never' })
      new client.Gauge({ name: 'stock', help: 'x', registers: [registry] }).set(3)
      await fetch(address)
      const read = await scrape(app.latency.url)
      t.equal(read.value(`${name}_count`, { route: '/', status: '200', app: 'shop' }), 1)
      t.equal(read.value('stock', { route: 'never', app: 'shop' }), 3)
    })

    await t.test('a metric of the user is served beside ours, histograms with canonical bounds', async t => {
      const { registry, app } = await create(t)
      new client.Gauge({ name: 'stock', help: 'In\nstock', registers: [registry] }).set(3)
      new client.Histogram({
        name: 'orders', help: 'x', labelNames: ['kind'], buckets: [1, 10], registers: [registry]
      }).observe({ kind: 'a' }, 5)
      const read = await scrape(app.latency.url)
      t.equal(read.value('stock'), 3)
      t.equal(read.families.get('stock')!.help, 'In\nstock')
      t.same(read.samples('orders_bucket').map(sample => [sample.labels.le, sample.value]), [
        ['1.0', 0], ['10.0', 1], ['+Inf', 1]
      ])
    })
  })
}

t.test("prom-client's global registry is served without being asked for", async t => {
  const gauge = new promClient.Gauge({ name: 'global_stock', help: 'x' })
  t.teardown(() => promClient.register.removeSingleMetric('global_stock'))
  gauge.set(7)
  const { app } = await createListening(t, {})
  t.equal((await scrape(app.latency.url)).value('global_stock'), 7)
})

t.test('passed as the registry, the global one is served once', async t => {
  const { app } = await createListening(t, { registry: promClient.register, labels: {} })
  t.equal(app.latency.registry, promClient.register)
  const read = await scrape(app.latency.url)
  t.equal(read.value(`${name}_count`), 0)
  t.equal(read.value('fastify_latency_hidden_families'), 0)
})

t.test('of two families with one name the first is served; the other is counted, and reported once', async t => {
  t.teardown(() => promClient.register.removeSingleMetric('twice'))
  const { app } = await createListening(t, {})
  new promClient.Gauge({ name: 'twice', help: 'x', registers: [registryOf(app)] }).set(1)
  new promClient.Gauge({ name: 'twice', help: 'x' }).set(2)
  const warnings = collectWarnings(t)
  for (let n = 0; n < 2; n++) {
    const read = await scrape(app.latency.url)
    t.equal(read.value('twice'), 1)
    t.equal(read.value('fastify_latency_hidden_families'), 1)
  }
  t.same(warnings.map(({ code, message }) => [code, message]), [
    [
      'FST_LATENCY_ERR_NAME_HIDDEN',
      'More than one registry holds a metric named "twice": that of app.latency.registry is served, ' +
        "and that of prom-client's global registry is not"
    ]
  ])
})

t.test('of two registries of registrations, the first one is shown', async t => {
  const [first, second] = [new promClient.Registry(), new promClient.Registry()]
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, registry: first, processMetrics: false })
  await app.register(latency, { registry: second, histogram: { name: 'second_seconds' } })
  await listen(app)
  new promClient.Gauge({ name: 'twice', help: 'x', registers: [first] }).set(1)
  new promClient.Gauge({ name: 'twice', help: 'x', registers: [second] }).set(2)
  const warnings = collectWarnings(t)
  t.equal((await scrape(app.latency.url)).value('twice'), 1)
  t.match(taken(warnings).map(({ message }) => message).find(message => message.includes('twice')),
    /that of app\.latency\.registry is served, and that of a later "registry" is not$/)
})

t.test('process metrics are served by default, without the gauges that are named like counters', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  await listen(app)
  const read = await scrape(app.latency.url)
  t.ok(read.value('process_cpu_seconds_total')! > 0)
  t.ok(read.value('nodejs_eventloop_lag_seconds') !== undefined)
  t.same([...read.families].filter(([name, { type }]) => name.endsWith('_total') && type !== 'counter'), [])
})

t.test('process metrics that read all handles at once are left out, and open files are counted in steps', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort })
  await listen(app)
  const read = await scrape(app.latency.url)
  for (const what of ['handles', 'requests', 'resources']) t.notOk(read.families.has(`nodejs_active_${what}`), what)
  const files = existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : undefined
  const counted = read.value('process_open_fds')
  t.ok(files === counted || Math.abs(files! - counted!) < 20, `${counted} of about ${files}`)
})

t.test('process metrics that the user collects are not served twice, and that is no collision', async t => {
  promClient.collectDefaultMetrics()
  t.teardown(() => promClient.register.clear())
  const { app } = await createListening(t, { processMetrics: true })
  const read = await scrape(app.latency.url)
  t.equal(read.samples('process_cpu_seconds_total').length, 1)
  t.equal(read.value('fastify_latency_hidden_families'), 0)
})

/** Takes the warnings since the last time. What they carry beside is not compared, nor printed. */
function taken (warnings: Array<Error & { code?: string }>): Array<{ code: string | undefined, message: string }> {
  return warnings.splice(0).map(({ code, message }) => ({ code, message }))
}

/** Every page of an application, read strictly. */
async function readPages (app: FastifyInstance): Promise<{ text: Exposition, open: Map<string, OpenMetricsFamily> }> {
  const response = await fetch(app.latency.url!, { headers: { accept: 'application/openmetrics-text' } })
  return { open: readOpenMetrics(await response.text()), text: await scrape(app.latency.url) }
}

/** A metric of somebody else, with these samples. */
function foreign (type: unknown, values: unknown, name = 'foreign'): object {
  return { name, help: 'x', type, get: async () => ({ name, help: 'x', type, values }) }
}

/** The samples of a histogram with these buckets and this sum. */
function distribution (buckets: Array<[le: unknown, count: unknown]>, sum: unknown = 1, count = buckets.at(-1)![1]) {
  return [
    ...buckets.map(([le, value]) => ({ metricName: 'foreign_bucket', labels: { le }, value })),
    { metricName: 'foreign_sum', labels: {}, value: sum }, { metricName: 'foreign_count', labels: {}, value: count }
  ]
}

t.test('a metric that readers would refuse is left out of every page, counted and named', async t => {
  const throwing = { toString () { throw new Error('no text') } }
  const { proxy: revoked, revoke } = Proxy.revocable({}, {})
  revoke()
  const broken: Record<string, object> = {
    'no samples that can be listed': foreign('gauge', 5),
    'a sample that is none': foreign('gauge', [null]),
    'revoked samples': foreign('gauge', revoked),
    'labels with a name that is none': foreign('gauge', [{ value: 1, labels: { 'a-b': 'x' } }]),
    'a label that injects a line': foreign('gauge', [{ value: 1, labels: { 'a="x"} 1\ninjected{b': 'x' } }]),
    'the reserved label': foreign('gauge', [{ value: 1, labels: { __name__: 'x' } }]),
    'labels that are a text': foreign('gauge', [{ value: 1, labels: 'x' }]),
    'a label that has no text': foreign('gauge', [{ value: 1, labels: { a: throwing } }]),
    'revoked labels': foreign('gauge', [{ value: 1, labels: revoked }]),
    'two equal series': foreign('gauge', [{ value: 1, labels: { a: 1 } }, { value: 2, labels: { a: '1' } }]),
    'two series that UTF-8 makes equal':
      foreign('gauge', [{ value: 1, labels: { a: '\ud800' } }, { value: 2, labels: { a: '\udfff' } }]),
    'a value that injects a line': foreign('gauge', [{ value: '1\ninjected 1' }]),
    'no value': foreign('gauge', [{}]),
    'a value that has no text': foreign('gauge', [{ value: throwing }]),
    'a value that is a symbol': foreign('gauge', [{ value: Symbol('x') }]),
    'an empty value': foreign('gauge', [{ value: '' }]),
    'a counter of NaN': foreign('counter', [{ value: NaN }]),
    'a negative counter': foreign('counter', [{ value: -1 }]),
    'a sample of another name': foreign('gauge', [{ value: 1, metricName: 'injected' }]),
    'an info with a sample of its own': foreign('info', [{ value: 1, metricName: 'foreign_info' }]),
    'help that has no text': { name: 'foreign', get: () => ({ name: 'foreign', help: throwing, type: 'gauge' }) },
    'buckets that decrease': foreign('histogram', distribution([[1, 2], ['+Inf', 1]])),
    'a negative bucket': foreign('histogram', distribution([[1, -1], ['+Inf', 1]])),
    'a bucket of NaN': foreign('histogram', distribution([[1, NaN], ['+Inf', 1]])),
    'infinite buckets': foreign('histogram', distribution([[1, Infinity], ['+Inf', Infinity]])),
    'bounds that decrease': foreign('histogram', distribution([[2, 1], [1, 1], ['+Inf', 1]])),
    'a bound that is none': foreign('histogram', distribution([['x', 1], ['+Inf', 1]])),
    'a summary with a negative count': foreign('summary', [
      { metricName: 'foreign_sum', value: 1 }, { metricName: 'foreign_count', value: -1 }
    ]),
    'a quantile above 1': foreign('summary', [
      { labels: { quantile: 99 }, value: 1 },
      { metricName: 'foreign_sum', value: 1 }, { metricName: 'foreign_count', value: 1 }
    ])
  }
  const warnings = collectWarnings(t)
  for (const [description, metric] of Object.entries(broken)) {
    const { app } = await createListening(t, {})
    app.latency.registry.registerMetric(metric)
    new promClient.Gauge({ name: 'sound', help: 'x', registers: [registryOf(app)] }).set(1)
    const { text, open } = await readPages(app)
    t.equal(text.value('sound'), 1, description)
    t.equal(open.get('sound')!.samples.size, 1, description)
    t.notOk(text.families.has('foreign') || open.has('foreign'), description)
    t.same(text.samples('injected'), [], description)
    t.ok(text.value('fastify_latency_metric_errors_total', { metric: 'foreign' })! >= 1, description)
    const told = taken(warnings)
    t.equal(told.length, 1, description)
    t.match(told, [
      { code: 'FST_LATENCY_ERR_METRIC_INVALID', message: /^Metric "foreign" is left out of scrapes: \P{C}{1,300}$/u }
    ], description)
  }
})

t.test('a metric whose name no format has is left out, and named on one line', async t => {
  for (const wrong of ['a.b', 'ü', '', '1a', 'a\ninjected 1', 'a b']) {
    const { app } = await createListening(t, {})
    app.latency.registry.registerMetric(foreign('gauge', [{ value: 1 }], wrong))
    const { message } = await warningOf(() => readPages(app))
    t.match(message, /^Metric "\P{C}*" is left out of scrapes: its name is not \[a-zA-Z_:\]\[a-zA-Z0-9_:\]\*$/u)
    const { text } = await readPages(app)
    t.ok(text.value('fastify_latency_metric_errors_total', { metric: wrong })! >= 1)
    t.same(text.samples('injected'), [])
  }
})

t.test('what is odd, and no harm to a page, is on it', async t => {
  const odd: Array<[metric: object, value: number | undefined]> = [
    [foreign('gauge', [{ value: 1, labels: null }]), 1],
    [foreign('gauge', [{ value: NaN }]), NaN],
    [foreign('gauge', [{ value: 7n }]), 7],
    [foreign('gauge', [{ value: '7' }]), 7],
    [foreign('info', [{ value: 1 }]), 1],
    [foreign({}, [{ value: 1 }]), 1],
    [foreign('constructor', [{ value: 1 }]), 1],
    [foreign('gauge', undefined), undefined]
  ]
  for (const [metric, value] of odd) {
    const { app } = await createListening(t, {})
    app.latency.registry.registerMetric(metric)
    const { text } = await readPages(app)
    t.ok(text.families.has('foreign'))
    t.same(text.value('foreign'), value)
  }
})

t.test('of metrics whose samples would have the same names, the later ones are left out', async t => {
  const { Gauge, Counter, Histogram, Summary } = promClient
  const cases: Array<[declare: (options: { help: string, registers: promClient.Registry[] }) => void, left: string[]]> =
    ['bucket', 'sum', 'count', 'created'].flatMap(suffix => [
      [options => [new Histogram({ ...options, name: 'a' }), new Gauge({ ...options, name: `a_${suffix}` })],
        [`a_${suffix}`]],
      [options => [new Gauge({ ...options, name: `a_${suffix}` }), new Histogram({ ...options, name: 'a' })], ['a']],
      [options => [new Gauge({ ...options, name: `${name}_${suffix}` })], [`${name}_${suffix}`]],
      [options => [new Counter({ ...options, name: `a_${suffix}_total` }), new Summary({ ...options, name: 'a' })], []],
      [
        options => [new Summary({ ...options, name: 'a' }), new Gauge({ ...options, name: `a_${suffix}` })],
        suffix === 'bucket' ? [] : [`a_${suffix}`]
      ]
    ])
  cases.push(
    [options => [new Counter({ ...options, name: 'a_total' }), new Gauge({ ...options, name: 'a' })], []],
    [options => [new Counter({ ...options, name: 'a_total' }), new Gauge({ ...options, name: 'a_created' })], []],
    [options => [new Counter({ ...options, name: '_total' })], []],
    [options => [new Counter({ ...options, name: 'a_total_total' })], []],
    [options => [new Counter({ ...options, name: 'a' }), new Counter({ ...options, name: 'a_total' })], []],
    [options => [new Gauge({ ...options, name: 'fastify_latency_hidden_families' })],
      ['fastify_latency_hidden_families']]
  )
  const warnings = collectWarnings(t)
  for (const [declare, left] of cases) {
    const { app } = await createListening(t, { labels: {}, scrape: { created: true } })
    declare({ help: 'x', registers: [registryOf(app)] })
    const { text } = await readPages(app)
    t.ok(text.families.has(name))
    t.same(text.samples('fastify_latency_metric_errors_total').map(({ labels }) => labels.metric), left)
    t.match(taken(warnings), left.map(metric => ({
      code: 'FST_LATENCY_ERR_METRIC_INVALID', message: `Metric "${metric}" is left out of scrapes: samples of it would `
    })))
  }
})

t.test('default labels that a series cannot have are left out', async t => {
  for (const [labels, expected] of [
    [{ le: 'x', app: 'shop' }, { app: 'shop' }], [{ 'a-b': 'x' }, {}], [{ a: Symbol('x') }, { a: 'Symbol(x)' }],
    [{ a: { toString () { throw new Error('no') } } }, {}]
  ] as Array<[object, Record<string, string>]>) {
    const { app } = await createListening(t, { labels: {} })
    registryOf(app).setDefaultLabels(labels)
    t.equal((await readPages(app)).text.value(`${name}_count`, expected), 0)
  }
})

t.test('a registry that fails leaves the metrics of this plugin and of other registries on the page', async t => {
  class Registry extends promClient.Registry {
    broken: string | undefined
    wrong: unknown

    fail<T> (method: string, result: T): T {
      if (this.broken !== method) return result
      if (this.wrong instanceof Error) throw this.wrong
      return this.wrong as T
    }

    override getMetricsAsArray () { return this.fail('getMetricsAsArray', super.getMetricsAsArray()) }
    override getSingleMetric (name: string) { return this.fail('getSingleMetric', super.getSingleMetric(name)) }
    override removeSingleMetric (name: string): void {
      this.fail('removeSingleMetric', undefined)
      super.removeSingleMetric(name)
    }

    override getMetricsAsJSON () { return this.fail('getMetricsAsJSON', super.getMetricsAsJSON()) }
  }
  const { proxy: revoked, revoke } = Proxy.revocable([], {})
  revoke()
  const global = new promClient.Gauge({ name: 'global', help: 'x' })
  t.teardown(() => promClient.register.removeSingleMetric('global'))
  global.set(1)
  const warnings = collectWarnings(t)
  for (const method of ['getMetricsAsArray', 'getSingleMetric', 'removeSingleMetric', 'getMetricsAsJSON']) {
    for (const wrong of [new Error('no\nnews'), undefined, null, 7, 'x', {}, [null], [{}], [{ name: 1 }], revoked]) {
      const registry = new Registry()
      new promClient.Gauge({ name: 'stock', help: 'x', registers: [registry] }).set(1)
      const { app, address } = await createListening(t, {
        registry, labels: {}, scrape: { errorHandling: method === 'getMetricsAsJSON' ? 'continue' : 'fail' }
      })
      await fetch(address)
      Object.assign(registry, { broken: method, wrong })
      const { text } = await readPages(app)
      t.equal(text.value(`${name}_count`), 1, method)
      t.equal(text.value('global'), 1, method)
      await app.close()
      const told = taken(warnings)
      for (const warning of told) {
        t.match(warning, { code: /REGISTRY_FAILED$|METRIC_INVALID$|METRIC_FAILED$/, message: /^\P{C}{1,300}$/u })
      }
      if (method === 'getMetricsAsArray') t.match(told, [{ code: 'FST_LATENCY_ERR_REGISTRY_FAILED' }])
    }
  }
})

t.test('name[] finds a family by the names of its samples', async t => {
  const { app, address } = await createListening(t, { labels: {} })
  const registers = [registryOf(app)]
  new promClient.Counter({ name: 'orders_total', help: 'x', registers }).inc()
  new promClient.Summary({ name: 'pages', help: 'x', registers }).observe(1)
  await fetch(address)
  const cases: Array<[asked: string, found: string]> = [
    [name, name], [`${name}_bucket`, name], [`${name}_sum`, name], [`${name}_count`, name], ['orders', 'orders_total'],
    ['orders_total', 'orders_total'], ['pages_count', 'pages'],
    ['fastify_latency_hidden_families', 'fastify_latency_hidden_families']
  ]
  for (const [asked, found] of cases) {
    const read = await scrape(`${app.latency.url}?name[]=${asked}`)
    t.same([...read.families.keys()], [found], asked)
  }
  const nothing = await (await fetch(`${app.latency.url}?name[]=orders_bucket`)).text()
  t.equal(nothing, '')
})

t.test('metrics in the global registry of another copy of prom-client are missing, which is said', async t => {
  const file = require.resolve('prom-client').replace('prom-client', 'other/node_modules/prom-client')
  const register = new promClient.Registry()
  require.cache[file] = { exports: { register } } as NodeJS.Module
  t.teardown(() => { delete require.cache[file] })
  const warnings = collectWarnings(t)
  for (const declare of [
    () => {},
    () => { promClient.collectDefaultMetrics({ register }) },
    () => { require.cache[file] = { exports: null } as unknown as NodeJS.Module }
  ]) {
    declare()
    const { app } = await createListening(t, {})
    for (let n = 0; n < 2; n++) await scrape(app.latency.url)
  }
  t.match(taken(warnings), [{ code: 'FST_LATENCY_ERR_REGISTRY_UNSERVED', message: file }])
})

t.test('whatever a registry promises and does not keep, no rejection ends the process', async t => {
  const rejections: unknown[] = []
  const keep = (reason: unknown): void => { rejections.push(reason) }
  process.on('unhandledRejection', keep)
  t.teardown(() => process.off('unhandledRejection', keep))
  for (const method of ['getMetricsAsArray', 'getSingleMetric', 'registerMetric', 'removeSingleMetric'] as const) {
    const registry = new promClient.Registry()
    const { app } = await createListening(t, { registry, server: anyPort })
    collectWarnings(t)
    registry.clear()
    const own = registry[method].bind(registry) as (...parameters: unknown[]) => unknown
    Object.assign(registry, {
      async [method] (...parameters: unknown[]) {
        own(...parameters)
        throw new Error('broken')
      }
    })
    t.equal((await fetch(app.latency.url!)).status, 200, method)
    await app.close()
    await new Promise(resolve => setImmediate(resolve))
  }
  t.same(rejections, [])
})

t.test('a series has no labels that are those of every object', async t => {
  const registry = new promClient.Registry()
  const gauge = new promClient.Gauge({ name: 'odd', help: 'x', labelNames: ['toString'], registers: [registry] })
  gauge.set(1)
  gauge.set({ toString: 'own' } as never, 2)
  const { app } = await createListening(t, { registry })
  t.same((await scrape(app.latency.url)).samples('odd').map(({ labels }) => ({ ...labels })), [{}, { toString: 'own' }])
})
