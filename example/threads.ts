// One application in three threads, by worker_threads: a port for the requests of each, and one for the metrics of all.
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import latency from 'fastify-latency'

const port = Number(process.env.PORT ?? 8001)

function startThreads (): void {
  const threads = [0, 1, 2].map(place => new Worker(process.argv[1]!, { workerData: port && port + place }))
  closeWithGrace(() => Promise.all(threads.map(async thread => {
    const ended = once(thread, 'exit')
    thread.postMessage('close')
    await ended
  })))
}

async function work (): Promise<void> {
  const app = Fastify()

  await app.register(latency, { server: { port: Number(process.env.METRICS_PORT ?? 8000) } })

  app.get('/', async () => 'Hello World')

  parentPort!.once('message', () => app.close())

  const address = await app.listen({ port: workerData as number })
  const metrics = await app.latency.start()
  console.log(`Thread   ${address}   ${metrics}`)
}

if (isMainThread) startThreads()
else work()
