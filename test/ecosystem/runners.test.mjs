import t from 'tap'
import { Project } from './project.mjs'

/** A test of an application, with timers faked as each runner does it. */
const program = (imports, fake) => `
${imports}
test('an application is tested under fake timers', async () => {
  ${fake}.useFakeTimers()
  const app = Fastify()
  await app.register(latency, { server: { port: 0 } })
  app.get('/', async () => 'Hello World')
  await app.listen({ port: 0 })
  await app.latency.start()
  await app.close()
  ${fake}.useRealTimers()
})
`

t.test('Vitest', async t => {
  const imports = `import { test, vi } from 'vitest'
    import Fastify from 'fastify'
    import latency from 'fastify-latency'`
  const project = new Project(t, {
    'package.json': '{ "type": "module" }', 'app.test.js': program(imports, 'vi')
  })
  t.match(await project.run(['node_modules/vitest/vitest.mjs', 'run']), /1 passed/)
})

t.test('Jest', async t => {
  const imports = `const Fastify = require('fastify')
    const latency = require('fastify-latency')`
  const project = new Project(t, {
    'package.json': '{}',
    // Jest fakes what Node.js itself runs next too, unless it is told not to, and no application listens then.
    'app.test.js': program(imports, 'jest')
      .replace('useFakeTimers()', "useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask'] })")
  })
  t.match(await project.run(['node_modules/jest/bin/jest.js']), /1 passed/)
})
