// The application of the Dockerfile. It listens on all addresses, because otherwise no other machine could reach the
// container.
const closeWithGrace = require('close-with-grace')
const Fastify = require('fastify')
const latency = require('fastify-latency')

const app = Fastify({ logger: true })

app.register(latency)

app.get('/', async () => 'Hello World')
app.get('/health', { config: { latency: false } }, async () => 'OK')

closeWithGrace(() => app.close())

app.listen({ host: process.env.HOST ?? '0.0.0.0', port: 8001 })
