import { bytesInUse, type Figures, type Part } from '../part'
import { addSeries, createHistogram, createOwnHistogram, observeSeries } from '../subjects'

const sizes = [1000, 10_000, 100_000]

/** What is measured, so that it is not collected meanwhile. */
const kept: unknown[] = []

/** How much memory is in use for a series of what is made. */
async function measure (series: number, create: (series: number) => unknown): Promise<Figures> {
  create(series) // So that it is compiled.
  const before = bytesInUse()
  kept.push(create(series))
  const bytes = (bytesInUse() - before) / series
  return { bytes }
}

function createOurs (series: number): unknown {
  const family = createOwnHistogram('x')
  addSeries(family, series)
  return family
}

function createPromClient (series: number): unknown {
  const { histogram } = createHistogram()
  observeSeries(histogram, series)
  return histogram
}

export const memory: Part = {
  title: 'Memory: per series',
  method: 'Bytes of the heap and of array buffers for a series with three labels and 11 buckets, one of which is a ' +
    'string of its own. Of ours, counters take 14 numbers, 112 bytes, and up to half as much again when their ' +
    'columns have just grown.',
  samples: 3,
  scenarios: Object.fromEntries(sizes.flatMap(series => [
    [`fastify-latency, ${series} series`, () => measure(series, createOurs)],
    [`prom-client, ${series} series`, () => measure(series, createPromClient)]
  ])),
  columns: [
    { heading: 'bytes per series', digits: 0, value: ({ bytes }) => bytes! }
  ]
}
