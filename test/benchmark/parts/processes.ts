import { fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import latency from 'fastify-latency'
import { freePort } from '../../helpers/instances'
import { Client } from '../client'
import { median, type Figures, type Part } from '../part'
import { route } from './in-process'

const scrapes = 20
const idleMs = 10_000

/** Starts workers, and measures what `measure` does with their primary and the address of their metrics. */
async function withWorkers<T> (
  subject: string, workers: number,
  measure: (url: string, used: () => Promise<NodeJS.CpuUsage>) => Promise<T>
): Promise<T> {
  const port = await freePort()
  const env = { ...process.env, SUBJECT: subject, WORKERS: String(workers), PORT: String(port) }
  const primary = fork(path.join(__dirname, '..', 'workers'), { env, execArgv: [] })
  const told = async (): Promise<unknown> => (await once(primary, 'message'))[0]
  try {
    await told()
    return await measure(`http://127.0.0.1:${port}/metrics`, async () => {
      primary.send('use')
      return await told() as NodeJS.CpuUsage
    })
  } finally {
    primary.kill()
  }
}

async function scrape (subject: string, workers: number): Promise<Figures> {
  return withWorkers(subject, workers, async url => {
    const client = new Client()
    const durations: number[] = []
    for (let count = 0; count < scrapes; count++) {
      durations.push((await client.do('scrape', url, { 'accept-encoding': 'identity' }))[0]!)
      await sleep(50)
    }
    client.end()
    return { scrape: median(durations.slice(scrapes >> 1)), least: Math.min(...durations) }
  })
}

/** How much of a core a worker uses that counts ten requests per second. */
async function idle (subject: string): Promise<Figures> {
  return withWorkers(subject, 1, async (_url, used) => {
    await sleep(2000)
    const before = await used()
    await sleep(idleMs)
    const { user, system } = await used()
    return { share: (user + system - before.user - before.system) / 1000 / idleMs * 100 }
  })
}

async function request (group: string | false): Promise<Figures> {
  return route(app => app.register(latency, { server: { host: '127.0.0.1', port: 0, group } }))
}

const subjects = ['fastify-latency', 'prom-client', '@prometheus-io/client']

export const processes: Part = {
  title: 'Several processes',
  method: 'Workers of a `node:cluster` with 1,000 series each: how long a scrape of all of them takes, by the group ' +
    'of fastify-latency and by the registries in the primary of others; how much of a core a worker uses that saves ' +
    'its counts once a second; and how long a request takes.',
  samples: 3,
  scenarios: {
    ...Object.fromEntries([2, 4, 16].flatMap(workers => subjects.map(subject =>
      [`${subject}, ${workers} workers`, () => scrape(subject, workers)] as const))),
    'a worker in a group': () => idle('fastify-latency'),
    'a worker in no group': () => idle('fastify-latency, no group'),
    'requests in a group': () => request(`benchmark ${process.pid}`),
    'requests in no group': () => request(false)
  },
  columns: [
    { heading: 'scrape, ms', digits: 1, value: ({ scrape }) => scrape },
    { heading: 'fastest scrape, ms', digits: 1, value: ({ least }) => least },
    { heading: 'of a core, %', digits: 2, value: ({ share }) => share },
    { heading: 'ns per request', digits: 0, value: ({ ns }) => ns }
  ]
}
