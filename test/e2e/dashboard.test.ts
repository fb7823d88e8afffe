import { readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyReply } from 'fastify'
import { Gauge } from 'prom-client'
import t, { type Test } from 'tap'
import { createListening, registryOf } from '../helpers/application'
import type { Dashboard } from '../types/dashboard'
import {
  monitoringConfig, Program, type Prometheus, root, startExample, temporaryFolder, until, withEach
} from './programs'

const dashboard =
  JSON.parse(readFileSync(join(root, 'example', 'monitoring', 'grafana', 'fastify-latency.json'), 'utf8')) as Dashboard
const queries = dashboard.panels.flatMap(panel => panel.type === 'row'
  ? []
  : panel.targets.map(({ refId, expr }) => ({ title: `${panel.title}, ${refId}`, expr })))
const recording = readFileSync(join(root, 'example', 'monitoring', 'prometheus', 'recording.yml'), 'utf8')
const records = [...recording.matchAll(/- record: (\S+)/g)].map(([, name]) => name!)

interface Series {
  readonly metric: Record<string, string>
  readonly value: [time: number, value: string]
  /** A native histogram has this instead of a value. */
  readonly histogram?: unknown
}

const native = 'http_request_duration_seconds{'

/** What asks for native histograms only. Nearly all else takes the form that is there. */
const onlyNative = (text: string): boolean =>
  text.endsWith('_duration_seconds:rate5m') || (text.includes(native) && !text.includes('_duration_seconds_'))

/** What Grafana makes of a query. */
function fill (query: string, values: { job: string, instance: string, route: string }): string {
  return query.replaceAll('$__rate_interval', '10s').replaceAll('$__range', '1m')
    .replace(/\$(job|instance|route)/g, (_, name: keyof typeof values) => values[name])
}

const all = { job: '.*', instance: '.*', route: '.*' }

/** What Prometheus answers, once it does. Numbers that are not finite are no answer. */
async function answered (prometheus: Prometheus, expr: string): Promise<Series[]> {
  return until(`an answer to ${expr}`, async () => {
    const result = await prometheus.query<Series>(expr)
    const isAnswer = result.some(({ value, histogram }) => histogram !== undefined || Number.isFinite(Number(value[1])))
    return isAnswer && result
  })
}

t.test('every query of the dashboard has an answer', withEach(['prometheus'], async (t, installation) => {
  const { address, metrics } = await startExample(t, 'routes')
  // eslint-disable-next-line no-new -- it runs until the test ends
  new Program(t, process.execPath, ['example/traffic.mjs', address])
  const odd = await startOdd(t)
  const instance = `localhost:${new URL(metrics).port}`
  const targets = join(temporaryFolder(t), 'targets.json')
  writeFileSync(targets, JSON.stringify([{ targets: [instance, odd.target] }]))
  const prometheus = await installation.start(t, monitoringConfig(targets))

  await t.test('the values of its variables', async t => {
    const values = new Map<string, string[]>()
    for (const { name, query } of dashboard.templating!.list!) {
      if (typeof query === 'string') continue
      const [, series, label] = /^label_values\((.+), (\w+)\)$/.exec(fill(query!.query as string, all))!
      values.set(name, await until(`values of ${name}`, async () => {
        const found = await prometheus.get<string[]>(`label/${label}/values`, { 'match[]': series! })
        return found.length >= (name === 'job' ? 1 : 2) && found
      }))
    }
    t.same(values.get('job'), ['example'])
    t.same(values.get('instance'), [instance, odd.target].sort())
    t.ok(values.get('route')!.length > 1)
  })

  const misbehaving = new AbortController()
  const misbehaved = (async () => {
    while (!misbehaving.signal.aborted) await Promise.all([odd.misbehave(), request(`${address}/reports/2019`)])
  })()

  for (const { title, expr } of queries.filter(({ expr }) => !onlyNative(expr))) {
    await t.test(title, async t => {
      await answered(prometheus, fill(expr, all))
      const end = Date.now() / 1000
      const { result } = await prometheus.get<{ result: unknown[] }>('query_range', {
        query: fill(expr, { job: 'example', instance, route: '/reports/:year' }),
        start: String(end - 60),
        end: String(end),
        step: '5'
      })
      t.ok(Array.isArray(result))
    })
  }

  await t.test('requests by status, by route and by instance are the same requests', async t => {
    const sums = async (): Promise<number[]> => {
      const time = Date.now() / 1000
      return Promise.all([
        'Requests per second', 'Requests per second by status', 'Requests per second by route',
        'Requests per second by instance'
      ].map(async title => {
        const { expr } = queries.find(query => query.title === `${title}, A`)!
        const series = await prometheus.query<Series>(fill(expr, all), time)
        return series.reduce((sum, { value }) => sum + Number(value[1]), 0)
      }))
    }
    // Prometheus may store a scrape between two of the queries, which then differ once.
    const found = await until('the same requests', async () => {
      const [total, ...others] = await sums()
      return total! > 0 && others.every(other => Math.abs(other - total!) < 1e-9 * total!) && { total, others }
    })
    t.equal(found.others.length, 3)
  })

  for (const record of records.filter(record => !onlyNative(record))) {
    await t.test(record, () => answered(prometheus, record))
  }

  await t.test('an overflow fires, targets that are up do not', async t => {
    t.equal(await until('the alert',
      () => prometheus.value('ALERTS{alertname="FastifySeriesOverflow",alertstate="firing",job="example"}')), 1)
    t.same(await prometheus.query('ALERTS{alertname=~"Fastify(Job|Target).*"}'), [])
  })

  misbehaving.abort()
  await misbehaved
}))

t.test('where Prometheus stores native histograms, the dashboard and the rules ' +
  'have their answers from them', withEach(['prometheus'], async (t, installation) => {
  const { app, address } = await createListening(t, { histogram: { native: true }, busyTime: true }, app => {
    app.get('/', async () => 'x')
    app.get('/broken', async (_request, reply) => reply.code(500).send('x'))
  })
  const target = new URL(app.latency.url!).host
  const targets = join(temporaryFolder(t), 'targets.json')
  writeFileSync(targets, JSON.stringify([{ targets: [target] }]))
  const prometheus = await installation.start(t, monitoringConfig(targets), ['native-histograms'])
  const stopping = new AbortController()
  const sent = (async () => {
    while (!stopping.signal.aborted) await Promise.all([request(address), request(`${address}/broken`), sleep(50)])
  })()
  for (const { title, expr } of queries.filter(({ expr }) => expr.includes(native))) {
    await t.test(title, () => answered(prometheus, fill(expr, { ...all, instance: target })))
  }
  for (const record of records.filter(record => !record.includes('_le:'))) {
    await t.test(record, () => answered(prometheus, record))
  }
  const { expr } = queries.find(({ title }) => title === 'Within 0.25 s, A')!
  t.equal(await prometheus.value(fill(expr, all)), 1)
  t.same(await prometheus.query('{__name__=~"http_request_duration_seconds_.*"}'), [], 'there are no classic series')
  stopping.abort()
  await sent
}))

async function request (url: string): Promise<void> {
  await (await fetch(url)).text()
}

/** An application in which goes wrong what does not in the example. */
async function startOdd (t: Test): Promise<{ target: string, misbehave: () => Promise<void> }> {
  const { app, address } = await createListening(t, {
    seriesLimit: 2, scrape: { errorHandling: 'continue' }, processMetrics: true, queueTime: true, busyTime: true
  }, app => {
    app.get('/', async () => 'x')
    app.get('/events', (_request, reply: FastifyReply) => {
      reply.hijack()
      reply.raw.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: x\n\n')
    })
  })
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({
    name: 'broken', help: 'Cannot be read.', registers: [registryOf(app)], collect () { throw new Error('broken') }
  })
  return {
    target: new URL(app.latency.url!).host,
    async misbehave () {
      const stream =
        get(`${address}/events`, { agent: false, headers: { accept: 'text/event-stream' } }).on('error', () => {})
      await Promise.all([request(address), request(`${address}/nowhere`), request(`${address}/%zz`), sleep(300)])
      stream.destroy()
    }
  }
}
