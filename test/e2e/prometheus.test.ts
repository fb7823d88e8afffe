import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Installation, type Prometheus, root, startExample, until, withEach } from './programs'

const requests = 400
const name = 'hello_world_latency_seconds'

t.test('Prometheus scrapes the hello-world example', withEach(['prometheus'], async (t, installation) => {
  const { example, address, metrics } = await startExample(t, 'hello-world')
  const prometheus = await startWithExample(t, installation, new URL(metrics).host)

  await t.test('the target is up, with the job and the group of example/prometheus.yml', async t => {
    const target = await until('the target to be up', async () => {
      const { activeTargets } = await prometheus.get<{ activeTargets: Target[] }>('targets', { state: 'active' })
      return activeTargets.find(target => target.health === 'up')
    })
    t.strictSame(target.labels, { group: 'example', instance: new URL(metrics).host, job: 'hello-world' })
  })

  await t.test('a count of 0 is there before the first request', async () => {
    await t.resolves(until('a count of 0', async () => await prometheus.value(`${name}_count`) === 0))
  })

  const latencies = await drive(address)
  const client = {
    average: latencies.reduce((sum, latency) => sum + latency) / requests,
    p95: latencies[Math.ceil(0.95 * requests) - 1]!
  }
  await until('Prometheus to count the last request', async () => await prometheus.value(`${name}_count`) === requests)

  const scrape = await (await fetch(metrics)).text()
  const samples = (pattern: string) =>
    [...scrape.matchAll(new RegExp(`^${name}_${pattern} (\\S+)$`, 'gm'))].map(match => Number(match.at(-1)))
  const [sum, [count], cumulative] = [samples('sum')[0]!, samples('count'), samples('bucket{le=".*"}')]
  const bounds = [...scrape.matchAll(new RegExp(`^${name}_bucket{le="(.*)"}`, 'gm'))].map(([, le]) =>
    Number(le === '+Inf' ? Infinity : le))

  // rate() extrapolates to the edges of its window. Not before a sample of 0, nor past a sample at the time of
  // evaluation: when the first sample is 0 and the time is that of the last one, a rate is exactly the difference of
  // the two, divided by the length of the window.
  const [history] = await prometheus.query<{ values: Array<[time: number, value: string]> }>(`${name}_count[1m]`)
  const time = history!.values.at(-1)![0]
  const perMinute = async (query: string) => 60 * (await prometheus.value(query, time))!

  await t.test('the count is the number of requests sent, in the scrape and in Prometheus', async t => {
    t.equal(count, requests)
    t.equal(await prometheus.value(`${name}_count`, time), requests)
    t.equal(history!.values[0]![1], '0')
  })

  await t.test('rate of the count: the requests sent', async t => {
    nearly(t, await perMinute(`rate(${name}_count[1m])`), requests)
  })

  await t.test('rate of the sum: the seconds scraped, less than the client waited', async t => {
    nearly(t, await perMinute(`rate(${name}_sum[1m])`), sum)
    t.ok(sum > 0 && sum <= client.average * requests, `0 < ${sum} <= ${client.average * requests}`)
  })

  await t.test('their quotient: the average, less than the client measured', async t => {
    const average = (await prometheus.value(`rate(${name}_sum[1m]) / rate(${name}_count[1m])`, time))!
    nearly(t, average, sum / requests)
    t.ok(average > 0 && average <= client.average, `0 < ${average} <= ${client.average}`)
  })

  await t.test('histogram_quantile: inside the bucket of the 95th percentile, ' +
    'which begins below what the client measured', async t => {
    const quantile = (await prometheus.value(`histogram_quantile(0.95, rate(${name}_bucket[1m]))`, time))!
    const bucket = cumulative.findIndex(observations => observations >= 0.95 * requests)
    // In the +Inf bucket the quantile is the highest finite bound.
    const [lower, upper] = [bounds[bucket - 1] ?? 0, Math.min(bounds[bucket]!, bounds.at(-2)!)]
    t.ok(lower <= quantile && quantile <= upper, `${lower} <= ${quantile} <= ${upper}`)
    t.ok(lower <= client.p95, `${lower} <= ${client.p95}`)
  })

  await t.test('Ctrl-C stops the example with exit code 0 although Prometheus holds its connection open', async t => {
    t.equal(await example.stop('SIGINT'), 0)
  })
}))

t.test('promtool', withEach(['promtool'], async (t, installation) => {
  await t.test('accepts example/prometheus.yml', async t => {
    const { status, output } = installation.promtool(['check', 'config', 'example/prometheus.yml'])
    t.equal(status, 0, output)
  })

  const traffic: Record<string, Array<[method: string, path: string, status: number]>> = {
    'hello-world': [['GET', '/', 200]],
    routes: [
      ['GET', '/', 200], ['GET', '/users/1', 200], ['GET', '/users/x', 400], ['POST', '/orders', 201],
      ['GET', '/nowhere', 404]
    ]
  }
  for (const [name, requests] of Object.entries(traffic)) {
    await t.test(`has nothing to say about the metrics of example/${name}.ts, ` +
      'which Ctrl-C stops with exit code 0', async t => {
      const { example, address, metrics } = await startExample(t, name)
      for (const [method, path, status] of requests) {
        t.equal((await fetch(new URL(path, address), { method })).status, status)
      }
      const scrape = await (await fetch(metrics)).text()
      t.strictSame(installation.promtool(['check', 'metrics'], scrape), { status: 0, output: '' })
      t.equal(await example.stop('SIGINT'), 0)
    })
  }
}))

interface Target {
  health: string
  labels: Record<string, string>
}

/** Prometheus with the configuration of the example, but for the target and the interval. */
async function startWithExample (t: Test, installation: Installation, target: string): Promise<Prometheus> {
  const config = readFileSync(join(root, 'example', 'prometheus.yml'), 'utf8')
  t.match(config, /scrape_interval: 5s[^]*\[localhost:8000\]/)
  return installation.start(
    t, config.replace('scrape_interval: 5s', 'scrape_interval: 1s').replace('localhost:8000', target)
  )
}

/**
 * Sends the requests one after the other. Returns how long each took until its body was there, in seconds, ascending.
 */
async function drive (address: string): Promise<number[]> {
  const latencies: number[] = []
  for (let request = 0; request < requests; request++) {
    const start = performance.now()
    await (await fetch(address)).text()
    latencies.push((performance.now() - start) / 1000)
  }
  return latencies.sort((a, b) => a - b)
}

/** Equal but for the rounding of the last digits. */
function nearly (t: Test, actual: number, expected: number): void {
  t.ok(Math.abs(actual - expected) <= 1e-9 * expected, `${actual} is ${expected}`)
}
