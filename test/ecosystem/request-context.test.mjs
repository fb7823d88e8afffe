import t from 'tap'
import { fastifyRequestContext, requestContext } from '@fastify/request-context'
import { compare } from './scenario.mjs'

t.test('@fastify/request-context: a label function sees what the handler has put there', async t => compare(t, {
  options: { labels: { method: 'method', route: () => requestContext.get('operation'), status_code: 'status' } },
  async declare (app) {
    await app.register(fastifyRequestContext, { defaultStoreValues: () => ({ operation: 'none' }) })
    app.get('/orders', async request => {
      request.requestContext.set('operation', 'orders')
      return 'Orders'
    })
    app.get('/other', async () => 'Other')
  },
  async use (client) {
    await Promise.all([1, 2, 3].map(async () => client.send('GET', '/orders', { route: 'orders' })))
    await client.send('GET', '/other', { route: 'none' })
  }
}))
