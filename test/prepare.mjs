// Before everything is built: what the compiler and tap would not notice by themselves.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'

// What has no source any more is neither to be run nor found. And what was checked against other
// packages is to be checked again.
const built = existsSync('dist') ? readdirSync('dist', { recursive: true }) : []
const installed = statSync('node_modules/.package-lock.json', { throwIfNoEntry: false })?.mtimeMs ?? 0
for (const file of built) {
  const output = path.join('dist', file)
  // dist/browser has sources of several folders.
  const source = /^(?:browser[\\/])?(.+?)(?:\.js|\.js\.map|\.d\.ts)$/.exec(file)?.[1]
  const isOld = file.endsWith('.tsbuildinfo') && statSync(output).mtimeMs < installed
  if (isOld || (source !== undefined && !existsSync(`${source}.ts`))) rmSync(output)
}

// Left to itself, tap leaves out the plugins that .taprc names with a ! from its second run on only.
const builtTap = 'node_modules/@tapjs/test/test-built/src/index.ts'
const leftOut = [...readFileSync('.taprc', 'utf8').matchAll(/"!(.+)"/g)].map(([, plugin]) => plugin)
const tap = existsSync(builtTap) ? readFileSync(builtTap, 'utf8') : ''
if (leftOut.some(plugin => tap.includes(`"${plugin}"`))) {
  process.exitCode = spawnSync(process.execPath, ['node_modules/tap/dist/esm/run.mjs', 'build'],
    { stdio: 'inherit' }).status ?? 1
}
