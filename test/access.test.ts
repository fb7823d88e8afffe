import dns from 'node:dns'
import { once } from 'node:events'
import fs from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { Agent, request, type RequestOptions } from 'node:https'
import { connect, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import latency from '../lib'
import {
  anyPort, collectWarnings, createApplication, createListening, otherLoopback, resolveLocalhost
} from './helpers/application'
import { type Certificate, createAuthority, Files, issue } from './helpers/certificates'
import { exchange } from './helpers/connection'
import { until } from './helpers/until'

interface Answer {
  readonly status: number | undefined
  readonly body: string
  /** Common name in the certificate of the server, unless a session was resumed. */
  readonly name: string | undefined
}

/** Gets a page over a connection of its own, unless the options have an agent. */
async function get (url: string | null, options: RequestOptions): Promise<Answer> {
  const sent = request(url!, { agent: false, ...options })
  sent.end()
  const [response] = await once(sent, 'response') as [IncomingMessage]
  const name = (response.socket as TLSSocket).getPeerCertificate().subject?.CN as string | undefined
  let body = ''
  for await (const chunk of response) body += chunk
  return { status: response.statusCode, body, name }
}

async function createTls (t: Test, mutual = false): Promise<{ url: string | null, files: Files, ca: Certificate }> {
  const ca = await createAuthority('ca')
  const files = new Files(t)
  const { cert, key } = await issue(ca, 'first')
  const https = { certFile: files.write('cert.pem', cert), keyFile: files.write('key.pem', key) }
  const { app } = await createListening(t, {
    server: { ...anyPort, https: mutual ? { ...https, clientCaFile: files.write('ca.pem', ca.cert) } : https }
  })
  return { url: app.latency.url, files, ca }
}

t.test('with server.https it speaks TLS only', async t => {
  const { url, ca } = await createTls(t)
  t.match(url, /^https:\/\/127\.0\.0\.1:\d+\/metrics$/)
  t.match(await get(url, { ca: ca.cert }), { status: 200, body: /http_request_duration_seconds/, name: 'first' })
  t.notMatch(
    await exchange(url!.replace('https', 'http'), 'GET /metrics HTTP/1.1\nHost: x\nConnection: close\n\n'),
    'http_request'
  )
})

t.test('a certificate is replaced without a restart, and connections that are open go on', async t => {
  const { url, ca, files } = await createTls(t)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  t.equal((await get(url, { ca: ca.cert, agent })).name, 'first')
  const { cert, key } = await issue(ca, 'second')
  files.write('cert.pem', cert)
  files.write('key.pem', key)
  t.match(await get(url, { ca: ca.cert, agent }), { status: 200, name: 'first' })
  t.match(await get(url, { ca: ca.cert }), { status: 200, name: 'second' })
})

t.test('while the files cannot be used the last certificate stays, and each change is warned of once', async t => {
  const { url, ca, files } = await createTls(t)
  const warnings = collectWarnings(t)
  const { cert, key } = await issue(ca, 'second')
  const isServed = async (name: string): Promise<unknown> =>
    t.match(await get(url, { ca: ca.cert }), { status: 200, name })

  files.write('cert.pem', cert)
  await isServed('first')
  await isServed('first')
  t.match(warnings, [
    { code: 'FST_LATENCY_ERR_CERTIFICATE', message: /^The metrics server cannot use "server\.https\.keyFile", .*key\.pem: .*mismatch/ }
  ])
  files.remove('key.pem')
  await isServed('first')
  await isServed('first')
  t.equal(warnings.length, 2)
  t.match(warnings[1], { message: /ENOENT/ })
  files.write('key.pem', key)
  await isServed('second')
  t.equal(warnings.length, 2)
})

t.test('files that could not be read are read again, though they have not changed since', async t => {
  const { url, ca, files } = await createTls(t)
  const warnings = collectWarnings(t)
  const { cert, key } = await issue(ca, 'second')
  files.write('cert.pem', cert)
  files.write('key.pem', key)
  const { readFileSync } = fs
  let reads = 0
  t.teardown(() => { fs.readFileSync = readFileSync })
  fs.readFileSync = (() => { reads++; throw new Error('EMFILE: too many open files') }) as never
  for (let index = 0; index < 20; index++) t.equal((await get(url, { ca: ca.cert })).name, 'first')
  t.ok(reads < 20, 'and not for every connection')
  t.match(warnings, [{ code: 'FST_LATENCY_ERR_CERTIFICATE', message: /EMFILE/ }])
  fs.readFileSync = readFileSync
  await until('the new certificate', async () => (await get(url, { ca: ca.cert })).name === 'second')
  t.equal(warnings.length, 1)
})

t.test('all addresses get a new certificate, and one warning is given if it cannot be used', async t => {
  resolveLocalhost(t, ['127.0.0.1', otherLoopback])
  const ca = await createAuthority('ca')
  const files = new Files(t)
  const first = await issue(ca, 'first')
  const https = { certFile: files.write('cert.pem', first.cert), keyFile: files.write('key.pem', first.key) }
  const { app } = await createListening(t, { server: { host: 'localhost', port: 0, https } })
  const warnings = collectWarnings(t)
  const names = async (): Promise<unknown> => Promise.all(['127.0.0.1', otherLoopback].map(async host => {
    const options = { ca: ca.cert, hostname: host, servername: 'localhost' }
    return (await get(app.latency.url, options)).name
  }))
  const second = await issue(ca, 'second')
  files.write('cert.pem', second.cert)
  t.same(await names(), ['first', 'first'])
  t.equal(warnings.length, 1)
  files.write('key.pem', second.key)
  t.same(await names(), ['second', 'second'])
})

t.test('clients without a certificate of this authority are counted, and wrong ones are warned of', async t => {
  const { url, ca } = await createTls(t, true)
  const client = await issue(ca, 'client')
  const stranger = await issue(await createAuthority('other'), 'stranger')
  const warnings = collectWarnings(t)
  const count = async (): Promise<unknown> =>
    /^fastify_latency_unauthorized_total (\d+)$/m.exec((await get(url, { ...client, ca: ca.cert })).body)?.[1]
  t.equal(await count(), '0')
  for (const minVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const secure = { ca: ca.cert, minVersion, maxVersion: minVersion }
    await t.rejects(get(url, secure))
    await t.rejects(get(url, { ...secure, ...stranger }))
  }
  // What is no TLS at all is no attempt to authenticate.
  await exchange(url!.replace('https', 'http'), 'GET / HTTP/1.1\n\n')
  await until('all to be counted', async () => await count() === '4')
  t.match(warnings, [{ code: 'FST_LATENCY_ERR_UNAUTHORIZED', message: /: 1 since .* that is not trusted$/ }])
})

t.test('with clientCaFile it answers only clients with a certificate of this authority, ' +
  'even if the file changes', async t => {
  const { url, ca, files } = await createTls(t, true)
  const client = await issue(ca, 'client')
  const otherCa = await createAuthority('other')
  const stranger = await issue(otherCa, 'stranger')
  const answered = async (certificate: Partial<Certificate>): Promise<boolean> =>
    get(url, { ...certificate, ca: ca.cert }).then(({ status }) => status === 200, () => false)

  t.equal(await answered(client), true)
  t.equal(await answered({}), false)
  t.equal(await answered(stranger), false)

  const session = await establish(url!, { ca: ca.cert, ...client })
  const resumes = async (): Promise<boolean> =>
    get(url, { ca: ca.cert, session } as RequestOptions).then(({ status }) => status === 200, () => false)
  t.equal(await resumes(), true)
  files.write('ca.pem', otherCa.cert)
  t.equal(await answered(client), false)
  t.equal(await answered(stranger), true)
  t.equal(await resumes(), false, 'a session from before is over')
})

/** A TLS session that the client could resume. */
async function establish (url: string, options: RequestOptions): Promise<Buffer> {
  const { hostname, port } = new URL(url)
  const socket = connect({ ...options, host: hostname, port: Number(port) } as object)
  const [session] = await once(socket, 'session')
  socket.destroy()
  return session
}

t.test('certificates that cannot be used are refused when the plugin is registered', async t => {
  const files = new Files(t)
  const ca = await createAuthority('ca')
  const [one, other] = await Promise.all([issue(ca, 'one'), issue(ca, 'other')])
  const good = { certFile: files.write('cert.pem', one.cert), keyFile: files.write('key.pem', one.key) }
  const cases: Array<[https: object, message: RegExp]> = [
    [{ ...good, certFile: '/nowhere/cert.pem' }, /cannot use "server\.https\.certFile", \/nowhere\/cert\.pem: ENOENT/],
    [{ ...good, keyFile: files.write('other.pem', other.key) }, /key values mismatch/],
    [{ ...good, certFile: files.write('bad-cert.pem', 'none') }, /bad-cert\.pem: /],
    [{ ...good, keyFile: files.write('bad-key.pem', 'none') }, /bad-key\.pem: /],
    [{ ...good, clientCaFile: files.write('ca.pem', 'none') }, /"server\.https\.clientCaFile", .*ca\.pem: /],
    [
      { ...good, clientCaFile: files.write('broken.pem', `A comment\n${ca.cert}\n${ca.cert.slice(0, 100)}`) },
      /broken\.pem: /
    ]
  ]
  for (const [https, message] of cases) {
    const app = createApplication(t)
    await t.rejects(async () => app.register(latency, { server: { https } as never }), {
      code: 'FST_LATENCY_ERR_CERTIFICATE', message
    })
  }
})

const basic = (credentials: string): string => `Basic ${Buffer.from(credentials).toString('base64')}`

const authentications = [
  {
    auth: { users: { prometheus: 'pass:wörd', other: 'x' } },
    challenge: 'Basic realm="metrics", charset="UTF-8"',
    right: [basic('prometheus:pass:wörd'), basic('other:x'), basic('other:x').replace('Basic', 'basic')],
    wrong: ['', 'Basic', 'Basic ', 'Basic !', basic(''), basic('prometheus'), basic('prometheus:'),
      basic('prometheus:x'), basic('other:pass:wörd'), basic('prometheus:pass:wörd '),
      basic('toString:x'), basic('__proto__:x'), 'Bearer x', `Bearer ${'x'.repeat(5000)}`]
  },
  {
    auth: { tokens: ['s3cret+/=', 'next'] },
    challenge: 'Bearer realm="metrics"',
    right: ['Bearer s3cret+/=', 'Bearer next', 'bearer next'],
    wrong: [
      '', 'Bearer', 'Bearer ', 'Bearer nex', 'Bearer nextt', 'Bearer Next', 'next', basic('next:next'),
      'Bearer s3cret+/=,next', `Bearer ${'x'.repeat(5000)}`
    ]
  }
]

for (const { auth, challenge, right, wrong } of authentications) {
  const kind = Object.keys(auth)[0]!
  t.test(`with server.auth.${kind}, who is not known gets 401 and no data, whatever they ask for`, async t => {
    const { app } = await createListening(t, { server: { ...anyPort, auth } }, app => {
      app.latency.server!.get('/mine', async () => 'mine')
    })
    const ask = async (path: string, authorization?: string, method = 'GET'): Promise<Response> =>
      fetch(new URL(app.latency.url!).origin + path, {
        method, headers: authorization === undefined ? {} : { authorization }
      })

    for (const authorization of right) {
      t.match(await (await ask('/metrics', authorization)).text(), 'http_request_duration_seconds', authorization)
    }
    for (const authorization of [undefined, ...wrong]) {
      const response = await ask('/metrics', authorization)
      t.equal(response.status, 401, `with ${authorization}`)
      t.equal(response.headers.get('www-authenticate'), challenge)
      t.match(Object.fromEntries(response.headers), {
        'x-content-type-options': 'nosniff', 'cache-control': 'no-store'
      })
      t.equal(await response.text(), 'Unauthorized\n')
    }
    for (const path of [
      '/', '/mine', '/nowhere', '/healthz/', '//healthz', '/healthz%2f..%2fmetrics', '/metrics?/healthz'
    ]) {
      t.equal((await ask(path)).status, 401, path)
      t.not((await ask(path, right[0])).status, 401, `${path}, with credentials`)
    }
    for (const method of ['HEAD', 'POST', 'OPTIONS', 'DELETE']) {
      t.equal((await ask('/metrics', undefined, method)).status, 401, method)
    }
    for (const path of ['/healthz', '/readyz']) t.equal(await (await ask(path)).text(), 'OK\n', `${path} is for probes`)
    t.equal((await ask('/healthz', undefined, 'POST')).status, 401)
  })
}

t.test('requests without valid credentials are counted, and wrong ones are warned of in few lines', async t => {
  const { app } = await createListening(t, { server: { ...anyPort, auth: { tokens: ['x'] } } })
  const warnings = collectWarnings(t)
  const ask = async (headers: Record<string, string>): Promise<Response> => fetch(app.latency.url!, { headers })
  const count = async (): Promise<unknown> =>
    /^fastify_latency_unauthorized_total (\d+)$/m.exec(await (await ask({ authorization: 'Bearer x' })).text())?.[1]
  t.equal(await count(), '0')
  await ask({})
  t.equal(await count(), '1')
  for (let index = 0; index < 50; index++) await ask({ authorization: `Bearer y${index}` })
  t.equal(await count(), '51')
  t.match(warnings, [{ code: 'FST_LATENCY_ERR_UNAUTHORIZED', message: /: 1 since .* 127\.0\.0\.1$/ }])

  let now = performance.now()
  t.intercept(performance, 'now', { value: () => now })
  for (const [minutes, since] of [[1, 50], [10, 1], [60, 1], [60, 1]] as const) {
    now += minutes * 60_000 + 1
    const before = warnings.length
    await ask({ authorization: 'Bearer y' })
    await until('the next warning', () => warnings.length > before)
    t.match(warnings.at(-1)!.message, `: ${since} since`)
    now += minutes * 60_000 - 2
  }
})

t.test('a loopback server answers no web page of another name', async t => {
  const { app } = await createListening(t, {})
  const status = async (host: string, url = app.latency.url!): Promise<string | undefined> =>
    /^HTTP\/1\.1 (\d+)/.exec(await exchange(url, `GET /metrics HTTP/1.1\nHost: ${host}\nConnection: close\n\n`))?.[1]
  for (const host of [
    'localhost', 'localhost:8000', 'LOCALHOST.', 'a.localhost:8000', '127.0.0.1:1', '127.9.9.9', '10.0.0.1:8000',
    '[::1]', '[::1]:8000', 'metrics', 'host.docker.internal:8000', 'localhost.localdomain', ''
  ]) t.equal(await status(host), '200', host)
  for (const host of [
    'evil.example', 'evil.example:8000', 'evil.example.', 'localhost.evil.example', '127.0.0.1.evil.example',
    'evillocalhost.com', '127.0.0.1@evil.example', 'internal.example'
  ]) t.equal(await status(host), '421', host)
  const secret = await createListening(t, { server: { ...anyPort, auth: { tokens: ['x'] } } })
  t.equal(await status('shop.example', secret.app.latency.url!), '401', 'a page has no credentials of another name')
})

t.test('the name that is configured is answered, and every name where other machines may ask', async t => {
  const { lookup } = dns
  t.teardown(() => { dns.lookup = lookup })
  dns.lookup = ((host: string, ...rest: [options: object]) =>
    lookup(host === 'metrics.example' ? '127.0.0.1' : host, ...rest as [never])) as unknown as typeof lookup
  const { app } = await createListening(t, { server: { host: 'metrics.example', port: 0 } })
  const ask = async (url: string, host: string): Promise<string> =>
    exchange(url, `GET /metrics HTTP/1.1\nHost: ${host}\nConnection: close\n\n`)
  const url = app.latency.url!.replace('metrics.example', '127.0.0.1')
  t.match(await ask(url, 'metrics.example:8000'), /^HTTP\/1\.1 200/)
  t.match(await ask(url, 'evil.example:8000'), /^HTTP\/1\.1 421/)
  const open = await createListening(t, { server: { host: '0.0.0.0', port: 0 } })
  t.match(await ask(open.app.latency.url!, 'shop.example'), /^HTTP\/1\.1 200/)
})

t.test('where other machines may read it without credentials, it says so once, in the log', async t => {
  const lines: string[] = []
  const start = async (host: string, server: object): Promise<string[]> => {
    lines.length = 0
    const app = createApplication(t, {
      logger: { level: 'info', stream: { write: line => { lines.push(JSON.parse(line).msg) } } }
    })
    await app.register(latency, { server: { host, port: 0, start: 'ready', ...server } })
    await app.ready()
    await app.latency.start()
    return lines.filter(line => line.includes('can read the metrics'))
  }
  t.same(await start('0.0.0.0', {}), [
    'Everyone who reaches 0.0.0.0 can read the metrics: neither server.auth nor server.https.clientCaFile is set'
  ])
  t.same(await start('0.0.0.0', { auth: { tokens: ['x'] } }), [])
  const ca = await createAuthority('ca')
  const files = new Files(t)
  const { cert, key } = await issue(ca, 'x')
  const https = { certFile: files.write('cert.pem', cert), keyFile: files.write('key.pem', key) }
  t.equal((await start('0.0.0.0', { https })).length, 1)
  t.same(await start('0.0.0.0', { https: { ...https, clientCaFile: files.write('ca.pem', ca.cert) } }), [])
  t.same(await start('127.0.0.1', {}), [])
  t.same(await start('localhost', {}), [])
})

t.test('no error message of the options tells a secret', async t => {
  const wrong = [
    'hunter2', ['hunter2'], { users: { 'a:b': 'hunter2' } }, { users: { a: 'hunter2' }, tokens: ['hunter2'] },
    { users: { a: 'hunter2', b: 1 } },
    { users: 'hunter2' }, { users: ['hunter2', 'hunter2'] }, { users: {} }, { users: { a: 'hunter2\n' } },
    { tokens: 'hunter2' }, { tokens: [] }, { tokens: ['hunter2', ''] },
    { tokens: ['hunter2 hunter2'] }, {}, null, { user: { a: 'hunter2' } }
  ]
  for (const auth of wrong) {
    const app = createApplication(t)
    const error = await app.register(latency, { server: { auth } as never })
      .then(() => undefined, (error: Error & { code: string }) => error)
    t.match(error?.code, /^FST_LATENCY_ERR_OPTION_(INVALID|UNKNOWN)$/, JSON.stringify(auth))
    t.notMatch(error?.message, /hunter2/)
  }
  const app = createApplication(t)
  await app.register(latency, { server: { auth: { users: { a: 'hunter2' } } } })
  const conflict = await t.rejects(
    async () => app.register(latency, { server: { auth: { users: { a: 'hunter22' } } } }),
    { code: 'FST_LATENCY_ERR_OPTION_CONFLICT' }
  )
  t.notMatch(String(conflict), /hunter2/)
})
