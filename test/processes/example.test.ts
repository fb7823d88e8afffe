import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { get } from 'node:https'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { scrape } from '../helpers/application'
import { createAuthority, Files, issue } from '../helpers/certificates'
import { Exposition } from '../helpers/exposition'
import { createFolder } from '../helpers/folder'
import { freePort } from '../helpers/instances'
import { root } from '../helpers/repository'
import { until } from '../helpers/until'

const noSignals = process.platform === 'win32' && 'Windows has no signals'

async function listen (server: Server): Promise<AddressInfo> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return server.address() as AddressInfo
}

/** What an example prints with an address, or with two. */
const printed =
  /^(?:Hello World|its latency|as it is now|Application|Metrics|Live page|Process \d+|Thread) +(http\S+)(?: +(http\S+))?$/

/**
 * Starts an example on free ports, as it was built unless it is JavaScript; resolves when it has printed both of
 * its addresses, or all `count`.
 */
async function start (
  t: Test, name: string, env = {}, count = 2
): Promise<{ child: ChildProcess, address: string, metrics: string, live: string | undefined, addresses: string[] }> {
  const source = path.join(root, 'example', name)
  const child = spawn(process.execPath, [existsSync(source) ? source : path.join(root, 'dist', 'example', name)], {
    env: { ...process.env, PORT: '0', METRICS_PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const addresses: string[] = []
  for await (const line of createInterface({ input: child.stdout! })) {
    const found = line.match(printed)?.slice(1).filter(address => address !== undefined) ?? []
    if (addresses.push(...found) >= count) break
  }
  child.stdout!.resume()
  return { child, address: addresses[0]!, metrics: addresses[1]!, live: addresses[2], addresses }
}

t.test('hello-world answers, shows its latency, leads to the live page, and stops on Ctrl-C', {
  skip: noSignals
}, async t => {
  const { child, address, metrics, live } = await start(t, 'hello-world.js', {}, 3)
  t.equal((await scrape(metrics)).value('hello_world_latency_seconds_count'), 0)
  t.equal(await (await fetch(address)).text(), 'Hello World')
  const read = await scrape(metrics)
  t.equal(read.value('hello_world_latency_seconds_count'), 1)
  t.ok(read.value('hello_world_latency_seconds_sum')! > 0)
  t.same(read.samples('hello_world_latency_seconds_bucket').map(sample => sample.labels.le), [
    '0.0001', '0.0002', '0.0005', '0.001', '0.01', '0.1', '+Inf'
  ])
  t.match(await (await fetch(live!)).text(), '<title>Latency, live</title>')
  child.kill('SIGINT')
  t.same(await once(child, 'exit'), [0, null])
})

t.test('routes shows the default labels, and leads to the live page', async t => {
  const { address, metrics, live } = await start(t, 'routes.js', {}, 3)
  t.equal((await fetch(live!)).status, 200)
  for (const path of ['/', '/users/1', '/users/2', '/users/x', '/health', '/v2/users/1', '/nothing']) {
    await fetch(address + path)
  }
  await fetch(`${address}/orders`, { method: 'POST' })
  for (const year of [2024, 2019]) await fetch(`${address}/reports/${year}`)
  const counts = (await scrape(metrics)).samples('http_request_duration_seconds_count')
  t.same(counts.map(({ labels: { method, route, status_code: status }, value }) => [method, route, status, value]), [
    ['GET', '/', '200', 1], ['GET', '/users/:id', '200', 3], ['GET', '/users/:id', '400', 1],
    ['GET', 'unmatched', '404', 1], ['POST', '/orders', '201', 1],
    ['GET', '/reports/:year', '200', 1], ['GET', '/reports/:year', '500', 1]
  ])
})

/** Waits until so many requests are in what is scraped. A member on a busy machine may tell of them a second later. */
async function counted (metrics: string, count: number): Promise<void> {
  await until(`${count} requests`, async () => {
    const page = await scrape(metrics).catch(() => undefined)
    const samples = page?.samples('http_request_duration_seconds_count') ?? []
    return samples.reduce((sum, { value }) => sum + value, 0) === count
  })
}

for (const [name, count] of [['cluster', 4], ['threads', 3]] as const) {
  t.test(`${name} serves the metrics of all at one port, and stops on Ctrl-C`, { skip: noSignals }, async t => {
    const env = { METRICS_PORT: String(await freePort()) }
    const { child, addresses, metrics } = await start(t, `${name}.js`, env, 2 * count)
    t.same(new Set(addresses.filter(address => address.endsWith('/metrics'))), new Set([metrics]))
    const applications = addresses.filter(address => !address.endsWith('/metrics'))
    for (const address of applications) await (await fetch(address, { headers: { connection: 'close' } })).text()
    await counted(metrics, count)
    await until('all of them', async () =>
      (await scrape(metrics)).value('fastify_latency_group_members', { state: 'fresh' }) === count)
    child.kill('SIGINT')
    t.same(await once(child, 'exit'), [0, null])
  })
}

t.test('instances of the unit of systemd serve the metrics of all at one port', { skip: noSignals }, async t => {
  const unit = readFileSync(path.join(root, 'example', 'systemd', 'shop@.service'), 'utf8')
  t.match(unit, /^ExecStart=\S+ instance\.js$/m)
  const runtime = createFolder(t)
  mkdirSync(path.join(runtime, /^RuntimeDirectory=(.*)$/m.exec(unit)![1]!))
  const variables = [...unit.matchAll(/^Environment=(\w+)=(.*)$/gm)].map(([, name, value]) =>
    [name, value!.replace('%i', '0').replace('%t', runtime)])
  const env = { METRICS_PORT: String(await freePort()), ...Object.fromEntries(variables) }
  const [first, second] = [await start(t, 'instance.js', env), await start(t, 'instance.js', env)]
  t.equal(second.metrics, first.metrics)
  for (const { address } of [first, second]) await (await fetch(address)).text()
  await counted(first.metrics, 2)
  first.child.kill('SIGTERM')
  await once(first.child, 'exit')
  await counted(second.metrics, 2)
})

t.test('javascript serves its metrics', async t => {
  const { address, metrics } = await start(t, 'javascript.js')
  await fetch(address)
  t.equal(
    (await scrape(metrics)).value('http_request_duration_seconds_count', {
      method: 'GET', route: '/', status_code: '200'
    }),
    1
  )
})

t.test('one-part counts its part in a histogram of its own, and in the usual one', async t => {
  const { address, metrics } = await start(t, 'one-part.js')
  for (const path of ['/', '/shop/cart', '/nothing']) await fetch(address + path)
  const page = await scrape(metrics)
  t.match(page.samples('shop_request_duration_seconds_count'), [{ labels: { route: '/shop/cart' }, value: 1 }])
  t.equal(page.samples('shop_request_duration_seconds_bucket').length, 7)
  t.match(page.samples('http_request_duration_seconds_count').map(({ labels, value }) => [labels.route, value]), [
    ['/', 1], ['/shop/cart', 1], ['unmatched', 1]
  ])
})

t.test('labels lets in no tenant that it does not know', async t => {
  const { address, metrics } = await start(t, 'labels.js')
  for (const tenant of ['acme', 'made up', 'made up too']) {
    await fetch(`${address}/orders/${tenant.length}`, { headers: { 'x-tenant': tenant } })
  }
  const rest = { method: 'GET', path: '/orders/:id', status_class: '2xx', service: 'shop' }
  const counts = (await scrape(metrics)).samples('http_request_duration_seconds_count')
  t.strictSame(counts.map(({ labels, value }) => [labels, value]), [
    [{ ...rest, tenant: 'acme' }, 1], [{ ...rest, tenant: 'other' }, 2]
  ])
})

t.test('tls-and-token shows its metrics to those who know the token', async t => {
  const files = new Files(t)
  const ca = await createAuthority('ca')
  const { cert, key } = await issue(ca, 'server')
  const { address, metrics } = await start(t, 'tls-and-token.js', {
    CERT_FILE: files.write('tls.crt', cert), KEY_FILE: files.write('tls.key', key), METRICS_TOKEN: 'long-and-random'
  })
  await fetch(address)
  const read = async (authorization: string): Promise<{ status: number, page: string }> => {
    const [response] = await once(get(metrics, { ca: ca.cert, headers: { authorization }, agent: false }), 'response')
    return { status: response.statusCode, page: await text(response) }
  }
  t.match(metrics, /^https:/)
  t.equal((await read('Bearer guessed')).status, 401)
  const { page } = await read('Bearer long-and-random')
  t.equal(
    new Exposition(page).value('http_request_duration_seconds_count', {
      method: 'GET', route: '/', status_code: '200'
    }),
    1
  )
})

t.test('own-metrics serves metrics of its own, of both registries', async t => {
  const { address, metrics } = await start(t, 'own-metrics.js')
  await fetch(`${address}/orders`, { method: 'POST' })
  const page = await scrape(metrics)
  t.equal(page.value('orders_total', { currency: 'EUR' }), 1)
  t.equal(page.value('orders_open'), 1)
  t.equal(
    page.value('http_request_duration_seconds_count', { method: 'POST', route: '/orders', status_code: '201' }), 1
  )
})

t.test('shutdown answers what is in progress, is not ready any more, and ends when that has been scraped', {
  skip: noSignals
}, async t => {
  const { child, address, metrics } = await start(t, 'shutdown.js')
  const isReady = async (): Promise<boolean> => await (await fetch(new URL('/readyz', metrics))).text() === 'OK\n'
  t.ok(await isReady())
  const slow = fetch(`${address}/slow`)
  await until(
    'the request to be in flight',
    async () => (await scrape(metrics)).value('http_requests_in_flight', { method: 'GET', route: '/slow' }) === 1
  )
  child.kill('SIGTERM')
  await until('it not to be ready', async () => !await isReady())
  t.equal(await (await slow).text(), 'Hello at last')
  let last: Exposition | undefined
  const exited = once(child, 'exit')
  await until('the end of the process', async () => {
    last = await scrape(metrics).catch(() => last)
    return child.exitCode !== null
  })
  t.equal(last!.value('http_request_duration_seconds_count', { method: 'GET', route: '/slow', status_code: '200' }), 1)
  t.same(await exited, [0, null])
})

const traffic = path.join(root, 'example', 'traffic.mjs')

/** Runs a program of example/ to its end, and resolves to what it prints. */
async function run (program: string, parameters: string[], env = {}): Promise<{ output: string, code: number | null }> {
  const child = spawn(process.execPath, [path.join(root, 'example', program), ...parameters], {
    env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe']
  })
  const closed = once(child, 'close')
  const [printed, failure] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { output: printed + failure, code: (await closed)[0] }
}

t.test('npm run traffic stops by itself, and shows that all its requests were recorded', async t => {
  const { address, metrics } = await start(t, 'hello-world.js')
  const { output, code } = await run('traffic.mjs', ['1', address, metrics])
  t.equal(code, 0)
  const [, seen, recorded] = /^all requests +(\d+) +[\d.]+ ms +(\d+) +[\d.]+ ms$/m.exec(output)!
  t.equal(seen, recorded)
  t.match(output, `All ${recorded} requests were recorded.`)
  t.equal((await scrape(metrics)).value('hello_world_latency_seconds_count'), Number(recorded) + 1)
})

t.test('npm run traffic shows what an application with routes recorded by route and ending, also after Ctrl-C', {
  skip: noSignals
}, async t => {
  const { address, metrics } = await start(t, 'routes.js')
  const child = spawn(process.execPath, [traffic, 'Infinity', address, metrics], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const output = text(child.stdout)
  await until('an order that nobody waits for', async () =>
    (await scrape(metrics)).value('http_request_duration_seconds_count', {
      method: 'POST', route: '/orders', status_code: '499'
    }) !== undefined)
  child.kill('SIGINT')
  const rows = [...(await output).matchAll(/^(\w+ \S+ \d{3}) +([\d,]+) +[\d.]+ ms +([\d,]+) +[\d.]+ ms$/gm)]
  t.ok(rows.some(([, name]) => name === 'POST /orders 499'))
  // Of an order, the reply and the leaving of the client may cross.
  for (const [, name, seen, recorded] of rows) if (!name!.startsWith('POST')) t.equal(seen, recorded, name)
  t.match(await output, /^(?:All|\d+ of) [\d,]+ requests were (?:not )?recorded[.:]/m)
})

t.test('npm run traffic says what it waits for, and that it could not learn what was recorded', async t => {
  const server = createServer((_request, response) => response.writeHead(404).end())
  const { port } = await listen(server)
  server.close()
  const address = `http://127.0.0.1:${port}`
  const child = spawn(process.execPath, [traffic, '0.1', address, `${address}/metrics`], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => child.kill('SIGKILL'))
  t.match(String((await once(child.stdout, 'data'))[0]), /Nothing answers .* yet\. .* npm start/)
  const output = text(child.stdout)
  const late = createServer((request, response) => {
    if (request.url!.endsWith('/metrics')) request.socket.destroy()
    else response.writeHead(404).end()
  }).listen(port, '127.0.0.1')
  t.teardown(() => late.close())
  t.match(await output, /What was recorded is not known/)
})

for (const [what, variable, other] of [
  ['the application', 'PORT', 'METRICS_PORT'], ['its metrics', 'METRICS_PORT', 'PORT']
] as const) {
  t.test(`an example whose port for ${what} is taken says what to do`, async t => {
    const server = createServer()
    const { port } = await listen(server)
    t.teardown(() => server.close())
    const { output, code } = await run('run.mjs', ['javascript'], { [variable]: String(port), [other]: '0' })
    t.equal(code, 1)
    t.match(output, `Port ${port} of 127.0.0.1, meant for ${what}, is taken`)
    t.match(output, `${variable}=${port + 100} npm run example -- javascript`)
  })
}

for (const [parameters, beginning] of [
  [[], 'Which example?'], [['nothing'], "There is no example 'nothing'."]
] as const) {
  t.test(`npm run example -- ${parameters} lists the examples`, async t => {
    const { output, code } = await run('run.mjs', [...parameters])
    t.equal(code, 1)
    t.ok(output.startsWith(beginning))
    const readme = readFileSync(path.join(root, 'example', 'README.md'), 'utf8')
    for (const name of ['hello-world', 'routes', 'fleet', 'prometheus']) {
      t.match(output, new RegExp(`^  ${name} +\\w`, 'm'))
      t.match(readme, `npm run example -- ${name}`)
    }
  })
}

t.test('npm run traffic makes requests of every kind, to all the addresses that it is given', async t => {
  const examples = [await start(t, 'routes.js'), await start(t, 'routes.js')]
  const child = spawn(
    process.execPath, [traffic, 'Infinity', ...examples.map(({ address }) => address)], { stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  for (const { metrics } of examples) {
    for (const series of [
      'GET / 200', 'GET /users/:id 200', 'GET /users/:id 400', 'GET unmatched 404', 'POST /orders 201',
      'POST /orders 499', 'GET /reports/:year 200'
    ]) {
      await until(series, async () => {
        const counts = (await scrape(metrics)).samples('http_request_duration_seconds_count')
        return counts.some(({ labels: { method, route, status_code: status } }) =>
          `${method} ${route} ${status}` === series)
      })
    }
  }
  // The other one takes over what it refuses.
  const [stopped, running] = examples
  const received = async () => (await scrape(running!.metrics))
    .samples('http_request_duration_seconds_count')
    .reduce((sum, { value }) => sum + value, 0)
  stopped!.child.kill('SIGKILL')
  await once(stopped!.child, 'exit')
  const before = await received()
  await until('100 requests more', async () => await received() >= before + 100)
  t.equal(child.exitCode, null)
})

t.test('npm run example -- prometheus says where to get one if none is installed', async t => {
  const program = spawn(process.execPath, [path.join(root, 'example', 'prometheus.mjs')], {
    env: { ...process.env, PATH: '', Path: '' }, stdio: ['ignore', 'ignore', 'pipe']
  })
  const exit = once(program, 'exit')
  t.match(await text(program.stderr!), /prometheus\.io\/download/)
  t.same(await exit, [1, null])
})
