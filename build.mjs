// Builds what the argument names into dist, as far as something has changed, or else everything:
//
//   node build.mjs [all | example | package]
//
// lib is compiled to dist/lib, example to dist/example, and test to dist/test; the scripts of the live page, which are
// for browsers, are made one file.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'

/** What can be built: a project of the compiler, and options for it. */
const targets = {
  /** And all types checked. */
  all: ['.'],
  /** The library and the examples. Types stay unchecked, to be done sooner. */
  example: ['example', '--noCheck'],
  /** What is published: the library anew, without source maps. */
  package: ['lib', '--sourceMap', 'false']
}

function run (program, ...parameters) {
  const { status } = spawnSync(process.execPath, [path.join('node_modules', program), ...parameters], {
    stdio: 'inherit'
  })
  if (status !== 0) process.exit(status ?? 1)
}

/**
 * What has no source any more is neither to be run nor found. And what was checked against other packages is to be
 * checked again.
 */
function removeLeftovers () {
  const built = existsSync('dist') ? readdirSync('dist', { recursive: true }) : []
  const installed = statSync('node_modules/.package-lock.json', { throwIfNoEntry: false })?.mtimeMs ?? 0
  for (const file of built) {
    const output = path.join('dist', file)
    // dist/browser has sources of several folders.
    const source = /^(?:browser[\\/])?(.+?)(?:\.js|\.js\.map|\.d\.ts)$/.exec(file)?.[1]
    const isOld = file.endsWith('.tsbuildinfo') && statSync(output).mtimeMs < installed
    if (isOld || (source !== undefined && !existsSync(`${source}.ts`))) rmSync(output)
  }
}

/** Left to itself, tap leaves out the plugins that .taprc names with a ! from its second run on only. */
function prepareTap () {
  const source = 'node_modules/@tapjs/test/test-built/src/index.ts'
  const leftOut = [...readFileSync('.taprc', 'utf8').matchAll(/"!(.+)"/g)].map(([, plugin]) => plugin)
  const tap = existsSync(source) ? readFileSync(source, 'utf8') : ''
  if (leftOut.some(plugin => tap.includes(`"${plugin}"`))) run('tap/dist/esm/run.mjs', 'build')
}

process.chdir(path.dirname(fileURLToPath(import.meta.url)))
const target = process.argv[2] ?? 'all'
if (!Object.hasOwn(targets, target)) {
  console.error(`There is no '${target}' to build, but ${Object.keys(targets).join(', ')}`)
  process.exit(1)
}
if (target === 'package') rmSync('dist/lib', { recursive: true, force: true })
if (target === 'all') {
  removeLeftovers()
  prepareTap()
}
run('typescript/lib/tsc.js', '-b', ...targets[target])
const page = 'dist/lib/pages/browser'
buildSync({
  entryPoints: [`${page}/page.js`],
  outfile: `${page}.min.js`,
  bundle: true,
  minify: true,
  format: 'esm',
  logLevel: 'warning'
})
