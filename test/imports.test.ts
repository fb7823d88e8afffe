import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { root } from './helpers/repository'

const lib = path.join(root, 'lib')

/** What each module may import: modules of lib (or folders of them) and packages. Types of the public contract and of Fastify are free. */
const allowed: Record<string, string[]> = {
  'errors.ts': ['node:util', '@fastify/error'],
  'symbols.ts': [],
  'snapshot.ts': [],
  'histogram/bounds.ts': [],
  'histogram/family.ts': ['snapshot', 'histogram/bounds'],
  'exposition/float.ts': [],
  'exposition/page.ts': [],
  'exposition/series.ts': ['snapshot', 'exposition/float', 'exposition/page'],
  'exposition/text.ts': ['snapshot', 'exposition/page', 'exposition/series'],
  'exposition/openmetrics.ts': ['snapshot', 'exposition/page', 'exposition/series'],
  'exposition/negotiate.ts': ['snapshot', 'exposition/openmetrics', 'exposition/page', 'exposition/text', 'negotiator', 'node:http'],
  'config.ts': ['errors', 'histogram/bounds', 'node:cluster', 'node:util'],
  'route-config.ts': [],
  'open-telemetry.ts': [],
  'scheme.ts': [],
  'labels.ts': ['config', 'endings', 'errors', 'histogram/family', 'route-config', 'scheme'],
  'metrics.ts': ['exposition/float', 'histogram/family', 'snapshot'],
  'endings.ts': ['node:stream'],
  'rejections.ts': ['endings', 'node:diagnostics_channel', 'node:http', 'node:http2', 'node:net', 'node:tls', 'node:util'],
  'instrument.ts': ['config', 'endings', 'errors', 'histogram/family', 'labels', 'metrics', 'rejections', 'route-config', 'scheme', 'snapshot'],
  'time-slices.ts': [],
  'shared-pages.ts': ['exposition/page', 'time-slices'],
  'registry.ts': ['errors', 'metrics', 'snapshot', 'time-slices', 'prom-client'],
  'scrape.ts': ['config', 'endings', 'errors', 'exposition/negotiate', 'histogram/bounds', 'histogram/family', 'metrics', 'shared-pages', 'snapshot', 'time-slices', 'node:stream', 'node:util', 'node:zlib'],
  'authentication.ts': ['config', '@fastify/basic-auth', '@fastify/bearer-auth', 'node:crypto'],
  'certificates.ts': ['config', 'errors', 'node:crypto', 'node:fs', 'node:http', 'node:https', 'node:tls'],
  'html.ts': [],
  'front-page.ts': ['config', 'html', 'node:crypto'],
  'live/quantile.ts': [],
  'live/elements.ts': [],
  'live/reader.ts': [],
  'live/history.ts': ['live/quantile', 'live/reader'],
  'live/format.ts': [],
  'live/charts.ts': ['live/format', 'live/history', 'uplot'],
  'live/table.ts': ['live/charts', 'live/elements', 'live/format', 'live/history', 'live/quantile', 'live/reader'],
  'live/page.ts': ['live/charts', 'live/elements', 'live/format', 'live/history', 'live/quantile', 'live/reader', 'live/table'],
  'live-style.ts': [],
  'live-page.ts': ['config', 'front-page', 'html', 'live-style', 'live/reader', 'node:fs/promises', 'node:path'],
  'bindings.ts': ['node:dns', 'node:events', 'node:http', 'node:net'],
  'server.ts': ['authentication', 'bindings', 'certificates', 'config', 'endings', 'errors', 'front-page', 'live-page', 'scrape', 'fastify', 'node:http', 'node:net'],
  'latency.ts': ['config', 'errors', 'histogram/family', 'instrument', 'metrics', 'registry', 'scrape', 'server', 'time-slices',
    'node:util', 'prom-client'],
  'index.ts': ['config', 'latency', 'open-telemetry', 'symbols', 'fastify-plugin']
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
