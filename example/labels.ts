// Labels of your own choice: two are renamed, one comes from a header, and one is fixed.
import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import latency from 'fastify-latency'

async function main (): Promise<void> {
  const app = Fastify()

  // The header is never used as it came: a client could make up a new series with every request.
  const tenants = new Set(['acme', 'initech'])

  await app.register(latency, {
    labels: {
      method: 'method',
      path: 'route',
      status_class: 'status_class',
      tenant: ({ headers: { 'x-tenant': tenant } }) => tenants.has(tenant as string) ? tenant as string : 'other'
    },
    constLabels: { service: 'shop' },
    server: { port: Number(process.env.METRICS_PORT ?? 8000) }
  })

  app.get('/orders/:id', async () => 'An order')

  closeWithGrace(() => app.close())

  console.log(`Application   ${await app.listen({ port: Number(process.env.PORT ?? 8001) })}`)
  console.log(`Metrics       ${await app.latency.start()}`)
}

main()
