// The application of the Dockerfile. Others reach a container at all of its addresses, or not at all.
const closeWithGrace = require('close-with-grace')
const Fastify = require('fastify')
const latency = require('fastify-latency')

const app = Fastify({ logger: true })

app.register(latency)

app.get('/', async () => 'Hello World')

closeWithGrace(() => app.close())

app.listen({ host: process.env.HOST ?? '0.0.0.0', port: 8001 })
