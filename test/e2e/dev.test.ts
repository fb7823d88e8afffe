import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Program, root, temporaryFolder, until } from './programs'

t.test('npm run dev builds and restarts the example when a source file changes', async t => {
  const folder = temporaryFolder(t)
  for (const file of ['lib', 'example', 'build.mjs', 'index.d.ts', 'package.json', 'tsconfig.json']) {
    cpSync(join(root, file), join(folder, file), { recursive: true })
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))

  const dev = new Program(t, 'npm', ['run', 'dev'], {
    cwd: folder, env: { ...process.env, PORT: '0', METRICS_PORT: '0' }
  })
  const [, before] = await dev.printed(/Hello World {3}(http:\S+)/)
  t.equal(await (await fetch(before!)).text(), 'Hello World')

  edit('example/hello-world.ts', "async () => 'Hello World'", "async () => 'Hello again'")
  const [, after] = await dev.printed(/Hello World {3}http:[^]*Hello World {3}(http:\S+)/)
  t.equal(await (await fetch(after!)).text(), 'Hello again')
  await until('the first example to be gone', () => fetch(before!).then(() => false, () => true))

  function edit (file: string, from: string, to: string): void {
    const text = readFileSync(join(folder, file), 'utf8')
    t.ok(text.includes(from))
    writeFileSync(join(folder, file), text.replace(from, to))
  }
})
