import t from 'tap'
import Fastify from 'fastify'
import FakeTimers from '@sinonjs/fake-timers'
import { anyPort, latency } from './scenario.mjs'

/** What tests of applications fake. Vitest leaves the queues of Node.js alone, as here; sinon does if it is told to. */
const kinds = {
  everything: { toNotFake: ['nextTick', 'queueMicrotask'] },
  'setTimeout, setInterval and setImmediate': { toFake: ['setTimeout', 'setInterval', 'setImmediate'] },
  setTimeout: { toFake: ['setTimeout'] },
  setImmediate: { toFake: ['setImmediate'] }
}

const { setTimeout: startRealTimeout, clearTimeout: clearRealTimeout } = globalThis

/** What the promise resolves to, or `hangs` if it does not within five seconds, whatever is faked. */
async function within (promise) {
  let timer
  const hanging = new Promise(resolve => { timer = startRealTimeout(resolve, 5000, 'hangs') })
  const result = await Promise.race([promise, hanging])
  clearRealTimeout(timer)
  return result
}

async function use (app, fake) {
  app.get('/', async () => 'Hello World')
  await app.listen({ host: '127.0.0.1', port: 0 })
  await app.latency?.start()
  fake()
  const { body } = await app.inject('/')
  const page = app.latency === undefined ? '' : (await app.inject('/metrics')).body
  await app.close()
  return { body, counts: page.match(/_count\{.*route="\/",status_code="200"\} (\d+)$/m)?.[1] }
}

for (const [name, options] of Object.entries(kinds)) {
  for (const isFirst of [true, false]) {
    const when = isFirst ? 'before it is made' : 'when it listens'
    t.test(`an application is asked, scraped and closed with ${name} faked ${when}`, async t => {
      for (const isWatched of [false, true]) {
        let clock = isFirst ? FakeTimers.install(options) : undefined
        try {
          const app = Fastify()
          if (isWatched) await app.register(latency, { ...anyPort, endpoint: '/metrics' })
          const used = use(app, () => { clock ??= FakeTimers.install(options) })
          t.same(await within(used), { body: 'Hello World', counts: isWatched ? '1' : undefined },
            isWatched ? 'with the plugin' : 'without it')
        } finally {
          clock?.uninstall()
        }
      }
    })
  }
}
