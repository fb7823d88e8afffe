import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { root } from '../helpers/repository'
import type { Dashboard } from '../types/dashboard'

const file = path.join(root, 'example', 'monitoring', 'grafana', 'fastify-latency.json')
const json = readFileSync(file, 'utf8')
const dashboard = JSON.parse(json) as Dashboard

const folder = path.join(root, 'test')

/** What the compiler has to say about each text as a value of the type. */
function check (texts: string[]): string[][] {
  const { config } = ts.readConfigFile(path.join(folder, 'tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [] }, ts.sys, folder)
  Object.assign(options, { incremental: false, types: [] })
  const host = ts.createCompilerHost(options)
  const { getSourceFile } = host
  const sources = new Map(texts.map((text, index) => [
    path.posix.join(folder.replaceAll('\\', '/'), `${index}.ts`),
    `import type { Dashboard } from './types/dashboard'\nexport const dashboard: Dashboard = ${text}`
  ]))
  host.getSourceFile = (file, ...rest) => sources.has(file)
    ? ts.createSourceFile(file, sources.get(file)!, ts.ScriptTarget.ES2022)
    : getSourceFile(file, ...rest)
  const program = ts.createProgram([...sources.keys()], options, host)
  return [...sources.keys()].map(file => ts.getPreEmitDiagnostics(program, program.getSourceFile(file))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')))
}

t.test("the dashboard is what Grafana's schema allows", async t => {
  const mistakes = [
    ['"schemaVersion": 42', '"schemaVersion": "42"'], ['"graphTooltip"', '"graphToolTip"'],
    ['"mode": "multi"', '"mode": "many"'], ['"fillOpacity"', '"fill"']
  ] as const
  const [found, ...ofMistakes] = check([json, ...mistakes.map(([from, to]) => json.replace(from, to))])
  t.same(found, [])
  for (const [index, [, mistake]] of mistakes.entries()) t.not(ofMistakes[index]!.length, 0, mistake)
})

t.test('it is made for any Grafana: nothing to be filled in, and the data source that its variable names', async t => {
  t.notMatch(json, /__inputs|__requires|"id": null/)
  const used = dashboard.panels.flatMap(panel => panel.type === 'row'
    ? []
    : [panel.datasource, ...panel.targets.map(({ datasource }) => datasource)])
  // eslint-disable-next-line no-template-curly-in-string
  t.same([...new Set(used.map(source => JSON.stringify(source)))], ['{"type":"prometheus","uid":"${datasource}"}'])
})

t.test('panels have ids of their own, and do not overlap', async t => {
  t.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length)
  const cells = dashboard.panels.flatMap(({ gridPos }) => Array.from({ length: gridPos!.w * gridPos!.h }, (_, cell) =>
    `${gridPos!.x + cell % gridPos!.w} ${gridPos!.y + Math.floor(cell / gridPos!.w)}`))
  t.equal(new Set(cells).size, cells.length)
  t.ok(dashboard.panels.every(({ gridPos }) => gridPos!.x + gridPos!.w <= 24))
})
