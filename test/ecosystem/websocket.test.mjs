import t from 'tap'
import Fastify from 'fastify'
import websocket from '@fastify/websocket'
import { anyPort, compare, latency } from './scenario.mjs'

async function declare (app) {
  await app.register(websocket, { errorHandler: (_error, socket) => socket.terminate() })
  const isAllowed = async (request, reply) => {
    if (request.query.token === undefined) return reply.code(401).send('Who are you?')
  }
  const echo = socket => socket.on('message', message => socket.send(`echo ${message}`))
  app.get('/echo', { websocket: true }, echo)
  app.get('/guarded', { websocket: true, preValidation: isAllowed }, echo)
  app.get('/fails', { websocket: true, preValidation: async () => { throw new Error('no') } }, echo)
  app.get('/rooms/:room', { websocket: true }, (socket, request) => {
    socket.on('message', () => socket.send(request.params.room))
  })
  app.route({ method: 'GET', url: '/both', wsHandler: echo, handler: async () => 'plain' })
  app.get('/plain', async () => 'plain')
}

t.test('@fastify/websocket', async t => compare(t, {
  declare,
  async use (client) {
    await Promise.all([1, 2, 3].map(async () => client.webSocket('/echo', { messages: ['one', 'two'] })))
    for (const room of ['a', 'b']) await client.webSocket(`/rooms/${room}`, { route: '/rooms/:room', messages: ['?'] })
    await client.webSocket('/guarded', {})
    await client.webSocket('/guarded?token=1', { route: '/guarded', messages: ['three'] })
    await client.webSocket('/fails')
    await client.webSocket('/both', { messages: ['four'] })
    await client.send('GET', '/both')
    await client.webSocket('/plain')
    await client.webSocket('/nowhere', { route: 'unmatched' })
    await client.send('GET', '/echo')
  }
}))

t.test('app.injectWS() of @fastify/websocket opens a socket, or is refused, as without the plugin', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(latency, anyPort)
  await declare(app)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const socket = await app.injectWS('/echo')
  const answer = new Promise(resolve => socket.on('message', message => resolve(String(message))))
  socket.send('hello')
  t.equal(await answer, 'echo hello')
  socket.terminate()
  await t.rejects(app.injectWS('/guarded'), /401/)
})
