import { cpSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Program } from '../e2e/programs'
import { onFreePorts, portOf, Project, root, tarball } from './project'

t.test('bundled by esbuild into one file, an application runs on its own', async t => {
  const project = new Project(t, 'application')
  await project.install(tarball, 'fastify@5')
  const banner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);"
  for (const [source, options] of [
    ['app.cjs', ['--format=cjs']], ['app.mjs', ['--format=esm', `--banner:js=${banner}`]]
  ] as const) {
    const elsewhere = new Project(t)
    await project.run(join(root, 'node_modules/.bin/esbuild'), [
      source, '--bundle', '--minify', '--platform=node', ...options, `--outfile=${elsewhere.path(source)}`
    ])
    const output = await elsewhere.run('node', [source])
    t.match(output, /^http_request_duration_seconds_count 1$/m, source)
    t.match(output, /Served by fastify-latency \d/, source)
  }
})

t.test('fastify-cli starts example/fastify-cli.js, and requests without a route are counted too', async t => {
  const project = new Project(t)
  await project.install(tarball, 'fastify@5', 'fastify-cli@8')
  cpSync(join(root, 'example', 'fastify-cli.js'), project.path('fastify-cli.js'))
  const cli = new Program(t, project.path('node_modules/.bin/fastify'), [
    'start', '--options', '--address', '127.0.0.1', '--port', '8001', 'fastify-cli.js'
  ], {
    cwd: project.folder, env: { ...process.env, ...onFreePorts }
  })
  const [address, metrics] =
    await Promise.all([8001, 8000].map(async port => `http://127.0.0.1:${await portOf(cli, port)}`))
  for (const path of ['/', '/nothing']) await fetch(address + path)
  const page = await (await fetch(`${metrics}/metrics`)).text()
  t.match(page, /^http_request_duration_seconds_count\{method="GET",route="\/",status_code="200"\} 1$/m)
  t.match(page, /^http_request_duration_seconds_count\{method="GET",route="unmatched",status_code="404"\} 1$/m)
  t.equal(await cli.stop('SIGINT'), 0)
})
