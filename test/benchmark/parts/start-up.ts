import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { type Figures, type Part } from '../part'
import { peersFolder, root } from '../subjects'

/**
 * Runs a program of its own, which registers a plugin and does one thing, and prints how long it took from its first
 * line until that was done, in milliseconds.
 */
async function run (register: string, action: string): Promise<number> {
  const program = `
    const start = performance.now()
    async function main () {
      const app = require('fastify')()
      ${register}
      app.get('/', async () => 'Hello World')
      ${action}
      console.log(performance.now() - start)
      process.exit()
    }
    main()`
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program], { cwd: root })
  return Number(stdout)
}

const listen = "await app.listen({ host: '127.0.0.1', port: 0 })"

async function start (register: string): Promise<Figures> {
  return {
    listening: await run(register, listen),
    injected: await run(register, "await app.inject('/'); await app.close()")
  }
}

const peer = (name: string): string => `require(${JSON.stringify(`${peersFolder}/node_modules/${name}`)})`

const ours = "await app.register(require('fastify-latency'), { server: { port: 0 } })"

export const startUp: Part = {
  title: 'Start-up',
  method: 'From the first line of a program until its application listens, and from the first line of a test until ' +
    'it has injected one request and closed the application. The metrics server of this plugin listens later, on a ' +
    'port of its own; the second row of the plugin waits for that.',
  samples: 21,
  scenarios: {
    'no plugin': () => start(''),
    'no plugin, again': () => start(''),
    'fastify-latency': () => start(ours),
    'fastify-latency, until its metrics server listens': async () =>
      ({ listening: await run(ours, `${listen}; await app.latency.start()`) }),
    'prom-client alone': () => start("require('prom-client')"),
    'fastify-metrics': () => start(`await app.register(${peer('fastify-metrics')})`),
    '@platformatic/fastify-http-metrics': () =>
      start(`await app.register(${peer('@platformatic/fastify-http-metrics')}, ` +
        `{ registry: new (${peer('prom-client')}.Registry)() })`),
    '@promster/fastify': () => start(`await app.register(${peer('@promster/fastify')}.plugin)`)
  },
  columns: [
    { heading: 'until it listens, ms', digits: 1, value: ({ listening }) => listening },
    {
      heading: 'added until then',
      digits: 1,
      same: 0,
      value: ({ listening }, round) => listening! - round['no plugin']!.listening!
    },
    { heading: 'test that injects, ms', digits: 1, value: ({ injected }) => injected },
    {
      heading: 'added to the test',
      digits: 1,
      same: 0,
      value: ({ injected }, round) => injected && injected - round['no plugin']!.injected!
    }
  ]
}
