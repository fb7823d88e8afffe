import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import fastifyStatic from '@fastify/static'
import { compare } from './scenario.mjs'

for (const wildcard of [true, false]) {
  t.test(`@fastify/static, wildcard: ${wildcard}`, async t => {
    const root = t.testdir()
    mkdirSync(path.join(root, 'docs'))
    for (const file of ['index.html', 'a.txt', 'docs/index.html']) {
      writeFileSync(path.join(root, file), `This is ${file}`)
    }
    writeFileSync(path.join(root, 'large.bin'), Buffer.alloc(20_000_000))
    /** The route that answers for a file. */
    const routeOf = file => wildcard ? '/files/*' : `/files/${file}`
    await compare(t, {
      async declare (app) {
        await app.register(fastifyStatic, { root, prefix: '/files/', wildcard })
        app.get('/sent', (_request, reply) => reply.sendFile('a.txt'))
        app.get('/missing', (_request, reply) => reply.sendFile('missing.txt'))
      },
      async use (client) {
        const { headers } = await client.send('GET', '/files/a.txt', { route: routeOf('a.txt') })
        await client.send('HEAD', '/files/a.txt', { route: routeOf('a.txt') })
        await client.send('GET', '/files/a.txt', { route: routeOf('a.txt'), headers: { range: 'bytes=0-3' } })
        await client.send('GET', '/files/a.txt', { route: routeOf('a.txt'), headers: { range: 'bytes=100-' } })
        const unchanged = { 'if-none-match': headers.get('etag') }
        await client.send('GET', '/files/a.txt', { route: routeOf('a.txt'), headers: unchanged })
        await client.send('GET', '/files/', { route: wildcard ? '/files/*' : '/files/' })
        await client.send('GET', '/files/docs/', { route: routeOf('docs/') })
        await client.send('GET', '/files/missing.txt', { route: 'unmatched' })
        await client.send('POST', '/files/a.txt', { route: 'unmatched' })
        await client.send('GET', '/sent')
        await client.send('GET', '/missing', { route: 'unmatched' })
        await client.leaveInReply('GET', '/files/large.bin', { route: routeOf('large.bin') })
      }
    })
  })
}
