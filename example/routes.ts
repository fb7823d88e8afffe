// Several routes with the default labels: method, route and status_code.
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import latency from 'fastify-latency'

async function main (): Promise<void> {
  const app = Fastify()

  await app.register(latency, {
    // These tell what clients waited, and why: docs/slow.md.
    queueTime: true,
    busyTime: true,
    server: { port: Number(process.env.METRICS_PORT ?? 8000) }
  })

  app.get('/', async () => 'Hello World')

  // Every user is counted under one route, /users/:id.
  app.get<{ Params: { id: string } }>('/users/:id', async (request, reply) => {
    if (!/^\d+$/.test(request.params.id)) return reply.code(400).send('A user id is a number')
    return { id: Number(request.params.id) }
  })

  app.post('/orders', async (_request, reply) => {
    await sleep(20)
    return reply.code(201).send('Ordered')
  })

  // Some reports take long. There is also a bug: reports of years before 2020 fail with status 500.
  const totals = new Map([[2020, 31], [2021, 37], [2022, 41], [2023, 43], [2024, 47]])
  app.get<{ Params: { year: string } }>('/reports/:year', async request => {
    await sleep(10 * 20 ** Math.random())
    return { total: totals.get(Number(request.params.year))!.toFixed(2) }
  })

  // A load balancer asks every second, and nobody waits for the answer.
  app.get('/health', { config: { latency: false } }, async () => 'OK')

  app.get('/v2/users/:id', { config: { latency: { route: '/users/:id' } } }, async () => 'Moved here from /users/:id')

  closeWithGrace(() => app.close())

  const address = await app.listen({ host: process.env.HOST ?? 'localhost', port: Number(process.env.PORT ?? 8001) })
  console.log(`Application   ${address}`)
  const metrics = await app.latency.start()
  console.log(`Metrics       ${metrics}`)
  console.log(`Live page     ${new URL('/live', metrics).href}`)
}

main()
