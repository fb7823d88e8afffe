import type { Figures, Part } from '../part'
import { serveOurs } from '../servers'
import { scrapeOften } from './scrape'

const series = 10_000

/** Latencies of a series, around 12 to 24 ms. They are the same in every run. */
function * latenciesOf (index: number): Generator<number> {
  let state = index
  for (let count = 200 + index * 37 % 800; count > 0; count--) {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    const share = (state + 0.5) / 2 ** 32
    yield 0.012 * (1 + index / series) * (share / (1 - share)) ** 0.35
  }
}

const text = 'text/plain; version=0.0.4'
const protobuf = 'application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited'

const asked: ReadonlyArray<readonly [name: string, accept: string, native: boolean]> = [
  ['text', text, false], ['Protocol Buffers', protobuf, false],
  ['Protocol Buffers with native buckets', protobuf, true]
]

async function scrapeIn (accept: string, native: boolean, encoding: string): Promise<Figures> {
  const served = await serveOurs(series, latenciesOf, { histogram: { native } })
  return scrapeOften(served, series, { accept, 'accept-encoding': encoding })
}

export const formats: Part = {
  title: 'Scrape: formats',
  method: `Over HTTP, a histogram of 11 buckets and \`+Inf\` with ${series} series, each of which has counted 200 to ` +
    '1,000 latencies around 12 to 24 ms. The classic buckets are in every format.',
  samples: 3,
  scenarios: Object.fromEntries(asked.flatMap(([name, accept, native]) => ['identity', 'gzip'].map(encoding => [
    `${name}, ${encoding}`, () => scrapeIn(accept, native, encoding)
  ]))),
  columns: [
    { heading: 'ms', digits: 1, value: ({ ms }) => ms! },
    { heading: 'longest turn, ms', digits: 1, value: ({ turn }) => turn! },
    { heading: 'bytes per series', digits: 0, value: ({ megabytes, series }) => 1e6 * megabytes! / series! }
  ]
}
