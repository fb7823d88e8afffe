import { execFileSync } from 'node:child_process'
import t from 'tap'
import { root } from '../helpers/repository'

/** What an application needs only when somebody scrapes it, or looks at it, or when it is in a group. */
const onDemand = [
  'node_modules/prom-client', 'node_modules/@opentelemetry/api', 'node_modules/@fastify/basic-auth',
  'node_modules/@fastify/bearer-auth', 'node_modules/negotiator', 'lib/application-facts', 'lib/exposition/formats',
  'lib/exposition/text', 'lib/gather/counts', 'lib/gather/registries', 'lib/gather/process-metrics',
  'lib/group/directory', 'lib/group/group', 'lib/group/identity', 'lib/group/member', 'lib/group/sockets',
  'lib/pages/front', 'lib/pages/live', 'lib/pages/watch', 'lib/scrape/handler', 'lib/server/authentication',
  'lib/server/certificates', 'lib/server/server'
]

/** The files that a program has loaded, in this order, that registers the plugin and then does something. */
function filesLoadedBy (options: string, action: string): string[] {
  const program = `
    const app = require('fastify')()
    app.register(require('fastify-latency'), ${options})
    app.get('/', async () => 'x')
    async function main () {
      ${action}
      console.log(JSON.stringify(Object.keys(require.cache)))
      await app.close()
    }
    main()`
  const output = execFileSync(process.execPath, ['-e', program], { cwd: root, encoding: 'utf8' })
  return (JSON.parse(output) as string[]).map(file => file.replaceAll('\\', '/'))
}

/** Which of what is needed on demand such a program has loaded. */
function loadedBy (options: string, action: string): string[] {
  const files = filesLoadedBy(options, action)
  return onDemand.filter(part => files.some(file => file.includes(`/${part}/`) || file.endsWith(`/${part}.js`)))
}

t.test('a program that injects requests loads nothing of what answers scrapes', async t => {
  const inject = "await app.inject('/')"
  t.same(loadedBy('{}', inject), [])
  t.same(loadedBy("{ server: { auth: { tokens: ['x'] } }, exemplars: true, queueTime: true }", inject), [])
  t.same(loadedBy("{ server: { auth: { users: { x: 'y' } } }, endpoint: '/metrics' }", inject),
    ['lib/exposition/formats', 'lib/scrape/handler'])
  t.same(loadedBy("{ server: { group: 'x' } }", inject), [])
})

t.test('the metrics server is loaded when it starts, and the rest when somebody scrapes or looks', async t => {
  const options = "{ server: { port: 0, host: '127.0.0.1', start: 'ready' } }"
  const started = loadedBy(options, 'await app.ready()')
  const addedBy = (action: string): string[] =>
    loadedBy(options, `await app.ready(); ${action}`).filter(part => !started.includes(part))
  t.same(started, [
    'lib/application-facts', 'lib/exposition/formats', 'lib/group/identity', 'lib/pages/live', 'lib/scrape/handler',
    'lib/server/server'
  ])
  t.same(addedBy('await fetch(app.latency.url)'), [
    'node_modules/prom-client', 'node_modules/@opentelemetry/api', 'node_modules/negotiator', 'lib/exposition/text',
    'lib/gather/registries', 'lib/gather/process-metrics'
  ])
  t.same(addedBy("await fetch(new URL('/', app.latency.url))"), ['lib/pages/front'])
  t.same(addedBy('app.latency.registry'), ['node_modules/prom-client', 'node_modules/@opentelemetry/api'])
})
