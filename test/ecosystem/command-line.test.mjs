import t from 'tap'
import { countsOf, scrape, until } from './scenario.mjs'
import { Project } from './project.mjs'

/** As `fastify generate` writes it: plugins and routes in folders of their own. */
const app = `
import path from 'node:path'
import AutoLoad from '@fastify/autoload'
export default async function (fastify, opts) {
  fastify.register(AutoLoad, { dir: path.join(import.meta.dirname, 'plugins'), options: { ...opts } })
  fastify.register(AutoLoad, { dir: path.join(import.meta.dirname, 'routes'), options: { ...opts } })
}
`
const plugin = `
import fp from 'fastify-plugin'
import latency from 'fastify-latency'
export default fp(async fastify => fastify.register(latency, { server: { port: 0 } }), { name: 'latency' })
`
const routes = `
export default async fastify => {
  fastify.get('/', async () => 'Hello World')
  fastify.get('/:id', async request => request.params.id)
}
`

t.test('fastify-cli starts what @fastify/autoload puts together, and its requests are counted', async t => {
  const project = new Project(t, {
    'package.json': '{ "type": "module" }', 'app.js': app, 'plugins/latency.js': plugin, 'routes/users/index.js': routes
  })
  const output = await project.start(t, /Metrics at http/, ['node_modules/fastify-cli/cli.js', 'start',
    '--address', '127.0.0.1', '--port', '0', '--log-level', 'info', 'app.js'])
  const [address] = /http:\/\/127\.0\.0\.1:\d+/.exec(output)
  const [, url] = /Metrics at (http:[^"\s]+)/.exec(output)
  for (const path of ['/users', '/users/1', '/users/2', '/nowhere']) await (await fetch(address + path)).text()
  await until('the last request to end', async () => countsOf(await scrape(url)).open === 0)
  // In a context below the root, the requests that match no route are not its own.
  t.same(countsOf(await scrape(url)).counts.replied, { 'GET /users 200': 1, 'GET /users/:id 200': 2 })
})
