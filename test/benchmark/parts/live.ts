import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import latency from 'fastify-latency'
import { Client } from '../client'
import { longestTurn, type Figures, type Part } from '../part'
import { addSeries } from '../subjects'

const sizes = [100, 2000]
const seconds = 10

/** What happens beside the application, until it is over. */
type Beside = (client: Client, url: string) => Promise<unknown>

const besides: Readonly<Record<string, Beside>> = {
  'nobody looks': () => sleep(1000 * seconds),
  'a page looks': (client, url) => client.do('look', url, seconds, 1),
  'ten pages look': (client, url) => client.do('look', url, seconds, 10)
}

/** The processor time and the longest turn of an application in which every series changes once a second. */
async function watch (series: number, beside: Beside): Promise<Figures> {
  const app = Fastify()
  await app.register(latency, { server: { host: '127.0.0.1', port: 0 }, seriesLimit: series + 10 })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const url = new URL('/live/data?histogram=http_request_duration_seconds', await app.latency.start()).href
  const change = (): void => addSeries((app.latency.histogram as any).family, series)
  change()
  const timer = setInterval(change, 1000)
  const client = new Client()
  await beside(client, url)
  const [before, loopBefore] = [process.cpuUsage(), performance.eventLoopUtilization()]
  await beside(client, url)
  const { user, system } = process.cpuUsage(before)
  const { active } = performance.eventLoopUtilization(loopBefore)
  const turn = await longestTurn(beside(client, url))
  clearInterval(timer)
  client.end()
  await app.close()
  return { loop: active / seconds, cpu: (user + system) / 1000 / seconds, turn }
}

export const live: Part = {
  title: 'The live page: what it costs the application',
  method: 'A histogram of 11 buckets, every series of which changes once a second. Pages in another process ask for ' +
    'what is new, once a second. Processor time is that of all threads, such as those that collect garbage. The ' +
    'longest turn of the event loop is that of ten seconds, with all that else happens in them.',
  samples: 3,
  scenarios: Object.fromEntries(sizes.flatMap(series => Object.entries(besides).map(([name, beside]) =>
    [`${name}, ${series} series`, () => watch(series, beside)]))),
  columns: [
    { heading: 'event loop, ms per second', digits: 1, value: ({ loop }) => loop! },
    { heading: 'processor time, ms per second', digits: 1, value: ({ cpu }) => cpu! },
    { heading: 'longest turn, ms', digits: 1, value: ({ turn }) => turn! }
  ]
}
