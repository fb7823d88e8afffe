import { Readable } from 'node:stream'
import t from 'tap'
import compress from '@fastify/compress'
import { compare } from './scenario.mjs'

t.test('@fastify/compress', async t => compare(t, {
  async declare (app) {
    await app.register(compress, { threshold: 0 })
    app.get('/text', async () => 'Hello World '.repeat(1000))
    app.get('/stream', (_request, reply) => {
      reply.type('text/plain').send(Readable.from(Array.from({ length: 100 }, () => 'Hello World')))
    })
    app.get('/endless', (_request, reply) => {
      reply.type('text/plain').send(new Readable({ read () { this.push(String(Math.random()).repeat(1000)) } }))
    })
    app.post('/body', async request => request.body)
  },
  async use (client) {
    for (const encoding of ['gzip', 'br', 'identity', 'unknown']) {
      for (const path of ['/text', '/stream']) {
        await client.send('GET', path, { headers: { 'accept-encoding': encoding } })
      }
    }
    await client.send('HEAD', '/text', { headers: { 'accept-encoding': 'gzip' } })
    await client.send('GET', '/nowhere', { route: 'unmatched', headers: { 'accept-encoding': 'gzip' } })
    const compressed = { 'content-type': 'application/json', 'content-encoding': 'gzip' }
    await client.send('POST', '/body', { headers: compressed, body: 'not gzip' })
    await client.leaveInReply('GET', '/endless', { headers: { 'accept-encoding': 'gzip' } })
  }
}))
