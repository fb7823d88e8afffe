import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { restartable } from '@fastify/restartable'
import { Client } from './client.mjs'
import { countsOf, latency, scrape, until } from './scenario.mjs'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')

/** An application that is made anew at each restart, with its metrics on the port that those before it had. */
async function createRestartable (t) {
  const generations = []
  let port = 0
  const app = await restartable(async (create, options) => {
    const generation = create(options)
    generations.push(new WeakRef(generation))
    await generation.register(latency, { server: { host: '127.0.0.1', port }, endpoint: '/metrics' })
    generation.get('/users/:id', async request => request.params.id)
    return generation
  }, {})
  t.teardown(() => app.close())
  const client = new Client(app, await app.listen({ host: '127.0.0.1', port: 0 }))
  port = Number(new URL(await app.latency.start()).port)
  return { app, client, generations }
}

t.test('@fastify/restartable: each generation has its metrics, at the same address as before', async t => {
  const { app, client } = await createRestartable(t)
  for (const generation of ['first', 'second', 'third']) {
    for (const id of [1, 2, 3]) await client.send('GET', `/users/${id}`, { route: '/users/:id' })
    await client.send('GET', '/%zz')
    const { body } = await client.send('GET', '/metrics')
    const url = await until('the port of the generation before', async () => app.latency.start().catch(() => null))
    for (const page of [body, await scrape(url)]) {
      const { replied, rejected } = countsOf(page).counts
      t.same(replied, { 'GET /users/:id 200': 3 }, generation)
      t.same(rejected, { bad_url: 1 }, generation)
    }
    await app.restart()
  }
})

t.test('@fastify/restartable: nothing of a generation remains after the restart', async t => {
  const warnings = []
  const keep = warning => warnings.push(warning.name)
  process.on('warning', keep)
  t.teardown(() => process.off('warning', keep))
  const { app, client, generations } = await createRestartable(t)
  for (let restart = 0; restart < 11; restart++) {
    await client.send('GET', '/users/1')
    await app.restart()
  }
  await until('all generations but the last to be gone', () => {
    collectGarbage()
    return generations.filter(generation => generation.deref() !== undefined).length <= 2
  })
  t.notOk(warnings.includes('MaxListenersExceededWarning'))
})
