import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { root } from './helpers/repository'

/** For each row of the table of metrics servers in docs/comparison.md, the tests that show what it says of this one. */
const proofs: Record<string, Array<[file: string, test: string]>> = {
  'starts and closes with the application': [
    ['server', 'it starts with the application, on a port of its own, and closes with it']
  ],
  'listens by default on': [['server', 'by default its port is 8000'], ['server', 'the host follows the application']],
  'its port is taken': [
    [
      'long/binding',
      'with a taken port the application serves; the failure is logged, warned of and tried again until it succeeds'
    ],
    ['long/binding', "with start: 'ready' a taken port fails the boot, with host and port in a coded error"]
  ],
  'while the application closes': [
    ['long/close', 'the metrics stay until the last request is in them, and until they have been scraped once more']
  ],
  OpenMetrics: [['scrape', 'the format is the one that Accept prefers']],
  'Protocol Buffers': [
    ['scrape', 'the format is the one that Accept prefers'], ['protobuf', 'a decoder reads every family as it went in']
  ],
  compression: [['scrape', 'it is compressed when Accept-Encoding prefers that']],
  '`name[]`': [['scrape', 'name[] asks for some families, and only these are read']],
  'scrapes at a time': [
    ['scrape', 'overlapping scrapes share one gathering; one more than allowed is answered with 503']
  ],
  'overlapping scrapes share a reading': [
    ['scrape', 'overlapping scrapes share one gathering; one more than allowed is answered with 503']
  ],
  'time that a scrape may take': [
    ['long/failing-metrics', 'a metric that cannot be read fails the scrape, which names it'],
    ['scrape', 'a timeout that is no number is none']
  ],
  'a metric that cannot be read': [
    ['long/failing-metrics', 'a metric that cannot be read fails the scrape, which names it'],
    ['long/failing-metrics', "with errorHandling: 'continue' the others are served, and the failure is counted"]
  ],
  'metrics about scrapes': [
    ['scrape', 'overlapping scrapes share one gathering; one more than allowed is answered with 503'],
    ['processes/service', 'workers of a node:cluster that are no group do not share a metrics port']
  ],
  'TLS, client certificates': [
    ['access', 'a certificate is replaced without a restart, and connections that are open go on'],
    [
      'access',
      'with clientCaFile it answers only clients with a certificate of this authority, even if the file changes'
    ]
  ],
  authentication: [['access', 'with server.auth.…, who is not known gets 401 and no data, whatever they ask for']],
  probes: [
    ['long/close', '/readyz is 200 while the application accepts requests, /healthz for as long as the process answers']
  ],
  'page at `/`': [
    ['front-page', 'the page at / says what this is, and leads to the metrics and the probes'],
    ['front-page', 'it shows the options in effect, and no secret']
  ],
  'other paths and methods': [
    ['server', 'GET and HEAD are answered, other paths are 404, other methods 405 with Allow']
  ],
  'several processes of an application': [
    ['group-members', 'each member tells what all have counted, and gauges become one as their aggregators say']
  ],
  'keeps the process alive': [
    ['processes/exit',
      'neither a metrics server nor a scraper keeps a process alive whose application failed to listen']
  ],
  'your own routes and plugins on it': [['server', 'its Fastify instance takes routes and hooks of the user']],
  "the same metrics on the application's port": [
    ['server', 'the metrics may be a route of the application as well, or instead, and are not traffic']
  ]
}

t.test('every row of the table in docs/comparison.md has its tests', async t => {
  const comparison = readFileSync(path.join(root, 'docs', 'comparison.md'), 'utf8')
  const section = comparison.slice(comparison.indexOf('## Compared with other metrics servers'))
  const rows = [...section.matchAll(/^\| ([^|]+) \|/gm)].map(match => match[1]!.trim())
  t.same(rows, Object.keys(proofs))
  for (const [row, tests] of Object.entries(proofs)) {
    for (const [file, name] of tests) {
      t.ok(titles(file).includes(name), `${row}: ${name}`)
    }
  }
})

/** What the tests of a file are called, with … for what differs. */
function titles (file: string): string[] {
  // Those that are longer than a line are in two parts.
  const source = readFileSync(path.join(root, 'test', `${file}.test.ts`), 'utf8').replaceAll(/(['"`]) \+\r?\n *\1/g, '')
  return [...source.matchAll(/^ *t\.test\((['"`])(.+?)\1, /gm)].map(([, , title]) =>
    title!.replaceAll(/\$\{.+?\}/g, '…'))
}
