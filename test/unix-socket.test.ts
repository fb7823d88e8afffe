import { once } from 'node:events'
import { existsSync, linkSync, mkdtempSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { connect, createServer, type Server } from 'node:net'
import os, { tmpdir } from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { Options } from '..'
import latency from '../lib'
import { parseOptions } from '../lib/config'
import { maxConnections } from '../lib/server/connections'
import { removeLeftover } from '../lib/server/socket-file'
import { collectWarnings, createApplication } from './helpers/application'
import { Exposition } from './helpers/exposition'
import { until } from './helpers/until'

if (process.platform === 'win32') {
  t.test('Windows has no socket that a scraper reads', async t => {
    t.throws(() => parseOptions({ server: { socket: '/run/x.sock' } }), { code: 'FST_LATENCY_ERR_OPTION_INVALID' })
  })
} else {
  testSockets()
}

function createPath (t: Test): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'fastify-latency-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return path.join(folder, 'metrics.sock')
}

async function listen (t: Test, socket: string): Promise<Server> {
  const server = createServer().listen(socket)
  t.teardown(() => server.close())
  await once(server, 'listening')
  return server
}

/** A socket as a process that is killed leaves it behind. */
async function leaveBehind (t: Test, socket: string): Promise<void> {
  const server = await listen(t, `${socket}.other`)
  linkSync(`${socket}.other`, socket)
  server.close()
  await once(server, 'close')
}

/** An application that listens on TCP, with its metrics on a Unix socket. */
async function createOn (
  t: Test, socket: string, server: Options['server'] & object = {}
): Promise<{ app: FastifyInstance, address: string }> {
  const app = createApplication(t)
  await app.register(latency, { server: { socket, ...server } })
  app.get('/', async () => 'x')
  return { app, address: await app.listen({ host: '127.0.0.1', port: 0 }) }
}

async function read (
  socketPath: string, url = '/metrics', headers = {}
): Promise<{ status: number | undefined, body: string }> {
  const [response] = await once(get({ socketPath, path: url, headers, agent: false }), 'response') as [IncomingMessage]
  return { status: response.statusCode, body: await text(response) }
}

function testSockets (): void {
  t.test('the metrics are on a Unix socket, until the application closes', async t => {
    const socket = createPath(t)
    const { app, address } = await createOn(t, socket)
    t.equal(await app.latency.start(), `http+unix://${encodeURIComponent(socket)}/metrics`)
    t.equal(new URL(app.latency.url!).pathname, '/metrics')
    await fetch(address)
    // Prometheus sends the name of the target as the host, whatever it is.
    const { status, body } = await read(socket, '/metrics', { host: 'shop.example.com' })
    t.equal(status, 200)
    t.equal(new Exposition(body).value('http_request_duration_seconds_count', {
      method: 'GET', route: '/', status_code: '200'
    }), 1)
    for (const url of ['/healthz', '/readyz', '/', '/live']) t.equal((await read(socket, url)).status, 200, url)
    t.match((await read(socket, '/')).body, socket)
    await app.close()
    t.notOk(existsSync(socket))
    t.equal(app.latency.url, null)
  })

  t.test('one that a killed process left behind is replaced', async t => {
    const socket = createPath(t)
    await leaveBehind(t, socket)
    const { app } = await createOn(t, socket)
    await app.latency.start()
    t.equal((await read(socket)).status, 200)
  })

  t.test('one that another process has replaced or removed meanwhile stays as it is', async t => {
    const socket = createPath(t)
    await leaveBehind(t, socket)
    const replaced = removeLeftover(socket)
    writeFileSync(`${socket}.new`, '')
    renameSync(`${socket}.new`, socket)
    t.equal(await replaced, false)
    t.ok(existsSync(socket))
    t.equal(await removeLeftover(`${socket}.none`), false)
    unlinkSync(socket)
    await leaveBehind(t, socket)
    const removed = removeLeftover(socket)
    unlinkSync(socket)
    t.equal(await removed, false)
  })

  t.test('a file that is no socket stays, and fails the boot', async t => {
    const socket = createPath(t)
    writeFileSync(socket, 'precious')
    await t.rejects(createOn(t, socket, { start: 'ready' }), {
      code: 'FST_LATENCY_ERR_SERVER_LISTEN',
      message: `The metrics server cannot listen on socket ${socket}: EADDRINUSE at ${socket}. ` +
        'Another server answers there, or the file is no socket.',
      cause: { code: 'EADDRINUSE' }
    })
    t.equal(readFileSync(socket, 'utf8'), 'precious')
  })

  t.test('a folder that does not exist is said', async t => {
    const { app } = await createOn(t, path.join(createPath(t), 'x.sock'), { start: 'manual' })
    await t.rejects(app.latency.start(), {
      code: 'FST_LATENCY_ERR_SERVER_LISTEN', message: 'The folder of "server.socket" has to exist'
    })
  })

  t.test('one on which another server answers is warned of, and taken when that has gone', async t => {
    const warnings = collectWarnings(t)
    const socket = createPath(t)
    const other = await listen(t, socket)
    const { app } = await createOn(t, socket)
    await until('the warning', async () => warnings.length > 0)
    t.match(warnings, [{ code: 'FST_LATENCY_ERR_SERVER_LISTEN', message: 'tried again. Another server answers there' }])
    t.ok(existsSync(socket))
    t.equal(app.latency.url, null)
    other.close()
    await until('the metrics', async () => app.latency.url !== null)
    t.equal((await read(socket)).status, 200)
    t.equal(warnings.length, 1)
  })

  t.test('an application and its metrics cannot share a socket', async t => {
    const socket = createPath(t)
    const app = createApplication(t)
    await app.register(latency, { server: { socket, start: 'manual' } })
    await app.listen({ path: socket })
    await t.rejects(app.latency.start(), { code: 'FST_LATENCY_ERR_SERVER_LISTEN', message: 'Another server answers' })
  })

  t.test('credentials are asked for there too', async t => {
    const warnings = collectWarnings(t)
    const socket = createPath(t)
    const { app } = await createOn(t, socket, { auth: { tokens: ['secret'] } })
    await app.latency.start()
    t.equal((await read(socket, '/metrics', { authorization: 'Bearer guessed' })).status, 401)
    t.equal((await read(socket, '/metrics', { authorization: 'Bearer secret' })).status, 200)
    await until('the warning', async () => warnings.length > 0)
    t.match(warnings, [{ code: 'FST_LATENCY_ERR_UNAUTHORIZED', message: 'the latest came from the Unix socket' }])
  })

  t.test('its connections are told apart: new ones are answered, and all are dropped at the end', async t => {
    const socket = createPath(t)
    const warnings = collectWarnings(t)
    const { app } = await createOn(t, socket)
    await app.latency.start()
    let open = 0
    for (let count = 0; count < maxConnections + 20; count++) {
      const connection = connect(socket, () => { open++ }).on('error', () => {}).on('close', () => { open-- })
      t.teardown(() => connection.destroy())
    }
    await until('the limit', async () => open === maxConnections)
    t.equal((await read(socket, '/healthz')).status, 200)
    t.match(warnings, [{ code: 'FST_LATENCY_ERR_CONNECTION_LIMIT' }])
    await app.close()
    await until('the end of all connections', async () => open === 0)
  })

  t.test('wrong sockets are refused, with what was probably meant', async t => {
    const wrong: Array<[server: object, message: string]> = [
      [{ socket: 'metrics.sock' }, 'Option "server.socket" must be the absolute path of a Unix socket'],
      [{ socket: `/${'x'.repeat(103)}` }, 'at most 103 bytes'],
      [{ socket: `/${'é'.repeat(52)}` }, 'at most 103 bytes'],
      [{ socket: '/run/app/' }, 'the absolute path'],
      [{ socket: '/run/\0' }, 'the absolute path'],
      [{ socket: '\0metrics' }, 'the absolute path'],
      [{ socket: '' }, 'the absolute path'],
      [{ socket: 8000 }, 'the absolute path'],
      [{ socket: 'unix:/run/x.sock' }, "did you mean '/run/x.sock'?"],
      [{ socket: 'unix:///run/x.sock' }, "did you mean '/run/x.sock'?"],
      [{ socketPath: '/run/x.sock' }, 'did you mean "server.socket"?'],
      [{ socket: '/run/x.sock', port: 0 }, 'Option "server.port" must be left out beside "server.socket"; received 0'],
      [{ socket: '/run/x.sock', host: 'localhost' }, 'Option "server.host" must be left out beside "server.socket"'],
      [{ socket: '/run/x.sock', https: { certFile: 'a', keyFile: 'b' } }, 'Option "server.https" must be left out']
    ]
    for (const [server, message] of wrong) {
      t.throws(() => parseOptions({ server } as Options), { message }, JSON.stringify(server))
    }
    t.doesNotThrow(() => parseOptions({ server: { socket: `/${'x'.repeat(102)}` } }))
    t.intercept(process, 'platform', { value: 'win32' })
    t.throws(() => parseOptions({ server: { socket: '/run/x.sock' } }), { message: 'left out on Windows' })
  })

  t.test('a group answers on one Unix socket, whichever of its members goes', async t => {
    const socket = createPath(t)
    t.intercept(os, 'tmpdir', { value: () => path.dirname(socket) })
    const members = [
      await createOn(t, socket, { group: 'x' }), await createOn(t, socket, { group: 'x' })
    ]
    const count = async (): Promise<number | undefined> => {
      const { body } = await read(socket)
      return new Exposition(body).value('http_request_duration_seconds_count', {
        method: 'GET', route: '/', status_code: '200'
      })
    }
    for (const { app, address } of members) {
      t.equal(await app.latency.start(), `http+unix://${encodeURIComponent(socket)}/metrics`)
      await (await fetch(address)).text()
    }
    t.equal(await count(), 2)
    await members[0]!.app.close()
    t.equal(await until('the other one', async () => count().catch(() => undefined)), 2)
    await members[1]!.app.close()
    t.notOk(existsSync(socket))
  })
}
