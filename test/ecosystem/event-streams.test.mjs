import { PassThrough, pipeline, Readable } from 'node:stream'
import t from 'tap'
import { compare } from './scenario.mjs'

/** Ways in which applications send events until the client leaves. */
const streams = {
  '/header': (_request, reply) => reply.header('content-type', 'text/event-stream').send(events()),
  '/sent-raw': (_request, reply) => {
    reply.hijack()
    reply.raw.setHeader('content-type', 'text/event-stream')
    reply.raw.flushHeaders()
    pipeline(events(), reply.raw, () => {})
  },
  '/write-head': (_request, reply) => {
    reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
    pipeline(events(), reply.raw, () => {})
  },
  '/write-head-array': (_request, reply) => {
    reply.raw.writeHead(200, ['Content-Type', 'text/event-stream'])
    pipeline(events(), reply.raw, () => {})
  },
  '/response': async () => new Response(Readable.toWeb(events()), { headers: { 'content-type': 'text/event-stream' } })
}

function events () {
  const stream = new PassThrough()
  const timer = setInterval(() => stream.write('data: 1\n\n'), 20)
  stream.on('close', () => clearInterval(timer))
  return stream
}

t.test('event streams are long-lived, however they are sent and whatever the client accepts', async t => compare(t, {
  fastify: { forceCloseConnections: true },
  declare (app) {
    for (const [path, handler] of Object.entries(streams)) app.route({ method: ['GET', 'POST'], url: path, handler })
  },
  async use (client) {
    for (const path of Object.keys(streams)) {
      for (const accept of ['text/event-stream', '*/*']) {
        await client.stream('GET', path, { events: 3, headers: { accept } })
      }
      await client.stream('POST', path, { events: 3 })
    }
  }
}))
