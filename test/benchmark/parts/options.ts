import latency, { type Options } from 'fastify-latency'
import type { Figures, Part } from '../part'
import { route } from './in-process'

const perTurn = 10

async function routeWith (options: Options, more: Parameters<typeof route>[1] = {}): Promise<Figures> {
  return route(async app => app.register(latency, { server: false, ...options }), { ...more, perTurn })
}

/** A proxy that is trusted, and that has received each request just now. */
const proxied = { server: { trustProxy: true }, headers: { 'x-request-start': `t=${(Date.now() / 1000).toFixed(3)}` } }

export const options: Part = {
  title: 'Request: what each option adds',
  method: 'As `in-process`, with one option each that is off by default. Each turn of the event loop has 10 ' +
    'requests, and what an option does once in a turn is in the figures.',
  samples: 11,
  scenarios: {
    'no option': () => routeWith({}),
    queueTime: () => routeWith({ queueTime: true }),
    'queueTime.header': () => routeWith({ queueTime: { header: 'x-request-start' } }, proxied),
    "histogram.from: 'arrival'": () => routeWith({ histogram: { from: 'arrival' } }),
    busyTime: () => routeWith({ busyTime: true }),
    requestSize: () => routeWith({ requestSize: true }),
    responseSize: () => routeWith({ responseSize: true }),
    timeToFirstByte: () => routeWith({ timeToFirstByte: true })
  },
  columns: [
    { heading: 'ns per request', digits: 0, value: ({ ns }) => ns! },
    { heading: 'over no option', digits: 0, value: ({ ns }, round) => ns! - round['no option']!.ns! }
  ]
}
