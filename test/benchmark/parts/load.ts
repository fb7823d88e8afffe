import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '../client'
import { median, quantile, type Figures, type Part } from '../part'
import { servers } from '../servers'

const series = 10_000
const scrapers = 10
const seconds = 3
const pairs = 3

async function serve (name: string): Promise<Figures> {
  const { application, metrics, close } = await servers[name]!(series)
  const [asker, scraper] = [new Client(), new Client()]
  const before: number[] = []
  const during: number[] = []
  const scrapes: number[] = []
  const p99 = async (): Promise<number> => quantile(await asker.do('latenciesUnderLoad', application, seconds), 0.99)
  await p99()
  for (let pair = 0; pair < pairs; pair++) {
    before.push(await p99())
    const scraped = scraper.do('scrapeEverySecond', metrics, seconds, scrapers)
    during.push(await p99())
    scrapes.push(await scraped / seconds)
    await sleep(500)
  }
  for (const client of [asker, scraper]) client.end()
  await close()
  return {
    before: median(before),
    during: median(during),
    ratio: median(during.map((value, index) => value / before[index]!)),
    scrapes: median(scrapes)
  }
}

export const load: Part = {
  title: 'Scrape: latency of the application under full load',
  method: `As much load as the application takes, without scrapes and then while ${scrapers} scrapers fetch ` +
    `${series} series once a second each.`,
  samples: 3,
  scenarios: Object.fromEntries(Object.keys(servers).map(name => [name, () => serve(name)])),
  columns: [
    { heading: 'p99 without scrapes, ms', digits: 2, value: ({ before }) => before! },
    { heading: 'p99 with, ms', digits: 2, value: ({ during }) => during! },
    { heading: 'ratio', digits: 2, same: 1, value: ({ ratio }) => ratio! },
    { heading: 'scrapes/s', digits: 1, value: ({ scrapes }) => scrapes! }
  ]
}
