// The smallest application worth watching: "Hello World" on port 8001, and its latency on port 8000.
import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import latency from 'fastify-latency'

async function main (): Promise<void> {
  const app = Fastify()

  await app.register(latency, {
    histogram: {
      name: 'hello_world_latency_seconds',
      help: 'Time to answer "Hello World", in seconds.',
      buckets: [0.0001, 0.0002, 0.0005, 0.001, 0.01, 0.1]
    },
    labels: {},
    server: { port: Number(process.env.METRICS_PORT ?? 8000) }
  })

  app.get('/', async () => 'Hello World')

  // Ctrl-C and SIGTERM let the requests in progress finish.
  closeWithGrace(() => app.close())

  const address = await app.listen({ port: Number(process.env.PORT ?? 8001) })
  const metrics = await app.latency.start()

  console.log(`
Hello World   ${address}/
its latency   ${metrics}
as it is now  ${new URL('/live', metrics).href}

Open the last one, and type in another shell:

  npm run traffic -- ${address} ${metrics}

That sends requests for two minutes. To ask Prometheus about them, type in a third shell:

  prometheus --config.file=example/prometheus.yml

docs/tutorial.md goes on from here. Ctrl-C stops this program.`)
}

main()
