import { once } from 'node:events'
import { get, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { Counter, Gauge, Histogram, Summary } from 'prom-client'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import latency from '../lib'
import { negotiateEncoding, negotiateExposition } from '../lib/exposition/formats'
import { writeOpenMetrics } from '../lib/exposition/openmetrics'
import { writeText } from '../lib/exposition/text'
import { fromClientMetric } from '../lib/exposition/client-samples'
import type { Points } from '../lib/snapshot'
import { createApplication, createListening, declareLarge, registryOf, scrape } from './helpers/application'
import { Connection, exchange } from './helpers/connection'
import { decode, zstd } from './helpers/encodings'
import { Exposition } from './helpers/exposition'
import { Gate } from './helpers/gate'
import { createHistogram, familyOf, observe } from './helpers/histogram'
import { readOpenMetrics, series } from './helpers/openmetrics'
import { protobuf } from './helpers/protobuf'

const text = 'text/plain; version=0.0.4; charset=utf-8'
const openMetrics = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

function render (write: (families: readonly Points[]) => Iterable<Uint8Array>, families: readonly Points[]): string {
  return Buffer.concat([...write(families)]).toString()
}

async function scrapeOpenMetrics (app: FastifyInstance, query = '') {
  const response = await fetch(app.latency.url! + query, { headers: { accept: 'application/openmetrics-text' } })
  return readOpenMetrics(await response.text())
}

t.test('the format is the one that Accept prefers', async t => {
  const { app } = await createListening(t, {})
  const cases: Array<[who: string, accept: string | undefined, type: string]> = [
    ['nothing said', undefined, text],
    ['curl', '*/*', text],
    ['a browser', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', text],
    ['Prometheus 2.42',
      'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,' +
      'text/plain;version=0.0.4;q=0.5,*/*;q=0.1', openMetrics],
    ['Prometheus 2.42 with native histograms',
      'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,' +
      'application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,' +
      'text/plain;version=0.0.4;q=0.5,*/*;q=0.1', protobuf],
    ['Prometheus 2.53 with native histograms',
      'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5,' +
      'application/openmetrics-text;version=1.0.0;q=0.4,application/openmetrics-text;version=0.0.1;q=0.3,' +
      'text/plain;version=0.0.4;q=0.2,*/*;q=0.1', protobuf],
    ['Prometheus 3.0 with native histograms',
      'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;' +
      'escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,' +
      'application/openmetrics-text;version=0.0.1;escaping=allow-utf-8;q=0.4,' +
      'text/plain;version=0.0.4;escaping=allow-utf-8;q=0.3,*/*;escaping=allow-utf-8;q=0.2',
      `${protobuf}; escaping=allow-utf-8`],
    ['Prometheus 3.5 with native histograms, the OpenTelemetry collector and Alloy',
      'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,' +
      'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,' +
      'application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,' +
      'text/plain;version=0.0.4;q=0.2,*/*;q=0.1', protobuf],
    ['Telegraf',
      'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,' +
      'text/plain;version=0.0.4;q=0.3', protobuf],
    ['VictoriaMetrics', 'text/plain;version=0.0.4;q=1,*/*;q=0.1', text],
    ['protobuf after text', `text/plain;q=0.5,${protobuf};q=0.4,*/*;q=0.1`, text],
    ['any protobuf', 'application/vnd.google.protobuf', protobuf],
    ['protobuf in other forms', 'application/vnd.google.protobuf;encoding=compact-text,text/plain;q=0.1', text],
    ['Prometheus 3',
      'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,' +
      'application/openmetrics-text;version=0.0.1;q=0.5,' +
      'text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2',
      `${openMetrics}; escaping=allow-utf-8`],
    ['Prometheus 3 with the text format alone', 'text/plain;version=0.0.4;q=0.6,*/*;q=0.5', text],
    ...['underscores', 'allow-utf-8', 'dots', 'values'].flatMap((escaping): typeof cases => [
      [`${escaping} for text`, `text/plain;version=0.0.4;escaping=${escaping}`, `${text}; escaping=${escaping}`],
      [
        `${escaping} for OpenMetrics`, `application/openmetrics-text;version=1.0.0;escaping=${escaping}`,
        `${openMetrics}; escaping=${escaping}`
      ]
    ]),
    ['q decides, not the order', 'application/openmetrics-text;q=0.1,text/plain;q=0.2', text],
    ['q=0 is never', 'text/plain;q=0,*/*;q=0.1', openMetrics],
    ['another version only', 'application/openmetrics-text;version=2.0.0,text/plain;q=0.5', text],
    ['quoted', 'application/openmetrics-text;version="1.0.0"', openMetrics],
    ['nothing that there is', 'application/json', text],
    ['nonsense', ';;,=', text]
  ]
  for (const [who, accept, type] of cases) {
    const headers = accept === undefined ? {} : { accept }
    const [response] = await once(get(app.latency.url!, { headers }), 'response') as [IncomingMessage]
    const body = Buffer.concat(await response.toArray()).toString()
    t.equal(response.statusCode, 200, who)
    t.equal(response.headers['content-type'], type, who)
    t.match(response.headers.vary, /accept/, who)
    t.equal(body.endsWith('# EOF\n'), type.startsWith(openMetrics), who)
  }
})

t.test('a client cannot make the choice of a format take long', async t => {
  const headers = [
    '*/*,', 'application/openmetrics-text;version=1.0.0;escaping=dots,', 'text/plain;', ';a=b', 'a/b;c="', '"\\', ',',
    '/', ';,=', 'gzip;q=0.1,', '*,', ' ', '\t,', ...['0', '1', '2'].map(q => `text/plain;q=0.${q},`)
  ].map(part => part.repeat(16_000 / part.length))
  headers.push(Array.from({ length: 1200 }, (_, index) => `text/plain;a${index}=b`).join(';'))
  for (const header of headers) {
    const request = { headers: { accept: header, 'accept-encoding': header } } as IncomingMessage
    const start = performance.now()
    for (let index = 0; index < 100; index++) {
      negotiateExposition(request)
      negotiateEncoding(request, ['gzip', 'zstd'])
    }
    // In a tenth of this time on an idle machine.
    t.ok(performance.now() - start < 1000, header.slice(0, 20))
  }
})

t.test('sixteen elements of Accept are read, and no more', async t => {
  const { app } = await createListening(t, {})
  for (const [others, type] of [[15, openMetrics], [16, text]] as const) {
    const accept = `${'text/html,'.repeat(others)}application/openmetrics-text`
    t.equal((await fetch(app.latency.url!, { headers: { accept } })).headers.get('content-type'), type)
  }
})

t.test('1,024 characters of Accept are read, and no more', async t => {
  const { app } = await createListening(t, {})
  const preferred = ',application/openmetrics-text'
  for (const [length, type] of [[1024, openMetrics], [1025, text]] as const) {
    const accept = `text/html;a=${preferred.padStart(length - 'text/html;a='.length, 'b')}`
    t.equal((await fetch(app.latency.url!, { headers: { accept } })).headers.get('content-type'), type)
  }
})

t.test('it is compressed when Accept-Encoding prefers that', async t => {
  const { app } = await createListening(t, {})
  const cases: Array<[accepted: string | undefined, encoding: string | undefined]> = [
    [undefined, undefined], ['gzip', 'gzip'], ['gzip, deflate, br', 'gzip'], ['*', 'gzip'],
    ['identity;q=1, gzip;q=0.5', undefined], ['gzip;q=0', undefined], ['identity;q=0', undefined],
    ['zstd', zstd], ['zstd, gzip', zstd ?? 'gzip'], ['gzip, deflate, br, zstd', 'gzip'],
    ['gzip;q=0.5, ZSTD', zstd ?? 'gzip'], ['zstd;q=0.5, gzip', 'gzip'], ['identity, zstd;q=0.5', undefined],
    ['*, gzip;q=0', zstd], ['zstd;q=0, *;q=0.1', 'gzip']
  ]
  for (const [accepted, encoding] of cases) {
    const headers = accepted === undefined ? {} : { 'accept-encoding': accepted }
    const [response] = await once(get(app.latency.url!, { headers }), 'response') as [IncomingMessage]
    const body = Buffer.concat(await response.toArray())
    t.equal(response.headers['content-encoding'], encoding, `Accept-Encoding: ${accepted}`)
    t.doesNotThrow(() => new Exposition(decode(body, encoding).toString()))
  }
})

t.test('metrics of the user keep the names of their series in OpenMetrics', async t => {
  const { app } = await createListening(t, { scrape: { created: true } })
  const registers = [registryOf(app)]
  new Counter({ name: 'jobs_total', help: 'Jobs "done"', labelNames: ['queue'], registers })
    .inc({ queue: 'a"b\\c\nd' }, 2)
  new Counter({ name: 'unsuffixed', help: 'x', registers }).inc()
  new Gauge({ name: 'tasks', help: 'x', registers }).set(-Infinity)
  new Counter({ name: 'tasks_total', help: 'the gauge has the name', registers }).inc(3)
  new Summary({ name: 'rpc_seconds', help: 'x', percentiles: [0.5, 1], registers }).observe(1)
  new Histogram({ name: 'size_bytes', help: 'x', buckets: [1, 1e6], registers }).observe(5)

  const families = await scrapeOpenMetrics(app)
  t.match(families.get('jobs'), { type: 'counter', help: 'Jobs "done"' })
  t.equal(families.get('jobs')!.samples.get(series('jobs_total', { queue: 'a"b\\c\nd' })), 2)
  t.equal(families.get('unsuffixed')!.type, 'unknown')
  t.equal(families.get('tasks')!.samples.get(series('tasks', {})), -Infinity)
  t.equal(families.get('tasks_total')!.type, 'unknown')
  t.match(families.get('rpc_seconds'), { type: 'summary', unit: 'seconds' })
  t.ok(families.get('rpc_seconds')!.samples.has(series('rpc_seconds', { quantile: '1.0' })))
  t.match(families.get('size_bytes'), { type: 'histogram', unit: 'bytes' })
  t.ok(families.get('size_bytes')!.samples.has(series('size_bytes_bucket', { le: '1e+06' })))
})

t.test('_created is there for the series of this plugin, if asked for', async t => {
  for (const created of [true, false]) {
    const before = Date.now() / 1000
    const { app, address } = await createListening(t, { scrape: { created }, labels: {} })
    await fetch(address)
    const families = await scrapeOpenMetrics(app)
    for (const [family, labels] of [
      ['http_request_duration_seconds', {}], ['http_requests_rejected', { reason: 'bad_url' }]
    ] as const) {
      const since = families.get(family)!.samples.get(series(`${family}_created`, labels))
      t.equal(since !== undefined && since >= before && since <= Date.now() / 1000, created, `${family} ${since}`)
    }
    t.notMatch(await (await fetch(app.latency.url!)).text(), /_created/, 'never in the text format')
  }
})

const number = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, Infinity, -Infinity, NaN))
const count = fc.oneof(fc.nat(), fc.maxSafeNat(), fc.constantFrom(0, 9, 10, 99, 100, 2 ** 31 - 1, 2 ** 31, 2 ** 53))
const label = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.constantFrom('\\', '\\n', '\n', '"', '\\"', '}', ',', '=', '\r', '# EOF', ' ', 'x'.repeat(40_000))
)

t.test('whatever goes in, a reader of either format reads back', async t => {
  fc.assert(fc.property(
    fc.uniqueArray(fc.tuple(label, label), { selector: pair => JSON.stringify(pair), maxLength: 30 }),
    fc.uniqueArray(fc.double({ noNaN: true, noDefaultInfinity: true }).map(bound => bound + 0), {
      minLength: 1, maxLength: 5
    }),
    fc.array(count, { minLength: 200, maxLength: 200 }), fc.array(number, { minLength: 30, maxLength: 30 }), label,
    (sets, unsorted, counts, values, help) => {
      const upperBounds = unsorted.sort((a, b) => a - b)
      const family = createHistogram({ name: 'h_seconds', help, labelNames: ['a', 'b'], upperBounds })
      for (const set of sets) observe(family, set)
      const snapshot = family.snapshot()
      for (let index = 0; index < snapshot.counts.length; index++) {
        snapshot.counts[index] = Math.min(counts[index]!, 2 ** 44)
      }
      for (let index = 0; index < sets.length; index++) snapshot.sums[index] = values[index]!
      const gauge = fromClientMetric({
        type: 'gauge',
        name: 'g',
        help,
        values: sets.map(([a, b], index) => ({ labels: { a, b }, value: values[index]! }))
      })
      const counter = fromClientMetric({
        type: 'counter',
        name: 'c_total',
        help,
        values: sets.map(([a, b], index) => ({ labels: { a, b }, value: counts[index]! }))
      })

      const expected = new Map<string, number>()
      sets.forEach(([a, b], slot) => {
        expected.set(series('g', { a, b }), values[slot]!)
        expected.set(series('c_total', { a, b }), counts[slot]!)
        expected.set(series('h_seconds_sum', { a, b }), values[slot]!)
        expected.set(
          series('h_seconds_count', { a, b }),
          snapshot.counts.subarray(slot * (upperBounds.length + 1)).slice(0, upperBounds.length + 1)
            .reduce((sum, count) => sum + count, 0)
        )
      })

      const families = [snapshot, gauge, counter]
      const readText = new Exposition(render(writeText, families))
      const readOpen = readOpenMetrics(render(families => writeOpenMetrics(families, { created: false }), families))
      const inText = [...readText.families.values()]
        .flatMap(({ samples }) => samples)
        .filter(sample => sample.labels.le === undefined)
      const inOpen = [...readOpen.values()]
        .flatMap(({ samples }) => [...samples])
        .filter(([name]) => !name.startsWith('["h_seconds_bucket"'))
      const sorted = (entries: Iterable<[string, number]>): unknown =>
        [...entries].map(([name, value]) => [name, value + 0]).sort()
      t.strictSame(sorted(inText.map(({ name, labels, value }) => [series(name, labels), value])), sorted(expected))
      t.strictSame(sorted(inOpen), sorted(expected))
      for (const { help: read } of [...readText.families.values(), ...readOpen.values()]) {
        if (read !== help) throw new Error('Another help')
      }
      const buckets = readText.samples('h_seconds_bucket')
      if (buckets.length !== sets.length * (upperBounds.length + 1)) throw new Error('Another number of buckets')
      buckets.forEach(({ labels }, index) => {
        const bound = upperBounds[index % (upperBounds.length + 1)] ?? Infinity
        if (Number(labels.le!.replace('Inf', 'Infinity')) !== bound) throw new Error(`${labels.le} is not ${bound}`)
      })
    }), { numRuns: 60 })
})

t.test('name[] asks for some families, and only these are read', async t => {
  const { app } = await createListening(t, {})
  let reads = 0
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({ name: 'slow', help: 'x', registers: [registryOf(app)], collect () { reads++ } })
  const some =
    await scrape(`${app.latency.url}?name[]=http_requests_in_flight&name%5B%5D=http_requests_rejected_total&other=1`)
  t.same([...some.families.keys()].sort(), ['http_requests_in_flight', 'http_requests_rejected_total'])
  t.equal(reads, 0)
  t.same(
    [...(await scrape(`${app.latency.url}?name[]=fastify_latency_hidden_families`)).families.keys()],
    ['fastify_latency_hidden_families']
  )
  t.same([...(await scrapeOpenMetrics(app, '?name[]=nothing')).keys()], [])
  t.ok((await scrape(`${app.latency.url}?other=1`)).families.has('slow'))
  t.equal(reads, 1)
})

/** Registers a metric that is read when the gate opens. */
function registerSlow (app: FastifyInstance): { gate: Gate, begun: Gate, reads: () => number } {
  const [gate, begun] = [new Gate(), new Gate()]
  let reads = 0
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({
    name: 'slow',
    help: 'x',
    registers: [registryOf(app)],
    async collect () { reads++; begun.open(); await gate.passed() }
  })
  return { gate, begun, reads: () => reads }
}

t.test('overlapping scrapes share one gathering; one more than allowed is answered with 503', async t => {
  const { app } = await createListening(t, { scrape: { concurrency: 2 }, endpoint: '/metrics' })
  const { gate, begun, reads } = registerSlow(app)
  const first = fetch(app.latency.url!)
  await begun.passed()
  const second = app.inject('/metrics')
  const third = await fetch(app.latency.url!)
  t.equal(third.status, 503)
  t.equal(await third.text(), '2 scrapes are being answered already; try again later\n')
  gate.open()
  t.equal((await first).status, 200)
  t.equal((await second).statusCode, 200)
  // The scrape is over, and counted, when all of its answer was sent.
  await (await first).text()
  t.equal(reads(), 1)
  const page = await scrape(app.latency.url)
  t.equal(page.value('fastify_latency_scrapes_total', { code: '503' }), 1)
  t.equal(page.value('fastify_latency_scrapes_total', { code: '200' }), 2)
  t.equal(page.value('fastify_latency_scrapes_total', { code: '500' }), 0)
  t.equal(page.value('fastify_latency_scrape_duration_seconds_count'), 3)
  t.equal(page.value('fastify_latency_scrape_size_bytes_count'), 2, 'of the whole answers')
  t.ok(page.value('fastify_latency_scrape_size_bytes_sum')! > 1000)
})

t.test('a client cannot have metrics read for each of its scrapes', async t => {
  const { app } = await createListening(t, { scrape: { concurrency: 10 } })
  let reads = 0
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({ name: 'costly', help: 'x', registers: [registryOf(app)], collect () { reads++ } })
  const differing: Array<(index: number) => string> = [
    index => `GET /metrics HTTP/1.1\nX-Prometheus-Scrape-Timeout-Seconds: 5.00${index}\n`,
    index => `GET /metrics?name[]=costly&name[]=unknown${index} HTTP/1.1\n`,
    index => `GET /metrics?${'name[]=costly&'.repeat(index + 1)} HTTP/1.1\n`,
    index => `GET /metrics?name[]=costly${index % 2 === 0 ? '&name[]=http_requests_in_flight' : ''} HTTP/1.1\n`,
    index => `GET /metrics HTTP/1.1\nAccept-Encoding: ${['gzip', 'identity', 'zstd'][index % 3]}\n`
  ]
  for (const head of differing) {
    reads = 0
    const requests = Array.from({ length: 10 }, (_, index) => `${head(index)}Host: x\n`)
    const text = await exchange(app.latency.url!, `${requests.join('\n')}Connection: close\n\n`)
    t.equal(text.match(/^HTTP\/1\.1 200/gm)?.length, 10)
    t.equal(reads, 1, head(1))
  }
})

t.test('each of the scrapes that share a reading waits as long as it says', async t => {
  const { app } = await createListening(t, {})
  const { gate, begun, reads } = registerSlow(app)
  const patient = fetch(app.latency.url!)
  await begun.passed()
  const hasty = await fetch(app.latency.url!, { headers: { 'x-prometheus-scrape-timeout-seconds': '0.1' } })
  t.equal(hasty.status, 500)
  gate.open()
  t.match(await (await patient).text(), '\nslow 0\n')
  t.equal(reads(), 1)
})

t.test('a scrape has what was counted before it began, whatever it shares with an earlier one', async t => {
  const { app, address } = await createListening(t, { labels: {} }, app => { app.get('/', async () => 'x') })
  const gate = new Gate()
  const begun = new Gate()
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({
    name: 'slow', help: 'x', registers: [registryOf(app)], async collect () { begun.open(); await gate.passed() }
  })
  const earlier = scrape(app.latency.url)
  await begun.passed()
  t.equal((await scrape(`${app.latency.url}?name[]=http_request_duration_seconds`))
    .value('http_request_duration_seconds_count'), 0)
  await fetch(address)
  const later = scrape(app.latency.url)
  gate.open()
  t.ok((await earlier).families.has('slow'))
  t.equal((await later).value('http_request_duration_seconds_count'), 1)
})

t.test('scrapes that were refused take no place from others', async t => {
  const { app } = await createListening(t, { scrape: { concurrency: 2 } })
  const gate = new Gate()
  // eslint-disable-next-line no-new -- it registers itself
  new Gauge({ name: 'slow', help: 'x', registers: [registryOf(app)], collect: async () => gate.passed() })
  const connection = await Connection.open(app.latency.url!)
  const some = '?name[]=fastify_latency_scrapes_total'
  connection.send(`GET /metrics${some} HTTP/1.1\nHost: x\n\n${'GET /metrics HTTP/1.1\nHost: x\n\n'.repeat(9)}`)
  await connection.until('scrapes_total')
  t.equal((await fetch(app.latency.url! + some)).status, 200)
  gate.open()
  connection.leave()
})

t.test('a timeout that is no number is none', async t => {
  const { app } = await createListening(t, {})
  for (const timeout of ['', 'soon', '-1', '0', 'NaN', '1e999']) {
    t.equal((await fetch(app.latency.url!, { headers: { 'x-prometheus-scrape-timeout-seconds': timeout } })).status,
      200, timeout)
  }
})

t.test('a client that does not read costs a bound amount of work, and is disconnected in the end', async t => {
  const { app } = await createListening(t, { scrape: { timeoutSeconds: 0.2 } })
  declareLarge(app)
  const answer = once(app.latency.server!.server, 'request') as Promise<[IncomingMessage, ServerResponse]>
  const request = get(app.latency.url!, { agent: false }, response => { response.pause() }).on('error', () => {})
  t.teardown(() => request.destroy())
  const [, reply] = await answer
  const { socket } = reply
  await once(reply, 'close')
  t.ok(socket!.bytesWritten < 3000 * 14 * 1000 / 2, `${socket!.bytesWritten} bytes`)
  const page =
    await scrape(`${app.latency.url}?name[]=fastify_latency_scrapes_total&name[]=fastify_latency_scrape_size_bytes`)
  t.equal(page.value('fastify_latency_scrapes_total', { code: '499' }), 1)
  t.equal(page.value('fastify_latency_scrape_size_bytes_count'), 0)
})

t.test('a client that leaves ends the work', async t => {
  const { app } = await createListening(t, {})
  declareLarge(app)
  for (const encoding of ['identity', 'gzip', 'zstd']) {
    const answer = once(app.latency.server!.server, 'request') as Promise<[IncomingMessage, ServerResponse]>
    const request = get(app.latency.url!, { agent: false, headers: { 'accept-encoding': encoding } },
      () => request.destroy()).on('error', () => {})
    const [, reply] = await answer
    await once(reply, 'close')
    t.equal(reply.writableEnded, false, encoding)
  }
  const page = await scrape(`${app.latency.url}?name[]=fastify_latency_scrapes_total`)
  t.equal(page.value('fastify_latency_scrapes_total', { code: '499' }), 3)
})

t.test('a scrape that is left on a connection that other requests came on is over, too', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: false, endpoint: '/metrics' })
  declareLarge(app)
  app.get('/', async () => 'Hello World')
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const connection = await Connection.open(address)
  connection.send('GET / HTTP/1.1\nhost: x\n\n')
  await connection.until('Hello World')
  const answer = once(app.server, 'request') as Promise<[IncomingMessage, ServerResponse]>
  connection.send('GET /metrics HTTP/1.1\nhost: x\n\n')
  const [, reply] = await answer
  await connection.until('# HELP')
  connection.leave()
  await once(reply, 'close')
  const page = await scrape(`${address}/metrics?name[]=fastify_latency_scrapes_total`)
  t.equal(page.value('fastify_latency_scrapes_total', { code: '499' }), 1)
})

t.test('scrapes that wait for others on a connection that closes are over', async t => {
  const { app } = await createListening(t, { scrape: { concurrency: 10 } })
  const connection = await Connection.open(app.latency.url!)
  const disconnected = new Promise(resolve =>
    app.latency.server!.server.once('connection', socket => socket.once('close', resolve)))
  const pipelining = await Connection.open(app.latency.url!)
  pipelining.send('GET /metrics HTTP/1.1\nhost: x\n\n'.repeat(30))
  await pipelining.until('HTTP/1.1 200')
  pipelining.reset()
  await disconnected
  connection.send('GET /metrics?name[]=fastify_latency_scrapes_total HTTP/1.1\nhost: x\nconnection: close\n\n')
  await connection.closed()
  t.match(connection.received, 'HTTP/1.1 200')
  const counts = [...connection.received.matchAll(/scrapes_total{code="\d+"} (\d+)/g)].map(([, count]) => Number(count))
  t.equal(counts.reduce((sum, count) => sum + count), 30)
})

t.test('nobody can have metrics fail by asking for an answer at once', async t => {
  const { app } = await createListening(t, {})
  app.latency.registry.registerMetric(
    new Gauge({ name: 'slow', help: 'x', registers: [], collect: async () => sleep(20) }) as never
  )
  const response = await fetch(app.latency.url!, { headers: { 'x-prometheus-scrape-timeout-seconds': '1e-300' } })
  t.equal(response.status, 200)
  t.match(await response.text(), '\nslow 0\n')
})

t.test('a metric whose help is no text is served like any other', async t => {
  const { app } = await createListening(t, {})
  app.latency.registry.registerMetric(new Gauge({ name: 'odd', help: 42 as never, registers: [] }) as never)
  t.match(await (await fetch(app.latency.url!)).text(), '# HELP odd 42\n')
})

t.test('a histogram of more series than are copied at a time is served in full', async t => {
  const { app } = await createListening(t, {})
  for (let index = 0; index < 20_001; index++) observe(familyOf(app), ['GET', `/${index}`, '200'])
  const text = await (await fetch(app.latency.url!)).text()
  t.equal(text.match(/^http_request_duration_seconds_count\{/gm)!.length, 20_001)
})
