import { median, type Figures, type Part } from '../part'
import { addSeries, createHistogram, createOwnHistogram, loadInternal, observeSeries } from '../subjects'

const sizes = [100, 1000, 10_000, 100_000]

/** Fewer where it takes long. */
const times = (series: number): number => Math.max(5, Math.min(50, 300_000 / series))

async function measure (series: number, render: () => Promise<number>): Promise<Figures> {
  const durations: number[] = []
  let bytes = 0
  const warmUps = times(series) / 2
  for (let time = 0; time < warmUps + times(series); time++) {
    const start = performance.now()
    bytes = await render()
    if (time >= warmUps) durations.push(performance.now() - start)
  }
  return { series, ms: median(durations), megabytes: bytes / 1e6 }
}

/** A snapshot and all its pages, in one go. */
async function renderOurs (
  series: number, write = loadInternal('exposition/text').writeText, more = {}
): Promise<Figures> {
  const family = createOwnHistogram('http_request_duration_seconds', more)
  addSeries(family, series)
  return measure(series, async () => {
    let bytes = 0
    for (const page of write([family.snapshot()])) bytes += page.length
    return bytes
  })
}

async function renderProtobuf (series: number, more = {}): Promise<Figures> {
  return renderOurs(series, loadInternal('exposition/protobuf').writeProtobuf, more)
}

async function renderPromClient (series: number): Promise<Figures> {
  const { registry, histogram } = createHistogram()
  observeSeries(histogram, series)
  return measure(series, async () => Buffer.byteLength(await registry.metrics()))
}

const promClient = (series: number): string => `prom-client, ${series} series`

export const render: Part = {
  title: 'Scrape: rendering',
  method: 'A histogram of 11 buckets and `+Inf` as Prometheus text, and as Protocol Buffers, beside ' +
    '`registry.metrics()` of prom-client. Nothing is sent.',
  samples: 3,
  scenarios: Object.fromEntries(sizes.flatMap(series => [
    [`fastify-latency, ${series} series`, () => renderOurs(series)],
    [`fastify-latency, ${series} series, Protocol Buffers`, () => renderProtobuf(series)],
    [
      `fastify-latency, ${series} series, Protocol Buffers with native buckets`,
      () => renderProtobuf(series, { native: { schema: 3, maxBuckets: 160 } })
    ],
    [promClient(series), () => renderPromClient(series)]
  ])),
  columns: [
    { heading: 'ms', digits: 2, value: ({ ms }) => ms! },
    { heading: 'µs per series', digits: 2, value: ({ ms, series }) => 1000 * ms! / series! },
    { heading: 'MB', digits: 2, value: ({ megabytes }) => megabytes! },
    {
      heading: 'times faster than prom-client',
      same: 1,
      digits: 1,
      value: ({ ms, series }, round) => round[promClient(series!)]!.ms! / ms!
    }
  ]
}
