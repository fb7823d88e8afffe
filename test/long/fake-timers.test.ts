import { once } from 'node:events'
import timers from 'node:timers'
import t, { type Test } from 'tap'
import latency from '../../lib'
import { anyPort, createApplication, loadAnew } from '../helpers/application'
import { Connection } from '../helpers/connection'

/**
 * Has time stand still for everyone who uses global functions, or the module `node:timers`, while an action runs. The
 * action must not use what the test framework needs time for.
 */
async function withoutTime<T> (action: () => Promise<T>): Promise<T> {
  const { setTimeout, setInterval, setImmediate } = timers
  const timer = { ref: () => timer, unref: () => timer, hasRef: () => true, refresh: () => timer }
  const stopped = (): typeof timer => timer
  const fakes = { setTimeout: stopped, setInterval: stopped, setImmediate: stopped }
  for (const owner of [globalThis, timers]) Object.assign(owner, fakes)
  try {
    return await action()
  } finally {
    for (const owner of [globalThis, timers]) Object.assign(owner, { setTimeout, setInterval, setImmediate })
  }
}

const moments: ReadonlyArray<[when: string, load: (t: Test) => typeof latency]> =
  [['after', () => latency], ['before', t => loadAnew(t, () => require('../../lib'))]]
for (const [when, load] of moments) {
  t.test(`scrapes and closing do not wait for timers that were faked ${when} the import`, async t => {
    const app = createApplication(t)
    const [page, failure, received] = await withoutTime(async () => {
      await app.register(load(t), {
        server: anyPort, endpoint: '/metrics', scrape: { timeoutSeconds: 1 }
      })
      app.latency.server!.get('/stuck', () => new Promise(() => {}))
      await app.listen({ host: '127.0.0.1', port: 0 })
      const connection = await Connection.open(await app.latency.start())
      const page = await app.inject('/metrics')
      app.latency.registry.registerMetric({
        name: 'hung', help: 'x', type: 'gauge', get: () => new Promise(() => {}), reset () {}
      } as never)
      const failure = await app.inject('/metrics')
      connection.send('GET /healthz HTTP/1.1\nHost: x\n\n')
      await connection.until('OK\n')
      const asked = once(app.latency.server!.server, 'request')
      connection.send('GET /stuck HTTP/1.1\nHost: x\n\n')
      await asked
      await app.close()
      await connection.closed()
      return [page, failure, connection.received]
    })
    t.match(page.body, 'process_open_fds')
    t.equal(failure.statusCode, 500)
    t.match(received, /^HTTP\/1\.1 200/)
  })
}
