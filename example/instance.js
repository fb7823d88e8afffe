// One of several processes with one port for the metrics of all. Start as many as you like, each with another PORT.
const closeWithGrace = require('close-with-grace')
const Fastify = require('fastify')
const latency = require('fastify-latency')

async function main () {
  const app = Fastify()

  await app.register(latency, {
    server: { port: Number(process.env.METRICS_PORT ?? 8000), group: 'shop' }
  })

  app.get('/', async () => `Hello from process ${process.pid}`)

  closeWithGrace(() => app.close())

  console.log(`Application   ${await app.listen({ port: Number(process.env.PORT ?? 8001) })}`)
  console.log(`Metrics       ${await app.latency.start()}`)

  // PM2 ends the process that this one replaces when it is told so.
  process.send?.('ready')
}

main()
