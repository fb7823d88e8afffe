import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import http2 from 'node:http2'
import { setImmediate } from 'node:timers/promises'
import { inspect } from 'node:util'
import { Registry } from 'prom-client'
import t from 'tap'
import type { RouteOptions } from 'fastify'
import type { LabelSource, Options } from '..'
import latency from '../lib'
import { parseOptions } from '../lib/config'
import { SeriesIndex } from '../lib/histogram/series-index'
import { SeriesResolver } from '../lib/request/labels'
import {
  anyPort, collectWarnings, createApplication, createListening, listen, scrape, warningOf
} from './helpers/application'
import { Connection, exchange } from './helpers/connection'
import { Gate } from './helpers/gate'

const name = 'http_request_duration_seconds'

async function send (url: string, method = 'GET'): Promise<void> {
  const request = httpRequest(url, { method }).end()
  const [response] = await once(request, 'response')
  await once(response.resume(), 'close')
}

/** The label sets of the default histogram, and how many requests each has. */
async function counts (url: string | null): Promise<Array<[labels: string, count: number]>> {
  const samples = (await scrape(url)).samples(`${name}_count`)
  return samples.map(({ labels, value }): [string, number] => [Object.values(labels).join(' '), value]).sort()
}

t.test('by default a request is counted by method, declared route and status', async t => {
  const { app, address } = await createListening(t, {}, app => {
    app.get('/', async () => 'x')
    app.get('/users/:id', async (_request, reply) => reply.code(418).send())
    app.route({ method: ['POST', 'PUT'], url: '/many', handler: async () => 'x' })
    app.get('/fails', async () => { throw new Error('no') })
    app.register(async v1 => { v1.get('/', async () => 'x') }, { prefix: '/v1' })
  })
  for (const path of ['/', '/?a=b', '/users/1', '/users/2', '/fails', '/v1']) await send(address + path)
  await send(`${address}/`, 'HEAD')
  await send(`${address}/many`, 'POST')
  await send(`${address}/many`, 'PUT')

  t.same(await counts(app.latency.url), [
    ['GET / 200', 2], ['GET /fails 500', 1], ['GET /users/:id 418', 2], ['GET /v1 200', 1], ['HEAD / 200', 1],
    ['POST /many 200', 1], ['PUT /many 200', 1]
  ])
})

t.test('a request that matches no route is counted under one route, and its method under a known one', async t => {
  const { app, address } = await createListening(t, {}, app => {
    app.addHttpMethod('PROPFIND')
    app.get('/', async () => 'x')
    app.get('/gone', (_request, reply) => { reply.callNotFound() })
    app.route({ method: 'PROPFIND', url: '/dav', handler: async () => 'x' })
    app.register(async child => { child.setNotFoundHandler((_request, reply) => { reply.code(404).send() }) }, {
      prefix: '/child'
    })
  })
  for (const path of ['/wp-admin', '/.env', '/child/nothing', '/gone']) await send(address + path)
  await send(`${address}/`, 'POST')
  await send(`${address}/`, 'PURGE')
  await send(`${address}/`, 'PROPFIND')
  await send(`${address}/dav`, 'PROPFIND')

  t.same(await counts(app.latency.url), [
    ['GET unmatched 404', 4], ['POST unmatched 404', 1], ['PROPFIND /dav 200', 1], ['_OTHER unmatched 404', 2]
  ])
})

t.test('the known methods can be replaced', async t => {
  const { app, address } = await createListening(t, { knownMethods: ['PROPFIND', 'GET'] }, app => {
    app.post('/', async () => 'x')
  })
  for (const method of ['GET', 'POST', 'PROPFIND', 'PURGE']) await send(`${address}/none`, method)
  await send(`${address}/`, 'POST')
  t.same(await counts(app.latency.url), [
    ['GET unmatched 404', 1], ['POST / 200', 1], ['PROPFIND unmatched 404', 1], ['_OTHER unmatched 404', 2]
  ])
})

t.test('labels are renamed, left out and put in order by the option', async t => {
  const { app, address } = await createListening(t, { labels: { code: 'status_class', path: 'route' } }, app => {
    app.get('/:code', async (request, reply) => reply.code(Number((request.params as { code: string }).code)).send())
  })
  for (const code of [200, 204, 301, 404, 503, 599]) await send(`${address}/${code}`)
  t.same(await counts(app.latency.url), [['2xx /:code', 2], ['3xx /:code', 1], ['4xx /:code', 1], ['5xx /:code', 2]])
})

t.test('a status that is none has one value', async t => {
  for (const source of ['status', 'status_class'] as const) {
    const { app, address } = await createListening(t, { labels: { status: source } }, app => {
      app.get('/:code', (request, reply) => {
        reply.raw.statusCode = Number((request.params as { code: string }).code)
        reply.hijack()
        reply.raw.end()
      })
    })
    for (const code of [600, 999]) await send(`${address}/${code}`)
    t.same(await counts(app.latency.url), [['_OTHER', 2]])
  }
})

t.test('the status of an aborted request is a label like any other', async t => {
  const cases: Array<[abortedStatus: number | 'reply', set: number, labels: string]> = [
    [100, 200, '100 1xx'], [599, 200, '599 5xx'], ['reply', 100, '100 1xx'], ['reply', 99, '_OTHER _OTHER']
  ]
  for (const [abortedStatus, set, labels] of cases) {
    const [reached, ended] = [new Gate(), new Gate()]
    const ignore = (): boolean => {
      ended.open()
      return false
    }
    const { app, address } = await createListening(t, {
      labels: { status: 'status', class: 'status_class' }, abortedStatus, ignore
    }, app => {
      app.get('/', (_request, reply) => {
        reply.raw.statusCode = set
        reached.open()
      })
    })
    const connection = await Connection.open(address)
    connection.send('GET / HTTP/1.1\nhost: x\n\n')
    await reached.passed()
    connection.leave()
    await ended.passed()
    t.same(await counts(app.latency.url), [[labels, 1]])
  }
})

t.test('a known method has its own value where no route matches', async t => {
  const app = createApplication(t, { http2: true } as object)
  await app.register(latency, { server: anyPort, labels: { method: 'method', route: 'route' } })
  const session = http2.connect(await listen(app))
  const known = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY']
  for (const method of known) await once(session.request({ ':path': '/', ':method': method }).end().resume(), 'close')
  session.close()
  await once(session, 'close')
  t.same(await counts(app.latency.url), known.map((method): [string, number] => [`${method} unmatched`, 1]).sort())
})

t.test('whatever else labels tell, no two outcomes of a route share a series', async t => {
  const codes = Array.from({ length: 40 }, (_, index) => 200 + index)
  const { app, address } = await createListening(t, {
    labels: { status: 'status', version: 'protocol_version', error: 'error_type' }
  }, app => {
    app.get('/:code', async (request, reply) => reply.code(Number((request.params as { code: string }).code)).send())
  })
  const versions = ['1.0', '1.1']
  for (let round = 0; round < 2; round++) {
    for (const code of codes) {
      for (const version of versions) {
        await exchange(address, `GET /${code} HTTP/${version}\nhost: x\nconnection: close\n\n`)
      }
    }
  }
  t.same(
    await counts(app.latency.url),
    codes.flatMap(code => versions.map((version): [string, number] => [`${code} ${version} `, 2]))
  )
})

t.test('a label tells of each request, not only of the first with its route, method and status', async t => {
  const cases: Array<[labels: Record<string, LabelSource>, counts: Array<[labels: string, count: number]>]> = [
    [{ status: 'sent_status' }, [['', 4], ['200', 2], ['201', 2]]],
    [{ error: 'error_type' }, [['', 4], ['aborted', 4]]],
    [{ scheme: 'scheme' }, [['http', 4], ['https', 4]]],
    [{ status: 'status', error: 'error_type' }, [['200 ', 2], ['200 aborted', 2], ['201 ', 2], ['201 aborted', 2]]],
    [
      { scheme: 'scheme', error: 'error_type' },
      [['http ', 2], ['http aborted', 2], ['https ', 2], ['https aborted', 2]]
    ],
    [{ scheme: 'scheme', status: 'status' }, [['http 200', 2], ['http 201', 2], ['https 200', 2], ['https 201', 2]]]
  ]
  for (const [labels, expected] of cases) {
    let [reached, ended] = [new Gate(), new Gate()]
    const app = createApplication(t, { trustProxy: true })
    await app.register(latency, {
      server: anyPort,
      labels,
      abortedStatus: 'reply',
      ignore: request => {
        if ('x-leaves' in request.headers) ended.open()
        return false
      }
    })
    app.get('/:code', (request, reply) => {
      reply.code(Number((request.params as { code: string }).code))
      if ('x-leaves' in request.headers) reached.open()
      else reply.send()
    })
    const address = await listen(app)
    for (const [code, scheme, other] of [
      ['200', 'http', 'https'], ['201', 'http', 'https'], ['200', 'https', 'http'], ['201', 'https', 'http']
    ]) {
      await exchange(address, `GET /${code} HTTP/1.1\nhost: x\nx-forwarded-proto: ${scheme}\nconnection: close\n\n`)
      ;[reached, ended] = [new Gate(), new Gate()]
      const connection = await Connection.open(address)
      connection.send(`GET /${code} HTTP/1.1\nhost: x\nx-forwarded-proto: ${other}\nx-leaves: 1\n\n`)
      await reached.passed()
      connection.leave()
      await ended.passed()
    }
    t.same(await counts(app.latency.url), expected)
  }
})

t.test('without labels there is one series', async t => {
  const { app, address } = await createListening(t, { labels: {} }, app => { app.get('/', async () => 'x') })
  t.same(await counts(app.latency.url), [['', 0]])
  await send(address)
  await send(`${address}/nothing`)
  t.same(await counts(app.latency.url), [['', 2]])
})

t.test('constant labels are on every series', async t => {
  const { app, address } = await createListening(t, {
    labels: { route: 'route' }, constLabels: { region: 'eu"1', tier: '' }
  }, app => {
    app.get('/', async () => 'x')
  })
  await send(address)
  const read = await scrape(app.latency.url)
  t.equal(read.value(`${name}_count`, { route: '/', region: 'eu"1', tier: '' }), 1)
})

t.test('a label function sees the request and its reply', async t => {
  const { app, address } = await createListening(t, {
    labels: {
      route: 'route',
      tenant: request => request.headers['x-tenant'] as string | undefined,
      cached: (_request, reply) => reply.hasHeader('x-cache'),
      size: () => 1,
      none: () => null
    }
  }, app => {
    app.get('/', async (request, reply) => {
      if (request.headers['x-tenant'] === 'a') reply.header('x-cache', 'hit')
      return 'x'
    })
  })
  await fetch(address, { headers: { 'x-tenant': 'a' } })
  await fetch(address, { headers: { 'x-tenant': 'a' } })
  await fetch(address)
  t.same(await counts(app.latency.url), [['/  false 1 ', 1], ['/ a true 1 ', 2]])
})

t.test('a label function that fails costs its label, not the observation, and is reported once', async t => {
  const failures: Record<string, { source: () => string, problem: RegExp }> = {
    throws: { source: () => { throw new Error('broken') }, problem: /"labels\.bad" failed: broken$/ },
    // eslint-disable-next-line no-throw-literal -- users do
    'throws no error': { source: () => { throw 'broken' }, problem: /"labels\.bad" failed: 'broken'$/ },
    'returns an object': { source: () => ({}) as string, problem: /: it returned an object, and must return a string of at most 1024/ },
    'is async': { source: (async () => 'x') as unknown as () => string, problem: /it returned a promise/ }
  }
  for (const [description, { source, problem }] of Object.entries(failures)) {
    const { app, address } = await createListening(t, { labels: { route: 'route', bad: source } }, app => {
      app.get('/', async () => 'x')
    })
    const warning = await warningOf(() => send(address))
    t.match(warning, { name: 'FastifyLatencyWarning', code: 'FST_LATENCY_ERR_CALLBACK', message: problem }, description)
    const again = collectWarnings(t)
    await send(address)
    t.same(again, [], description)
    t.same(await counts(app.latency.url), [['/ _INVALID', 2]], description)
  }
})

t.test('label values that differ only in what UTF-8 cannot carry share a series, ' +
  'and the exposition stays valid', async t => {
  let value = ''
  const { app, address } = await createListening(t, { labels: { value: () => value } }, app => {
    app.get('/', async () => 'x')
  })
  for (value of ['a\ud800', 'a\udfff', 'a\ufffd']) await send(address)
  t.same(await counts(app.latency.url), [['a\ufffd', 3]])
})

t.test('config.latency leaves a route out, or names it', async t => {
  const { app, address } = await createListening(t, {}, app => {
    app.get('/health', { config: { latency: false } }, async () => 'x')
    app.get('/v2/users', { config: { latency: { route: '/users' } } }, async () => 'x')
    app.get('/plain', { config: {} }, async () => 'x')
  })
  for (const path of ['/health', '/v2/users', '/plain']) await send(address + path)
  await send(`${address}/health`, 'HEAD')
  t.same(await counts(app.latency.url), [['GET /plain 200', 1], ['GET /users 200', 1]])
})

t.test('a route that is declared with the options of another one is a route of its own', async t => {
  const { app, address } = await createListening(t, { labels: { route: 'route' } }, app => {
    app.addHook('onRoute', route => {
      const { url, method, config = {} } = route
      if (method !== 'GET' || 'isAlias' in config) return
      const declare = (prefix: string, latency?: false): unknown =>
        app.route({ ...route, url: prefix + url, config: { ...config, isAlias: true, latency } } as RouteOptions)
      declare('/alias')
      declare('/left', false)
    })
    app.get('/a', async () => 'x')
  })
  for (const path of ['/left/a', '/alias/a', '/a', '/alias/a', '/left/a']) await send(address + path)
  t.same(await counts(app.latency.url), [['/a', 1], ['/alias/a', 2]])
})

t.test('a wrong config.latency is refused when the route is declared', async t => {
  const wrong: unknown[] = [true, 'off', null, {}, { route: '' }, { route: 1 }]
  for (const value of wrong) {
    const app = createApplication(t)
    await app.register(latency, { server: false })
    t.throws(() => app.get('/', { config: { latency: value as false } }, async () => 'x'),
      { code: 'FST_LATENCY_ERR_OPTION_INVALID' }, `${value}`)
    t.throws(() => app.get('/', { config: { latency: { name: 'x' } as never } }, async () => 'x'), {
      code: 'FST_LATENCY_ERR_OPTION_UNKNOWN'
    })
  }
})

t.test('on a route declared before the plugin a wrong config.latency is reported, ' +
  'and the route recorded as declared', async t => {
  const app = createApplication(t)
  app.addHttpMethod('PROPFIND')
  for (const url of ['/early', '/too-early']) {
    app.route({
      method: ['GET', 'PROPFIND'], url, config: { latency: 'off' as unknown as false }, handler: async () => 'x'
    })
  }
  await app.register(latency, { server: anyPort })
  const address = await listen(app)
  const warnings = collectWarnings(t)
  for (const path of ['/early', '/early', '/too-early']) await send(address + path)
  await send(`${address}/early`, 'PROPFIND')
  await setImmediate()
  t.match(warnings, [{ code: 'FST_LATENCY_ERR_OPTION_INVALID' }, { code: 'FST_LATENCY_ERR_OPTION_INVALID' }])
  t.equal(warnings.length, 2, 'each once')
  t.same(await counts(app.latency.url), [['GET /early 200', 2], ['GET /too-early 200', 1], ['PROPFIND /early 200', 1]])
})

t.test('ignored requests leave no trace', async t => {
  const { app, address } = await createListening(t, {
    ignore: (request, reply) => request.method === 'HEAD' || reply.statusCode === 404
  }, app => {
    app.get('/', async () => 'x')
  })
  await send(address)
  await send(address, 'HEAD')
  await send(`${address}/nothing`)
  t.same(await counts(app.latency.url), [['GET / 200', 1]])
})

t.test('what a route says about this plugin in another place is warned of, once for each name', async t => {
  const lines: string[] = []
  const warnings = collectWarnings(t)
  const app = createApplication(t, { logger: { stream: { write: line => { lines.push(JSON.parse(line).msg) } } } })
  await app.register(latency, { server: false })
  const options: object[] = [
    { latency: false }, { latency: { route: 'x' } }, { config: { fastifyLatency: false } },
    { config: { Latency: false } }, { config: { latncy: { route: 'x' } } },
    { config: { disableMetrics: true } }, { config: { statsId: 'x' } }, { config: { statsId: 'y' } }
  ]
  options.forEach((options, index) => app.get(`/${index}`, options, async () => 'x'))
  // What is read, and what is for others.
  app.get('/read', { config: { latency: { route: 'x' }, statsId: 'x', fastifyLatency: 1 } as never }, async () => 'x')
  const config = { rateLimit: false, otel: true, url: 'x' }
  app.get('/other', { latency: undefined, config } as never, async () => 'x')
  await app.register(async child => {
    await child.register(latency, { histogram: { name: 'child_seconds' } })
    child.get('/child', { latency: false } as never, async () => 'x')
  })
  await setImmediate()
  const own = (route: string, option: string, meaning: string): string =>
    `The route ${route} has the option "${option}", which is not read; did you mean "config: { latency: ${meaning} }"?`
  const others = (route: string, option: string, meaning: string): string =>
    `The route ${route} has the option "${option}" of another plugin, which changes nothing about its latency; ` +
    `did you mean "config: { latency: ${meaning} }"?`
  const expected = [
    own('GET /0', 'latency', 'false'), own('GET /2', 'config.fastifyLatency', 'false'),
    own('GET /3', 'config.Latency', 'false'), own('GET /4', 'config.latncy', '{ route }')
  ]
  t.same(warnings.map(({ code }) => code), expected.map(() => 'FST_LATENCY_ERR_ROUTE_OPTION'))
  t.same(warnings.map(({ message }) => message), expected)
  t.same(lines, [
    ...expected, others('GET /5', 'config.disableMetrics', 'false'), others('GET /6', 'config.statsId', '{ route }')
  ])
  for (const index of options.keys()) await app.inject(`/${index}`)
  const { values } = await app.latency.histogram.get()
  t.equal(values.filter(({ metricName }) => metricName === `${name}_count`).length, options.length)
})

t.test('a predicate that fails ignores nothing, and is reported', async t => {
  const failures: Array<[ignore: () => boolean, problem: string]> = [
    [() => { throw new Error('broken') }, 'broken'],
    [(async () => true) as unknown as () => boolean, 'it returned a promise, and must return a boolean$'],
    [() => 1 as unknown as boolean, 'it returned a number, and must return a boolean$'],
    [() => 'Bearer secret' as unknown as boolean, 'it returned a string of 13 characters, and must return a boolean$'],
    [() => ({}) as unknown as boolean, 'it returned an object, and must return a boolean$']
  ]
  for (const [ignore, problem] of failures) {
    const { app, address } = await createListening(t, { ignore }, app => { app.get('/', async () => 'x') })
    t.match(await warningOf(() => send(address)), {
      code: 'FST_LATENCY_ERR_CALLBACK', message: new RegExp(`^The function given as "ignore" failed: ${problem}`)
    })
    t.same(await counts(app.latency.url), [['GET / 200', 1]])
  }
})

t.test('a predicate that says nothing, or what is false, ignores nothing, and is right', async t => {
  const warnings = collectWarnings(t)
  for (const said of [undefined, null, false, 0, '', NaN, 0n]) {
    const ignore = ({ url }: { url: string }): boolean => url === '/ignored' || said as boolean
    const { app, address } = await createListening(t, { ignore }, app => {
      for (const path of ['/', '/ignored']) app.get(path, async () => 'x')
    })
    for (const path of ['/', '/ignored']) await send(address + path)
    t.same(await counts(app.latency.url), [['GET / 200', 1]], String(said))
  }
  t.same(warnings, [])
})

t.test('what a function returns is never begun: queries of database clients begin when their then() is called',
  async t => {
    const begun: string[] = []
    class Query {
      readonly #by: string

      constructor (by: string) {
        this.#by = by
      }

      then (): void {
        begun.push(this.#by)
      }
    }
    /** A promise that begins its work when somebody waits for it. */
    class LazyPromise extends Promise<never> {
      readonly #by: string

      constructor (by: string) {
        super(() => {})
        this.#by = by
      }

      override async then (): Promise<never> {
        begun.push(this.#by)
        return new Promise(() => {})
      }
    }
    const warnings = collectWarnings(t)
    for (const Kind of [Query, LazyPromise]) {
      const registry = new Registry()
      const { registerMetric, removeSingleMetric } = registry
      registry.registerMetric = metric => {
        registerMetric.call(registry, metric)
        return new Kind('registerMetric') as never
      }
      registry.removeSingleMetric = name => {
        removeSingleMetric.call(registry, name)
        return new Kind('removeSingleMetric') as never
      }
      const app = createApplication(t)
      for (const level of ['error', 'info', 'warn'] as const) app.log[level] = () => new Kind(level)
      await app.register(latency, {
        server: anyPort,
        registry,
        labels: { tenant: () => new Kind('label') as never },
        ignore: () => new Kind('ignore') as never,
        routes: ({ url }) => url === '/' ? undefined : new Kind('routes') as never
      })
      app.get('/', async () => 'x')
      t.throws(() => app.get('/named', async () => 'x'), { code: 'FST_LATENCY_ERR_CALLBACK' })
      await send(await listen(app))
      t.match(await (await fetch(app.latency.url!)).text(), 'http_request_duration_seconds_count{tenant="_INVALID"} 1')
      await app.close()
      await setImmediate()
      t.same(warnings.splice(0).map(({ code }) => code), ['FST_LATENCY_ERR_CALLBACK', 'FST_LATENCY_ERR_CALLBACK'])
    }
    t.same(begun, [])
  })

/** Everything that a function can do instead of returning a label, and what is then said of it. */
function * failures (): Generator<[description: string, call: () => unknown, problem: RegExp]> {
  const throws = (): never => { throw new Error('getter') }
  const { proxy: revoked, revoke } = Proxy.revocable({}, {})
  revoke()
  const badError = Object.defineProperty(new Error('x'), 'message', { get: throws })
  yield ['rejects', async () => { throw new Error('db\ndown') }, /^it returned a promise/]
  yield ['rejects later', async () => { await setImmediate(); throw new Error('late') }, /^it returned a promise/]
  yield ['a thenable that throws', () => ({ then: throws }), /^it returned /]
  yield ['a thenable that rejects', () => ({ then: (_: unknown, no: (e: Error) => void) => no(new Error()) }), /^it re/]
  yield ['a getter of then', () => ({ get then () { return throws() } }), /^it returned /]
  yield ['a promise of its own kind', () => new (class extends Promise<never> {})((_, no) => no(new Error())), /^it re/]
  yield ['throws a promise', () => { throw Promise.reject(new Error('x')) }, /^Promise/]
  yield ['a revoked proxy', () => revoked, /^it returned /]
  yield ['throws a revoked proxy', () => { throw revoked }, /^a value that cannot be shown$/]
  yield ['an object without text', () => ({ toString: throws, [Symbol.toPrimitive]: throws }), /^it returned an object/]
  yield ['an object that shows itself', () => ({ [inspect.custom]: throws }), /^it returned an object/]
  yield ['a symbol', () => Symbol('x'), /^it returned a symbol/]
  yield ['a big integer', () => 1n, /^it returned a bigint/]
  yield ['an error that throws', () => { throw badError }, /^a value that cannot be shown$/]
  yield ['a long error', () => { throw new Error('x'.repeat(1e7)) }, /^x{200}…$/]
  yield ['an error for the terminal', () => { throw new Error('a\u001b[2J\r\nb') }, /^a\\u001b\[2J\\u000d\\nb$/]
  // eslint-disable-next-line no-throw-literal -- users do
  yield ['throws undefined', () => { throw undefined }, /^undefined$/]
  // eslint-disable-next-line no-throw-literal -- users do
  yield ['throws null', () => { throw null }, /^null$/]
}

t.test('whatever ignore and label functions do, the request is counted, and the option is named once', async t => {
  const warnings = collectWarnings(t)
  const unhandled: unknown[] = []
  const note = (error: unknown): void => { unhandled.push(error) }
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  for (const [description, call, problem] of failures()) {
    const lines: string[] = []
    const app = createApplication(t, { logger: { level: 'error', stream: { write: line => { lines.push(line) } } } })
    // A label has the name of an option.
    const labels = { route: 'route', ignore: call as () => string } as const
    await app.register(latency, { server: anyPort, processMetrics: false, labels, ignore: call as () => boolean })
    app.get('/', async () => 'x')
    const address = await listen(app)
    lines.length = 0
    for (let n = 0; n < 3; n++) await send(address)
    for (let n = 0; n < 3; n++) await setImmediate()
    t.same(await counts(app.latency.url), [['/ _INVALID', 3]], description)
    const told = warnings.splice(0).map(({ code, message }) => ({ code, message }))
    t.same(told.map(({ message }) => /"(.*?)"/.exec(message)![1]), ['ignore', 'labels.ignore'], description)
    for (const { code, message } of told) {
      t.equal(code, 'FST_LATENCY_ERR_CALLBACK', description)
      t.match(message.replace(/^.*? failed: /, ''), problem, description)
      t.match(message, /^\P{C}{1,400}$/u, description)
    }
    t.equal(lines.length, 2, description)
    t.ok(lines.every(line => line.length < 20_000 && /^\P{C}+\n$/u.test(line)), description)
  }
  t.same(unhandled, [])
})

t.test('the stack of a function that throws is kept as the cause', async t => {
  const error = new Error('broken')
  const { app, address } = await createListening(t, { labels: { bad: () => { throw error } } }, app => {
    app.get('/', async () => 'x')
  })
  let logged: unknown
  app.log.error = ((object: { err: Error }) => { logged = object.err.cause }) as never
  t.equal((await warningOf(() => send(address))).cause, error)
  t.equal(logged, error)
})

t.test('a label function that fails once the client has left is no harm either', async t => {
  const [reached, ended] = [new Gate(), new Gate()]
  const { app, address } = await createListening(t, {
    labels: { route: 'route', bad: async () => { throw new Error('late') } } as never,
    ignore: () => {
      ended.open()
      throw new Error('no')
    }
  }, app => { app.get('/', () => { reached.open() }) })
  const connection = await Connection.open(address)
  connection.send('GET / HTTP/1.1\nhost: x\n\n')
  await reached.passed()
  connection.leave()
  await ended.passed()
  t.same(await counts(app.latency.url), [['/ _INVALID', 1]])
})

t.test('registrations that fail are named each', async t => {
  const app = createApplication(t)
  const options = { labels: { bad: () => { throw new Error('broken') } }, server: anyPort } as const
  await app.register(latency, options)
  await app.register(latency, { ...options, histogram: { name: 'second_seconds' } })
  app.get('/', async () => 'x')
  const address = await listen(app)
  const warnings = collectWarnings(t)
  for (let n = 0; n < 2; n++) await send(address)
  await setImmediate()
  t.equal(warnings.length, 2)
})

t.test('a request whose properties throw is counted, without labels, and that is said once', async t => {
  const throws = (): never => { throw new Error('no') }
  for (const property of ['method', 'routeOptions', 'is404']) {
    const { app, address } = await createListening(t, { inFlight: false }, app => {
      app.addHook('onSend', async request => { Object.defineProperty(request, property, { get: throws }) })
      app.get('/', async () => 'x')
    })
    const warnings = collectWarnings(t)
    for (let n = 0; n < 2; n++) await send(address)
    await setImmediate()
    t.same(warnings.map(({ code }) => code), ['FST_LATENCY_ERR_REQUEST_UNREADABLE'])
    t.same(await counts(app.latency.url), [['_INVALID _INVALID _INVALID', 2]], property)
  }
})

t.test('a method that a handler has replaced by something else is another one', async t => {
  for (const method of [5, null, { toString: () => 'GET' }]) {
    const { app, address } = await createListening(t, { inFlight: false, labels: { method: 'method' } }, app => {
      app.addHook('onSend', async request => { Object.defineProperty(request, 'method', { value: method }) })
      app.get('/', async () => 'x')
    })
    await send(address)
    t.same(await counts(app.latency.url), [['_OTHER', 1]], String(method))
  }
})

t.test('a request whose properties throw overflows like any other', async t => {
  const { app, address } = await createListening(t, { seriesLimit: 2, labels: { route: 'route' } }, app => {
    app.get('/', async () => 'x')
    app.get('/bad', async request => {
      Object.defineProperty(request, 'method', { get () { throw new Error('no') } })
      return 'x'
    })
  })
  for (const path of ['/', '/bad', '/bad']) await send(address + path)
  t.same(await counts(app.latency.url), [['/', 1], ['_OVERFLOW', 2]])
})

t.test('a request of which nobody can tell the route is open during a scrape, and takes one gauge with it', async t => {
  const [reached, mayEnd] = [new Gate(), new Gate()]
  const { app, address } = await createListening(t, {}, app => {
    app.get('/', async request => {
      Object.defineProperty(request, 'method', { get () { throw new Error('no') } })
      reached.open()
      await mayEnd.passed()
    })
  })
  const sent = send(address)
  await reached.passed()
  const warning = await warningOf(async () => {
    const { families } = await scrape(app.latency.url)
    t.notOk(families.has('http_requests_in_flight'))
    t.ok(families.has('http_requests_rejected_total'))
  })
  t.match(warning.message, 'Metric "http_requests_in_flight" is left out of scrapes: no')
  mayEnd.open()
  await sent
})

t.test('a clock that a test has put in the place of the real one changes nothing', async t => {
  const app = createApplication(t)
  await app.register(latency, { server: false, endpoint: '/metrics', processMetrics: false, scrape: { created: true } })
  app.get('/', async () => 'x')
  await app.ready()
  const before = Date.now() / 1000
  const clock = t.intercept(Date, 'now', { value: () => { throw new Error('no time') } })
  await app.inject('/')
  clock.restore()
  const { payload } = await app.inject({ url: '/metrics', headers: { accept: 'application/openmetrics-text' } })
  const created = Number(/^http_request_duration_seconds_created\{.*\} (.*)$/m.exec(payload)![1])
  t.ok(created >= before && created <= Date.now() / 1000)
})

t.test('ignore and label functions run once for each request, with timeToFirstByte too', async t => {
  const calls: string[] = []
  const { app, address } = await createListening(t, {
    timeToFirstByte: true,
    labels: { url: ({ url }) => { calls.push(`label ${url}`); return 'x' } },
    ignore: ({ url }) => { calls.push(`ignore ${url}`); return false }
  }, app => {
    app.get('/plain', async () => 'x')
    app.get('/events', (_request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200, { 'content-type': 'text/event-stream' })
      reply.raw.write('data: x\n\n')
      setTimeout(() => reply.raw.end(), 1)
    })
  })
  for (const path of ['/plain', '/events']) {
    await send(address + path)
    t.same(calls.splice(0), [`ignore ${path}`, `label ${path}`])
  }
  t.equal((await scrape(app.latency.url)).value('http_request_first_byte_seconds_count', { url: 'x' }), 2)
})

t.test('the option routes names routes where they are declared, and leaves routes out', async t => {
  const seen: string[] = []
  const routes: Options['routes'] = ({ url, method, schema, config }) => {
    seen.push(`${method} ${url} ${JSON.stringify(schema)} ${JSON.stringify(config)}`)
    if (url.startsWith('/files/')) return '/files/*'
    if (url === '/hidden') return false
    return undefined
  }
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, processMetrics: false, routes })
  await app.register(latency, { histogram: { name: 'all_seconds' }, labels: { route: 'route' } })
  app.register(async files => {
    for (const file of ['a', 'b', 'own', 'out']) {
      const config = file === 'own' ? { latency: { route: 'own' } } : file === 'out' ? { latency: false as const } : {}
      files.get(`/${file}`, { config }, async () => 'x')
    }
  }, { prefix: '/files' })
  app.get('/hidden', async () => 'x')
  app.route({ method: ['PUT', 'POST'], url: '/plain', schema: { tags: ['x'] } as object, handler: async () => 'x' })
  const address = await listen(app)
  for (const path of ['/files/a', '/files/b', '/files/own', '/files/out', '/hidden', '/nothing']) {
    await send(address + path)
  }
  await send(`${address}/files/a`, 'HEAD')
  await send(`${address}/plain`, 'PUT')
  t.same(await counts(app.latency.url), [
    ['GET /files/* 200', 2], ['GET own 200', 1], ['GET unmatched 404', 1], ['HEAD /files/* 200', 1],
    ['PUT /plain 200', 1]
  ])
  const others = (await scrape(app.latency.url)).samples('all_seconds_count')
  t.same(others.map(({ labels, value }) => `${labels.route} ${value}`).sort(),
    ['/files/a 2', '/files/b 1', '/hidden 1', '/plain 1', 'own 1', 'unmatched 1'])
  t.same(seen.sort(), [
    'GET /files/a undefined {}', 'GET /files/b undefined {}', 'GET /hidden undefined undefined',
    'HEAD /files/a undefined {}', 'HEAD /files/b undefined {}', 'HEAD /hidden undefined undefined',
    'PUT,POST /plain {"tags":["x"]} undefined'
  ])
})

t.test('the option routes names routes of both slashes, and gives the gauges and counters its names', async t => {
  const reached = new Gate()
  const { app, address } = await createListening(t, { routes: ({ url }) => `name of ${url}` }, app => {
    app.register(async child => { child.get('/', async () => 'x') }, { prefix: '/v1' })
    app.get('/waits', () => { reached.open() })
  })
  for (const path of ['/v1', '/v1/']) await send(address + path)
  t.same(await counts(app.latency.url), [['GET name of /v1 200', 2]])
  const connection = await Connection.open(address)
  connection.send('GET /waits HTTP/1.1\nhost: x\n\n')
  await reached.passed()
  const open = { method: 'GET', route: 'name of /waits' }
  t.equal((await scrape(app.latency.url)).value('http_requests_in_flight', open), 1)
  connection.leave()
})

t.test('the option routes is told one URL of a prefixed /, and decides about all its URLs and methods', async t => {
  const urls = new Set<string>()
  const { app, address } = await createListening(t, {
    routes: ({ url }) => {
      urls.add(url)
      return url === '/pre' ? false : undefined
    }
  }, app => {
    app.register(async app => { app.get('/', async () => 'x') }, { prefix: '/pre' })
  })
  for (const method of ['GET', 'HEAD']) for (const path of ['/pre', '/pre/']) await send(address + path, method)
  t.same(await counts(app.latency.url), [])
  t.same([...urls], ['/pre'])
})

t.test('a route that the option routes cannot name is refused when it is declared', async t => {
  const error = new Error('broken')
  const wrong: Array<[routes: () => unknown, problem: RegExp, cause?: Error]> = [
    [() => { throw error }, /"routes" failed: broken$/, error],
    [() => '', /"routes" failed: it returned '', and must return a name of 1 to 1024 characters, false or undefined \(for the route '\/'\)$/],
    [() => true, /it returned true, /],
    [() => null, /it returned null, /],
    [() => 'x'.repeat(1025), /it returned a string of 1025 characters, /],
    [async () => { throw error }, /it returned a promise/],
    [() => { throw Promise.reject(error) }, /failed: Promise/]
  ]
  for (const [routes, message, cause] of wrong) {
    const app = createApplication(t)
    await app.register(latency, { server: false, routes: routes as never })
    const expected = { code: 'FST_LATENCY_ERR_CALLBACK', message, ...cause && { cause } }
    t.throws(() => app.get('/', async () => 'x'), expected)
    t.doesNotThrow(() => app.get('/own', { config: { latency: { route: 'own' } } }, async () => 'x'))
  }
})

t.test('a name of the option routes may be as long as its message says, and the route keeps its config', async t => {
  const longest = 'x'.repeat(1024)
  const { app, address } = await createListening(t, { routes: () => longest }, app => {
    const config = { own: 'of the route' } as object
    app.get('/', { config }, async ({ routeOptions }) => (routeOptions.config as { own?: string }).own)
  })
  t.equal(await (await fetch(address)).text(), 'of the route')
  t.same(await counts(app.latency.url), [[`GET ${longest} 200`, 1]])
})

t.test('registrations whose option routes fails are named each', async t => {
  const app = createApplication(t)
  app.get('/', async () => 'x')
  const options = { server: false, routes: () => { throw new Error('broken') } } as const
  await app.register(latency, options)
  await app.register(latency, { ...options, histogram: { name: 'second_seconds' } })
  const warnings = collectWarnings(t)
  for (let n = 0; n < 2; n++) await app.inject('/')
  await setImmediate()
  t.same(warnings.map(({ code }) => code), ['FST_LATENCY_ERR_CALLBACK', 'FST_LATENCY_ERR_CALLBACK'])
})

t.test('a route declared before the plugin is named at its first request', async t => {
  for (const [routes, label, told] of [
    [({ url }) => `${url}!`, '/early!', []],
    [() => { throw new Error('broken') }, '/early', ['FST_LATENCY_ERR_CALLBACK']],
    [() => false, undefined, []]
  ] as Array<[Options['routes'], string | undefined, string[]]>) {
    const app = createApplication(t)
    app.get('/early', async () => 'x')
    app.get('/earlier', async () => 'x')
    await app.register(latency, { server: anyPort, processMetrics: false, routes: routes! })
    const address = await listen(app)
    const warnings = collectWarnings(t)
    for (let n = 0; n < 2; n++) await send(`${address}/early`)
    await send(`${address}/earlier`)
    await setImmediate()
    t.same(warnings.map(({ code }) => code), told)
    const found = (await counts(app.latency.url)).filter(([, count]) => count === 2)
    t.same(found, label === undefined ? [] : [[`GET ${label} 200`, 2]])
  }
})

t.test('routes that cannot fit into seriesLimit are warned of at the start', async t => {
  const warnings = collectWarnings(t)
  const cases: Array<[options: Options, needed: number | undefined]> = [
    [{ seriesLimit: 10 }, 10],
    [{ seriesLimit: 11 }, undefined],
    [{ seriesLimit: 5, labels: { route: 'matched_route' } }, 5],
    [{ seriesLimit: 6, labels: { route: 'route' } }, undefined],
    [{ seriesLimit: 2, labels: { method: 'method' } }, 2],
    [{ seriesLimit: 1, labels: { status: 'status' } }, undefined],
    [{ seriesLimit: 3, routes: () => '/all' }, undefined],
    [{ seriesLimit: 3, routes: () => false }, undefined]
  ]
  for (const [options, needed] of cases) {
    const app = createApplication(t)
    await app.register(latency, { server: false, ...options })
    for (let n = 0; n < 5; n++) app.get(`/${n}`, async () => 'x')
    app.get('/hidden', { config: { latency: false } }, async () => 'x')
    await app.ready()
    await setImmediate()
    t.same(warnings.splice(0).map(({ code, message }) => ({ code, message })), needed === undefined
      ? []
      : [{
          code: 'FST_LATENCY_ERR_SERIES_LIMIT',
          message: `Histogram "${name}" may have ${options.seriesLimit} series ("seriesLimit"): ` +
            `the declared routes need at least ${needed} and one for what comes after the limit. ` +
            'Give routes names in common with the option "routes", or raise the limit'
        }])
  }
})

t.test('a limit that leaves no room for any series is warned of', async t => {
  for (const options of [{ labels: {}, constLabels: { a: 'b' } }, { labels: { url: ({ url }) => url } }] as Options[]) {
    const { app, address } = await createListening(t, { seriesLimit: 1, ...options }, app => {
      app.get('/', async () => 'x')
    })
    const { message } = await warningOf(() => send(address))
    t.match(message, / may have 1 series \("seriesLimit"\): all requests are counted as "_OVERFLOW"\. Raise the limit$/)
    t.equal((await counts(app.latency.url)).length, 1)
  }
})

t.test('the first overflow is warned of, with the label that has most values', async t => {
  const cases: Array<[labels: Record<string, LabelSource>, problem: string]> = [
    [{ route: 'route', status: 'status' }, 'In 7 series the label "route" has most values, 7. ' +
      'Give routes names in common with the option "routes", or raise the limit'],
    [{ route: 'route', url: ({ url }) => `${url}?` }, 'In 4 series the label "route" has most values, 4. ' +
      'Give routes names in common with the option "routes", or raise the limit'],
    [{ all: () => 1, route: 'route', url: () => Math.random() }, 'In 4 series the label "route" has most values, 4. ' +
      'Give routes names in common with the option "routes", or raise the limit'],
    [{ version: 'protocol_version', status: 'status' }, 'In 7 series the label "status" has most values, 7. ' +
      'Leave labels out, or raise the limit'],
    [{ url: () => Math.random() }, 'In 4 series the label "url" has most values, 4. ' +
      'Let its function return one of a few values, or raise the limit']
  ]
  for (const [labels, problem] of cases) {
    const { address } = await createListening(t, { seriesLimit: 8, labels }, app => {
      for (let n = 0; n < 9; n++) {
        const status = 'version' in labels ? 400 + n : 200
        app.get(`/${n}`, { exposeHeadRoute: false }, async (_request, reply) => reply.code(status).send())
      }
    })
    const warnings = collectWarnings(t)
    for (let round = 0; round < 2; round++) for (let n = 0; n < 9; n++) await send(`${address}/${n}`)
    await setImmediate()
    const told = warnings.filter(({ message }) => !message.includes('the declared routes'))
    t.same(told.map(({ message }) => message), [
      `Histogram "${name}" may have 8 series ("seriesLimit"): further requests are counted as "_OVERFLOW". ${problem}`
    ])
  }
})

t.test('labels are looked up only when a route, method and status are seen together for the first time', async t => {
  const config = parseOptions({})
  class CountingIndex extends SeriesIndex {
    lookups = 0
    override slot (labelValues: readonly string[]): number {
      this.lookups++
      return super.slot(labelValues)
    }
  }
  const index = new CountingIndex(Object.keys(config.labels))
  const resolver = new SeriesResolver({ index, config, warn: () => {}, warnOnce: () => {}, onOverflow: () => {} })
  const app = createApplication(t)
  app.addHook('onResponse', (_request, reply, done) => {
    resolver.resolve(reply, reply.statusCode, 'replied')
    done()
  })
  app.route({
    method: ['GET', 'PUT'],
    url: '/:code',
    handler: async (request, reply) => reply.code(Number((request.params as { code: string }).code)).send()
  })
  for (let round = 0; round < 3; round++) {
    for (const code of [200, 201]) {
      for (const method of ['GET', 'PUT'] as const) await app.inject({ url: `/${code}`, method })
    }
  }
  t.equal(index.lookups, 4)
  index.clear([])
  await app.inject('/200')
  t.equal(index.lookups, 5, 'and again after a reset')
})

t.test('methods that a client invents do not grow the memory of unmatched requests', async t => {
  const config = parseOptions({} satisfies Options)
  const index = new SeriesIndex(Object.keys(config.labels))
  const resolver = new SeriesResolver({ index, config, warn: () => {}, warnOnce: () => {}, onOverflow: () => {} })
  const app = createApplication(t)
  const slots = new Set<number>()
  app.addHook('onResponse', (request, reply, done) => {
    for (let n = 0; n < 100; n++) {
      const invented = Object.create(request, { method: { value: `X${n}` } })
      slots.add(resolver.resolve(Object.create(reply, { request: { value: invented } }), reply.statusCode, 'replied'))
    }
    for (const method of ['_OTHER', 'X0', 'X99']) t.equal(resolver.route(request).find(method, 404), undefined, method)
    done()
  })
  await app.inject('/nothing')
  t.equal(slots.size, 1)
})

t.test('what Fastify builds anew at every access is read once for each route', async t => {
  let reads = 0
  const { app, address } = await createListening(t, {}, app => {
    app.addHook('onRequest', async request => {
      const read = (): unknown => {
        reads++
        return Reflect.get(Object.getPrototypeOf(request), 'routeOptions', request)
      }
      Object.defineProperty(request, 'routeOptions', { get: read })
    })
    app.get('/users/:id', { onRequest: async () => {} }, async () => 'x')
    app.get('/files/:id', async (request, reply) => request.url === '/files/1' ? 'x' : reply.callNotFound())
  })
  await send(`${address}/users/1`)
  const first = reads
  for (let id = 2; id < 10; id++) await send(`${address}/users/${id}`)
  t.equal(reads, first)
  for (const id of [1, 2]) await send(`${address}/files/${id}`)
  t.same(await counts(app.latency.url), [
    ['GET /files/:id 200', 1], ['GET /users/:id 200', 9], ['GET unmatched 404', 1]
  ])
})

t.test('a wrong config.latency of a not-found handler is reported, and its requests match no route', async t => {
  const { app, address } = await createListening(t, {}, app => {
    app.setNotFoundHandler({ config: { latency: 'off' } } as object, async (_request, reply) => reply.code(404).send())
  })
  t.match(await warningOf(() => send(address)), {
    code: 'FST_LATENCY_ERR_OPTION_INVALID', message: /"config\.latency"/
  })
  await send(address, 'PURGE')
  t.same(await counts(app.latency.url), [['GET unmatched 404', 1], ['_OTHER unmatched 404', 1]])
})

t.test('the config of a not-found handler may be frozen, and left out', async t => {
  const { app, address } = await createListening(t, {}, app => {
    app.setNotFoundHandler({ config: Object.freeze({ own: 1 }) } as object, async (_request, reply) =>
      reply.code(404).send())
    app.register(async child => {
      child.setNotFoundHandler({ config: { latency: false } } as object, async (_request, reply) =>
        reply.code(404).send())
    }, { prefix: '/child' })
  })
  for (const path of ['/a', '/b', '/child/c']) await send(address + path)
  t.same(await counts(app.latency.url), [['GET unmatched 404', 2]])
})

t.test('what comes after seriesLimit is counted in one series, and as overflow', async t => {
  const { app, address } = await createListening(t, { seriesLimit: 3, labels: { route: 'route' } }, app => {
    for (const path of ['/a', '/b', '/c', '/d']) app.get(path, async () => 'x')
  })
  for (const path of ['/a', '/b', '/c', '/d', '/d', '/a']) await send(address + path)
  t.same(await counts(app.latency.url), [['/a', 2], ['/b', 1], ['_OVERFLOW', 3]])
  t.equal((await scrape(app.latency.url)).value('fastify_latency_overflowed_total', { histogram: name }), 3)
})

t.test('values that a client controls do not crowd out routes', async t => {
  const { app, address } = await createListening(t, {
    seriesLimit: 10, labels: { route: 'route', tenant: request => request.headers['x-tenant'] as string }
  }, app => {
    for (const path of ['/a', '/b', '/c', '/d', '/e', '/f']) app.get(path, async () => 'x')
  })
  for (let n = 0; n < 20; n++) await fetch(`${address}/a`, { headers: { 'x-tenant': `t${n}` } })
  for (const path of ['/b', '/c', '/d', '/e', '/f', '/f']) await fetch(address + path)
  await fetch(`${address}/a`, { headers: { 'x-tenant': 'one more' } })
  const found = await counts(app.latency.url)
  t.equal(found.length, 10)
  t.match(found, [['/a _OVERFLOW', 16], ['/a t0', 1], ['/a t1', 1], ['/a t2', 1], ['/a t3', 1], ['/a t4', 1]])
  t.match(found.slice(6), [['/b _OVERFLOW', 1], ['/c _OVERFLOW', 1], ['/d _OVERFLOW', 1], ['_OVERFLOW _OVERFLOW', 3]])
})

t.test('a very long label value costs that value only', async t => {
  let value = 'x'.repeat(1024)
  const { app, address } = await createListening(t, { labels: { route: 'route', value: () => value } }, app => {
    app.get('/', async () => 'x')
  })
  await send(address)
  value = 'x'.repeat(10_000_000)
  t.match(await warningOf(() => send(address)), {
    code: 'FST_LATENCY_ERR_CALLBACK',
    message: /it returned a string of 10000000 characters, and must return a string of at most 1024 characters/
  })
  t.same(await counts(app.latency.url), [['/ _INVALID', 1], [`/ ${'x'.repeat(1024)}`, 1]])
})
