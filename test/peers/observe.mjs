// Sends requests to an application of docs/migrating.md, which is beside this file as program.mjs, and
// prints as JSON which series each was counted in, and what is served. The application is Fastify's or
// Express's: node observe.mjs REQUESTS
import { once } from 'node:events'
import { connect } from 'node:net'
import * as program from './program.mjs'

const { app, metricsServer } = program

let reached
app.get('/users/:id', (_request, reply) => { reply.send('x') })
app.get('/fails', () => { throw new Error('no') })
app.get('/slow', () => { reached() })

const isFastify = app.server !== undefined
if (isFastify) await app.listen({ host: '127.0.0.1', port: 0 })
const server = isFastify ? app.server : app.listen(0, '127.0.0.1')
if (!server.listening) await once(server, 'listening')
const { port } = server.address()

async function read () {
  const ofMetricsServer = metricsServer && `http://127.0.0.1:${metricsServer.address().port}/metrics`
  const own = app.latency?.server ? await app.latency.start() : undefined
  return await (await fetch(own ?? ofMetricsServer ?? `http://127.0.0.1:${port}/metrics`)).text()
}

/** How many requests each series of the histogram holds. */
function counts (page) {
  const found = new Map()
  for (const [, name, text, value] of page.matchAll(/^(\w*request_duration_seconds)_count\{(.*)\} (\d+)$/gm)) {
    const labels = Object.fromEntries(Array.from(text.matchAll(/(\w+)="([^"]*)"/g), match => match.slice(1)))
    if (Object.values(labels).includes('/metrics')) continue
    found.set(`${name} ${JSON.stringify(labels)}`, { name, labels, count: Number(value) })
  }
  return found
}

async function send (method, path, leaves) {
  const closed = new Promise(resolve => server.once('connection', socket => socket.once('close', resolve)))
  const arrived = new Promise(resolve => { reached = resolve })
  const connection = connect(port, '127.0.0.1').on('error', () => {}).resume()
  connection.write(`${method} ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`)
  if (leaves) {
    await arrived
    connection.destroy()
  }
  await closed
}

const counted = []
for (const { method, path, leaves } of JSON.parse(process.argv[2])) {
  const before = counts(await read())
  await send(method, path, leaves)
  const after = counts(await read())
  counted.push([...after]
    .filter(([key, { count }]) => count !== (before.get(key)?.count ?? 0))
    .map(([, { name, labels }]) => ({ name, labels })))
}
console.log(JSON.stringify({ counted, page: await read() }))
process.exit()
