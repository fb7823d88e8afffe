import { Readable } from 'node:stream'
import t from 'tap'
import express from 'express'
import fastifyExpress from '@fastify/express'
import middie from '@fastify/middie'
import { compare } from './scenario.mjs'

/** Routes of Fastify that stream. */
function declareStreams (app) {
  app.get('/download', (_request, reply) => {
    const source = new Readable({ read () {} })
    source.push('x'.repeat(1000))
    reply.type('application/octet-stream').send(source)
  })
  app.get('/breaks', (_request, reply) => {
    const source = new Readable({ read () {} })
    source.push('x'.repeat(1000))
    reply.type('application/octet-stream').send(source)
    app.server.once('break', () => source.destroy(new Error('The source failed')))
  })
  app.get('/slow', () => new Promise(() => {}))
}

async function useStreams (client, app) {
  await client.leaveInReply('GET', '/download')
  await client.breakOff('GET', '/breaks', () => app.server.emit('break'))
  await client.leaveBeforeReply('GET', '/slow')
}

t.test('@fastify/express: routes of Express, and streams of Fastify beside it', async t => compare(t, {
  async declare (app) {
    await app.register(fastifyExpress)
    const router = express.Router()
    router.get('/users/:id', (request, response) => response.json({ id: request.params.id }))
    router.post('/users', express.json(), (request, response) => response.status(201).json(request.body))
    router.get('/redirected', (_request, response) => response.redirect('/fastify'))
    router.get('/fails', (_request, _response, next) => next(new Error('no')))
    router.get('/streamed', (_request, response) => Readable.from(['a', 'b', 'c']).pipe(response))
    app.use('/legacy', router)
    app.use((request, response, next) => {
      response.setHeader('x-express', 'yes')
      next()
    })
    app.get('/fastify', async () => 'Fastify')
    app.get('/legacy/taken', async () => 'Fastify')
    declareStreams(app)
  },
  async use (client, app) {
    for (const id of [1, 2]) await client.send('GET', `/legacy/users/${id}`, { route: 'unmatched' })
    await client.send('POST', '/legacy/users', {
      route: 'unmatched', headers: { 'content-type': 'application/json' }, body: '{"name":"bob"}'
    })
    await client.send('GET', '/legacy/redirected', { route: 'unmatched' })
    await client.send('GET', '/legacy/fails', { route: 'unmatched' })
    await client.send('GET', '/legacy/streamed', { route: 'unmatched' })
    await client.send('GET', '/legacy/nowhere', { route: 'unmatched' })
    await client.send('GET', '/legacy/taken')
    await client.send('GET', '/fastify')
    await client.send('HEAD', '/fastify')
    await useStreams(client, app)
  }
}))

t.test('@fastify/middie: middleware that answers, goes on, fails and waits', async t => compare(t, {
  async declare (app) {
    await app.register(middie)
    app.use('/private', (_request, response) => {
      response.statusCode = 401
      response.end('Who are you?')
    })
    app.use('/fails', (_request, _response, next) => next(new Error('no')))
    app.use('/later', (_request, _response, next) => { setImmediate(next) })
    app.get('/private', async () => 'secret')
    app.get('/fails', async () => 'never')
    app.get('/later', async () => 'later')
    declareStreams(app)
  },
  async use (client, app) {
    for (const path of ['/private', '/fails', '/later']) await client.send('GET', path)
    await client.send('GET', '/private/nowhere', { route: 'unmatched' })
    await client.send('GET', '/later/nowhere', { route: 'unmatched' })
    await useStreams(client, app)
  }
}))
