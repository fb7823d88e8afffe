// Metrics of your own, made with prom-client, beside those of the plugin.
import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import latency from 'fastify-latency'
import { Counter, Gauge, type Registry } from 'prom-client'

async function main (): Promise<void> {
  const app = Fastify()

  await app.register(latency, {
    server: { port: Number(process.env.METRICS_PORT ?? 8000) }
  })

  // This metric is in the registry of this application.
  const orders = new Counter({
    name: 'orders_total',
    help: 'Orders placed.',
    labelNames: ['currency'],
    registers: [app.latency.registry as Registry]
  })

  // This metric is in prom-client's global registry, like the metrics of libraries.
  const open = new Gauge({ name: 'orders_open', help: 'Orders that are not delivered yet.' })

  app.post('/orders', async (_request, reply) => {
    orders.inc({ currency: 'EUR' })
    open.inc()
    return reply.code(201).send('Ordered')
  })

  closeWithGrace(() => app.close())

  console.log(`Application   ${await app.listen({ port: Number(process.env.PORT ?? 8001) })}`)
  console.log(`Metrics       ${await app.latency.start()}`)
}

main()
