import { Client } from '../client'
import { longestTurn, median, type Figures, type Part } from '../part'
import { servers, type Served } from '../servers'

const sizes = [100, 1000, 10_000, 100_000]

const warmUps = 5

/** Scrapes, and then closes, an application with so many series. */
export async function scrapeOften (
  { metrics, close }: Served, series: number, headers: Record<string, string>
): Promise<Figures> {
  const client = new Client()
  const scrapes = series > 10_000 ? 5 : 15
  const durations: number[] = []
  const turns: number[] = []
  let megabytes = 0
  for (let scrape = 0; scrape < warmUps + scrapes; scrape++) {
    const answer = client.do('scrape', metrics, headers)
    const turn = await longestTurn(answer)
    const [ms, bytes] = await answer
    megabytes = bytes / 1e6
    if (scrape < warmUps) continue
    durations.push(ms)
    turns.push(turn)
  }
  client.end()
  await close()
  return { ms: median(durations), turn: median(turns), longest: Math.max(...turns), megabytes, series }
}

async function scrapeServer (name: string, series: number, encoding: string): Promise<Figures> {
  return scrapeOften(await servers[name]!(series), series, { 'accept-encoding': encoding })
}

export const scrape: Part = {
  title: 'Scrape: over HTTP',
  method: 'One scraper in another process, and how long the event loop of the server took for its longest turn ' +
    'meanwhile. Prometheus asks for gzip, which prom-client leaves to others. The ready-made page is ours, sent from ' +
    'memory in pieces: what the machine takes by itself.',
  samples: 3,
  scenarios: Object.fromEntries(sizes.flatMap(series => [
    [`fastify-latency with gzip, ${series} series`, () => scrapeServer('fastify-latency', series, 'gzip')],
    ...Object.keys(servers).map(name => [`${name}, ${series} series`, () => scrapeServer(name, series, 'identity')])
  ])),
  columns: [
    { heading: 'ms', digits: 1, value: ({ ms }) => ms! },
    { heading: 'longest turn, ms', digits: 1, value: ({ turn }) => turn! },
    { heading: 'worst of those', digits: 1, value: ({ longest }) => longest! },
    { heading: 'MB', digits: 1, value: ({ megabytes }) => megabytes! }
  ]
}
