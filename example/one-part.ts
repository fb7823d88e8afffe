// One part of an application has a histogram of its own, with finer buckets. The usual histogram counts all requests,
// including those of this part.
import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import latency from 'fastify-latency'

async function main (): Promise<void> {
  const app = Fastify()

  await app.register(latency, {
    server: { port: Number(process.env.METRICS_PORT ?? 8000) }
  })

  app.get('/', async () => 'Hello World')

  app.register(async shop => {
    await shop.register(latency, {
      histogram: {
        name: 'shop_request_duration_seconds',
        help: 'Time to answer a request to the shop, in seconds.',
        buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05]
      },
      labels: { route: 'route' }
    })

    shop.get('/cart', async () => 'Cart')
  }, { prefix: '/shop' })

  closeWithGrace(() => app.close())

  console.log(`Application   ${await app.listen({ port: Number(process.env.PORT ?? 8001) })}`)
  console.log(`Metrics       ${await app.latency.start()}`)
}

main()
