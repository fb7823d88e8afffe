import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { peers, Project, root } from './project'

// Runs the programs of docs/migrating.md with the packages that people come from, which `npm run test:peers` installs.

const text = readFileSync(path.join(root, 'docs', 'migrating.md'), 'utf8')

interface Observed {
  /** The series in which each request was counted. */
  readonly counted: ReadonlyArray<ReadonlyArray<{ name: string, labels: Record<string, string> }>>
  /** What was served in the end. */
  readonly page: string
}

interface Request {
  readonly method: string
  readonly path: string
  readonly leaves: boolean
}

/** Parts of the page, by the name of what they are about. */
const sections = new Map(
  text.split(/^## From /m).slice(1).map(section => [section.slice(0, section.indexOf('\n')), section])
)

function tables (section: string, heading: string): string[][] {
  return [...section.matchAll(/(?:^\|.*\|\n)+/gm)].map(([rows]) => rows.trimEnd().split('\n'))
    .filter(([head]) => head!.startsWith(`| ${heading}`))
    .flatMap(rows => rows.slice(2).map(row => row.slice(2, -2).split(' | ')))
}

function inBackticks (cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(match => match[1]!)
}

const project = new Project(t)

/** Sends requests to a program of the page. Its ports are replaced by any that are free. */
async function observe (program: string, requests: readonly Request[]): Promise<Observed> {
  const onAnyPort = program.replace(/port: \d+/g, 'port: 0')
    .replace('register(latency)', 'register(latency, {})')
    .replace('register(latency, {', 'register(latency, { server: { port: 0 },')
  project.write(
    'program.mjs',
    `${onAnyPort}\nexport { app }\n${program.includes('metricsServer') ? 'export { metricsServer }\n' : ''}`
  )
  return await project.run('observe.mjs', JSON.stringify(requests)) as Observed
}

/** Values of a request's labels as the tables have them: method, route, status. */
function cellOf (counted: Observed['counted'][number]): string {
  return counted.length === 0
    ? '–'
    : counted
      .map(({ labels: { method, route, path, status_code: status } }) => `\`${method} ${route ?? path} ${status}\``)
      .join()
}

function bounds (page: string): number[] {
  const found = [...page.matchAll(/^\w*request_duration_seconds_bucket\{.*le="([^"]+)"/gm)].map(([, bound]) =>
    Number(bound!.replace('+Inf', 'Infinity')))
  return [...new Set(found)].sort((a, b) => a - b)
}

for (const [name, section] of sections) {
  const rows = tables(section, 'request |')
  const requests = rows.map(([cell]): Request => {
    const [method, path] = inBackticks(cell!)[0]!.split(' ') as [string, string]
    return { method, path, leaves: cell!.endsWith(', left') }
  })
  const programs = [...section.matchAll(/^```js\n\/\/ (before|after)\n(.*?)^```$/gms)].map(match => match[2]!)

  t.test(`from ${name}: what became of requests is as the page says`, async t => {
    t.equal(requests.length, 7)
    const before = await observe(programs[0]!, requests)
    const after = await observe(programs[1]!, requests)
    t.same(
      requests.map((_, index) => [rows[index]![0], cellOf(before.counted[index]!), cellOf(after.counted[index]!)]), rows
    )
    t.same(bounds(after.page), bounds(before.page), 'the same buckets')
    for (const [cellBefore, cellAfter] of tables(section, 'metric before')) {
      for (const metric of inBackticks(cellBefore!)) t.match(before.page, new RegExp(`^# TYPE ${metric} `, 'm'))
      // Prometheus adds this one.
      for (const metric of inBackticks(cellAfter!).filter(metric => metric !== 'up' && metric !== '_count')) {
        t.match(after.page, new RegExp(`^# TYPE ${metric} `, 'm'))
      }
    }
  })

  if (programs.length === 2) continue
  t.test(`from ${name}: with other options, the same series hold the same requests`, async t => {
    const more = [
      ...requests, { method: 'GET', path: '/health', leaves: false },
      { method: 'GET', path: '/v2/users', leaves: false }
    ]
    const before = await observe(programs[2]!, more)
    const after = await observe(programs[3]!, more)
    t.ok(before.counted.flat().length >= 2)
    for (const [index, { method, path, leaves }] of more.entries()) {
      if (!leaves) t.same(after.counted[index], before.counted[index], `${method} ${path}`)
    }
    t.same(bounds(after.page), bounds(before.page), 'the same buckets')
  })
}

t.test('from fastify-metrics 14: it counts as 13 does, and metrics in its registry are served too', async t => {
  const section = sections.get('fastify-metrics')!
  const requests = tables(section, 'request |').map(([cell]): Request => {
    const [method, path] = inBackticks(cell!)[0]!.split(' ') as [string, string]
    return { method, path, leaves: cell!.endsWith(', left') }
  })
  const programs = [...section.matchAll(/^```js\n\/\/ (?:before|after), with version 14\n(.*?)^```$/gms)]
    .map(([, program]) => program!.replace("'fastify-metrics'", "'fastify-metrics-14'"))
  const before = await observe(programs[0]!, requests)
  const after = await observe(programs[1]!, requests)
  t.same(requests.map((_, index) => [cellOf(before.counted[index]!), cellOf(after.counted[index]!)]),
    tables(section, 'request |').map(([, ...cells]) => cells))
  for (const { page } of [before, after]) t.match(page, /^orders_total 0$/m)
})

/** Where the names of all options are, in the packages that have them. */
const optionNames: Record<string, Array<[file: string, name: RegExp]>> = {
  'fastify-metrics': [['fastify-metrics/dist/types.d.ts', /^ {4,}(\w+)\??(?::|\()/gm]],
  '@platformatic/fastify-http-metrics': [['@platformatic/fastify-http-metrics/index.js', /\bopts\.(\w+)/g]],
  promster: [
    ['@promster/types/dist/declarations/src/index.d.ts', /(?<=TOptionalPromsterOptions = \{[^}]*)^ {4}(\w+)\?:/gm],
    ['@promster/fastify/dist/promster-fastify.cjs.dev.js', /\ballDefaultedOptions\.(\w+)/g],
    ['@promster/server/dist/promster-server.cjs.dev.js', /\bdefaultedOptions\.(\w+)/g]
  ],
  'express-prom-bundle': [
    ['express-prom-bundle/types/index.d.ts', /^ {4}(\w+)\?:/gm], ['express-prom-bundle/src/index.js', /\bopts\.(\w+)/g]
  ]
}

/** Not options of users: obsolete ones that are refused, and what the package tells itself. */
const noOptions = ['prefix', 'keepDefaultMetrics', 'whitelist', 'blacklist']

for (const [name, sources] of Object.entries(optionNames)) {
  t.test(`from ${name}: the page has every option`, async t => {
    const documented = tables(sections.get(name)!, `option of ${name}`).map(([cell]) => cell!).join()
    const names = sources.flatMap(([file, pattern]) =>
      [...readFileSync(path.join(peers, file), 'utf8').matchAll(pattern)].map(match => match[1]!))
    t.ok(names.length >= 8)
    for (const option of new Set(names)) {
      if (!noOptions.includes(option)) t.match(documented, new RegExp(`\\b${option}\\b`))
    }
  })
}
