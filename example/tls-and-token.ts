// The metrics over TLS, for clients that know a token. CERT_FILE and KEY_FILE name PEM files, METRICS_TOKEN is long and
// random.
import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import latency from 'fastify-latency'

async function main (): Promise<void> {
  const app = Fastify()

  await app.register(latency, {
    server: {
      port: Number(process.env.METRICS_PORT ?? 8000),
      https: { certFile: process.env.CERT_FILE!, keyFile: process.env.KEY_FILE! },
      auth: { tokens: [process.env.METRICS_TOKEN!] }
    }
  })

  app.get('/', async () => 'Hello World')

  closeWithGrace(() => app.close())

  console.log(`Application   ${await app.listen({ port: Number(process.env.PORT ?? 8001) })}`)
  console.log(`Metrics       ${await app.latency.start()}`)
}

main()
