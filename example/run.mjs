// Starts the example that is named, with what follows the name, once what it needs is built:
//
//   npm run example -- routes
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'

const file = name => fileURLToPath(new URL(name, import.meta.url))
const read = name => readFileSync(file(name), 'utf8')
// fastify-cli.js is a plugin, which fastify start loads.
const sources = readdirSync(file('.'))
  .filter(name => /^(?!run\.).+\.(?:ts|mjs|js)$/.test(name) && !read(name).includes('module.exports'))
const nameOf = source => source.replace(/\.\w+$/, '')

/** Each example, with the first sentence that it says about itself, or the first line. */
function list () {
  return sources.map(source => {
    const [, sentence] = /^\/\/ (.*?)(?:[.:] .*)?$/m.exec(read(source))
    return `  ${nameOf(source).padEnd(15)} ${sentence}`
  }).join('\n')
}

/** How this was called. */
function command () {
  return process.env.npm_lifecycle_event === 'start' ? 'npm start' : `npm run example -- ${name}`
}

/** What to do about a port that another program has. */
function aboutTakenPort ({ port, address }, what, variable) {
  return `
Port ${port} of ${address}, meant for ${what}, is taken: another program listens there.
Perhaps an example runs in another shell already: end it with Ctrl-C. Or choose another port:

  ${variable}=${port + 100} ${command()}
`
}

function fail (error) {
  if (error?.code === 'EADDRINUSE') console.error(aboutTakenPort(error, 'the application', 'PORT'))
  else if (error?.cause?.code === 'EADDRINUSE') {
    console.error(aboutTakenPort(error.cause, 'its metrics', 'METRICS_PORT'))
  } else console.error(error)
  process.exit(1)
}

const [name, ...parameters] = process.argv.slice(2)
const source = sources.find(source => nameOf(source) === name)
if (source === undefined) {
  console.error(`${name === undefined ? 'Which example?' : `There is no example '${name}'.`} There are

${list()}

npm run example -- routes starts one of them.`)
  process.exit(1)
}

if (source.endsWith('.ts')) {
  console.log('Building what has changed. The first time takes half a minute.')
  const { status } = spawnSync(process.execPath, [file('../build.mjs'), 'example'], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}
// Which port is taken is said by fail(), in other words than the warning's.
process.removeAllListeners('warning')
process.on('warning', warning => {
  if (warning.code !== 'FST_LATENCY_ERR_SERVER_LISTEN') console.error(warning.stack)
})
process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
const program = source.endsWith('.ts') ? file(`../dist/example/${name}.js`) : file(source)
process.argv.splice(1, process.argv.length, program, ...parameters)
await import(pathToFileURL(program).href)
