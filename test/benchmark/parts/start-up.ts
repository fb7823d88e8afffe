import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { type Figures, type Part } from '../part'
import { peersFolder, root } from '../subjects'

/** Runs a program of its own, which prints how long it took from its first line until the application listened. */
async function start (register: string): Promise<Figures> {
  const program = `
    const start = performance.now()
    async function main () {
      const app = require('fastify')()
      ${register}
      app.get('/', async () => 'Hello World')
      await app.listen({ host: '127.0.0.1', port: 0 })
      console.log(performance.now() - start)
      process.exit()
    }
    main()`
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program], { cwd: root })
  return { ms: Number(stdout) }
}

const peer = (name: string): string => `require(${JSON.stringify(`${peersFolder}/node_modules/${name}`)})`

export const startUp: Part = {
  title: 'Start-up',
  method: 'From the first line of a program until its application listens; ours with its metrics server, ' +
    'on its own port, the others without one.',
  samples: 21,
  scenarios: {
    'no plugin': () => start(''),
    'fastify-latency': () => start("await app.register(require('fastify-latency'), { server: { port: 0 } }); " +
      "app.addHook('onListen', () => app.latency.start())"),
    'fastify-latency, no server': () => start("await app.register(require('fastify-latency'), { server: false })"),
    'prom-client alone': () => start("require('prom-client')"),
    'fastify-metrics': () => start(`await app.register(${peer('fastify-metrics')})`),
    '@platformatic/fastify-http-metrics': () =>
      start(`await app.register(${peer('@platformatic/fastify-http-metrics')}, ` +
        `{ registry: new (${peer('prom-client')}.Registry)() })`),
    '@promster/fastify': () => start(`await app.register(${peer('@promster/fastify')}.plugin)`)
  },
  columns: [
    { heading: 'ms', digits: 1, value: ({ ms }) => ms! },
    { heading: 'added', digits: 1, value: ({ ms }, round) => ms! - round['no plugin']!.ms! }
  ]
}
