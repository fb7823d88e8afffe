import { setTimeout as sleep } from 'node:timers/promises'
import { Registry } from 'prom-client'
import t from 'tap'
import { addEventLoopMetrics, eventLoopDelayNames } from '../lib/gather/event-loop'
import * as timers from '../lib/timers'
import { createListening, scrape } from './helpers/application'
import { until } from './helpers/until'

type Values = ReadonlyMap<string, number>

/** A function that reads the metrics of the event loop, which nobody else has read. */
function createReader (): () => Promise<Values> {
  const registry = new Registry()
  addEventLoopMetrics(registry)
  return async () => new Map((await registry.getMetricsAsJSON()).flatMap(({ name, values }) =>
    values.map(({ value }) => [name, value])))
}

/** The names of the metrics of the delay that have a value. */
function delays (values: Values): string[] {
  return eventLoopDelayNames.filter(name => values.has(name))
}

t.test('the event loop is active or idle, and both together make up the time', async t => {
  const read = createReader()
  // Each reading happens at some moment between two times.
  const times = [performance.now()]
  const before = await read()
  times.push(performance.now())
  while (performance.now() - times[1]! < 50);
  await until('it to have waited', async () => performance.now() - times[1]! > 100)
  times.push(performance.now())
  const after = await read()
  times.push(performance.now())
  const since = (state: string): number => {
    const name = `nodejs_eventloop_${state}_seconds_total`
    return after.get(name)! - before.get(name)!
  }
  t.ok(since('active') >= 0.045)
  t.ok(since('idle') > 0)
  const sum = since('active') + since('idle')
  const [least, most] = [(times[2]! - times[1]!) / 1000, (times[3]! - times[0]!) / 1000]
  t.ok(sum > least - 0.01 && sum < most + 0.01, `${least} to ${most}: ${sum}`)
})

t.test('its delays are measured from the first scrape on, until nobody has scraped for five minutes', async t => {
  let now = performance.now()
  t.intercept(performance, 'now', { value: () => now })
  let stop = (): void => {}
  t.intercept(timers, 'setTimeout', {
    value (callback: () => void, ms: number) {
      t.equal(ms, 5 * 60_000)
      stop = callback
      return { unref () {} }
    }
  })
  const read = createReader()
  const readNext = async (): Promise<Values> => {
    now += 1000
    return await read()
  }
  t.same(delays(await readNext()), ['nodejs_eventloop_lag_seconds'], 'nothing is measured yet')
  t.same(delays(await read()), ['nodejs_eventloop_lag_seconds'], 'another registry of the same scrape')
  let measured: Values = new Map()
  await until('delays', async () => delays(measured = await readNext()).length === eventLoopDelayNames.length)
  t.ok(measured.get('nodejs_eventloop_lag_max_seconds')! >= measured.get('nodejs_eventloop_lag_p50_seconds')!)
  t.ok(measured.get('nodejs_eventloop_lag_min_seconds')! > 0)
  t.same(delays(await read()), eventLoopDelayNames, 'the same scrape')
  // While a scrape is read, on a busy machine, a delay may be measured.
  await until('a time in which nothing is measured', async () => {
    stop()
    await readNext()
    stop()
    await sleep(50)
    return delays(await readNext()).length === 1
  })
})

t.test('the process metrics of the page have them once', async t => {
  const { app } = await createListening(t, { processMetrics: true })
  const exposition = await scrape(app.latency.url)
  for (const name of ['nodejs_eventloop_active_seconds_total', 'nodejs_eventloop_lag_seconds']) {
    t.equal(exposition.samples(name).length, 1, name)
  }
})
