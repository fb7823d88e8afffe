import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { Facts } from './facts'
import { escapeHtml, version } from './html'
import { icon, style } from './style'

/** Nothing but the files below `/live/`, and the metrics. */
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const javaScript = 'text/javascript; charset=utf-8'
const css = 'text/css; charset=utf-8'

/** Names in `browser/`. A module has the address by which the others import it, which is without an extension. */
const modules = ['page', 'charts', 'table', 'elements', 'history', 'reader', 'quantile', 'format']

/** In place of the page's modules where there is only a bundle of the application. */
const withoutFiles = "document.querySelector('#state').textContent = 'The files of this page are not there. Is the application bundled? Leave fastify-latency out of the bundle.'"

/** What the page consists of beside itself: address, content type, and where the content is from. */
const parts: ReadonlyArray<[url: string, type: string, read: () => string | Promise<string | Buffer>]> = [
  ['/live/page.css', css, () => style],
  ['/live/icon.svg', 'image/svg+xml', () => icon],
  ['/live/uplot.css', css, () => readFile(require.resolve('uplot/dist/uPlot.min.css'))],
  ['/live/uplot.js', javaScript, () => readFile(require.resolve('uplot/dist/uPlot.iife.min.js'))],
  ...modules.map((name): [string, string, () => Promise<string | Buffer>] =>
    [`/live/${name}`, javaScript, () => readFile(path.join(__dirname, 'browser', `${name}.js`)).catch(() => withoutFiles)])
]

/** Declares the page at `/live`, unless one of its addresses is taken. Returns whether it did. */
export function declareLivePage (app: FastifyInstance, facts: () => Facts): boolean {
  if (['/live', ...parts.map(([url]) => url)].some(url => app.hasRoute({ method: 'GET', url }))) return false
  app.get('/live', (_request, reply) => {
    reply.header('content-security-policy', contentSecurityPolicy).type('text/html; charset=utf-8').send(livePage(facts()))
  })
  for (const [url, type, read] of parts) app.get(url, async (_request, reply) => reply.type(type).send(await read()))
  return true
}

/** What the page has to know to ask for the metrics, and to understand the answer. Relative, since a proxy may put the page elsewhere. */
function pageData ({ path, histograms, inFlight }: Facts): string {
  return JSON.stringify({ path: `.${path}`, histograms, inFlight })
}

/** What the numbers are called, and what that means. `browser/page.ts` fills them in. */
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

/** Seconds that the numbers and the table may be about. */
const windows: ReadonlyArray<[seconds: number, name: string]> = [[10, '10 s'], [60, '1 min'], [300, '5 min']]

function livePage (facts: Facts): string {
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
<noscript><p>This page draws with JavaScript, which is off. The numbers are at <a href=".${escapeHtml(facts.path)}">${escapeHtml(facts.path)}</a>.</p></noscript>
<main>
<section aria-labelledby="window-name">
<div class="bar">
<fieldset id="window"><legend id="window-name">Over the last</legend>
${windows.map(([seconds, name]) => `<label><input type="radio" name="window" value="${seconds}"${seconds === 60 ? ' checked' : ''}><span>${name}</span></label>`).join('\n')}
</fieldset>
<p id="seen"></p>
</div>
<dl id="numbers">
${numbers.map(([id, name, meaning]) => `<div id="${id}"><dt>${name} <span>${meaning}</span></dt><dd><data value="NaN">–</data><small></small></dd></div>`).join('\n')}
</dl>
</section>
<p id="chosen" role="status">Charts of all requests</p>
<section class="charts" aria-label="The last 5 minutes">
${chart('heat', 'Where requests fall', '<p class="keys">requests per second: 0 <i class="scale"></i> <data>1</data></p>')}
${chart('quantiles', 'Latency', keys(['p50', 'p50'], ['p90', 'p90'], ['p99', 'p99']))}
${chart('rates', 'Requests per second', keys(['rate', 'all'], ['error', '5xx']))}
</section>
<section class="table" tabindex="0" aria-labelledby="routes-name">
<table id="routes"><caption id="routes-name"></caption><thead></thead><tbody></tbody></table>
<p id="empty">No requests yet. A route is here as soon as it has answered one.</p>
</section>
<section class="notes">
<h2>What these numbers are</h2>
<p><strong>Quantiles are estimates.</strong> A histogram knows how many requests fell into each bucket, and not where in it. p50, p90 and
p99 are computed as <code>histogram_quantile()</code> of Prometheus does it: as if requests were spread evenly within their bucket. The
truth is somewhere in the same bucket, whose bounds stand below each number. Beyond the last bound only “more than” is known.</p>
<p>Choose a row of the table to see it alone in the charts, and once more, or press Escape, to see all.
The numbers and the table are about the time chosen above, or since this page was opened if that is less. In the charts, requests are
of each second, and quantiles of the 10 seconds before. The page asks for <a href=".${escapeHtml(facts.path)}">the metrics</a> once a second
while it is in view, and remembers 5 minutes; Prometheus remembers more.</p>
</section>
</main>
<footer>fastify-latency ${escapeHtml(version)} · <a href="./">about this server</a></footer>
</html>
`
}

/** The plot can be moved through with the arrow keys, as a slider can, and then says what is where. */
function chart (id: string, name: string, about: string): string {
  return `<figure id="${id}">
<figcaption><h2 id="${id}-name">${name}</h2>${about}</figcaption>
<div class="plot" tabindex="0" role="slider" aria-labelledby="${id}-name" aria-valuemin="0" aria-valuemax="0" aria-valuenow="0" aria-valuetext="nothing yet"></div>
</figure>`
}

function keys (...lines: Array<[key: string, name: string]>): string {
  return `<p class="keys">${lines.map(([key, name]) => `<span data-key="${key}">${name} <b>–</b></span>`).join('')}</p>`
}
