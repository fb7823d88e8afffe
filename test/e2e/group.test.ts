import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { freePort, Instance } from '../helpers/instances'
import { noPrometheus, type Prometheus, startEach, until } from './programs'

/** For how long instances are killed, in seconds. */
const seconds = Number(process.env.KILLING_SECONDS ?? 45)

/** How often one of them is killed, in milliseconds. */
const killMs = 4000

/** The window of the rate, in seconds. */
const window = 30

const requestsPerSecond = 100
const count = 'http_request_duration_seconds_count'

interface History {
  readonly values: Array<[time: number, value: string]>
}

t.test('to Prometheus, a group whose instances are killed is one service that counts every request', {
  skip: noPrometheus()
}, async t => {
  const options = { labels: {}, server: { host: '127.0.0.1', port: await freePort(), group: `e2e ${process.pid}` } }
  const running: Instance[] = []
  const start = async (): Promise<void> => {
    running.push(await Instance.start(t, 'processes that name a group', options))
  }
  for (let instance = 0; instance < 4; instance++) await start()
  const started = await startEach(t, 'global: { scrape_interval: 1s }\nscrape_configs:\n  - job_name: x\n' +
    `    static_configs: [{ targets: ['127.0.0.1:${options.server.port}'] }]\n`)
  await Promise.all(started.map(prometheus =>
    until('the first scrapes', async () => await prometheus.value(`count_over_time(${count}[1m])`) ?? 0 > 1)))

  const answered: number[] = []
  const load = new AbortController()
  const loading = generate(load.signal, running, answered)
  const begun = Date.now() / 1000
  let kills = 0
  for (; Date.now() / 1000 - begun < window + seconds; kills++) {
    await sleep(killMs * (0.5 + Math.random()))
    const [killed] = running.splice(Math.floor(Math.random() * running.length), 1)
    await killed!.kill()
    await start()
  }
  const ended = Date.now() / 1000
  load.abort()
  await loading
  t.comment(`${answered.length} requests, ${kills} kills`)

  /** How far a rate over `range` seconds is from what clients were answered meanwhile, at its worst. */
  const worstOf = async (prometheus: Prometheus, range: number): Promise<number> => {
    const query = `sum(rate(${count}[${range}s]))`
    const { result: [rate] } = await prometheus.get<{ result: History[] }>(
      'query_range', { query, start: String(begun + window), end: String(ended - 1), step: '1' })
    const off = rate!.values.map(([time, value]) =>
      Number(value) / (answered.filter(at => time - range < at && at <= time).length / range) - 1)
    t.ok(off.length > seconds / 2)
    return Math.max(...off.map(Math.abs))
  }
  for (const prometheus of started) {
    await t.test(prometheus.name, async t => {
      const worst = await worstOf(prometheus, window)
      t.ok(worst <= 0.05, `rate over ${window} s is off by at most ${(100 * worst).toFixed(1)} %`)
      const spike = await worstOf(prometheus, 5)
      t.ok(spike <= 0.5, `rate over 5 s is off by at most ${(100 * spike).toFixed(1)} %`)
      t.equal(await prometheus.value(`max(resets(${count}[10m]))`), 0, 'no count falls')
    })
  }
})

/** Sends requests at a steady rate. As behind a load balancer, what an instance has not answered goes to another. */
async function generate (signal: AbortSignal, running: readonly Instance[], answered: number[]): Promise<void> {
  const begun = performance.now()
  const requests: Array<Promise<void>> = []
  while (!signal.aborted) {
    const due = (performance.now() - begun) / 1000 * requestsPerSecond
    while (requests.length < due) requests.push(send())
    await sleep(5)
  }
  await Promise.all(requests)

  async function send (): Promise<void> {
    for (let attempt = 0; attempt < 10; attempt++) {
      const { address } = running[Math.floor(Math.random() * running.length)]!
      try {
        await (await fetch(address)).text()
        answered.push(Date.now() / 1000)
        return
      } catch {
        // It has just been killed.
      }
    }
  }
}
