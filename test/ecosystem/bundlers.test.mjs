import t from 'tap'
import { Project } from './project.mjs'

const app = `
import Fastify from 'fastify'
import latency from 'fastify-latency'
const app = Fastify()
await app.register(latency, { server: { port: 0 } })
app.get('/', async () => 'Hello World')
await app.listen({ port: 0 })
console.log('up', await app.latency.start())
`
const build = `
import webpack from 'webpack'
webpack({
  context: import.meta.dirname, mode: 'development', devtool: false, target: 'node20', entry: './app.js',
  experiments: { outputModule: true }, output: { module: true, filename: 'app.mjs' }
}).run((error, stats) => {
  console.log(stats.toString())
  if (error !== null || stats.hasErrors()) process.exitCode = 1
})
`

t.test('in a bundle of webpack all is served, and the live page says what it misses', async t => {
  const project = new Project(t, { 'package.json': '{ "type": "module" }', 'app.js': app, 'build.js': build })
  await project.run(['build.js'])
  const [, url] = /up (\S+)/.exec(await project.start(t, /up \S+\n/, ['dist/app.mjs']))
  for (const file of ['/metrics', '/', '/live', '/live/page.css', '/live/uplot.js', '/live/page']) {
    const { status, headers } = await fetch(new URL(file, url))
    t.equal(status, 200, file)
    t.match(headers.get('content-type'), file.endsWith('.css') ? 'text/css' : 'text/', file)
  }
  t.match(await (await fetch(new URL('/live/page', url))).text(), 'Leave fastify-latency out of the bundle')
})
