import t from 'tap'
import Fastify from 'fastify'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { anyPort, compare, latency } from './scenario.mjs'

t.test('@fastify/swagger-ui', async t => compare(t, {
  async declare (app) {
    await app.register(swagger)
    await app.register(swaggerUi, { routePrefix: '/docs' })
    app.get('/users/:id', { schema: { summary: 'A user' } }, async () => 'x')
  },
  async use (client) {
    await client.send('GET', '/docs')
    await client.send('GET', '/docs/json')
    await client.send('GET', '/docs/yaml')
    await client.send('GET', '/docs/static/index.css', { route: '/docs/static/*' })
    await client.send('GET', '/docs/static/nothing', { route: 'unmatched' })
    await client.send('GET', '/users/1', { route: '/users/:id' })
  }
}))

t.test('the metrics are not in what @fastify/swagger documents', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger)
  await app.register(latency, { ...anyPort, endpoint: '/metrics' })
  app.get('/users', async () => 'x')
  await app.ready()
  t.same(Object.keys(app.swagger().paths ?? app.swagger()), ['/users'])
})
