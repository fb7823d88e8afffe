// Four processes by node:cluster: one port for requests, and one for the metrics of all, without code in the primary.
import cluster from 'node:cluster'
import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import latency from 'fastify-latency'

const workers = 4

function startWorkers (): void {
  for (let count = 0; count < workers; count++) cluster.fork()
  let closing = false
  cluster.on('exit', () => { if (!closing) cluster.fork() })
  // Ctrl-C has reached the workers too. A second signal would not let their requests finish.
  process.on('SIGINT', () => { closing = true })
  process.on('SIGTERM', () => {
    closing = true
    for (const worker of Object.values(cluster.workers!)) worker!.process.kill('SIGTERM')
  })
}

async function work (): Promise<void> {
  const app = Fastify()

  await app.register(latency, { server: { port: Number(process.env.METRICS_PORT ?? 8000) } })

  app.get('/', async () => `Hello from process ${process.pid}`)

  closeWithGrace(() => app.close())

  const address = await app.listen({ port: Number(process.env.PORT ?? 8001) })
  const metrics = await app.latency.start()
  console.log(`Process ${process.pid}   ${address}   ${metrics}`)
}

if (cluster.isPrimary) startWorkers()
else work()
