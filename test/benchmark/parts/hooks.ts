import { once } from 'node:events'
import { channel } from 'node:diagnostics_channel'
import { Agent, get, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import latency, { type Options } from 'fastify-latency'
import { median, type Figures, type Part } from '../part'
import { addEmptyHooks, addPromClient, loadInternal, subjects, type Subject } from '../subjects'

const blocks = 41
const requestsPerBlock = 100_000

type Hook = (request: FastifyRequest, reply: FastifyReply, done: () => void) => void

export interface Prepared {
  readonly hooks: readonly Hook[]
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly close: () => Promise<void>
}

/** The hooks that a subject adds, with the request and reply of a connection that is open. */
export async function prepare (subject: Subject, headers: OutgoingHttpHeaders = {}): Promise<Prepared> {
  const app = Fastify()
  const hooks = collectHooks(app)
  await subject(app)
  app.addHook('onRoute', ({ onRequest = [] }) => { hooks.onRequest.push(...[onRequest].flat() as Hook[]) })
  let seen: [FastifyRequest, FastifyReply] | undefined
  app.get('/users/:id', {
    onResponse: async (request, reply) => { seen = [request, reply] }
  }, async () => 'Hello World')
  const agent = new Agent({ keepAlive: true })
  const url = `${await app.listen({ host: '127.0.0.1', port: 0 })}/users/1`
  const [response] = await once(get(url, { agent, headers }), 'response') as [IncomingMessage]
  await once(response.resume(), 'end')
  const [request, reply] = seen!
  // As it is in the turn in which a reply has been sent, which is when the hooks see it.
  Object.defineProperty(reply.raw, 'closed', { value: false })
  // Fastify calls the hooks of all routes from one place, so that V8 cannot inline them there.
  for (let index = 0; index < 8; index++) call([createEmptyHook()], request, reply, requestsPerBlock)
  return {
    hooks: [...hooks.onRequest, ...hooks.onResponse],
    request,
    reply,
    async close () {
      agent.destroy()
      await app.close()
    }
  }
}

async function callHooks (
  subject: Subject, { before, headers }: { before?: () => Promise<void>, headers?: OutgoingHttpHeaders } = {}
): Promise<Figures> {
  const { hooks, request, reply, close } = await prepare(subject, headers)
  await before?.()
  const durations: number[] = []
  for (let block = 0; block < blocks; block++) {
    const start = process.hrtime.bigint()
    call(hooks, request, reply, requestsPerBlock)
    durations.push(Number(process.hrtime.bigint() - start) / requestsPerBlock)
  }
  await close()
  return { ns: median(durations.slice(blocks >> 1)) }
}

/** What a process does beside: the same code sees the requests of a second application, and of scrapes. */
async function serveAnother (): Promise<void> {
  const app = Fastify()
  await app.register(latency, { server: { port: 0 } })
  app.get('/', async () => 'Hello World')
  const urls = [await app.listen({ host: '127.0.0.1', port: 0 }), await app.latency.start()]
  for (let count = 0; count < 20; count++) for (const url of urls) await (await fetch(url)).text()
  await app.close()
}

/** The hooks that are added from now on to an application, and to each of its routes. */
function collectHooks (app: FastifyInstance): Record<'onRequest' | 'onResponse', Hook[]> {
  const hooks: Record<string, Hook[]> = { onRequest: [], onResponse: [] }
  const { addHook } = app
  app.addHook = function (this: FastifyInstance, name: string, hook: Hook) {
    hooks[name]?.push(hook)
    return addHook.call(this, name as never, hook as never)
  } as never
  return hooks as never
}

async function addWith (app: FastifyInstance, options: Options): Promise<void> {
  await app.register(latency, { server: false, ...options })
}

function createEmptyHook (): Hook {
  return new Function('request', 'reply', 'done', 'done()') as Hook // eslint-disable-line no-new-func
}

/** Has hooks see the same request so many times. */
export function call (hooks: readonly Hook[], request: FastifyRequest, reply: FastifyReply, times: number): void {
  const began = channel('http.server.request.start')
  const done = (): void => {}
  const { raw: incoming } = request
  const { server } = request.server
  for (let count = 0; count < times; count++) {
    // As Node.js does for each request.
    if (began.hasSubscribers) began.publish({ request: incoming, response: reply.raw, socket: incoming.socket, server })
    for (let index = 0; index < hooks.length; index++) hooks[index]!(request, reply, done)
  }
}

/**
 * The series of a request found, and its time put into the histogram. Nothing is done about
 * requests that end in another way.
 */
export function addRecorder (app: FastifyInstance, histograms = 1): void {
  const [
    { Recorder }, { measures }, { parseOptions }, { HistogramFamily }, { SeriesIndex }, { handOutRouteConfigs }
  ] = [
    'request/recorder', 'request/measures', 'config', 'histogram/family', 'histogram/series-index',
    'request/route-config'
  ].map(loadInternal)
  const config = parseOptions({})
  const index = new SeriesIndex(Object.keys(config.labels))
  const columns = Array.from({ length: histograms }, () =>
    ({ measure: measures[0], family: new HistogramFamily({ ...config.histogram, unit: 'seconds' }, index) }))
  const recorder = new Recorder({ index, columns, config, warnOnce: () => {}, onOverflow: () => {} })
  handOutRouteConfigs(app)
  app.addHook('onRequest', (_request, _reply, done) => done())
  app.addHook('onResponse', (_request, reply, done) => {
    recorder.record(reply, reply.statusCode, reply.elapsedTime, 'replied')
    done()
  })
}

/** Of a trace that is sampled. */
const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

export const hooks: Part = {
  title: 'Request: hooks alone',
  method: 'The hooks of each, called in a tight loop with the Request and Reply of a real connection: route hooks ' +
    'and what Node.js publishes for them included. `recording alone` finds the series and puts the time into the ' +
    'histogram, or into three, and notices no other ending than a reply.',
  samples: 9,
  scenarios: {
    'empty hooks': () => callHooks(addEmptyHooks),
    'fastify-latency, recording alone': () => callHooks(addRecorder),
    'fastify-latency, recording into three histograms alone': () => callHooks(app => addRecorder(app, 3)),
    'fastify-latency': () => callHooks(subjects['fastify-latency']!),
    'fastify-latency, native': () => callHooks(app => addWith(app, { histogram: { native: true } })),
    'fastify-latency, exemplars, no trace': () => callHooks(app => addWith(app, { exemplars: true })),
    'fastify-latency, exemplars, sampled trace': () =>
      callHooks(app => addWith(app, { exemplars: true }), { headers: { traceparent } }),
    'fastify-latency, beside another application and scrapes': () =>
      callHooks(subjects['fastify-latency']!, { before: serveAnother }),
    ...subjects.baseline === undefined ? {} : { baseline: () => callHooks(subjects.baseline!) },
    'prom-client histogram': () => callHooks(addPromClient)
  },
  columns: [
    { heading: 'ns per request', digits: 0, value: ({ ns }) => ns! },
    { heading: 'over empty hooks', digits: 0, same: 0, value: ({ ns }, round) => ns! - round['empty hooks']!.ns! }
  ]
}
