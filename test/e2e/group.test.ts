import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { scrape } from '../helpers/application'
import { freePort, Instance } from '../helpers/instances'
import { noPrometheus, type Prometheus, startEach, until } from './programs'

/** For how long instances are killed, in seconds. */
const seconds = Number(process.env.KILLING_SECONDS ?? 45)

/** How often one of them is killed, in milliseconds. */
const killMs = 8000

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
    until('the first scrapes', async () => (await prometheus.value(`count_over_time(${count}[1m])`) ?? 0) > 1)))

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
  const page = await until('a last scrape', async () => scrape(running[0]!.url).catch(() => undefined))
  t.comment(`${answered.length} requests, of which ${page.value(count)} are counted after ${kills} kills`)

  /** Which share a rate over `range` seconds is of what clients were answered meanwhile, each second. */
  const compare = async (prometheus: Prometheus, range: number): Promise<number[]> => {
    const query = `sum(rate(${count}[${range}s]))`
    const { result: [rate] } = await prometheus.get<{ result: History[] }>(
      'query_range', { query, start: String(begun + window), end: String(ended - 1), step: '1' })
    return rate!.values.map(([time, value]) =>
      Number(value) / (answered.filter(at => time - range < at && at <= time).length / range))
  }
  for (const prometheus of started) {
    await t.test(prometheus.name, async t => {
      const shares = await compare(prometheus, window)
      t.ok(shares.length > seconds / 2)
      const mean = shares.reduce((sum, share) => sum + share) / shares.length
      t.ok(Math.abs(mean - 1) <= 0.05, `a rate over ${window} s is ${mean} of what was answered`)
      // On a busy machine a scrape tells what has been counted up to a second after the time that it has in Prometheus.
      const [lowest, highest] = [Math.min(...shares), Math.max(...shares)]
      t.ok(lowest >= 0.85 && highest <= 1.15, `at its lowest and highest ${lowest} and ${highest}`)
      const short = await compare(prometheus, 10)
      t.ok(short.every(share => share >= 0.5 && share <= 1.5),
        `over 10 s, no spike and no dip: ${Math.min(...short)} to ${Math.max(...short)}`)
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
