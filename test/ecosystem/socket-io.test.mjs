import { once } from 'node:events'
import t from 'tap'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import { compare } from './scenario.mjs'

// socket.io answers requests on the server of the application before Fastify sees them: they are not the
// application's, and none of them is counted as if Node.js had refused it.
t.test('socket.io on the server of the application', async t => compare(t, {
  declare (app) {
    const server = new Server(app.server)
    app.addHook('preClose', done => {
      server.disconnectSockets(true)
      server.engine.close()
      done()
    })
    server.on('connection', socket => socket.on('greet', (name, answer) => answer(`Hello ${name}`)))
    app.get('/', async () => 'Hello World')
  },
  async use (client, app) {
    const { port } = app.server.address()
    for (const transport of ['polling', 'websocket']) {
      const socket = io(`http://127.0.0.1:${port}`, { transports: [transport], reconnection: false })
      await once(socket, 'connect')
      client.answers.push(await socket.emitWithAck('greet', transport))
      socket.disconnect()
    }
    for (const query of ['EIO=4&transport=polling&sid=gone', 'EIO=4&transport=unknown', 'EIO=2&transport=polling']) {
      const response = await fetch(`http://127.0.0.1:${port}/socket.io/?${query}`)
      client.answers.push([response.status, await response.text()])
    }
    await client.send('GET', '/')
    await client.send('GET', '/nowhere', { route: 'unmatched' })
  }
}))
