import t from 'tap'
import { context, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import Fastify from 'fastify'
import FastifyOtelInstrumentation from '@fastify/otel'
import { anyPort, compare, latency, scrape } from './scenario.mjs'

const exporter = new InMemorySpanExporter()
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
trace.setGlobalTracerProvider(provider)

/** @fastify/otel, instrumenting every application that is made from now on until the test ends. */
function instrument (t, options = {}) {
  const instrumentation = new FastifyOtelInstrumentation(options)
  instrumentation.setTracerProvider(provider)
  t.teardown(() => instrumentation.disable())
  exporter.reset()
  return instrumentation
}

const spanNames = () => exporter.getFinishedSpans().map(({ name }) => name)

function declareRoutes (app) {
  app.get('/users/:id', async request => request.params.id)
  app.get('/fails', async () => { throw new Error('no') })
  app.get('/slow', () => new Promise(() => {}))
}

for (const place of ['before', 'declare']) {
  t.test(`@fastify/otel registered ${place === 'before' ? 'before' : 'after'} the plugin`, async t => {
    const instrumentation = instrument(t)
    await compare(t, {
      async [place] (app) {
        await app.register(instrumentation.plugin())
        if (place === 'declare') declareRoutes(app)
      },
      ...place === 'before' && { declare: declareRoutes },
      async use (client) {
        for (const id of [1, 2]) await client.send('GET', `/users/${id}`, { route: '/users/:id' })
        await client.send('GET', '/fails')
        await client.send('GET', '/nowhere', { route: 'unmatched' })
        await client.leaveBeforeReply('GET', '/slow')
      }
    })
  })
}

t.test('registered before @fastify/otel, what the plugin does with every request is not traced', async t => {
  const instrumentation = instrument(t)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(latency, anyPort)
  await app.register(instrumentation.plugin())
  app.get('/', async function hello () { return 'Hello World' })
  await app.inject('/')
  t.match(spanNames().join(), 'handler - hello,request')
  t.notMatch(spanNames().join(), /beginRequest|endRequest|handOutConfig/)
})

t.test('what @fastify/otel traces of the plugin has names, and scrapes are no traces', async t => {
  const instrumentation = instrument(t, { registerOnInitialization: true })
  instrumentation.enable()
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(latency, { ...anyPort, endpoint: '/metrics' })
  app.get('/', async () => 'Hello World')
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const url = await app.latency.start()
  exporter.reset()
  await scrape(`${address}/`)
  t.same(spanNames(), [
    'onRequest - beginRequest', 'handler - fastify -> @fastify/otel -> fastify-latency', 'request',
    'onResponse - endRequest'
  ])
  exporter.reset()
  for (const path of ['/metrics', '/healthz', '/readyz', '/', '/live', '/live/page', '/live/uplot.js']) {
    await scrape(new URL(path, url))
  }
  await scrape(`${address}/metrics`)
  t.same(spanNames(), [])
})
