import path from 'node:path'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'

async function run (fixture: string): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath, [...process.execArgv, path.join(__dirname, '..', 'fixtures', fixture)], { timeout: 60_000 }
  )
  return stdout + stderr
}

t.test('the process exits by itself after app.close(), whatever connection Prometheus keeps', async t => {
  t.equal(await run('exits-by-itself'), '')
})

t.test('neither a metrics server nor a scraper keeps a process alive whose application failed to listen', async t => {
  t.equal(await run('boot-fails'), 'EADDRINUSE true\n')
})
