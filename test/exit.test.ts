import path from 'node:path'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'

async function run (fixture: string): Promise<string> {
  // The loaders of this process let the other one run TypeScript too.
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath, [...process.execArgv, path.join(__dirname, 'fixtures', fixture)], { timeout: 20_000 })
  return stdout + stderr
}

t.test('the process exits by itself after app.close(), whatever connection Prometheus keeps', async t => {
  t.equal(await run('exits-by-itself.ts'), '')
})

t.test('a metrics server does not keep a process alive whose application failed to listen', async t => {
  t.equal(await run('boot-fails.ts'), 'EADDRINUSE true\n')
})
