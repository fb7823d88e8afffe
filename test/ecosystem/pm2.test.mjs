import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import t from 'tap'
import { Watch } from '../../dist/test/helpers/watch.js'
import { Project } from './project.mjs'
import { until } from './scenario.mjs'

/** In fork mode each instance has a port of its own. PM2 says by NODE_APP_INSTANCE which one it is. */
const program = `
const Fastify = require('fastify')
const latency = require('fastify-latency')

const { PORT, METRICS_PORT, GROUP, OWN_PORTS, NODE_APP_INSTANCE } = process.env
const app = Fastify()
app.register(latency, { labels: {}, server: { host: '127.0.0.1', port: Number(METRICS_PORT), group: GROUP } })
app.get('/', async () => String(process.pid))
app.after(() => app.latency.server.get('/who', async () => String(process.pid)))
process.once('SIGINT', async () => {
  await app.close()
  process.exit()
})
const port = Number(PORT) + (OWN_PORTS === undefined ? 0 : Number(NODE_APP_INSTANCE))
app.listen({ host: '127.0.0.1', port }, async () => {
  await app.latency.start()
  process.send('ready')
})
`

const instances = 3

const { apps: [example] } = createRequire(import.meta.url)('../../example/pm2/ecosystem.config.cjs')

/** The first of several ports that follow one another, and are free. */
async function freePorts (count) {
  for (;;) {
    const servers = [createServer().listen(0, '127.0.0.1')]
    await once(servers[0], 'listening')
    const { port } = servers[0].address()
    const isFree = await Promise.all(Array.from({ length: count - 1 }, async (_, index) => {
      const server = createServer().listen(port + 1 + index, '127.0.0.1')
      servers.push(server)
      return once(server, 'listening').then(() => port + 1 + index < 65_536, () => false)
    }))
    for (const server of servers) server.close()
    if (!isFree.includes(false)) return port
  }
}

/** PM2 with a daemon of its own, which ends with the test. */
class ProcessManager {
  #project
  #env

  constructor (t, project) {
    this.#project = project
    // The daemon listens at Unix sockets in this folder.
    this.#env = { PM2_HOME: project.path('.pm2'), PM2_DISCRETE_MODE: 'true' }
    t.teardown(() => this.run('kill'))
  }

  async run (...args) {
    return this.#project.run(['node_modules/pm2/bin/pm2', ...args], this.#env)
  }

  /** The ids of the processes of an application that run. */
  async pids (name) {
    return (await this.run('pid', name)).trim().split(/\s+/).map(Number).filter(pid => pid > 0)
  }
}

for (const mode of ['cluster', 'fork']) {
  t.test(`PM2 in ${mode} mode: one port for all, while it reloads, and instances are killed`, async t => {
    const [port, metricsPort] = [await freePorts(instances), await freePorts(1)]
    const app = {
      ...example,
      script: 'app.js',
      instances,
      exec_mode: mode,
      env: {
        PORT: port,
        METRICS_PORT: metricsPort,
        ...mode === 'fork' && { OWN_PORTS: 'true', GROUP: `shop ${process.pid}` }
      }
    }
    const project = new Project(t, {
      'app.js': program, 'ecosystem.config.json': JSON.stringify({ apps: [app] }), 'package.json': '{}'
    })
    const manager = new ProcessManager(t, project)
    await manager.run('start', 'ecosystem.config.json')
    const url = `http://127.0.0.1:${metricsPort}/metrics`
    const addresses = Array.from({ length: mode === 'fork' ? instances : 1 }, (_, index) =>
      `http://127.0.0.1:${port + index}`)
    const watch = new Watch(url, () => addresses)
    const settle = () => until('all instances', async () => {
      const found = await watch.look().catch(() => undefined)
      return found?.page.value('fastify_latency_group_members', { state: 'fresh' }) === instances
    })
    await settle()

    await t.test('reload', async t => {
      const before = await manager.pids('shop')
      await watch.during(async () => {
        await manager.run('reload', 'shop')
        await settle()
      })
      const after = await manager.pids('shop')
      t.ok(after.length === instances && !after.some(pid => before.includes(pid)), 'all were replaced')
      t.same(watch.faults, [])
      const { least, most } = watch.counted
      const { total } = await watch.look()
      t.ok(least > 0 && least <= total && total <= most, `${least} <= ${total} <= ${most}`)
    })

    await t.test('killed and started again', async t => {
      await watch.during(async () => {
        for (let kills = 0; kills < 4; kills++) {
          // The one that serves is killed, too.
          const serving = Number(await (await fetch(new URL('/who', url))).text())
          const pid = kills % 2 === 0 ? serving : (await manager.pids('shop')).find(other => other !== serving)
          process.kill(pid, 'SIGKILL')
          watch.killed(String(pid))
          await until('another', async () => {
            const pids = await manager.pids('shop')
            return pids.length === instances && !pids.includes(pid)
          })
          await settle()
        }
        await until('200 scrapes', () => watch.scrapes > 200)
      })
      t.same(watch.faults, [])
      const { least, most } = watch.counted
      const { total } = await watch.look()
      t.ok(least <= total && total <= most, `${least} <= ${total} <= ${most}`)
      t.comment(`${watch.scrapes} scrapes, the slowest in ${watch.slowestMs} ms; nobody listened for ${watch.gapMs} ms`)
    })
  })
}
