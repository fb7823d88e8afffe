// Four processes by node:cluster: one port for requests, and one for the metrics of all, without code in the primary.
import cluster from 'node:cluster'
import Fastify from 'fastify'
import latency from 'fastify-latency'

const workers = 4
const signals = ['SIGINT', 'SIGTERM'] as const

function startWorkers (): void {
  for (let count = 0; count < workers; count++) cluster.fork()
  let closing = false
  cluster.on('exit', () => { if (!closing) cluster.fork() })
  for (const signal of signals) {
    process.on(signal, () => {
      closing = true
      for (const worker of Object.values(cluster.workers!)) worker!.process.kill('SIGTERM')
    })
  }
}

async function work (): Promise<void> {
  const app = Fastify()

  await app.register(latency, { server: { port: Number(process.env.METRICS_PORT ?? 8000) } })

  app.get('/', async () => `Hello from process ${process.pid}`)

  // Ctrl-C reaches a worker twice, by the terminal and by the primary. It closes once all the same.
  for (const signal of signals) process.on(signal, () => app.close().then(() => process.exit()))

  const address = await app.listen({ port: Number(process.env.PORT ?? 8001) })
  const metrics = await app.latency.start()
  console.log(`Process ${process.pid}   ${address}   ${metrics}`)
}

if (cluster.isPrimary) startWorkers()
else work()
