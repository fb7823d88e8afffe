import { deepStrictEqual } from 'node:assert'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { createListening, scrape } from '../helpers/application'
import { Connection } from '../helpers/connection'
import type { Exposition } from '../helpers/exposition'

/** What clients do: the route that the request is for, its text, and what the client waits for before it acts. */
interface Behaviour {
  readonly route: string
  readonly request: string
  readonly until: string
  /** Otherwise it leaves, and the server notices. */
  readonly stays?: true
}

const body = 'content-type: text/plain\ncontent-length: 4\n\n'

const behaviours: Record<string, Behaviour> = {
  'is answered': { route: '/ok', request: 'GET /ok HTTP/1.1\nhost: x\n\n', until: '\r\n\r\nx' },
  'is answered after an upload': {
    route: '/echo', request: `POST /echo HTTP/1.1\nhost: x\n${body}abcd`, until: 'abcd'
  },
  'meets an error': { route: '/fails', request: 'GET /fails HTTP/1.1\nhost: x\n\n', until: '500' },
  'finds nothing': { route: 'unmatched', request: 'GET /nothing HTTP/1.1\nhost: x\n\n', until: '404' },
  'finds nothing in the end': { route: 'unmatched', request: 'GET /swapped HTTP/1.1\nhost: x\n\n', until: '404' },
  'sends three at once': {
    route: '/ok',
    request: 'GET /ok HTTP/1.1\nhost: x\n\n'.repeat(3) + 'GET /%zz HTTP/1.1\nhost: x\n\n',
    until: 'not a valid url'
  },
  'is refused': { route: '/ok', request: 'GET /ok HTTP/1.1\nhost: x\nauthorization: no\n\n', until: '401' },
  'leaves at once': { route: '/wait', request: 'GET /wait HTTP/1.1\nhost: x\n\n', until: 'HTTP/1.1 102' },
  'leaves after an upload': {
    route: '/wait', request: `POST /wait HTTP/1.1\nhost: x\n${body}abcd`, until: 'HTTP/1.1 102'
  },
  'leaves in mid-upload': {
    route: '/echo', request: `POST /echo HTTP/1.1\nhost: x\nexpect: 100-continue\n${body}ab`, until: '100 Continue'
  },
  'leaves in mid-reply': { route: '/endless', request: 'GET /endless HTTP/1.1\nhost: x\n\n', until: 'first' },
  'leaves a hijacked reply': {
    route: '/hijacked', request: 'GET /hijacked HTTP/1.1\nhost: x\n\n', until: 'HTTP/1.1 102'
  },
  'waits on': { route: '/wait', request: 'GET /wait HTTP/1.1\nhost: x\n\n', until: 'HTTP/1.1 102', stays: true },
  'reads on': { route: '/endless', request: 'GET /endless HTTP/1.1\nhost: x\n\n', until: 'first', stays: true },
  'has a bad URL': { route: 'bad_url', request: 'GET /%zz HTTP/1.1\nhost: x\n\n', until: '400' },
  'names no host': { route: 'missing_host', request: 'GET /ok HTTP/1.1\n\n', until: '400' },
  'talks nonsense': { route: 'invalid_method', request: 'NONSENSE\n\n', until: '400' }
}

/** What each behaviour adds to the requests begun, by route or by reason of rejection. */
function begun (names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  const add = (key: string, count: number): void => { counts[key] = (counts[key] ?? 0) + count }
  for (const name of names) {
    if (name === 'sends three at once') {
      add('/ok', 3)
      add('bad_url', 1)
    } else {
      add(behaviours[name]!.route, 1)
    }
  }
  return counts
}

/** Where requests went: observed, in flight or rejected. */
function accounted (exposition: Exposition): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const metric of [
    'http_request_duration_seconds_count', 'http_requests_in_flight', 'http_requests_rejected_total'
  ]) {
    for (const { labels, value } of exposition.samples(metric)) {
      const key = labels.route ?? labels.reason!
      if (value > 0) counts[key] = (counts[key] ?? 0) + value
    }
  }
  return counts
}

function declare (app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) =>
    request.headers.authorization === 'no' ? reply.code(401).send() : undefined)
  app.get('/ok', async () => 'x')
  app.post('/echo', async request => request.body)
  app.get('/fails', async () => { throw new Error('no') })
  app.get('/swapped', (_request, reply) => { reply.callNotFound() })
  app.route({
    method: ['GET', 'POST'],
    url: '/wait',
    handler: (_request, reply) => { reply.raw.writeProcessing() }
  })
  app.get('/endless', (_request, reply) => {
    const source = new Readable({ read () {} })
    source.push('first')
    reply.send(source)
  })
  app.get('/hijacked', (_request, reply) => {
    reply.hijack()
    reply.raw.writeProcessing()
  })
}

t.test('whatever clients do at once, requests begun are observations, ' +
  'rejections and those still in flight', async t => {
  let requests = 0
  const round = fc.array(fc.constantFrom(...Object.keys(behaviours)), { minLength: 20, maxLength: 60, size: 'max' })
  await fc.assert(fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 3 }), async rounds => {
    const { app, address } = await createListening(t, {}, declare)
    const closed = new Map<number, Promise<unknown>>()
    app.server.on('connection', socket => {
      closed.set(socket.remotePort!, new Promise(resolve => socket.once('close', resolve)))
    })
    const staying: Connection[] = []
    const all: string[] = []
    for (const names of rounds) {
      all.push(...names)
      await Promise.all(names.map(async name => {
        const { request, until, stays } = behaviours[name]!
        const connection = await Connection.open(address)
        connection.send(request)
        await connection.until(until)
        if (stays === true) return staying.push(connection)
        const port = connection.socket.localPort!
        connection.leave()
        await closed.get(port)
      }))
      deepStrictEqual(accounted(await scrape(app.latency.url)), begun(all))
    }
    requests += Object.values(begun(all)).reduce((sum, count) => sum + count, 0)
    for (const connection of staying) connection.leave()
    await Promise.all(closed.values())
    const exposition = await scrape(app.latency.url)
    deepStrictEqual(accounted(exposition), begun(all))
    deepStrictEqual(exposition.samples('http_requests_in_flight').filter(({ value }) => value !== 0), [])
    await app.close()
  }), { numRuns: fc.readConfigureGlobal().numRuns ?? 30 })
  t.comment(`${requests} requests`)
})
