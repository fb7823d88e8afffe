import t, { type Test } from 'tap'
import { freePort, Instance, type Kind } from '../helpers/instances'
import { until } from '../helpers/until'
import { Watch } from '../helpers/watch'

for (const kind of ['workers of a node:cluster', 'threads', 'processes that name a group'] as Kind[]) {
  t.test(`${kind} count what clients count, whatever happens to them`, async t => {
    const group = kind === 'processes that name a group' ? `traffic ${process.pid}` : undefined
    const options = { labels: {}, server: { host: '127.0.0.1', port: await freePort(), group } }
    const running = new Set<Instance>()
    const start = async (): Promise<void> => { running.add(await Instance.start(t, kind, options)) }
    await Promise.all([start(), start(), start()])
    const { url } = [...running][0]!
    const watch = new Watch(url, () => Array.from(running, ({ address }) => address))

    /** The instance that serves, or another one. */
    const choose = async (serves: boolean): Promise<Instance> => {
      const name = await until('the one that serves', async () =>
        fetch(new URL('/who', url)).then(async response => response.text(), () => undefined))
      return [...running].find(instance => (instance.name === name) === serves)!
    }

    /** What clients counted is what is shown, and somebody has answered all the time. */
    const check = async (t: Test): Promise<void> => {
      t.same(watch.faults, [])
      const { least, most } = watch.counted
      const { total } = await watch.look()
      t.ok(least <= total && total <= most, `${least} <= ${total} <= ${most}`)
      // On a machine that has time for it, these are 600 and 100.
      t.ok(watch.slowestMs < 5000, `the slowest scrape took ${watch.slowestMs} ms`)
      t.ok(watch.gapMs < 1000, `nobody listened for ${watch.gapMs} ms`)
    }

    await t.test('while they hang, close, exit by themselves, and are replaced one by one', async t => {
      await watch.during(async () => {
        const hanging = await choose(false)
        await hanging.hang(async () => {
          await until('a scrape without it', async () => {
            const { page } = await watch.look()
            return page.value('fastify_latency_group_members', { state: 'stale' }) === 1
          })
        })
        for (const [how, serves] of [['close', true], ['exit', false], ['exit', true], ['close', false]] as const) {
          await start()
          const ending = await choose(serves)
          running.delete(ending)
          await ending.end(how)
        }
        const enough = watch.scrapes + 20
        await until('scrapes', () => watch.scrapes > enough)
      })
      await check(t)
    })

    await t.test('while they are killed and replaced', async t => {
      await watch.during(async () => {
        for (const serves of [true, false, true, true]) {
          const ending = await choose(serves)
          running.delete(ending)
          await ending.kill()
          watch.killed(ending.name)
          await start()
        }
        await until('200 scrapes', () => watch.scrapes > 200)
      })
      await check(t)
    })
  })
}
