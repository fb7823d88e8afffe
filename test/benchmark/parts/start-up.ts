import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Column, Figures, Part } from '../part'
import { peersFolder, root } from '../subjects'

interface Duration {
  readonly ms: number
  /** Of all threads, which other processes of the machine hardly change. */
  readonly cpuMs: number
}

/**
 * Runs a program of its own, which registers a plugin and does one thing, and tells how long it took from its first
 * line until that was done.
 */
async function run (register: string, action: string): Promise<Duration> {
  const program = `
    const start = performance.now()
    const before = process.cpuUsage()
    async function main () {
      const app = require('fastify')()
      ${register}
      app.get('/', async () => 'Hello World')
      ${action}
      const { user, system } = process.cpuUsage(before)
      console.log(JSON.stringify({ ms: performance.now() - start, cpuMs: (user + system) / 1000 }))
      process.exit()
    }
    main()`
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program], { cwd: root })
  return JSON.parse(stdout)
}

const listen = "await app.listen({ host: '127.0.0.1', port: 0 })"

async function start (register: string): Promise<Figures> {
  const listening = await run(register, listen)
  const injected = await run(register, "await app.inject('/'); await app.close()")
  return {
    listening: listening.ms, listeningCpu: listening.cpuMs, injected: injected.ms, injectedCpu: injected.cpuMs
  }
}

async function startWithServer (register: string): Promise<Figures> {
  const { ms, cpuMs } = await run(register, `${listen}; await app.latency.start()`)
  return { listening: ms, listeningCpu: cpuMs }
}

const peer = (name: string): string => `require(${JSON.stringify(`${peersFolder}/node_modules/${name}`)})`

const ours = "await app.register(require('fastify-latency'), { server: { port: 0 } })"

function addedColumn (heading: string, figure: string): Column {
  return {
    heading,
    digits: 1,
    same: 0,
    value: ({ [figure]: value }, { 'no plugin': none }) => value && value - none![figure]!
  }
}

export const startUp: Part = {
  title: 'Start-up',
  method: 'From the first line of a program until its application listens, and from the first line of a test until ' +
    'it has injected one request and closed the application. The metrics server of this plugin listens later, on a ' +
    'port of its own; the second row of the plugin waits for that.',
  samples: 15,
  scenarios: {
    'no plugin': () => start(''),
    'no plugin, again': () => start(''),
    'fastify-latency': () => start(ours),
    'fastify-latency, until its metrics server listens': () => startWithServer(ours),
    'prom-client alone': () => start("require('prom-client')"),
    'fastify-metrics': () => start(`await app.register(${peer('fastify-metrics')})`),
    '@platformatic/fastify-http-metrics': () =>
      start(`await app.register(${peer('@platformatic/fastify-http-metrics')}, ` +
        `{ registry: new (${peer('prom-client')}.Registry)() })`),
    '@promster/fastify': () => start(`await app.register(${peer('@promster/fastify')}.plugin)`)
  },
  columns: [
    { heading: 'until it listens, ms', digits: 1, value: ({ listening }) => listening },
    addedColumn('added until then', 'listening'),
    addedColumn('added CPU time', 'listeningCpu'),
    { heading: 'test that injects, ms', digits: 1, value: ({ injected }) => injected },
    addedColumn('added to the test', 'injected'),
    addedColumn('added CPU time of the test', 'injectedCpu')
  ]
}
