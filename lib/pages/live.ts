import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { Facts } from './facts'
import { escapeHtml, version } from './html'
import { icon, style } from './style'

/** The Content-Security-Policy of the page: it allows the files below `/live/` and the metrics, and nothing else. */
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const javaScript = 'text/javascript; charset=utf-8'
const css = 'text/css; charset=utf-8'

/**
 * The names of the modules in `browser/`. The modules import each other without an extension, so their addresses have
 * none.
 */
const modules = ['page', 'charts', 'table', 'elements', 'history', 'reader', 'quantile', 'format']

/**
 * The script that takes the place of the page's modules if their files are missing, as in a bundle of the application.
 */
const withoutFiles = "document.querySelector('#state').textContent = 'The files of this page are missing. " +
  "Is the application bundled? Leave fastify-latency out of the bundle.'"

/** The other files of the page: the address and content type of each, and a function that reads its content. */
const parts: ReadonlyArray<[url: string, type: string, read: () => string | Promise<string | Buffer>]> = [
  ['/live/page.css', css, () => style],
  ['/live/icon.svg', 'image/svg+xml', () => icon],
  ['/live/uplot.css', css, () => readUplot('uPlot.min.css').catch(() => '')],
  ['/live/uplot.js', javaScript, () => readUplot('uPlot.iife.min.js').catch(() => withoutFiles)],
  ...modules.map((name): [string, string, () => Promise<string | Buffer>] =>
    [`/live/${name}`, javaScript, () => readModule(name).catch(() => withoutFiles)])
]

/** Reads a file of the package `uplot`, which bundlers do not see: they would take the file for a module. */
async function readUplot (file: string): Promise<Buffer> {
  return readFile(createRequire(__filename).resolve(`uplot/dist/${file}`))
}

async function readModule (name: string): Promise<Buffer> {
  return readFile(path.join(__dirname, 'browser', `${name}.js`))
}

/** Declares the page at `/live`, unless one of its addresses is taken. Returns whether the page was declared. */
export function declareLivePage (app: FastifyInstance, facts: () => Facts): boolean {
  if (['/live', ...parts.map(([url]) => url)].some(url => app.hasRoute({ method: 'GET', url }))) return false
  app.get('/live', (_request, reply) => {
    reply.header('content-security-policy', contentSecurityPolicy).type('text/html; charset=utf-8')
    reply.send(livePage(facts()))
  })
  for (const [url, type, read] of parts) app.get(url, async (_request, reply) => reply.type(type).send(await read()))
  return true
}

/**
 * The data with which the page asks for the metrics and understands the answer. The path is relative, because a proxy
 * may serve the page at another path.
 */
function pageData ({ path, histograms, inFlight }: Facts): string {
  return JSON.stringify({ path: `.${path}`, histograms, inFlight })
}

/** The names of the numbers at the top of the page, and what each means. `browser/page.ts` fills in the numbers. */
const numbers: ReadonlyArray<[id: string, name: string, meaning: string]> = [
  ['rate', 'Requests', 'per second'],
  ['p50', 'p50', 'half within'],
  ['p90', 'p90', '90 % within'],
  ['p99', 'p99', '99 % within'],
  ['errors', 'Errors', 'answered with 5xx'],
  ['aborted', 'Aborted', 'the client left first'],
  ['rejected', 'Rejected', 'never reached a route'],
  ['in-flight', 'In flight', 'waiting right now']
]

/** The windows of time that the user can choose for the numbers and the table. */
const windows: ReadonlyArray<[seconds: number, name: string]> = [[10, '10 s'], [60, '1 min'], [300, '5 min']]

function livePage (facts: Facts): string {
  const path = escapeHtml(facts.path)
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Latency, live</title>
<link rel="icon" href="live/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="live/uplot.css">
<link rel="stylesheet" href="live/page.css">
<script src="live/uplot.js" defer></script>
<script src="live/page" type="module"></script>
<body data-page="${escapeHtml(pageData(facts))}">
<header>
<h1>Latency, live</h1>
<label class="histogram"><span class="unseen">Histogram</span><select id="histogram"></select></label>
<p id="state" role="status">Connecting</p>
<button id="pause" type="button" aria-pressed="false">Pause</button>
</header>
<noscript><p>This page needs JavaScript, which is off. The metrics are at <a href=".${path}">${path}</a>.</p></noscript>
<main>
<section aria-labelledby="window-name">
<div class="bar">
<fieldset id="window"><legend id="window-name">Over the last</legend>
${windows.map(renderWindow).join('\n')}
</fieldset>
<p id="seen"></p>
</div>
<dl id="numbers">
${numbers.map(renderNumber).join('\n')}
</dl>
</section>
<p id="chosen" role="status">Charts of all requests</p>
<section class="charts" aria-label="The last 5 minutes">
${chart('heat', 'Where requests fall', heatKey)}
${chart('quantiles', 'Latency', keys(['p50', 'p50'], ['p90', 'p90'], ['p99', 'p99']))}
${chart('rates', 'Requests per second', keys(['rate', 'all'], ['error', '5xx']))}
</section>
<section class="table" tabindex="0" aria-labelledby="routes-name">
<table id="routes"><caption id="routes-name"></caption><thead></thead><tbody></tbody></table>
<p id="empty">No requests yet. A route is here as soon as it has answered one.</p>
</section>
<section class="notes">
<h2>What these numbers are</h2>
<p><strong>Quantiles are estimates.</strong> A histogram knows how many requests fell into each bucket, but not where
in the bucket. p50, p90 and p99 are computed like <code>histogram_quantile()</code> of Prometheus: as if requests were
spread evenly within their bucket. The true value is somewhere in the same bucket, whose bounds stand below each number.
A quantile above the last bound is only known to be more than that bound.</p>
<p>Choose a row of the table to see its requests alone in the charts. Choose it once more, or press Escape, to see all
requests. The numbers and the table cover the time chosen above, or the time since this page was opened if that is
shorter. In the charts, requests are those of each second, and quantiles those of the 10 seconds before. The page asks
for <a href=".${path}">the metrics</a> once a second while it is in view, and remembers 5 minutes; Prometheus remembers
more.</p>
</section>
</main>
<footer>fastify-latency ${escapeHtml(version)} · <a href="./">about this server</a></footer>
</html>
`
}

function renderWindow ([seconds, name]: readonly [seconds: number, name: string]): string {
  const checked = seconds === 60 ? ' checked' : ''
  return `<label><input type="radio" name="window" value="${seconds}"${checked}><span>${name}</span></label>`
}

function renderNumber ([id, name, meaning]: readonly [id: string, name: string, meaning: string]): string {
  const value = '<data value="NaN">–</data><small></small>'
  return `<div id="${id}"><dt>${name} <span>${meaning}</span></dt><dd>${value}</dd></div>`
}

const heatKey = '<p class="keys">requests per second: 0 <i class="scale"></i> <data>1</data></p>'

/**
 * A chart. The arrow keys move a cursor through its plot, which is therefore announced as a slider, with the values
 * under the cursor.
 */
function chart (id: string, name: string, about: string): string {
  const slider = 'role="slider" aria-valuemin="0" aria-valuemax="0" aria-valuenow="0" aria-valuetext="nothing yet"'
  return `<figure id="${id}">
<figcaption><h2 id="${id}-name">${name}</h2>${about}</figcaption>
<div class="plot" tabindex="0" aria-labelledby="${id}-name" ${slider}></div>
</figure>`
}

function keys (...lines: Array<[key: string, name: string]>): string {
  const values = lines.map(([key, name]) => `<span data-key="${key}">${name} <b>–</b></span>`)
  return `<p class="keys">${values.join('')}</p>`
}
