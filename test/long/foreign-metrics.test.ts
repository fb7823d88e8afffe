import t from 'tap'
import type { FastifyInstance } from 'fastify'
import * as promClient from 'prom-client'
import { anyPort, collectWarnings, createListening, registryOf, scrape, warningOf } from '../helpers/application'
import { Exposition } from '../helpers/exposition'
import { readOpenMetrics, type OpenMetricsFamily } from '../helpers/openmetrics'

const name = 'http_request_duration_seconds'

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
    'two series that differ in an empty label': foreign('gauge', [{ value: 1 }, { value: 2, labels: { a: '' } }]),
    'two series that differ in an undefined label':
      foreign('gauge', [{ value: 1, labels: { a: undefined } }, { value: 2, labels: { a: '' } }]),
    'two histograms that differ in an empty label': foreign('histogram', [
      ...distribution([['+Inf', 1]]),
      ...distribution([['+Inf', 1]]).map(sample => ({ ...sample, labels: { ...sample.labels, a: '' } }))
    ]),
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
