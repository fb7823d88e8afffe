import t from 'tap'
import { Project, tarball } from './project'

t.test('bundled by esbuild into one file, an application runs on its own', async t => {
  const project = new Project(t, 'application')
  await project.install(tarball, 'fastify@5', 'esbuild@0.28')
  const banner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);"
  for (const [source, options] of [['app.cjs', ['--format=cjs']], ['app.mjs', ['--format=esm', `--banner:js=${banner}`]]] as const) {
    const elsewhere = new Project(t)
    await project.run('npx', ['esbuild', source, '--bundle', '--minify', '--platform=node', ...options, `--outfile=${elsewhere.path(source)}`])
    const output = await elsewhere.run('node', [source])
    t.match(output, /^http_request_duration_seconds_count 1$/m, source)
    t.match(output, /Served by fastify-latency \d/, source)
  }
})

// Jest loads no ES module that is required before Node.js 24.9, and newer versions of light-my-request, with which Fastify injects, have one.
for (const runner of ['jest', 'vitest']) {
  t.test(`an application is tested with ${runner}, which ends by itself`, async t => {
    const project = new Project(t, runner)
    await project.install(tarball)
    await project.run('npm', ['test'])
    t.pass()
  })
}
