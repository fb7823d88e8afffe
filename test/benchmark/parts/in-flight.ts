import { once } from 'node:events'
import { connect } from 'node:net'
import Fastify from 'fastify'
import { bytesInUse, type Figures, type Part } from '../part'
import { httpSubjects, type Subject } from '../subjects'

const requests = 2000

async function hold (subject: Subject): Promise<Figures> {
  const app = Fastify({ forceCloseConnections: true })
  await subject(app)
  let open = 0
  let onAll = (): void => {}
  app.get('/', () => { if (++open === requests) onAll() })
  const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const sockets = await Promise.all(Array.from({ length: requests }, async () => {
    const socket = connect(Number(port), '127.0.0.1')
    await once(socket, 'connect')
    return socket
  }))
  const before = bytesInUse()
  const all = new Promise<void>(resolve => { onAll = resolve })
  for (const socket of sockets) socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  await all
  const bytes = (bytesInUse() - before) / requests
  for (const socket of sockets) socket.destroy()
  await app.close()
  return { bytes }
}

export const inFlight: Part = {
  title: 'Memory: per request in flight',
  method: `${requests} requests on as many connections, none of which has been answered: ` +
    'how much memory is in use for one, Node.js and Fastify included.',
  samples: 5,
  scenarios: Object.fromEntries(['empty hooks', 'fastify-latency', 'prom-client histogram', 'fastify-metrics']
    .map(name => [name, () => hold(httpSubjects[name]!)])),
  columns: [
    { heading: 'bytes', digits: 0, value: ({ bytes }) => bytes! },
    {
      heading: 'over empty hooks',
      digits: 0,
      same: 0,
      value: ({ bytes }, round) => bytes! - round['empty hooks']!.bytes!
    }
  ]
}
