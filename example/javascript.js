// Plain JavaScript, as a CommonJS module. Nothing has to be built.
const closeWithGrace = require('close-with-grace')
const Fastify = require('fastify')
const latency = require('fastify-latency')

async function main () {
  const app = Fastify()

  await app.register(latency, {
    server: { port: Number(process.env.METRICS_PORT ?? 8000) }
  })

  app.get('/', async () => 'Hello World')

  closeWithGrace(() => app.close())

  console.log(`Application   ${await app.listen({ port: Number(process.env.PORT ?? 8001) })}`)
  console.log(`Metrics       ${await app.latency.start()}`)
}

main()
