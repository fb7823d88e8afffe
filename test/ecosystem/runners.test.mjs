import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Project } from './project.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))

// Jest loads no ES module that is required before Node.js 24.9, and newer versions of light-my-request, with which
// Fastify injects, have one.
for (const [runner, command] of [['vitest', ['vitest.mjs', 'run']], ['jest', ['bin/jest.js']]]) {
  t.test(`an application is tested with ${runner}, which ends by itself`, async t => {
    const folder = path.join(here, 'runners', runner)
    const files = readdirSync(folder).map(file => [file, readFileSync(path.join(folder, file), 'utf8')])
    const project = new Project(t, Object.fromEntries(files))
    const [program, ...args] = command
    t.match(await project.run([`node_modules/${runner}/${program}`, ...args]), /Tests: +5 passed|Tests +5 passed/)
  })
}
