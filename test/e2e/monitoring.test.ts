import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { listening, Program, Prometheus, root, temporaryFolder, until, withEach } from './programs'

const folder = 'example/monitoring/prometheus'

t.test('promtool', withEach(['promtool'], async (t, installation) => {
  await t.test('accepts the configuration and its rules', async t => {
    const { status, output } = installation.promtool(['check', 'config', '--lint-fatal', `${folder}/prometheus.yml`])
    t.equal(status, 0, output)
  })

  // The promtool of older versions does not read native histograms.
  const files = installation.isAtLeast(2, 53) ? ['minutes', 'days', 'native'] : ['minutes', 'days']
  for (const file of files) {
    await t.test('sees the rules compute what they should, fire when they should, and else stay quiet: ' +
      `tests/${file}.yml`, async t => {
      const promtool = new Program(t, installation.program('promtool'), [
        'test', 'rules', `${folder}/tests/${file}.yml`
      ])
      t.equal(await promtool.ended, 0, promtool.output)
    })
  }
}))

t.test('promtool has seen each alert fire', async t => {
  const tests = ['minutes', 'days'].map(file => readFileSync(join(root, folder, 'tests', `${file}.yml`), 'utf8')).join()
  const alerts =
    [...readFileSync(join(root, folder, 'alerts.yml'), 'utf8').matchAll(/- alert: (\w+)/g)].map(([, name]) => name!)
  t.ok(alerts.length > 0)
  for (const alert of alerts) t.match(tests, `alertname="${alert}", alertstate="firing"`)
})

t.test('npm run example -- prometheus starts it with these rules and the target of the tutorial, ' +
  'and removes its data when it ends', withEach(['prometheus'], async (t, installation) => {
  const temporary = temporaryFolder(t)
  const program = new Program(t, process.execPath, ['example/prometheus.mjs'], {
    env: { ...installation.env, PORT: '0', TMPDIR: temporary }
  })
  const prometheus = new Prometheus(await listening(program))
  const { groups } = await prometheus.get<{ groups: Array<{ name: string }> }>('rules', {})
  t.same(groups.map(({ name }) => name).sort(), [
    'fastify-latency', 'fastify-latency-data', 'fastify-latency-objectives', 'fastify-latency-waits'
  ])
  await until('the target', async () => {
    const { activeTargets } = await prometheus.get<{ activeTargets: Array<{ scrapeUrl: string }> }>('targets', {
      state: 'active'
    })
    return activeTargets.some(({ scrapeUrl }) => scrapeUrl === 'http://localhost:8000/metrics')
  })
  t.equal(readdirSync(temporary).length, 1)
  t.equal(await program.stop('SIGTERM'), 0)
  t.same(readdirSync(temporary), [])
}))
