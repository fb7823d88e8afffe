import { once } from 'node:events'
import { connect } from 'node:net'
import path from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import latency = require('../../../lib')
import { longestTurn, median, type Figures, type Part } from '../part'
import { subjects } from '../subjects'

const routes = 20
const connections = 100
const perConnection = 100
const scrapes = 15

/**
 * An application whose handlers never reply, or begin a reply that never ends, and how long its event loop stalls when
 * it is scraped.
 */
async function scrapeOpen (
  subject: (app: FastifyInstance) => unknown, kind: 'waiting' | 'streaming'
): Promise<Figures> {
  const app = Fastify({ forceCloseConnections: true })
  await subject(app)
  let open = 0
  let onAll = (): void => {}
  for (let index = 0; index < routes; index++) {
    app.get(`/${index}`, (_request, reply) => {
      if (kind === 'streaming') reply.type('text/event-stream').hijack().raw.writeHead(200).write('data: x\n\n')
      if (++open === connections * perConnection) onAll()
    })
  }
  const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const all = new Promise<void>(resolve => { onAll = resolve })
  const sockets = await Promise.all(Array.from({ length: connections }, async () => {
    const socket = connect(Number(port), '127.0.0.1').on('error', () => {})
    await once(socket, 'connect')
    for (let index = 0; index < perConnection; index++) {
      socket.write(`GET /${index % routes} HTTP/1.1\r\nhost: x\r\n\r\n`)
    }
    return socket
  }))
  await all
  const url = await app.latency.start()
  const turns: number[] = []
  for (let scrape = 0; scrape < scrapes; scrape++) {
    turns.push(await longestTurn(fetch(url).then(response => response.text())))
  }
  for (const socket of sockets) socket.destroy()
  await app.close()
  return { turn: median(turns.slice(5)), longest: Math.max(...turns.slice(5)), first: turns[0]! }
}

const server = { host: '127.0.0.1', port: 0 }
const builds: Readonly<Record<string, (app: FastifyInstance) => unknown>> = {
  'fastify-latency': async app => { await app.register(latency, { server }) },
  ...subjects.baseline === undefined
    ? {}
    : { baseline: async app => { await app.register(require(path.resolve(process.env.BASELINE!)), { server }) } }
}

export const openRequests: Part = {
  title: 'Scrape: with many requests open',
  method: `${connections * perConnection} requests of ${routes} routes are open, on ${connections} connections, ` +
    'while the metrics are scraped, those of the process included. ' +
    'How long the event loop takes for its longest turn meanwhile; the client is in the same process.',
  samples: 3,
  scenarios: Object.fromEntries(Object.entries(builds).flatMap(([name, subject]) =>
    (['waiting', 'streaming'] as const).map(kind => [`${name}, ${kind}`, () => scrapeOpen(subject, kind)]))),
  columns: [
    { heading: 'longest turn, ms', digits: 1, value: ({ turn }) => turn! },
    { heading: 'worst of those', digits: 1, value: ({ longest }) => longest! },
    { heading: 'first scrape', digits: 1, value: ({ first }) => first! }
  ]
}
