// Draws docs/dashboard-*.png: three instances of the example under traffic, one of which is killed, watched by the
// Prometheus that is installed, and the queries of example/monitoring/grafana/fastify-latency.json. Needs Chromium.
// Grafana is not involved: panels are where it would put them, with its titles, units, thresholds and legends, and
// uPlot, with which Grafana draws, draws them.
//
// PROMETHEUS=http://localhost:9090 node docs/dashboard.mjs draws what a running Prometheus has instead.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { chromium } from 'playwright-core'

const seconds = 120
const step = 2
const rows = ['At a glance', 'Rate, errors, duration', 'Routes']

const dashboard = JSON.parse(readFileSync('example/monitoring/grafana/fastify-latency.json', 'utf8'))
const require = createRequire(import.meta.url)

async function ask (prometheus, path, parameters) {
  const response = await fetch(`${prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`)
  const { status, data, error } = await response.json()
  if (status !== 'success') throw new Error(error)
  return data.result
}

const fill = expr => expr.replaceAll('$__rate_interval', `${5 * step}s`).replaceAll('$__range', `${seconds}s`).replace(/\$(job|instance|route)/g, '.*')

/** The rows of a panel's table, by its transformations "merge" and "organize". */
function mergeTables (panel, answers) {
  const { renameByName } = panel.transformations.find(({ id }) => id === 'organize').options
  const merged = new Map()
  answers.forEach((result, index) => {
    for (const { metric, value } of result) {
      const key = `${metric.method} ${metric.route}`
      const row = merged.get(key) ?? merged.set(key, { method: metric.method, route: metric.route }).get(key)
      row[renameByName[`Value #${panel.targets[index].refId}`]] = Number(value[1])
    }
  })
  const { displayName } = panel.options.sortBy[0]
  return [...merged.values()].sort((a, b) => b[displayName] - a[displayName])
}

/** What a panel shows, as plain data for the browser. */
async function readPanel (prometheus, panel, end) {
  if (panel.type === 'row') return panel
  const ranged = panel.type !== 'table'
  const answers = await Promise.all(panel.targets.map(({ expr }) => ranged
    ? ask(prometheus, 'query_range', { query: fill(expr), start: end - seconds, end, step })
    : ask(prometheus, 'query', { query: fill(expr), time: end })))
  if (!ranged) return { ...panel, rows: mergeTables(panel, answers) }
  const series = answers.flatMap((result, index) => result.map(({ metric, values }) => {
    const legend = panel.targets[index].legendFormat ?? ''
    const byTime = new Map(values.map(([time, value]) => [time, Number(value)]))
    const name = legend.replace(/{{(\w+)}}/g, (_, label) => metric[label] ?? '')
    const valueAt = point => byTime.get(end - seconds + point * step) ?? null
    return { name, values: Array.from({ length: seconds / step + 1 }, (_, point) => valueAt(point)) }
  }))
  return { ...panel, series }
}

/** The panels of the rows to draw, closed up. */
function chosen (panels) {
  let row
  let removed = 0
  return panels.flatMap((panel, index) => {
    if (panel.type === 'row') {
      row = panel.title
      const next = panels.slice(index + 1).find(({ type }) => type === 'row')
      if (!rows.includes(row) && next !== undefined) removed += next.gridPos.y - panel.gridPos.y
    }
    return rows.includes(row) ? [{ ...panel, gridPos: { ...panel.gridPos, y: panel.gridPos.y - removed } }] : []
  })
}

async function draw (prometheus) {
  const end = Math.floor(Date.now() / 1000 / step) * step
  const panels = await Promise.all(chosen(dashboard.panels).map(panel => readPanel(prometheus, panel, end)))
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update']
  })
  for (const colorScheme of ['light', 'dark']) {
    const page = await browser.newPage({ colorScheme, viewport: { width: 1200, height: 600 } })
    page.on('pageerror', error => console.log(error))
    const style = readFileSync('docs/dashboard.css', 'utf8')
    await page.setContent(`<!doctype html><meta charset="utf-8"><style>${style}</style><main></main>`)
    await page.addStyleTag({ path: require.resolve('uplot/dist/uPlot.min.css') })
    await page.addScriptTag({ path: require.resolve('uplot/dist/uPlot.iife.min.js') })
    await page.addScriptTag({ path: 'docs/dashboard-panels.js' })
    await page.evaluate(
      ([panels, end, seconds, step]) => window.drawPanels(panels, end, seconds, step),
      [panels, end, seconds, step]
    )
    await page.screenshot({ path: `docs/dashboard-${colorScheme}.png`, fullPage: true })
  }
  await browser.close()
}

/** What a program has printed when that matches. */
async function printed (stream, pattern) {
  let output = ''
  while (!pattern.test(output)) output += (await once(stream, 'data'))[0]
  stream.resume()
  return output
}

async function watchFleet () {
  const data = mkdtempSync(join(tmpdir(), 'dashboard-'))
  const programs = []
  const start = (...parameters) => programs[programs.push(spawn(...parameters)) - 1]
  try {
    const fleet = start(process.execPath, ['dist/example/fleet.js'], {
      env: { ...process.env, PORT: '0', METRICS_PORT: '0', TARGETS: join(data, 'fleet.json') },
      stdio: ['pipe', 'pipe', 'inherit']
    })
    const output = await printed(fleet.stdout, /Enter restarts/)
    const [, ...addresses] = /traffic -- Infinity(?: (http:\S+))(?: (http:\S+))(?: (http:\S+))/.exec(output)
    const victim = Number(/process (\d+)/.exec(output)[1])
    start(process.execPath, ['example/traffic.mjs', 'Infinity', ...addresses], { stdio: 'ignore' })
    const rules = join(process.cwd(), 'example/monitoring/prometheus')
    const config = readFileSync(join(rules, 'prometheus.yml'), 'utf8')
      .replaceAll('_interval: 5s', `_interval: ${step}s`)
      .replace('[recording.yml, alerts.yml]', `[${rules}/recording.yml, ${rules}/alerts.yml]`)
      .replace('targets/*.json', join(data, 'fleet.json'))
    writeFileSync(join(data, 'prometheus.yml'), config)
    const prometheus = start('prometheus', [
      `--config.file=${data}/prometheus.yml`, `--storage.tsdb.path=${data}/data`, '--web.listen-address=127.0.0.1:0'
    ], { stdio: ['ignore', 'ignore', 'pipe'] })
    const log = await printed(prometheus.stderr, /msg="Listening on"[^]*Server is ready/)
    await sleep(500 * seconds)
    process.kill(victim, 'SIGKILL')
    await sleep(500 * seconds)
    await draw(`http://${/msg="Listening on".* address=(\S+)/.exec(log)[1]}`)
  } finally {
    for (const program of programs.reverse()) program.kill()
    await sleep(2000)
    rmSync(data, { recursive: true, force: true })
  }
}

await (process.env.PROMETHEUS === undefined ? watchFleet() : draw(process.env.PROMETHEUS))
