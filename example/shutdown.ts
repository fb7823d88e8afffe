// Closing without a lost request or count. On SIGTERM, requests in progress finish, /readyz says 503, and the process
// waits for a last scrape.
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import latency from 'fastify-latency'

async function main (): Promise<void> {
  const app = Fastify()

  await app.register(latency, {
    server: {
      port: Number(process.env.METRICS_PORT ?? 8000),
      // A little more than the scrape interval.
      lastScrapeSeconds: 20
    }
  })

  app.get('/', async () => 'Hello World')

  app.get('/slow', async () => {
    await sleep(1000)
    return 'Hello at last'
  })

  // A client with a request in progress may afterwards keep its connection for keepAliveTimeout, 72 seconds.
  let closing = false
  app.addHook('preClose', async () => { closing = true })
  app.addHook('onSend', async (_request, reply) => { if (closing) reply.header('connection', 'close') })

  // The delay is longer than the slowest request and the last scrape together. Whatever ends the process must allow
  // this time too.
  closeWithGrace({ delay: 30_000 }, () => app.close())

  console.log(`Application   ${await app.listen({ port: Number(process.env.PORT ?? 8001) })}`)
  console.log(`Metrics       ${await app.latency.start()}`)
}

main()
