import { type Figures, type Part } from '../part'
import { addEmptyHooks, addLatency, addPromClient, type Subject } from '../subjects'
import { addRecorder, call, prepare } from './hooks'

const requests = 200_000

async function allocate (subject: Subject): Promise<Figures> {
  const { hooks, request, reply, close } = await prepare(subject)
  // Compiled by then.
  for (let block = 0; block < 20; block++) call(hooks, request, reply, requests)
  globalThis.gc!()
  const before = process.memoryUsage().heapUsed
  call(hooks, request, reply, requests)
  const bytes = (process.memoryUsage().heapUsed - before) / requests
  await close()
  return { bytes }
}

export const allocation: Part = {
  title: 'Request: allocation',
  method: 'How much the heap grows while hooks are called as above, without a garbage collection meanwhile. What ' +
    'remains with `fastify-latency` is the message that Node.js makes for the subscribers of its channel ' +
    '`http.server.request.start`, 56 bytes, and in some processes one or two times of 16 bytes each, where V8 has ' +
    'not inlined a call that takes them.',
  samples: 3,
  execArgv: ['--min-semi-space-size=256', '--max-semi-space-size=256'],
  scenarios: {
    'empty hooks': () => allocate(addEmptyHooks),
    'fastify-latency, recording alone': () => allocate(addRecorder),
    'fastify-latency': () => allocate(addLatency),
    'prom-client histogram': () => allocate(addPromClient)
  },
  columns: [
    { heading: 'bytes per request', digits: 1, value: ({ bytes }) => bytes! }
  ]
}
