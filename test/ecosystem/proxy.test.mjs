import { once } from 'node:events'
import { createServer } from 'node:net'
import { Readable } from 'node:stream'
import t from 'tap'
import Fastify from 'fastify'
import proxy from '@fastify/http-proxy'
import websocket from '@fastify/websocket'
import { compare } from './scenario.mjs'

/** What the proxy passes requests on to. */
async function createUpstream (t) {
  const upstream = Fastify({ forceCloseConnections: true })
  t.teardown(() => upstream.close())
  await upstream.register(websocket)
  upstream.get('/users/:id', async request => ({ id: request.params.id }))
  upstream.post('/orders', async (request, reply) => reply.code(201).send(request.body))
  upstream.get('/fails', async () => { throw new Error('no') })
  upstream.get('/stream', (_request, reply) => {
    reply.type('text/plain').send(Readable.from(Array.from({ length: 50 }, () => 'x'.repeat(1000))))
  })
  upstream.get('/endless', (_request, reply) => {
    reply.type('text/plain').send(new Readable({ read () { this.push('x'.repeat(1000)) } }))
  })
  upstream.get('/events', (_request, reply) => {
    reply.type('text/event-stream').send(new Readable({ read () { setImmediate(() => this.push('data: 1\n\n')) } }))
  })
  upstream.get('/slow', () => new Promise(() => {}))
  upstream.get('/socket', { websocket: true }, socket => socket.on('message', message => socket.send(`up ${message}`)))
  return upstream.listen({ host: '127.0.0.1', port: 0 })
}

/** The address of a port that nobody listens on. */
async function closedAddress () {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  await new Promise(resolve => server.close(resolve))
  return `http://127.0.0.1:${port}`
}

t.test('@fastify/http-proxy: replies, streams, events, WebSockets, and an upstream that fails', async t => {
  const upstream = await createUpstream(t)
  const closed = await closedAddress()
  const api = { route: '/api/*' }
  await compare(t, {
    fastify: { forceCloseConnections: true },
    async declare (app) {
      await app.register(proxy, { upstream, prefix: '/api', websocket: true })
      await app.register(proxy, { upstream: closed, prefix: '/down' })
      app.get('/own', async () => 'own')
    },
    async use (client) {
      await client.send('GET', '/own')
      for (const id of [1, 2]) await client.send('GET', `/api/users/${id}`, api)
      await client.send('HEAD', '/api/users/1', api)
      await client.send('POST', '/api/orders', {
        ...api, headers: { 'content-type': 'application/json' }, body: '{"item":1}'
      })
      await client.send('GET', '/api/fails', api)
      await client.send('GET', '/api/nowhere', api)
      await client.send('GET', '/api/stream', api)
      await client.send('GET', '/down/anything', { route: '/down/*' })
      await client.leaveInReply('GET', '/api/endless', api)
      await client.leaveBeforeReply('GET', '/api/slow', api)
      await client.stream('GET', '/api/events', api)
      await client.webSocket('/api/socket', { ...api, messages: ['one', 'two'] })
    }
  })
})
