import { setImmediate, setTimeout } from 'node:timers/promises'
import t from 'tap'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import rateLimit from '@fastify/rate-limit'
import underPressure from '@fastify/under-pressure'
import { compare } from './scenario.mjs'

const registerRateLimit = async app => app.register(rateLimit, { max: 3, timeWindow: 60_000 })

function declareRoutes (app) {
  app.get('/', async () => 'Hello World')
  app.post('/orders', async (_request, reply) => reply.code(201).send('Ordered'))
}

async function exceed (client) {
  for (let count = 0; count < 5; count++) await client.send('GET', '/')
  await client.send('GET', '/nowhere', { route: 'unmatched' })
}

t.test('@fastify/rate-limit after the plugin', async t => compare(t, {
  async declare (app) {
    await registerRateLimit(app)
    declareRoutes(app)
  },
  use: exceed
}))

t.test('@fastify/rate-limit before the plugin', async t => compare(t, {
  before: registerRateLimit, declare: declareRoutes, use: exceed
}))

/** Refuses each request, now or when something else has happened meanwhile. */
const handlers = {
  'at once': (_request, reply) => { reply.code(503).send('Busy') },
  'an error': () => { throw new Error('Busy') },
  later: async (_request, reply) => {
    await setImmediate()
    reply.code(503).send('Busy')
  }
}

for (const [how, pressureHandler] of Object.entries(handlers)) {
  for (const place of ['before', 'declare']) {
    const when = place === 'before' ? 'before' : 'after'
    t.test(`@fastify/under-pressure refuses, ${how}, registered ${when} the plugin`, async t => compare(t, {
      async [place] (app) {
        // It refuses to start an application that is not well.
        const healthCheck = async () => !app.server.listening
        await app.register(underPressure, { healthCheck, healthCheckInterval: 5, pressureHandler })
        // Whoever looks after such an application also does something about its replies.
        app.addHook('onResponse', async () => { await setImmediate() })
        if (place === 'declare') declareRoutes(app)
      },
      ...place === 'before' && { declare: declareRoutes },
      async use (client, app) {
        while (!app.isUnderPressure()) await setTimeout(5)
        await Promise.all(Array.from({ length: 20 }, async () => client.send('GET', '/')))
        await Promise.all(Array.from({ length: 5 }, async () => client.send('GET', '/nowhere', { route: 'unmatched' })))
        await client.send('POST', '/orders')
      }
    }))
  }
}

t.test('@fastify/cors answers preflights, and @fastify/helmet adds headers', async t => compare(t, {
  async declare (app) {
    await app.register(cors, { origin: ['https://shop.example'], methods: ['GET', 'POST'] })
    await app.register(helmet)
    declareRoutes(app)
  },
  async use (client) {
    const headers = { origin: 'https://shop.example', 'access-control-request-method': 'POST' }
    await client.send('OPTIONS', '/orders', { headers, route: '*' })
    await client.send('OPTIONS', '/nowhere', { headers, route: '*' })
    await client.send('OPTIONS', '/orders', { route: '*' })
    await client.send('POST', '/orders', { headers: { origin: 'https://shop.example' } })
    await client.send('GET', '/', { headers: { origin: 'https://elsewhere.example' } })
  }
}))
