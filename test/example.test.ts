import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { scrape } from './helpers/application'

const root = path.join(__dirname, '..')

/** Starts a built example on free ports; resolves when it has printed both of its addresses. */
async function start (t: Test, name: string): Promise<{ child: ChildProcess, address: string, metrics: string }> {
  const child = spawn(process.execPath, [path.join(root, 'dist', 'example', name)], {
    env: { ...process.env, PORT: '0', METRICS_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const addresses: string[] = []
  for await (const line of createInterface({ input: child.stdout! })) {
    const address = /^(?:Hello World|its latency|Application|Metrics) +(http:\S+)$/.exec(line)?.[1]
    if (address !== undefined && addresses.push(address) === 2) break
  }
  child.stdout!.resume()
  return { child, address: addresses[0]!, metrics: addresses[1]! }
}

t.test('hello-world answers, shows its latency, and stops on Ctrl-C', { skip: process.platform === 'win32' && 'Windows has no signals' }, async t => {
  const { child, address, metrics } = await start(t, 'hello-world.js')
  t.equal((await scrape(metrics)).value('hello_world_latency_seconds_count'), 0)
  t.equal(await (await fetch(address)).text(), 'Hello World')
  const read = await scrape(metrics)
  t.equal(read.value('hello_world_latency_seconds_count'), 1)
  t.ok(read.value('hello_world_latency_seconds_sum')! > 0)
  t.same(read.samples('hello_world_latency_seconds_bucket').map(sample => sample.labels.le), ['0.0001', '0.0002', '0.0005', '0.001', '0.01', '0.1', '+Inf'])
  child.kill('SIGINT')
  t.same(await once(child, 'exit'), [0, null])
})

t.test('routes shows the default labels', async t => {
  const { address, metrics } = await start(t, 'routes.js')
  for (const path of ['/', '/users/1', '/users/2', '/users/x', '/health', '/v2/users/1', '/nothing']) await fetch(address + path)
  await fetch(`${address}/orders`, { method: 'POST' })
  for (const year of [2024, 2019]) await fetch(`${address}/reports/${year}`)
  const counts = (await scrape(metrics)).samples('http_request_duration_seconds_count')
  t.same(counts.map(({ labels: { method, route, status_code: status }, value }) => [method, route, status, value]), [
    ['GET', '/', '200', 1], ['GET', '/users/:id', '200', 3], ['GET', '/users/:id', '400', 1], ['GET', 'unmatched', '404', 1], ['POST', '/orders', '201', 1],
    ['GET', '/reports/:year', '200', 1], ['GET', '/reports/:year', '500', 1]
  ])
})

t.test('npm run traffic sends requests and stops by itself', async t => {
  const { address, metrics } = await start(t, 'hello-world.js')
  const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  const [program, ...options] = (scripts.traffic as string).replace('http://localhost:8001', address).replace('--duration 60', '--duration 1').split(' ')
  const traffic = spawn(process.execPath, [require.resolve(program!), ...options], { stdio: 'ignore' })
  t.same(await once(traffic, 'exit'), [0, null])
  t.ok((await scrape(metrics)).value('hello_world_latency_seconds_count')! > 50)
})

t.test('npm run traffic:routes makes requests of every kind, to all the addresses that it is given', async t => {
  const examples = [await start(t, 'routes.js'), await start(t, 'routes.js')]
  const traffic = spawn(process.execPath, [path.join(root, 'example', 'traffic.mjs'), ...examples.map(({ address }) => address)], { stdio: 'ignore' })
  t.teardown(() => traffic.kill('SIGKILL'))
  for (const { metrics } of examples) {
    for (const series of ['GET / 200', 'GET /users/:id 200', 'GET /users/:id 400', 'GET unmatched 404', 'POST /orders 201', 'POST /orders 499', 'GET /reports/:year 200']) {
      let seen = false
      while (!seen) {
        const counts = (await scrape(metrics)).samples('http_request_duration_seconds_count')
        seen = counts.some(({ labels: { method, route, status_code: status } }) => `${method} ${route} ${status}` === series)
      }
    }
  }
  // The other one takes over what it refuses.
  const [stopped, running] = examples
  const received = async () => (await scrape(running!.metrics)).samples('http_request_duration_seconds_count').reduce((sum, { value }) => sum + value, 0)
  stopped!.child.kill('SIGKILL')
  await once(stopped!.child, 'exit')
  const before = await received()
  while (await received() < before + 100);
  t.equal(traffic.exitCode, null)
})

t.test('npm run prometheus says where to get one if none is installed', async t => {
  const program = spawn(process.execPath, [path.join(root, 'example', 'prometheus.mjs')], { env: { ...process.env, PATH: '', Path: '' }, stdio: ['ignore', 'ignore', 'pipe'] })
  const exit = once(program, 'exit')
  t.match(await text(program.stderr!), /prometheus\.io\/download/)
  t.same(await exit, [1, null])
})
