import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { monitoringConfig, noPrometheus, Program, type Prometheus, startEach, temporaryFolder, until } from './programs'

const bounds = [0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const warmUp = 100
const count = 'http_request_duration_seconds_count{route="/reports/:year"}'

interface History {
  readonly metric: { readonly instance: string }
  readonly values: Array<[time: number, value: string]>
}

interface Answer {
  readonly instance: number
  readonly at: number
  readonly seconds: number
}

t.test('three instances, one killed and all restarted under load, are one service to Prometheus', {
  skip: noPrometheus()
}, async t => {
  const targets = join(temporaryFolder(t), 'fleet.json')
  const fleet = new Program(t, process.execPath, ['dist/example/fleet.js'], {
    env: { ...process.env, PORT: '0', METRICS_PORT: '0', TARGETS: targets }, stdio: 'pipe'
  })
  await fleet.printed(/Enter restarts/)
  const instances = [...fleet.output.matchAll(/^(http:\S+) {3}(http:\S+) {3}process (\d+)$/gm)]
    .map(([, address, metrics, process]) => ({
      address: address!, metrics: metrics!, name: `localhost:${new URL(metrics!).port}`, process: Number(process)
    }))
  t.same(new Set(JSON.parse(readFileSync(targets, 'utf8'))[0].targets), new Set(instances.map(({ name }) => name)))

  // Prometheus sees what is added to a series, not what it begins with.
  await Promise.all(instances.flatMap(({ address }) =>
    Array.from({ length: warmUp }, async () => (await fetch(`${address}/reports/2024`)).text())))
  const started = await startEach(t, monitoringConfig(targets))
  /** Waits for all of them to have an answer. */
  const untilEach = (what: string, check: (prometheus: Prometheus) => Promise<boolean>): Promise<unknown> =>
    Promise.all(started.map(prometheus => until(`${prometheus.name}: ${what}`, () => check(prometheus))))
  await untilEach(
    'the first scrapes', async prometheus => await prometheus.value(`count(${count} == ${warmUp})`) === instances.length
  )

  const answers: Answer[] = []
  const load = new AbortController()
  const sent = generate(load.signal, instances.map(({ address }) => address), answers)
  await t.test('a killed instance is started again, and seen to count from 0', async t => {
    const [killed] = instances
    await untilEach(
      'the instance to have its share', async prometheus => await counted(prometheus, killed!.name) > 2 * warmUp
    )
    process.kill(killed!.process, 'SIGKILL')
    await fleet.printed(new RegExp(`Ctrl-C[^]*${killed!.metrics} {3}process (?!${killed!.process}$)`, 'm'))
    await untilEach('its second life to be scraped', async prometheus =>
      await prometheus.value(`resets(${count.replace('}', `,instance="${killed!.name}"}`)}[2m])`) === 1)
    await untilEach(
      'its second life to have its share', async prometheus => await counted(prometheus, killed!.name) > warmUp
    )
    t.pass()
  })
  await t.test('Enter restarts all of them, one after the other', async t => {
    fleet.type('\n')
    await fleet.printed(/Ctrl-C(?:[^]*\/metrics){4}/)
    await untilEach(
      'all second lives to be scraped', async prometheus => await prometheus.value(`sum(resets(${count}[2m]))`) === 4
    )
    t.pass()
  })
  load.abort()
  const failed = await sent
  await untilEach('the last requests to be scraped', async prometheus => {
    for (const { metrics, name } of instances) {
      const page = await (await fetch(metrics)).text()
      const [, served] = /_count{method="GET",route="\/reports\/:year",status_code="200"} (\d+)/.exec(page) ?? []
      if (Number(served) !== await counted(prometheus, name)) return false
    }
    return true
  })
  const now = Date.now() / 1000
  t.comment(`${answers.length} requests answered, ${failed} not`)

  for (const prometheus of started) {
    await t.test(prometheus.name, async t => {
      await t.test('rate: the requests answered, but for those after the last scrape of each life', async t => {
        const histories = await prometheus.query<History>(`${count}[5m]`, now)
        t.equal(histories.length, instances.length)
        let lost = 0
        for (const { metric, values } of histories) {
          const samples = values.map(([time, value]) => [time, Number(value)] as const)
          t.equal(samples[0]![1], warmUp)
          for (const [index, [time, value]] of samples.entries()) {
            const [timeBefore, valueBefore] = samples[index - 1] ?? [time, 0]
            if (value < valueBefore) {
              lost += answers.filter(({ instance, at }) => instances[instance]!.name === metric.instance &&
                timeBefore < at && at < time).length - value
            }
          }
        }
        // rate() extrapolates, by 1.1 intervals at most, to either side of the samples that it has.
        const [start, end] = [
          Math.max(...histories.map(({ values }) => values[0]![0])),
          Math.min(...histories.map(({ values }) => values.at(-1)![0]))
        ]
        const requests = 300 * (await prometheus.value(`sum(rate(${count}[5m]))`, now))!
        const [least, most] = [answers.length - lost, (answers.length + failed) * (1 + 2.2 / (end - start))]
        t.ok(
          least <= requests && requests <= most,
          `${least} <= ${requests} <= ${most}, up to ${lost} of ${answers.length} after a last scrape`
        )
      })

      await t.test('rate: never negative, and no leap when an instance counts from 0 again', async t => {
        const [range] = (await prometheus.get<{
          result: Array<{ values: Array<[time: number, value: string]> }>
        }>('query_range', {
          query: `sum(rate(${count}[5s]))`, start: String(answers[0]!.at), end: String(now), step: '0.5'
        })).result
        const rates = range!.values.map(([, value]) => Number(value))
        const peak = Math.max(
          ...answers.map(({ at }) => answers.filter(answer => at <= answer.at && answer.at < at + 5).length / 5)
        )
        t.ok(rates.length > 10)
        t.ok(Math.min(...rates) >= 0)
        t.ok(Math.max(...rates) <= 1.5 * peak, `${Math.max(...rates)} <= 1.5 * ${peak}`)
      })

      await t.test('p95 of all instances: within a bucket of what the load generator measured', async t => {
        const latencies = answers.map(({ seconds }) => seconds).sort((a, b) => a - b)
        const measured = latencies[Math.ceil(0.95 * latencies.length) - 1]!
        const upper = bounds.findIndex(bound => measured <= bound)
        const estimate = (await prometheus.value(
          `histogram_quantile(0.95, sum by (le) (rate(${count.replace('count', 'bucket')}[5m])))`, now
        ))!
        t.ok(
          Math.abs(estimate - measured) <= bounds[upper]! - bounds[upper - 1]!,
          `${estimate} estimated, ${measured} measured`
        )
      })
    })
  }

  t.equal(await fleet.stop('SIGTERM'), 0)
})

async function counted (prometheus: Prometheus, instance: string): Promise<number> {
  return await prometheus.value(count.replace('}', `,instance="${instance}"}`)) ?? 0
}

/**
 * A request to each instance in turn, every 10 ms. As behind a load balancer, one that refuses is passed over.
 * Resolves to how many had no answer.
 */
async function generate (signal: AbortSignal, addresses: string[], answers: Answer[]): Promise<number> {
  const requests: Array<Promise<boolean>> = []
  for (let request = 0; !signal.aborted; request++) {
    requests.push(send(request))
    await sleep(10)
  }
  return (await Promise.all(requests)).filter(answered => !answered).length

  async function send (request: number): Promise<boolean> {
    for (let attempt = 0; attempt < addresses.length; attempt++) {
      const instance = (request + attempt) % addresses.length
      const start = performance.now()
      try {
        const response = await fetch(`${addresses[instance]}/reports/2024`)
        await response.text()
        // 503: it is closing.
        if (response.status !== 200) continue
        answers.push({ instance, at: Date.now() / 1000, seconds: (performance.now() - start) / 1000 })
        return true
      } catch (error) {
        if (((error as Error).cause as NodeJS.ErrnoException).code !== 'ECONNREFUSED') return false
      }
    }
    return false
  }
}
