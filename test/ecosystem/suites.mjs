// Runs the tests that Fastify and its plugins ship, with this plugin registered in every application that they make.
// Where not all tests of a file pass, they are also run without this plugin, and the results must be the same.
//
//   node test/ecosystem/suites.mjs                        those of the packages that matter most
//   node test/ecosystem/suites.mjs --all                  all of them
//   node test/ecosystem/suites.mjs fastify/test/hooks     the files whose names begin so
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { leastPassed, listening, morePackages, notCompared, notRun, packages } from './suites-list.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const modules = path.join(here, 'node_modules')

/** How long a file may take, without the plugin or with it. */
const timeoutMs = 120_000

const ends = 'the process ends'
const byItself = 'by itself'

/** How often results must differ, and in the same way, to count as different: some tests depend on the time. */
const attempts = 3

/** Resolves to the outcome of each test of a file, by its name and those of the tests that it is in. */
async function run (file, registration = []) {
  const reporter = ['--test-reporter', path.join(here, 'results.mjs'), '--test-reporter-destination', 'stdout']
  const child = spawn(process.execPath, [...registration, ...reporter, path.join(modules, file)], {
    // A test may want to be run in the folder of its package.
    cwd: path.join(modules, file.slice(0, file.indexOf('/test/'))),
    // Some tests are skipped where CI is set. Here they run everywhere.
    env: { ...process.env, CI: undefined, NODE_OPTIONS: '', START: listening.includes(file) ? 'listen' : 'manual' },
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true
  })
  const timer = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), timeoutMs)
  let output = ''
  child.stdout.setEncoding('utf8').on('data', text => { output += text })
  const code = await new Promise(resolve => child.once('close', (code, signal) => resolve(signal ?? code)))
  clearTimeout(timer)
  return outcomesOf(output, code)
}

function outcomesOf (output, code) {
  const outcomes = new Map()
  const parents = []
  const lines = [...output.matchAll(/^@result (.*)$/gm)].map(([, json]) => JSON.parse(json))
  // A test is reported after those inside it.
  for (const { name, nesting, outcome } of lines.reverse()) {
    parents.length = nesting
    parents[nesting] = name
    add(outcomes, parents.join(' > '), outcome)
  }
  // Those that are written for tap.
  for (const [, not, name] of output.matchAll(/^ *(not )?ok \d+ - (.*?)(?: # .*)?$/gm)) {
    add(outcomes, name, not === undefined ? 'pass' : 'fail')
  }
  // Where a test fails, the process ends with 1: what counts is whether it ends by itself.
  outcomes.set(ends, typeof code === 'number' ? byItself : `by ${code}`)
  return outcomes
}

/** Several tests may have the same name. */
function add (outcomes, name, outcome) {
  outcomes.set(name, [outcomes.get(name), outcome].filter(Boolean).join())
}

/** What differs, as lines of text. */
function differences (file, without, watched) {
  const excused = notCompared[file] ?? {}
  return [...new Set([...without.keys(), ...watched.keys()])]
    .filter(name => without.get(name) !== watched.get(name) && !(name in excused))
    .map(name => `${name}: ${without.get(name) ?? 'not run'}, with the plugin ${watched.get(name) ?? 'not run'}`)
}

const registered = ['--require', path.join(here, 'registered.cjs')]

const countOf = (outcomes, text) => [...outcomes.values()].filter(outcome => outcome.includes(text)).length

async function compare (file) {
  let found, passed
  for (let attempt = 0; attempt < attempts; attempt++) {
    const watched = await run(file, registered)
    passed = countOf(watched, 'pass')
    const isGood = passed > 0 && countOf(watched, 'fail') === 0 && watched.get(ends) === byItself
    if (isGood) return { file, passed, found: [] }
    const without = await run(file)
    if (countOf(without, 'pass') === 0) return { file, passed, found: ['no test passes without the plugin'] }
    const lines = differences(file, without, watched)
    found = found?.filter(line => lines.includes(line)) ?? lines
    if (found.length === 0) break
  }
  return { file, passed, found }
}

const [argument] = process.argv.slice(2)
const files = (argument === undefined ? packages : [...packages, ...morePackages])
  .map(name => `${name}/test`)
  .flatMap(folder => readdirSync(path.join(modules, folder), { recursive: true }).map(file => `${folder}/${file}`))
  .map(file => file.replaceAll(path.sep, '/'))
  .filter(file => /\.test\.[cm]?js$|^@fastify\/http-proxy\/test\/[\w-]+\.js$/.test(file))
const wanted = files
  .filter(file => (argument === undefined || argument === '--all' || file.startsWith(argument)) && !(file in notRun))
  .sort()

const results = []
const waiting = [...wanted]
await Promise.all(Array.from({ length: availableParallelism() }, async () => {
  for (let file; (file = waiting.shift()) !== undefined;) {
    const result = await compare(file)
    results.push(result)
    for (const line of result.found) console.log(`${file}: ${line}`)
  }
}))

const different = results.filter(({ found }) => found.length > 0)
const passed = results.reduce((sum, { passed }) => sum + passed, 0)
console.log(`${passed} tests of ${results.length} files pass with the plugin`)
console.log(`${different.length} files have other results without it`)
const tooFew = argument === undefined && passed < leastPassed
if (tooFew) console.log(`At least ${leastPassed} tests should have been run and have passed`)
if (different.length > 0 || tooFew) process.exitCode = 1
