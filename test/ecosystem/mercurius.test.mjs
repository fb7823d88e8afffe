import t from 'tap'
import mercurius from 'mercurius'
import { compare } from './scenario.mjs'

const schema = `
  type Query { add (x: Int, y: Int): Int, fails: Int, slow: Int }
  type Mutation { notify (message: String): Boolean }
  type Subscription { notified: String }
`
const resolvers = {
  Query: {
    add: async (_, { x, y }) => x + y,
    fails: async () => { throw new Error('no') },
    slow: () => new Promise(() => {})
  },
  Mutation: {
    notify: async (_, { message }, { pubsub }) => {
      await pubsub.publish({ topic: 'notified', payload: { notified: message } })
      return true
    }
  },
  Subscription: { notified: { subscribe: async (_root, _args, { pubsub }) => pubsub.subscribe('notified') } }
}

const json = (query, more) => ({
  route: '/graphql', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ query, ...more })
})

t.test('mercurius: queries, mutations, errors and subscriptions', async t => compare(t, {
  fastify: { forceCloseConnections: true },
  async declare (app) {
    await app.register(mercurius, { schema, resolvers, subscription: true, graphiql: true })
  },
  async use (client) {
    for (const x of [1, 2]) await client.send('POST', '/graphql', json(`{ add(x: ${x}, y: 2) }`))
    await client.send('GET', '/graphql?query={add(x:1,y:2)}', { route: '/graphql' })
    await client.send('POST', '/graphql', json('{ fails }'))
    await client.send('POST', '/graphql', json('{ nothing }'))
    await client.send('POST', '/graphql', { ...json(''), body: '{' })
    await client.send('POST', '/graphql', json('mutation { notify(message: "hi") }'))
    await client.send('GET', '/graphiql')
    await client.leaveBeforeReply('POST', '/graphql', {
      ...json('{ slow }'), headers: { 'content-type': 'application/json' }
    })
    await client.webSocket('/graphql', {
      protocols: ['graphql-transport-ws'], messages: ['{"type":"connection_init"}', '{"type":"ping"}']
    })
  }
}))
