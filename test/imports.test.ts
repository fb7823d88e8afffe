import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'

const lib = path.join(__dirname, '..', 'lib')

/** What each module may import: modules of lib (or folders of them) and packages. Types of the public contract and of Fastify are free. */
const allowed: Record<string, string[]> = {
  'errors.ts': ['node:util', '@fastify/error'],
  'symbols.ts': [],
  'snapshot.ts': [],
  'histogram/bounds.ts': [],
  'histogram/family.ts': ['snapshot', 'histogram/bounds'],
  'exposition/float.ts': [],
  'exposition/chunk.ts': [],
  'exposition/series.ts': ['snapshot', 'exposition/float', 'exposition/chunk'],
  'exposition/text.ts': ['snapshot', 'exposition/chunk', 'exposition/series'],
  'exposition/openmetrics.ts': ['snapshot', 'exposition/chunk', 'exposition/series'],
  'exposition/formats.ts': ['snapshot', 'exposition/openmetrics', 'exposition/chunk', 'exposition/text', 'negotiator', 'node:http'],
  'config.ts': ['errors', 'histogram/bounds', 'node:cluster', 'node:util'],
  'request/route-config.ts': [],
  'presets.ts': [],
  'request/scheme.ts': [],
  'request/labels.ts': ['config', 'http/endings', 'errors', 'histogram/family', 'request/route-config', 'request/scheme'],
  'gather/registered-metrics.ts': ['exposition/float', 'histogram/family', 'snapshot'],
  'http/endings.ts': ['node:stream'],
  'request/rejections.ts': ['http/endings', 'node:diagnostics_channel', 'node:http', 'node:http2', 'node:net', 'node:tls', 'node:util'],
  'request/instrument.ts': ['config', 'http/endings', 'errors', 'histogram/family', 'request/labels', 'gather/registered-metrics', 'request/rejections', 'request/route-config', 'request/scheme', 'snapshot'],
  'time-slices.ts': [],
  'scrape/shared-chunks.ts': ['exposition/chunk', 'time-slices'],
  'gather/registries.ts': ['errors', 'gather/registered-metrics', 'snapshot', 'time-slices', 'prom-client'],
  'scrape/handler.ts': ['config', 'http/endings', 'errors', 'exposition/formats', 'histogram/bounds', 'histogram/family', 'gather/registered-metrics', 'scrape/shared-chunks', 'snapshot', 'time-slices', 'node:stream', 'node:util', 'node:zlib'],
  'server/authentication.ts': ['config', '@fastify/basic-auth', '@fastify/bearer-auth', 'node:crypto'],
  'server/certificates.ts': ['config', 'errors', 'node:crypto', 'node:fs', 'node:http', 'node:https', 'node:tls'],
  'pages/html.ts': [],
  'pages/front.ts': ['config', 'pages/html', 'node:crypto'],
  'pages/browser/quantile.ts': [],
  'pages/browser/elements.ts': [],
  'pages/browser/reader.ts': [],
  'pages/browser/history.ts': ['pages/browser/quantile', 'pages/browser/reader'],
  'pages/browser/format.ts': [],
  'pages/browser/charts.ts': ['pages/browser/format', 'pages/browser/history', 'uplot'],
  'pages/browser/table.ts': ['pages/browser/charts', 'pages/browser/elements', 'pages/browser/format', 'pages/browser/history', 'pages/browser/quantile', 'pages/browser/reader'],
  'pages/browser/page.ts': ['pages/browser/charts', 'pages/browser/elements', 'pages/browser/format', 'pages/browser/history', 'pages/browser/quantile', 'pages/browser/reader', 'pages/browser/table'],
  'pages/style.ts': [],
  'pages/live.ts': ['config', 'pages/front', 'pages/html', 'pages/style', 'pages/browser/reader', 'node:fs/promises', 'node:path'],
  'server/bindings.ts': ['node:dns', 'node:events', 'node:http', 'node:net'],
  'server/server.ts': ['server/authentication', 'server/bindings', 'server/certificates', 'config', 'http/endings', 'errors', 'pages/front', 'pages/live', 'scrape/handler', 'fastify', 'node:http', 'node:net'],
  'application.ts': ['config', 'errors', 'histogram/family', 'request/instrument', 'gather/registered-metrics', 'gather/registries', 'scrape/handler', 'server/server', 'time-slices',
    'node:util', 'prom-client'],
  'index.ts': ['config', 'application', 'presets', 'symbols', 'fastify-plugin']
}

t.test('every module imports only what its place in the house allows', async t => {
  const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts')).map(file => file.replaceAll('\\', '/'))
  t.same(files.sort(), Object.keys(allowed).sort())
  for (const file of files) {
    const source = readFileSync(path.join(lib, file), 'utf8')
    for (const [statement, specifier] of source.matchAll(/^import [^']*'([^']+)'|^import .* = require\('([^']+)'\)/gm)) {
      const name = specifier ?? /'([^']+)'/.exec(statement)![1]!
      const target = name.startsWith('.') ? path.posix.join(path.posix.dirname(file), name) : name
      const free = statement.startsWith('import type') && (target === '../index' || target === 'fastify')
      t.ok(free || allowed[file]!.includes(target), `${file} imports ${target}`)
    }
  }
})
