import t from 'tap'
import { anyPort, collectWarnings, createListening } from '../helpers/application'
import { createCertificate } from '../helpers/certificates'
import { Connection } from '../helpers/connection'
import { until } from '../helpers/until'

/** How strangers hold connections, and whether over TLS. */
const holds: Array<[how: string, https: boolean, text: string]> = [
  ['say nothing', false, ''],
  ['send half a request', false, 'GET /metrics HTTP/1.1\nHost:'],
  ['keep a connection after a probe', false, 'GET /healthz HTTP/1.1\nHost: x\n\n'],
  ['keep a connection after a scrape', false, 'GET /metrics?name[]=x HTTP/1.1\nHost: x\n\n'],
  ['begin no TLS handshake', true, ''],
  ['send half a ClientHello', true, '\x16\x03\x01\x02\x00\x01']
]

for (const [how, isTls, text] of holds) {
  t.test(`strangers who ${how} keep nobody out, and are warned of once`, async t => {
    const warnings = collectWarnings(t)
    const https = isTls ? await createCertificate(t) : undefined
    const { app } = await createListening(t, { server: https === undefined ? anyPort : { ...anyPort, https } })
    const { url } = app.latency
    const plainUrl = url!.replace('https', 'http')
    const kept = await Connection.open(url!)
    kept.send('GET /metrics?name[]=x HTTP/1.1\nHost: x\n\n')
    await kept.until('200 OK')
    const strangers = await Promise.all(Array.from({ length: 400 }, async () => {
      const stranger = await Connection.open(plainUrl)
      stranger.send(text)
      return stranger
    }))
    const probe = await Connection.open(url!)
    probe.send('GET /healthz HTTP/1.1\nHost: x\nConnection: close\n\n')
    await probe.closed()
    t.match(probe.received, /^HTTP\/1\.1 200 /)
    await until('no more connections than there may be', () =>
      strangers.filter(({ socket }) => socket.closed).length >= 145)
    if (!text.includes('\n\n')) {
      kept.send('GET /metrics?name[]=x HTTP/1.1\nHost: x\nConnection: close\n\n')
      await kept.closed()
      t.match(kept.received, /200 OK[^]*200 OK/, 'a client that was let in keeps its connection')
    }
    for (const stranger of strangers) stranger.leave()
    t.match(warnings, [{ code: 'FST_LATENCY_ERR_CONNECTION_LIMIT', message: /256 connections/ }])
  })
}

t.test('with server.auth, strangers who ask as probes do are dropped before a client that was let in', async t => {
  const { app } = await createListening(t, { server: { ...anyPort, auth: { tokens: ['x'] } } })
  const kept = await Connection.open(app.latency.url!)
  const scrape = 'GET /metrics?name[]=x HTTP/1.1\nHost: x\nAuthorization: Bearer x\n\n'
  kept.send(scrape)
  await kept.until('200 OK')
  const strangers = await Promise.all(Array.from({ length: 300 }, async () => {
    const stranger = await Connection.open(app.latency.url!)
    stranger.send('GET /healthz HTTP/1.1\nHost: x\n\n')
    return stranger
  }))
  await until('no more connections than there may be', () =>
    strangers.filter(({ socket }) => socket.closed).length >= 45)
  kept.received = ''
  kept.send(scrape)
  await kept.until('200 OK')
  for (const { socket } of [kept, ...strangers]) socket.destroy()
})

t.test('idle connections are dropped before busy ones, and of these the one whose request is oldest', async t => {
  const { app } = await createListening(t, {}, app => {
    app.latency.server!.get('/stuck', () => new Promise(() => {}))
  })
  let requests = 0
  app.latency.server!.server.on('request', () => { requests++ })
  const connections: Connection[] = []
  for (let index = 0; index < 256; index++) {
    const connection = await Connection.open(app.latency.url!)
    if (index !== 50) connection.send('GET /stuck HTTP/1.1\nHost: x\n\n')
    connections.push(connection)
    if (index === 0) await until('the first request', () => requests === 1)
  }
  await until('all requests', () => requests === 255)
  connections.push(await Connection.open(app.latency.url!))
  await connections[50]!.closed()
  t.equal(connections.filter(({ socket }) => socket.closed).length, 1)
  const probe = await Connection.open(app.latency.url!)
  await connections[0]!.closed()
  probe.send('GET /healthz HTTP/1.1\nHost: x\n\n')
  await probe.until('200 OK')
  t.equal(connections.filter(({ socket }) => socket.closed).length, 2)
  for (const connection of [probe, ...connections]) connection.leave()
})
