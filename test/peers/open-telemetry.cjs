// Has OpenTelemetry's own instrumentation and this package count the same requests, and prints as JSON what each serves.
process.env.OTEL_SEMCONV_STABILITY_OPT_IN = 'http'
const { PrometheusExporter } = require('@opentelemetry/exporter-prometheus')
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http')
const { MeterProvider } = require('@opentelemetry/sdk-metrics')

const exporter = new PrometheusExporter({ preventServerStart: true })
const instrumentation = new HttpInstrumentation()
instrumentation.setMeterProvider(new MeterProvider({ readers: [exporter] }))
instrumentation.enable()
require('http') // Is instrumented when it is required.

const Fastify = require('fastify')
const { fastifyLatency, openTelemetry } = require('fastify-latency')

async function main () {
  const app = Fastify()
  await app.register(fastifyLatency, { ...openTelemetry, server: false })
  app.get('/users/:id', async () => 'x')
  app.get('/fails', async () => { throw new Error('no') })
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  await fetch(`${address}/users/1`)
  await fetch(`${address}/fails`)
  await fetch(`${address}/nowhere`)
  await fetch(`${address}/users/1`, { method: 'PURGE' })
  const ours = await app.latency.registry.metrics()
  const theirs = await new Promise(resolve => {
    exporter.getMetricsRequestHandler({}, { setHeader () {}, end: resolve })
  })
  console.log(JSON.stringify({ ours, theirs }))
  process.exit()
}

main()
