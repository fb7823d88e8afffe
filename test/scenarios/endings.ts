import { once } from 'node:events'
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import websocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import WebSocket from 'ws'
import { Connection, exchange, leaveAfter } from '../helpers/connection'
import { Gate } from '../helpers/gate'

/** How requests can end, and what is then to be counted. */
export interface Scenario {
  readonly name: string
  readonly options?: object
  /** Adds what stands before the plugin. */
  readonly before?: (app: FastifyInstance, gates: Gates) => void
  /** Adds routes, and what stands after the plugin. */
  readonly declare?: (app: FastifyInstance, gates: Gates) => void
  /** Sends the requests, and sees them end on the client's side. */
  readonly run: (address: string, gates: Gates, app: FastifyInstance) => Promise<unknown>
  /** Observations of the latency histogram, by method, route and status. */
  readonly observed: Record<string, number>
  /** `http_requests_aborted_total`, by method, route and phase. */
  readonly aborted?: Record<string, number>
  /** `http_long_lived_requests_ended_total`, by method, route and kind. */
  readonly longLived?: Record<string, number>
}

export class Gates {
  /** Opened by the application when a request is where the client is to act. */
  readonly reached = new Gate()
  /** Opened when the application may go on, at the latest when the last connection has closed. */
  readonly released = new Gate()
}

const head = (path: string, method = 'GET', more = ''): string => `${method} ${path} HTTP/1.1\nhost: x\n${more}\n`

async function getRoot (address: string): Promise<void> {
  return get(address, '/')
}

async function get (address: string, path: string): Promise<void> {
  await (await fetch(address + path, { headers: { connection: 'close' } })).arrayBuffer()
}

/** A route that replies when it is released. */
function declareWaiting (app: FastifyInstance, { reached, released }: Gates): void {
  app.route({
    method: ['GET', 'POST'],
    url: '/wait',
    handler: async () => {
      reached.open()
      await released.passed()
      return 'x'
    }
  })
}

/** A route that sends the first part of its reply, and the rest never. */
function declareEndless (app: FastifyInstance, { reached }: Gates, type = 'application/octet-stream'): void {
  app.get('/endless', async (_request, reply) => {
    const source = new Readable({ read () {} })
    source.push('first')
    reached.open()
    return reply.type(type).send(source)
  })
}

/** A route that sends the first part of its reply, and fails when it is released. */
function declareFailing (app: FastifyInstance, { released }: Gates): void {
  app.get('/', async (_request, reply) => {
    const source = new Readable({ read () {} })
    source.push('first')
    released.passed().then(() => source.destroy(new Error('no')), () => {})
    return reply.send(source)
  })
}

/** Sends something to the route that waits, and leaves when the handler has it. */
async function leaveWaiting (address: string, { reached }: Gates, request: string): Promise<void> {
  const connection = await Connection.open(address)
  connection.send(request)
  await reached.passed()
  connection.leave()
}

/** Resets an HTTP/2 stream when it has come so far. */
async function resetAfter (
  address: string, path: string, reached: (stream: ClientHttp2Stream) => Promise<unknown>,
  code = http2.constants.NGHTTP2_CANCEL
): Promise<void> {
  const { session, stream } = await openStream(address, path)
  await reached(stream)
  stream.close(code)
  await once(stream, 'close')
  await closeSession(session)
}

async function openStream (
  address: string, path: string
): Promise<{ session: ClientHttp2Session, stream: ClientHttp2Stream }> {
  const session = http2.connect(address)
  session.on('error', () => {})
  const stream = session.request({ ':path': path })
  stream.on('error', () => {})
  return { session, stream }
}

async function closeSession (session: ClientHttp2Session): Promise<void> {
  session.close()
  if (!session.closed || !session.destroyed) await once(session, 'close')
}

const plain: Scenario[] = [
  {
    name: 'a reply',
    declare: app => { app.get('/', async () => 'x') },
    run: getRoot,
    observed: { 'GET / 200': 1 }
  },
  {
    name: 'HEAD and OPTIONS',
    declare: app => {
      app.get('/', async () => 'x')
      app.options('/', async (_request, reply) => reply.code(204).send())
    },
    async run (address) {
      for (const method of ['HEAD', 'OPTIONS']) await fetch(address, { method, headers: { connection: 'close' } })
    },
    observed: { 'HEAD / 200': 1, 'OPTIONS / 204': 1 }
  },
  {
    name: 'an onRequest hook before the plugin replies',
    before: app => { app.addHook('onRequest', async (_request, reply) => reply.code(401).send()) },
    declare: app => { app.get('/', async () => 'x') },
    run: getRoot,
    observed: { 'GET / 401': 1 }
  },
  {
    name: 'an onRequest hook after the plugin replies',
    declare: app => {
      app.addHook('onRequest', async (_request, reply) => reply.code(429).send())
      app.get('/', async () => 'x')
    },
    run: getRoot,
    observed: { 'GET / 429': 1 }
  },
  {
    name: 'no route matches, in the application and in a context with a handler of its own',
    declare: app => {
      app.register(async child => { child.setNotFoundHandler((_request, reply) => { reply.code(404).send() }) }, {
        prefix: '/child'
      })
    },
    async run (address) {
      await get(address, '/nothing')
      await get(address, '/child/nothing')
    },
    observed: { 'GET unmatched 404': 2 }
  },
  {
    name: 'reply.callNotFound()',
    declare: app => { app.get('/gone', (_request, reply) => { reply.callNotFound() }) },
    run: address => get(address, '/gone'),
    observed: { 'GET unmatched 404': 1 }
  },
  {
    name: 'inject()',
    declare: app => { app.get('/', async () => 'x') },
    run: async (_address, _gates, app) => app.inject('/'),
    observed: { 'GET / 200': 1 }
  },
  {
    name: 'many requests on one connection, one after another',
    declare: app => { app.get('/', async () => 'x') },
    async run (address) {
      const connection = await Connection.open(address)
      for (let n = 1; n <= 3; n++) {
        connection.send(head('/', 'GET', `x-n: ${n}\n`))
        await connection.until('\r\n\r\nx')
        connection.received = ''
      }
      connection.leave()
    },
    observed: { 'GET / 200': 3 }
  },
  {
    name: 'many requests on one connection at once, answered',
    declare: app => { app.get('/:n', async () => 'x') },
    run: address => exchange(address, head('/1') + head('/2') + head('/3', 'GET', 'connection: close\n')),
    observed: { 'GET /:n 200': 3 }
  },
  {
    name: 'many requests on one connection at once, the second and third of them left',
    declare: (app, gates) => {
      app.get('/', async () => 'x')
      declareWaiting(app, gates)
    },
    async run (address, { reached }) {
      const connection = await Connection.open(address)
      connection.send(head('/') + head('/wait') + head('/'))
      await connection.until('\r\n\r\nx')
      await reached.passed()
      connection.leave()
    },
    observed: { 'GET / 200': 1, 'GET /wait 499': 1, 'GET / 499': 1 },
    aborted: { 'GET /wait before_reply': 1, 'GET / before_reply': 1 }
  },
  {
    name: 'a request that loses its socket, as one does that is passed on as the body of another',
    declare: app => {
      app.post('/', async ({ raw }) => {
        Object.assign(raw, { socket: null })
        raw.destroy()
        return 'x'
      })
    },
    async run (address) {
      const body = 'connection: close\ncontent-type: text/plain\ncontent-length: 1\n'
      await exchange(address, head('/', 'POST', body) + 'y')
    },
    observed: { 'POST / 200': 1 }
  },
  {
    name: 'Expect: 100-continue',
    declare: app => { app.post('/', async request => request.body) },
    async run (address) {
      const connection = await Connection.open(address)
      connection.send(head('/', 'POST', 'expect: 100-continue\ncontent-type: text/plain\ncontent-length: 1\n'))
      await connection.until('100 Continue')
      connection.send('y')
      await connection.until('\r\n\r\ny')
      connection.leave()
    },
    observed: { 'POST / 200': 1 }
  }
]

const throwers: Scenario[] = [
  ...(['onRequest', 'preParsing', 'preValidation', 'preHandler', 'preSerialization',
    'onSend'] as const).map((hook): Scenario => ({
    name: `a hook throws: ${hook}`,
    declare: app => {
      app.addHook(hook as 'onRequest', async () => { throw new Error('no') })
      app.get('/', async () => ({ x: 1 }))
    },
    run: getRoot,
    observed: { 'GET / 500': 1 }
  })),
  {
    name: 'a hook throws: onResponse',
    declare: app => {
      app.addHook('onResponse', async () => { throw new Error('no') })
      app.get('/', async () => 'x')
    },
    run: getRoot,
    observed: { 'GET / 200': 1 }
  },
  {
    name: 'a hook throws: onError',
    declare: app => {
      app.addHook('onError', async () => { throw new Error('no') })
      app.get('/', async () => { throw new Error('no') })
    },
    run: getRoot,
    observed: { 'GET / 500': 1 }
  },
  {
    name: 'the handler throws, and its error handler too',
    declare: app => {
      app.setErrorHandler(() => { throw new Error('no') })
      app.get('/', async () => { throw new Error('no') })
    },
    run: getRoot,
    observed: { 'GET / 500': 1 }
  },
  {
    name: 'the serializer throws',
    declare: app => {
      app.get('/', { serializerCompiler: () => () => { throw new Error('no') }, schema: { response: { 200: {} } } },
        async () => ({ x: 1 }))
    },
    run: getRoot,
    observed: { 'GET / 500': 1 }
  },
  {
    name: 'the source of a stream fails before the reply begins',
    declare: app => {
      app.get('/', async (_request, reply) => reply.send(new Readable({ read () { this.destroy(new Error('no')) } })))
    },
    run: getRoot,
    observed: { 'GET / 500': 1 }
  },
  {
    name: 'the source of a stream fails in mid-reply',
    declare: declareFailing,
    async run (address, { released }) {
      const connection = await Connection.open(address)
      connection.send(head('/'))
      await connection.until('first')
      released.open()
      await connection.closed()
    },
    observed: { 'GET / 200': 1 },
    aborted: { 'GET / in_reply': 1 }
  }
]

const aborts: Scenario[] = [
  {
    name: 'the client leaves before the reply',
    declare: declareWaiting,
    run: (address, gates) => leaveWaiting(address, gates, head('/wait')),
    observed: { 'GET /wait 499': 1 },
    aborted: { 'GET /wait before_reply': 1 }
  },
  {
    name: 'the client leaves before the reply, its body not read',
    declare: (app, gates) => {
      app.addHook('onRequest', async () => {
        gates.reached.open()
        await gates.released.passed()
      })
      declareWaiting(app, gates)
    },
    run: (address, gates) =>
      leaveWaiting(address, gates, head('/wait', 'POST', 'content-type: text/plain\ncontent-length: 1\n') + 'y'),
    observed: { 'POST /wait 499': 1 },
    aborted: { 'POST /wait before_reply': 1 }
  },
  {
    name: 'the client leaves before the reply, its body read',
    declare: declareWaiting,
    run: (address, gates) =>
      leaveWaiting(address, gates, head('/wait', 'POST', 'content-type: text/plain\ncontent-length: 1\n') + 'y'),
    observed: { 'POST /wait 499': 1 },
    aborted: { 'POST /wait before_reply': 1 }
  },
  {
    name: 'the client leaves in mid-upload',
    declare: (app, { reached }) => {
      app.addHook('preParsing', (_request, _reply, _payload, done) => {
        reached.open()
        done()
      })
      app.post('/', async () => 'x')
    },
    run: (address, gates) =>
      leaveWaiting(address, gates, head('/', 'POST', 'content-type: text/plain\ncontent-length: 9\n') + 'y'),
    observed: { 'POST / 499': 1 },
    aborted: { 'POST / before_reply': 1 }
  },
  {
    name: 'the client resets the connection before the reply',
    declare: declareWaiting,
    async run (address, { reached }) {
      const connection = await Connection.open(address)
      connection.send(head('/wait'))
      await reached.passed()
      connection.reset()
    },
    observed: { 'GET /wait 499': 1 },
    aborted: { 'GET /wait before_reply': 1 }
  },
  {
    name: 'the client leaves in mid-reply',
    declare: declareEndless,
    run: address => leaveAfter(address, head('/endless'), 'first'),
    observed: { 'GET /endless 200': 1 },
    aborted: { 'GET /endless in_reply': 1 }
  },
  {
    name: 'the client resets the connection while a large reply waits to be sent',
    declare: app => { app.get('/', async () => Buffer.alloc(50_000_000)) },
    async run (address) {
      const connection = await Connection.open(address)
      connection.send(head('/'))
      await connection.until('\r\n\r\n')
      connection.socket.pause()
      connection.reset()
    },
    observed: { 'GET / 200': 1 },
    aborted: { 'GET / in_reply': 1 }
  },
  {
    name: 'a hijacked reply that nothing was sent of',
    declare: (app, { reached }) => {
      app.get('/wait', (_request, reply) => {
        reply.hijack()
        reached.open()
      })
    },
    run: (address, gates) => leaveWaiting(address, gates, head('/wait')),
    observed: { 'GET /wait 499': 1 },
    aborted: { 'GET /wait before_reply': 1 }
  },
  {
    name: 'somebody else\'s onResponse hook is late, and the client has gone by then',
    before: (app, { released }) => { app.addHook('onResponse', async () => released.passed()) },
    declare: app => { app.get('/', async () => 'x') },
    run: getRoot,
    observed: { 'GET / 200': 1 }
  },
  {
    name: 'somebody else\'s onResponse hook is late, and the client resets the connection meanwhile',
    before: (app, { reached, released }) => {
      app.addHook('onResponse', async () => {
        reached.open()
        await released.passed()
      })
    },
    declare: app => { app.get('/', async () => 'x') },
    async run (address, { reached }) {
      const connection = await Connection.open(address)
      connection.send(head('/'))
      await connection.until('200 OK')
      await reached.passed()
      connection.reset()
    },
    observed: { 'GET / 200': 1 }
  },
  {
    name: 'somebody else\'s onResponse hook is late, and the client resets the connection before a large reply is sent',
    before: app => { app.addHook('onResponse', async () => setImmediate()) },
    declare: app => {
      app.get('/', async () => 'x')
      app.get('/large', async () => Buffer.alloc(50_000_000))
    },
    async run (address) {
      await getRoot(address)
      const connection = await Connection.open(address)
      connection.send(head('/large'))
      await connection.until('\r\n\r\n')
      connection.socket.pause()
      connection.reset()
    },
    observed: { 'GET / 200': 1, 'GET /large 200': 1 },
    aborted: { 'GET /large in_reply': 1 }
  },
  {
    name: 'the application ends the reply when the client has left',
    declare: (app, { reached }) => {
      for (const [path, begun] of [['/before', false], ['/after', true]] as const) {
        app.get(path, (_request, reply) => {
          reply.hijack()
          if (begun) reply.raw.writeHead(201).write('first')
          reply.raw.on('close', () => reply.raw.end('last'))
          reached.open()
        })
      }
      app.get('/', async () => 'x')
    },
    async run (address, { reached }) {
      for (const path of ['/before', '/after']) {
        for (const first of ['', head('/')]) {
          const connection = await Connection.open(address)
          connection.send(first)
          if (first !== '') await connection.until('200 OK')
          connection.send(head(path))
          if (path === '/after') await connection.until('first')
          else await reached.passed()
          await setImmediate()
          connection.leave()
        }
      }
    },
    observed: { 'GET /before 499': 2, 'GET /after 201': 2, 'GET / 200': 2 },
    aborted: { 'GET /before before_reply': 2, 'GET /after in_reply': 2 }
  },
  {
    name: 'the handler throws after it has sent the reply',
    declare: app => {
      app.get('/', async (_request, { raw }) => {
        raw.writeHead(201, 'As You Wish').end('x')
        throw new Error('no')
      })
      app.get('/code', async (_request, reply) => {
        reply.raw.writeHead(202).end('x')
        return reply.hijack().code(500)
      })
    },
    async run (address) {
      await getRoot(address)
      await get(address, '/code')
    },
    observed: { 'GET / 201': 1, 'GET /code 202': 1 }
  }
]

const timeouts: Scenario[] = [
  {
    name: 'handlerTimeout',
    options: { handlerTimeout: 20 },
    declare: declareWaiting,
    run: address => get(address, '/wait'),
    observed: { 'GET /wait 503': 1 }
  },
  {
    name: 'connectionTimeout before the reply',
    options: { connectionTimeout: 50 },
    declare: declareWaiting,
    run: address => exchange(address, head('/wait')),
    observed: { 'GET /wait 499': 1 },
    aborted: { 'GET /wait before_reply': 1 }
  },
  {
    name: 'connectionTimeout in mid-reply',
    options: { connectionTimeout: 50 },
    declare: declareEndless,
    run: address => exchange(address, head('/endless')),
    observed: { 'GET /endless 200': 1 },
    aborted: { 'GET /endless in_reply': 1 }
  },
  {
    name: 'connectionTimeout while a large reply waits to be sent',
    options: { connectionTimeout: 50 },
    declare: app => { app.get('/', async () => Buffer.alloc(50_000_000)) },
    async run (address, { released }) {
      const connection = await Connection.open(address)
      connection.socket.pause()
      connection.send(head('/'))
      released.passed().then(() => connection.leave(), () => {})
    },
    observed: { 'GET / 200': 1 },
    aborted: { 'GET / in_reply': 1 }
  },
  {
    name: 'requestTimeout in the body',
    // Node.js takes the shorter of the two timeouts for that of the headers.
    options: { requestTimeout: 60, http: { headersTimeout: 50, connectionsCheckingInterval: 20 } },
    declare: app => { app.post('/', async () => 'x') },
    run: address => exchange(address, head('/', 'POST', 'content-type: text/plain\ncontent-length: 9\n') + 'y'),
    observed: { 'POST / 408': 1 }
  },
  {
    name: 'a body that is not what its headers say',
    declare: app => { app.post('/', async () => 'x') },
    run: address =>
      exchange(address, head('/', 'POST', 'content-type: text/plain\ntransfer-encoding: chunked\n') + 'no chunk\n'),
    observed: { 'POST / 400': 1 }
  },
  {
    name: 'a body that is not what its headers say, while a hook before the plugin waits',
    before: (app, { released }) => { app.addHook('onRequest', async () => released.passed()) },
    declare: app => { app.post('/', async () => 'x') },
    run: address =>
      exchange(address, head('/', 'POST', 'content-type: text/plain\ntransfer-encoding: chunked\n') + 'no chunk\n'),
    observed: { 'POST / 400': 1 }
  }
]

const longLived: Scenario[] = [
  {
    name: 'a hijacked reply that the handler ends',
    declare: app => {
      app.get('/', (_request, reply) => {
        reply.hijack()
        reply.raw.writeHead(202).end('x')
      })
    },
    run: getRoot,
    observed: { 'GET / 202': 1 }
  },
  {
    name: 'a hijacked stream that the client leaves',
    declare: app => {
      app.get('/events', (_request, reply) => {
        reply.hijack()
        reply.raw.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: x\n\n')
      })
    },
    run: address => leaveAfter(address, head('/events'), 'data: x'),
    observed: {},
    longLived: { 'GET /events stream': 1 }
  },
  {
    name: 'a hijacked event stream that the handler ends',
    declare: app => {
      app.get('/events', (_request, reply) => {
        reply.hijack()
        reply.raw.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: x\n\n')
        reply.raw.end()
      })
    },
    run: address => get(address, '/events'),
    observed: {},
    longLived: { 'GET /events stream': 1 }
  },
  {
    name: 'a hijacked download that the client leaves',
    declare: app => {
      app.get('/file', (_request, reply) => {
        reply.hijack()
        reply.raw.writeHead(200, { 'content-type': 'application/octet-stream' }).write('first')
      })
    },
    run: address => leaveAfter(address, head('/file', 'GET', 'accept: text/event-stream\nupgrade: x\n'), 'first'),
    observed: { 'GET /file 200': 1 },
    aborted: { 'GET /file in_reply': 1 }
  },
  {
    name: 'a reply of the type of event streams that is sent as a whole',
    declare: app => { app.get('/', async (_request, reply) => reply.type('text/event-stream').send('data: x\n\n')) },
    run: getRoot,
    observed: { 'GET / 200': 1 }
  },
  {
    name: 'an upgrade that nobody has granted when the client leaves',
    declare: (app, { reached }) => {
      app.register(websocket)
      app.register(async app => {
        app.get('/socket', {
          websocket: true,
          preValidation: async () => {
            reached.open()
            await new Promise(() => {})
          }
        }, () => {})
      })
    },
    async run (address, { reached }) {
      const connection = await Connection.open(address)
      connection.send(head('/socket', 'GET', 'connection: upgrade\nupgrade: websocket\n'))
      await reached.passed()
      connection.reset()
    },
    observed: { 'GET /socket 499': 1 },
    aborted: { 'GET /socket before_reply': 1 }
  },
  {
    name: 'an event stream sent as a stream, that the client leaves',
    declare: (app, gates) => declareEndless(app, gates, 'text/event-stream; charset=utf-8'),
    run: address => leaveAfter(address, head('/endless'), 'first'),
    observed: {},
    longLived: { 'GET /endless stream': 1 }
  },
  {
    name: 'an upgrade to WebSocket, and one that is refused',
    declare: app => {
      app.register(websocket)
      app.register(async app => {
        app.get('/socket', { websocket: true }, socket => { socket.on('message', message => socket.send(message)) })
        app.get(
          '/refused', { websocket: true, preValidation: async (_request, reply) => reply.code(403).send() }, () => {}
        )
      })
    },
    async run (address) {
      const socket = new WebSocket(`${address}/socket`)
      await once(socket, 'open')
      socket.send('x')
      await once(socket, 'message')
      socket.close()
      await once(socket, 'close')
      const refused = new WebSocket(`${address}/refused`)
      await once(refused, 'error')
    },
    observed: { 'GET /refused 403': 1 },
    longLived: { 'GET /socket upgrade': 1 }
  },
  {
    name: 'upgrades that are refused past the reply, of no route, and with the half of an answer',
    declare: app => {
      app.register(websocket)
      app.register(async app => {
        app.get('/socket', { websocket: true }, () => {})
        const withBody = 'HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n'
        const refusals: Record<string, (socket: Socket) => void> = {
          '/whole': socket => { socket.write(withBody); socket.end('{}') },
          '/half': socket => { socket.write(withBody); socket.write('{', () => socket.destroy()) },
          '/destroyed': socket => socket.write('HTTP/1.1 403 Forbidden\r\n\r\n', () => socket.destroy()),
          '/bytes': socket => socket.end(Uint8Array.from(Buffer.from('HTTP/1.1 503\r\n\r\n'))),
          '/parts': socket => { socket.write('HTTP/1.1 402 Pay', 'latin1'); socket.end(' up\r\n\r\n') },
          '/interim': socket => socket.end('HTTP/1.1 103 Early Hints\r\na: b\r\n\r\nHTTP/1.1 404 No\r\n\r\n'),
          '/wrapped': socket => {
            const { write } = socket
            const wrapper = (...parameters: Parameters<typeof write>): boolean => write.apply(socket, parameters)
            socket.write = wrapper as typeof write
            socket.write('HTTP/1.1 405 No\r\n\r\n')
            socket.end('x')
          }
        }
        for (const [path, refuse] of Object.entries(refusals)) {
          app.get(path, {
            websocket: true,
            preValidation: async ({ raw: { socket } }, reply) => {
              reply.hijack()
              refuse(socket)
            }
          }, () => {})
        }
        app.get('/ended', {
          websocket: true,
          preValidation: async ({ raw: { socket } }, reply) => { reply.hijack(); socket.end() }
        }, () => {})
      })
    },
    async run (address) {
      const upgrade = 'connection: upgrade\nupgrade: websocket\nsec-websocket-version: 7\n'
      for (const path of [
        '/socket', '/whole', '/half', '/destroyed', '/bytes', '/parts', '/interim', '/wrapped', '/ended', '/none'
      ]) await exchange(address, head(path, 'GET', upgrade))
    },
    observed: {
      'GET /socket 400': 1,
      'GET /whole 401': 1,
      'GET /half 401': 1,
      'GET /destroyed 403': 1,
      'GET /bytes 503': 1,
      'GET /parts 402': 1,
      'GET /interim 404': 1,
      'GET /wrapped 405': 1,
      'GET /ended 499': 1,
      'GET unmatched 404': 1
    },
    aborted: { 'GET /half in_reply': 1, 'GET /ended before_reply': 1 }
  }
]

const http2Scenarios: Scenario[] = [
  {
    name: 'HTTP/2: replies',
    declare: app => { app.get('/', async () => 'x') },
    async run (address) {
      const session = http2.connect(address)
      await Promise.all(
        ['/', '/', '/nothing'].map(async path => once(session.request({ ':path': path }).resume(), 'close'))
      )
      await closeSession(session)
    },
    observed: { 'GET / 200': 2, 'GET unmatched 404': 1 }
  },
  {
    name: 'HTTP/2: the client resets the stream before the reply',
    declare: declareWaiting,
    run: (address, { reached }) => resetAfter(address, '/wait', () => reached.passed()),
    observed: { 'GET /wait 499': 1 },
    aborted: { 'GET /wait before_reply': 1 }
  },
  {
    name: 'HTTP/2: the client resets the stream in mid-reply',
    declare: declareEndless,
    run: address => resetAfter(address, '/endless', stream => once(stream, 'data')),
    observed: { 'GET /endless 200': 1 },
    aborted: { 'GET /endless in_reply': 1 }
  },
  {
    name: 'HTTP/2: the client resets the stream before the reply, without naming an error',
    declare: declareWaiting,
    run: (address, { reached }) =>
      resetAfter(address, '/wait', () => reached.passed(), http2.constants.NGHTTP2_NO_ERROR),
    observed: { 'GET /wait 499': 1 },
    aborted: { 'GET /wait before_reply': 1 }
  },
  {
    name: 'HTTP/2: the client resets the stream while a large reply waits to be sent',
    declare: app => { app.get('/', async () => Buffer.alloc(50_000_000)) },
    run: address => resetAfter(address, '/', stream => once(stream, 'response')),
    observed: { 'GET / 200': 1 },
    aborted: { 'GET / in_reply': 1 }
  },
  {
    name: 'HTTP/2: the source of a stream fails in mid-reply',
    declare: declareFailing,
    async run (address, { released }) {
      const { session, stream } = await openStream(address, '/')
      await once(stream, 'data')
      released.open()
      await new Promise(resolve => stream.once('close', resolve))
      await closeSession(session)
    },
    observed: { 'GET / 200': 1 },
    aborted: { 'GET / in_reply': 1 }
  },
  {
    name: 'HTTP/2: the session is destroyed',
    declare: declareWaiting,
    async run (address, { reached }) {
      const { session } = await openStream(address, '/wait')
      await reached.passed()
      session.destroy()
      await once(session, 'close')
    },
    observed: { 'GET /wait 499': 1 },
    aborted: { 'GET /wait before_reply': 1 }
  },
  {
    name: 'HTTP/2: an event stream that the client leaves',
    declare: (app, gates) => declareEndless(app, gates, 'text/event-stream'),
    run: address => resetAfter(address, '/endless', stream => once(stream, 'data')),
    observed: {},
    longLived: { 'GET /endless stream': 1 }
  }
]

export const scenarios: readonly Scenario[] = [
  ...plain, ...throwers, ...aborts, ...timeouts, ...longLived,
  // Node.js keeps a closed HTTP/2 session until its idle timeout ends, which Fastify sets to 72 seconds. Whoever
  // measures memory while these are played again and again would measure those sessions.
  ...http2Scenarios.map(scenario => ({ ...scenario, options: { http2: true, http2SessionTimeout: 5000 } }))
]

/**
 * Runs a scenario against an application that listens, until every connection has closed on its side
 * and nothing waits there any more.
 */
export async function play (scenario: Scenario, app: FastifyInstance, gates: Gates, address: string): Promise<void> {
  const closed: Array<Promise<unknown>> = []
  const follow = (socket: Socket): void => { closed.push(new Promise(resolve => socket.once('close', resolve))) }
  app.server.on('connection', follow)
  await scenario.run(address, gates, app)
  await Promise.all(closed)
  app.server.off('connection', follow)
  gates.released.open()
  await setImmediate()
}
