import { Client } from '../client'
import { quantile, type Figures, type Part } from '../part'
import { servers } from '../servers'

const series = 10_000
const requestsPerSecond = 1500
const seconds = 8

async function serve (name: string, scrapers: number): Promise<Figures> {
  const { application, metrics, close } = await servers[name]!(series)
  const [asker, scraper] = [new Client(), new Client()]
  const askAndScrape = async (seconds: number): Promise<number[]> => {
    const scraped = scraper.do('scrapeEverySecond', metrics, seconds, scrapers)
    const latencies = await asker.do('latenciesAtRate', application, seconds, requestsPerSecond)
    await scraped
    return latencies
  }
  await askAndScrape(3)
  const latencies = await askAndScrape(seconds)
  for (const client of [asker, scraper]) client.end()
  await close()
  return { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99), longest: Math.max(...latencies) }
}

export const rate: Part = {
  title: `Scrape: latency of the application at ${requestsPerSecond} requests/s`,
  method:
    `Requests come at this rate whatever becomes of those before, and ${series} series are scraped once a second.`,
  samples: 3,
  scenarios: {
    'no scrapes': () => serve('fastify-latency', 0),
    ...Object.fromEntries(Object.keys(servers).map(name => [name, () => serve(name, 1)]))
  },
  columns: [
    { heading: 'p50, ms', digits: 2, value: ({ p50 }) => p50! },
    { heading: 'p99, ms', digits: 2, value: ({ p99 }) => p99! },
    { heading: 'longest, ms', digits: 0, value: ({ longest }) => longest! }
  ]
}
