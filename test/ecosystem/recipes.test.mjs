// Runs the programs of docs/recipes.md, and checks that they do what the page says.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import t from 'tap'
import { createFolder } from '../../dist/test/helpers/folder.js'
import { countsOf, scrape, until } from './scenario.mjs'
import { Project, root } from './project.mjs'

const document = readFileSync(path.join(root, 'docs', 'recipes.md'), 'utf8').replaceAll('\r\n', '\n')
const freePorts = path.join(root, 'test', 'package', 'fixtures', 'free-ports.cjs')

/** The programs, by the heading that they stand under. */
const programs = new Map(document.split(/^## /m).slice(1).flatMap(section =>
  [...section.matchAll(/^```js\n([^]*?)^```$/gm)].map(([, program]) => [section.slice(0, section.indexOf('\n')), program])))

/** A program, with what is needed around a part of one. */
function whole (program) {
  if (/import Fastify from|NestFactory/.test(program)) return program
  return `import Fastify from 'fastify'
    import latency from 'fastify-latency'
    const app = Fastify()
    ${program.includes('register(latency') ? '' : 'await app.register(latency)'}
    ${program}
    await app.listen({ port: 3000 })`
}

/** Starts a program whose application and metrics have these ports. Resolves to their addresses. */
async function start (t, program, { port = 3000, metricsPort = 8000, env = {}, files = {} } = {}) {
  const project = new Project(t, { 'program.mjs': whole(program), ...files })
  const isUp = new RegExp(`listening ${metricsPort} \\d+\\n`)
  const output = await project.start(t, isUp, ['--require', freePorts, 'program.mjs'], env)
  const addressOf = port => `http://localhost:${new RegExp(`listening ${port} (\\d+)`).exec(output)[1]}`
  return { address: addressOf(port), url: `${addressOf(metricsPort)}/metrics` }
}

/** Sends requests, `GET /path` or what `fetch()` takes. Resolves to what was counted of them. */
async function send ({ address, url }, ...requests) {
  for (const request of requests) {
    const [line, init] = [request].flat()
    const [method, path] = line.split(' ')
    await (await fetch(address + path, { method, ...init })).text()
  }
  await until('the last request to end', async () => countsOf(await scrape(url)).open === 0)
  return scrape(url)
}

const replied = page => countsOf(page).counts.replied

/** The counts of requests by the value of a label. */
function countsBy (page, label) {
  const counts = {}
  const pattern = new RegExp(`_duration_seconds_count\\{.*\\b${label}="(.*?)".*\\} (\\d+)`, 'g')
  for (const [, value, count] of page.matchAll(pattern)) {
    counts[value] = (counts[value] ?? 0) + Number(count)
  }
  return counts
}

const graphql = query => ['POST /graphql', {
  headers: { 'content-type': 'application/json' }, body: JSON.stringify({ query })
}]

const checks = {
  async NestJS (t, program) {
    const served = await start(t, program)
    t.same(replied(await send(served, 'GET /')), { 'GET unmatched 404': 1 })
  },
  async 'AWS Lambda and other serverless functions' (t, program) {
    const pushed = []
    const gateway = createServer((request, response) => {
      request.setEncoding('utf8').on('data', text => pushed.push(request.url, text)).on('end', () => response.end())
    })
    t.teardown(() => gateway.close())
    await new Promise(resolve => gateway.listen(0, '127.0.0.1', resolve))
    const project = new Project(t, {
      'function.mjs': program,
      'invoke.mjs': `import { handler } from './function.mjs'
        const { statusCode } = await handler({ httpMethod: 'GET', path: '/', headers: {}, body: null }, {})
        console.log(statusCode)`
    })
    const env = { PUSHGATEWAY: `http://127.0.0.1:${gateway.address().port}` }
    t.equal(await project.run(['invoke.mjs'], env), '200\n')
    t.match(pushed[0], /^\/metrics\/job\/shop\/instance\/[\w-]{36}$/)
    t.match(pushed.slice(1).join(''), /_count\{method="GET",route="\/",status_code="200"\} 1$/m)
  },
  async 'GraphQL, by operation' (t, program) {
    const queries = ['{ add(x: 1, y: 2) }', 'query Own { add(x: 1, y: 2) }', '{ made_up }']
    const page = await send(await start(t, program), ...queries.map(graphql))
    t.same(countsBy(page, 'operation'), { 'query add': 2, '': 1 })
  },
  async 'Several processes: node:cluster, PM2, threads, systemd' (t, program) {
    const served = await start(t, program, { env: { TMPDIR: createFolder(t) } })
    t.match(await send(served, 'GET /'), 'fastify_latency_group_members{state="fresh"} 1')
  },
  async 'A metrics port for each process' (t, program) {
    const served = await start(t, program, { metricsPort: 8002, env: { NODE_APP_INSTANCE: '2' } })
    t.same(replied(await send(served, 'GET /')), { 'GET unmatched 404': 1 })
  },
  async 'Routes of Express and Connect' (t, program) {
    const served = await start(t, program)
    const page = await send(served, 'GET /legacy/users/1', 'GET /legacy/users/2', 'GET /legacy', 'GET /nowhere')
    t.same(replied(page), { 'GET /legacy/users/:id 200': 2, 'GET unmatched 404': 2 })
  },
  async 'Preflights of CORS' (t, program) {
    const headers = { origin: 'https://shop.example', 'access-control-request-method': 'POST' }
    const page = await send(await start(t, program), ['OPTIONS /', { headers }], 'GET /')
    t.same(replied(page), { 'GET unmatched 404': 1 })
  },
  async 'Behind nginx or another proxy' (t, program) {
    const served = await start(t, program.replace("'10.0.0.0/8'", "'::1'"), { port: 8001 })
    const page = await send(served, ['GET /', { headers: { 'x-forwarded-proto': 'https' } }], 'GET /')
    t.same(countsBy(page, 'scheme'), { https: 1, http: 1 })
  },
  async 'Requests that are not to be counted' (t, program) {
    const page = await send(await start(t, program), 'GET /health', 'GET /wp-login.php', 'GET /nowhere')
    t.same(replied(page), { 'GET unmatched 404': 1 })
  },
  async 'Status classes in place of codes' (t, program) {
    const page = await send(await start(t, program), 'GET /', 'GET /nowhere')
    t.same(countsBy(page, 'status_class'), { '2xx': 1, '4xx': 1 })
  },
  async 'Two registrations' (t, program) {
    const page = await send(await start(t, program), 'GET /shop/cart', 'GET /nowhere')
    t.same(replied(page), { 'GET /shop/cart 200': 1, 'GET unmatched 404': 1 })
    t.match(page, /^shop_request_duration_seconds_count\{route="\/shop\/cart"\} 1$/m)
    t.match(page, /^shop_request_duration_seconds_bucket\{route="\/shop\/cart",le="0\.5"\} 1$/m)
  },
  async 'A label per tenant that cannot explode' (t, program) {
    const requests = ['acme', 'globex', 'constructor', '__proto__', 'made up'].map(tenant =>
      ['GET /', { headers: { 'x-tenant': tenant } }])
    const page = await send(await start(t, program), ...requests)
    t.same(countsBy(page, 'tenant'), { acme: 1, globex: 1, other: 3 })
  },
  async 'A label that the handler decides' (t, program) {
    t.same(countsBy(await send(await start(t, program), 'GET /', 'GET /nowhere'), 'cache'), { hit: 1, miss: 1 })
  },
  async 'fastify-cli and @fastify/autoload' (t, program) {
    const project = new Project(t, {
      'package.json': '{ "type": "module" }',
      'app.js': program,
      'plugins/none.js': 'export default async () => {}',
      'routes/users/index.js': "export default async app => { app.get('/:id', async request => request.params.id) }"
    })
    const cli = ['node_modules/fastify-cli/cli.js', 'start', '--options', '--port', '3000', 'app.js']
    const output = await project.start(t, /listening 8000 \d+\n/, ['--require', freePorts, ...cli])
    const addressOf = port => `http://localhost:${new RegExp(`listening ${port} (\\d+)`).exec(output)[1]}`
    const served = { address: addressOf(3000), url: `${addressOf(8000)}/metrics` }
    const page = await send(served, 'GET /users/1', 'GET /nowhere')
    t.same(replied(page), { 'GET /users/:id 200': 1, 'GET unmatched 404': 1 })
  },
  async 'Jest, Vitest and fake timers' (t, program) {
    const project = new Project(t, { 'package.json': '{ "type": "module" }', 'app.test.js': program })
    t.match(await project.run(['node_modules/vitest/vitest.mjs', 'run']), /1 passed/)
  },
  async 'Metrics of your own' (t, program) {
    t.match(await send(await start(t, program), 'POST /payments'), /^payment_failures_total\{provider="example"\} 1$/m)
  },
  async 'OpenTelemetry traces' (t, program) {
    t.same(replied(await send(await start(t, program), 'GET /')), { 'GET / 200': 1 })
  },
  async 'webpack and other bundlers' (t, program) {
    const project = new Project(t, {
      'package.json': '{ "type": "module" }',
      'webpack.config.js': program,
      'build.js': `import webpack from 'webpack'
        import config from './webpack.config.js'
        webpack({ ...config, context: import.meta.dirname }).run((error, stats) => {
          console.log(stats.toString())
          if (error !== null || stats.hasErrors()) process.exitCode = 1
        })`,
      'app.js': `import Fastify from 'fastify'
        import latency from 'fastify-latency'
        const app = Fastify()
        await app.register(latency, { server: { port: 8000 } })
        await app.listen({ port: 3000 })`
    })
    await project.run(['build.js'])
    const output = await project.start(t, /listening 8000 \d+\n/, ['--require', freePorts, 'dist/app.mjs'])
    const [, port] = /listening 8000 (\d+)/.exec(output)
    for (const file of ['live', 'live/uplot.js', 'live/page', 'metrics']) {
      t.equal((await fetch(`http://localhost:${port}/${file}`)).status, 200, file)
    }
  }
}

t.test('the Collector scrapes what the plugin serves, and sends it on', async t => {
  const [, text] = /^```yaml\n(receivers:[^]*?)^```$/m.exec(document)
  t.match(text, /^ +- targets: \[localhost:8000\]$/m)
  const used = [...text.matchAll(/^ {6}(receivers|exporters): \[(\w+)\]$/gm)]
  t.equal(used.length, 2)
  for (const [, kind, name] of used) t.match(text, new RegExp(`^${kind}:\n {2}${name}:$`, 'm'))
})

t.same([...programs.keys()], Object.keys(checks), 'every recipe has a check')

for (const [title, program] of programs) {
  t.test(title, async t => {
    t.ok(program.trimEnd().split('\n').length <= 20, 'is short')
    await checks[title](t, program)
  })
}
