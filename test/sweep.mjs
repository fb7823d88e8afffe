// Before a build: takes out of dist what has no source any more, so that it is neither run nor found. And since the compiler does not look
// whether packages have changed, what was checked against others is to be checked again.
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'

const built = existsSync('dist') ? readdirSync('dist', { recursive: true }) : []
const installed = statSync('node_modules/.package-lock.json', { throwIfNoEntry: false })?.mtimeMs ?? 0
for (const file of built) {
  const output = path.join('dist', file)
  // dist/browser has sources of several folders.
  const source = /^(?:browser[\\/])?(.+?)(?:\.js|\.js\.map|\.d\.ts)$/.exec(file)?.[1]
  const isOld = file.endsWith('.tsbuildinfo') && statSync(output).mtimeMs < installed
  if (isOld || (source !== undefined && !existsSync(`${source}.ts`))) rmSync(output)
}
