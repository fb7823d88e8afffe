import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Gatherer } from '../snapshot'
import type { TimeSlices } from '../time-slices'
import type { PageData, ShownHistogram } from './browser/feed'
import type { Facts } from './facts'
import { escapeHtml, version } from './html'
import type { Budget } from './objective'
import type { Watch } from './watch'

/** The Content-Security-Policy of the page: it allows the files and the data below `/live/`, and nothing else. */
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const javaScript = 'text/javascript; charset=utf-8'
const css = 'text/css; charset=utf-8'

/**
 * The script that takes the place of the page's scripts if their files are missing, as in a bundle of the application.
 */
const withoutFiles = "document.querySelector('#state').textContent = 'The files of this page are missing. " +
  "Is the application bundled? Leave fastify-latency out of the bundle.'"

/** The other files of the page: the address and content type of each, and a function that reads its content. */
const parts: ReadonlyArray<[url: string, type: string, read: () => string | Promise<string | Buffer>]> = [
  ['/live/page.css', css, () => loadStyle().style.replace(/\s*([{};:,])\s+/g, '$1').replaceAll(';}', '}')],
  ['/live/icon.svg', 'image/svg+xml', () => loadStyle().icon],
  ['/live/uplot.js', javaScript, () => readUplot('uPlot.iife.min.js').catch(() => withoutFiles)],
  ['/live/page', javaScript, () => readFile(path.join(__dirname, 'browser.min.js')).catch(() => withoutFiles)]
]

function loadStyle (): typeof import('./style') {
  return require('./style') as typeof import('./style')
}

const dataUrl = '/live/data'
const queriesUrl = '/live/queries'

export interface LiveOptions {
  readonly facts: () => Facts
  readonly gather: Gatherer
  readonly slices: TimeSlices
}

/** Reads a file of the package `uplot`, which bundlers do not see: they would take the file for a module. */
async function readUplot (file: string): Promise<Buffer> {
  return readFile(createRequire(__filename).resolve(`uplot/dist/${file}`))
}

/** Declares the page at `/live`, unless one of its addresses is taken. Returns whether the page was declared. */
export function declareLivePage (app: FastifyInstance, options: LiveOptions): boolean {
  const urls = ['/live', dataUrl, queriesUrl, ...parts.map(([url]) => url)]
  if (urls.some(url => app.hasRoute({ method: 'GET', url }))) return false
  app.get('/live', (_request, reply) => {
    reply.header('content-security-policy', contentSecurityPolicy).type('text/html; charset=utf-8')
    reply.send(livePage(options.facts()))
  })
  for (const [url, type, read] of parts) app.get(url, async (_request, reply) => reply.type(type).send(await read()))
  declareData(app, options)
  declareQueries(app, options)
  return true
}

/** The histogram that the page shows, and what it has had of it. */
interface DataQuery {
  readonly histogram?: string
  /** The histogram as the page knows it, in JSON. Since the page was loaded, the application may have been replaced. */
  readonly shown?: string
  readonly generation?: string
  readonly last?: string
}

/** Declares the address at which the page asks for data. */
function declareData (app: FastifyInstance, { facts, gather, slices }: LiveOptions): void {
  const watches = new Map<string, Watch>()
  let budget: Budget | undefined

  function watch (histogram: ShownHistogram): Watch {
    const { Watch } = require('./watch') as typeof import('./watch')
    const { traceUrl } = facts()
    const found = watches.get(histogram.name) ?? new Watch({ histogram, traceUrl, gather, slices })
    watches.set(histogram.name, found)
    return found
  }

  app.addHook('onReady', done => {
    const { objective, histograms: [histogram] } = facts()
    if (objective !== undefined) {
      const { Budget } = require('./objective') as typeof import('./objective')
      budget = new Budget({ objective, histogram: histogram!, gather })
      budget.keepReading()
    }
    done()
  })
  app.addHook('onClose', (_app, done) => {
    budget?.close()
    for (const watch of watches.values()) watch.close()
    done()
  })
  app.get<{ Querystring: DataQuery }>(dataUrl, async (request, reply): Promise<FastifyReply> => {
    const { histogram: name, shown, generation = '', last } = request.query
    const histogram = facts().histograms.find(histogram => histogram.name === name)
    if (histogram === undefined) return reply.code(404).send('There is no such histogram\n')
    if (shown !== undefined && shown !== JSON.stringify(histogram)) {
      return reply.code(409).send('The histogram is not as the page knows it\n')
    }
    try {
      const pieces = await watch(histogram).answer({ generation, last: Number(last) }, await budget?.windows())
      return reply.type('application/json; charset=utf-8').send(Readable.from(pieces, { objectMode: false }))
    } catch {
      // The gatherer has warned of the reason.
      return reply.code(503).send('The metrics could not be read\n')
    }
  })
}

/** What the numbers are about whose queries the page asks for. */
interface QueriesQuery {
  readonly histogram?: string | string[]
  readonly method?: string | string[]
  readonly route?: string | string[]
  readonly window?: string | string[]
}

/** Declares the address at which the page asks for the queries of its numbers. */
function declareQueries (app: FastifyInstance, { facts }: LiveOptions): void {
  app.get<{ Querystring: QueriesQuery }>(queriesUrl, (request, reply) => {
    const { histogram: name, method, route, window } = request.query
    const { histograms, processMetrics } = facts()
    const histogram = histograms.find(histogram => histogram.name === name)
    const isWindow = windows.some(([value]) => value === window)
    if (histogram === undefined || !isWindow || Array.isArray(method) || Array.isArray(route)) {
      return reply.code(404).send('There are no such numbers\n')
    }
    const { objectiveQueries, queries } = require('./promql') as typeof import('./promql')
    const seconds = window === 'start' ? undefined : Number(window)
    const ofNumbers = queries({ histogram, method, route, seconds, processMetrics })
    return reply.send({ ...ofNumbers, ...objectiveQueries(facts()) })
  })
}

function pageData ({ histograms, inFlight, objective }: Facts): PageData {
  return { histograms, inFlight, objective: objective && { ...objective, histogram: histograms[0]!.name } }
}

/** A number at the top of the page: its id, its name, and what it means. `browser/page.ts` fills it in. */
type NumberCard = readonly [id: string, name: string, meaning: string]

const latencies: readonly NumberCard[] = [
  ['rate', 'Requests', 'per s'],
  ['mean', 'Mean', 'exact'],
  ['p50', 'p50', 'half within'],
  ['p90', 'p90', '90 % within'],
  ['p99', 'p99', '99 % within']
]

const waited: NumberCard = ['waited', 'Waited', 'before that']

/** The numbers of how requests ended, and of those that have not. What is not counted is left out. */
function endings ({ inFlight, histograms }: Facts): NumberCard[] {
  const hasStatus = histograms.some(({ statusLabel }) => statusLabel !== undefined)
  const cards: ReadonlyArray<NumberCard | false> = [
    hasStatus && ['status-2', '2xx', 'answered'],
    hasStatus && ['status-3', '3xx', 'redirected'],
    hasStatus && ['status-4', '4xx', 'refused'],
    hasStatus && ['status-5', '5xx', 'failed'],
    ['aborted', 'Aborted', 'the client left'],
    ['rejected', 'Rejected', 'before hooks'],
    inFlight && ['in-flight', 'In flight', 'right now'],
    inFlight && ['oldest', 'Oldest', 'in flight'],
    inFlight && ['long-lived', 'Long-lived', 'open now'],
    ['loop-busy', 'Event loop', 'busy']
  ]
  return cards.filter(card => card !== false)
}

/** The lines that say how to turn on what is not shown. */
function missing (facts: Facts): string[] {
  const { inFlight, histograms, objective, timeToFirstByte, queueTime, busyTime, exemplars } = facts
  const lines: Array<string | false> = [
    !isNative(facts) && '<code>histogram: { native: true }</code> makes quantiles exact to some per cent, and says ' +
      'which buckets would be better.',
    !exemplars && '<code>exemplars: true</code> lists the slowest requests with their traces.',
    !timeToFirstByte && '<code>timeToFirstByte: true</code> adds a histogram of the time to the headers.',
    !queueTime && '<code>queueTime: true</code> shows how long requests waited for the event loop before they began.',
    !busyTime && '<code>busyTime: true</code> shows for each route how busy the event loop was meanwhile.',
    !histograms.some(({ statusLabel }) => statusLabel !== undefined) &&
      "A label from <code>'status'</code> tells 4xx and 5xx apart.",
    !inFlight && '<code>inFlight: true</code> counts open requests.',
    objective === undefined && '<code>server: { live: { objective: { latency: 0.25, share: 0.99 } } }</code> shows ' +
      'how fast the budget of an objective is being used up.'
  ]
  return lines.filter(line => line !== false)
}

function isNative ({ histograms }: Facts): boolean {
  return histograms.some(({ native }) => native !== undefined)
}

/** The windows of time that the user can choose for the numbers and the table. */
const windows: ReadonlyArray<[seconds: string, name: string]> =
  [['10', '10 s'], ['60', '1 min'], ['300', '5 min'], ['start', 'Since start']]

function livePage (facts: Facts): string {
  const path = escapeHtml(facts.path)
  const lines = missing(facts)
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Latency, live</title>
<link rel="icon" href="live/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="live/page.css">
<script src="live/uplot.js" defer></script>
<script src="live/page" type="module"></script>
<body data-page="${escapeHtml(JSON.stringify(pageData(facts)))}">
<header>
<h1>Latency, live</h1>
<label class="histogram"><span class="unseen">Histogram</span><select id="histogram"></select></label>
<p id="state"><span role="status">Connecting</span> <span aria-hidden="true"></span></p>
<div class="buttons">
<button id="link" type="button">Copy link</button>
<button id="json" type="button">Save JSON</button>
<button id="png" type="button">Save PNG</button>
<button id="pause" type="button" aria-pressed="false">Pause</button>
</div>
</header>
<p id="done" class="unseen" role="status"></p>
<noscript><p>This page needs JavaScript, which is off. The metrics are at <a href=".${path}">${path}</a>.</p></noscript>
<main>
<section aria-labelledby="window-name">
<div class="bar">
<fieldset id="window"><legend id="window-name">Over the last</legend>
${windows.map(renderWindow).join('\n')}
</fieldset>
<p>until <time id="clock"></time> <span id="seen"></span></p>
<p class="scope"><strong id="chosen" role="status">All requests</strong>
<button id="all" type="button" hidden>Show all requests</button></p>
</div>
<div id="changed">
<p id="trouble" hidden><strong></strong> <button type="button"></button>
<span class="computes">It is the CPU: this process computes, and its requests wait for that.</span>
<span class="waits">It is not the CPU: they wait for something else, such as a database, another service,
or a promise that does not settle.</span>
<span class="either">It is the CPU in part: they wait for what this process computes, and for something else.</span>
<small></small></p>
<p id="loop-line"><span></span> <b></b>${facts.busyTime ? '' : telling}</p>
<div id="most">
<h2>Changed most against the time before</h2> <span id="changes"></span><span id="unchanged"></span>
</div>
</div>
${facts.objective === undefined ? '' : renderObjective(facts.objective, facts)}
<dl id="numbers">
${[...latencies, ...facts.queueTime ? [waited] : []].map(renderNumber).join('\n')}
</dl>
<dl id="endings">
${endings(facts).map(renderNumber).join('\n')}
</dl>
</section>
<section class="charts" aria-label="The last 5 minutes">
${chart('heat', 'Requests by duration', heatKey)}
${chart('quantiles', 'Latency', keys(['p50', 'p50'], ['p90', 'p90'], ['p99', 'p99']))}
${chart('rates', 'Requests per second', keys(['rate', 'all']))}
${chart('failures', 'Failures per second',
  keys(['5xx', '5xx'], ['4xx', '4xx'], ['aborted', 'aborted'], ['rejected', 'rejected']))}
${chart('loop', 'Event loop', keys(['busy', 'busy'], ['stall', 'longest stall']))}
</section>
<section class="table" aria-labelledby="routes-name">
<div class="bar">
<h2 id="routes-name"></h2>
<label>Filter <input id="filter" type="search" autocomplete="off" spellcheck="false"></label>
<label class="sort">Sort by <select id="sort"></select></label>
</div>
<div class="scroll" tabindex="0" role="group" aria-labelledby="routes-name">
<table id="routes" role="table" aria-labelledby="routes-name"><thead></thead><tbody></tbody></table>
</div>
<p id="empty"></p>
<button id="more" type="button" hidden></button>
</section>
${facts.exemplars ? slowest : ''}
${isNative(facts) ? renderBuckets() : ''}
<section class="notes">
<h2>What these numbers are</h2>
<p><strong>Quantiles are estimates, the mean is exact.</strong> A histogram knows how many requests fell into each
bucket, but not where in the bucket. p50, p90 and p99 are computed like <code>histogram_quantile()</code> of Prometheus:
as if requests were spread evenly within their bucket. The true value is somewhere in the same bucket, whose bounds
stand below each number. A quantile above the last bound is only known to be more than that bound.
${isNative(facts) ? nativeNote : ''}</p>
<p><strong>Is it the CPU, or something that the application waits for?</strong> While the event loop is busy, every
request waits for it. If requests are slow and the event loop is not busy, they wait for something else, such as a
database. Hatched times in the charts are those in which the event loop did not turn at all, and nothing could be
answered. What waited meanwhile is counted when it has been answered, and is drawn right after. A latency begins when
the application gets to a request, unless <code>histogram.from</code> says otherwise: how long the request waited for
that is in none of these numbers${facts.queueTime ? ' but "Waited", which is of all requests' : ''}.
${facts.busyTime ? busyNote : ''}</p>
${facts.isGroup ? groupNote : ''}
<p>Choose a row of the table to see its requests alone; choose it once more, or press Escape, to see all. The buttons
with two squares copy the query that gives the same number in Prometheus. In the charts, requests are those of each
second, and quantiles those of the 10 seconds before. The server remembers 5 minutes while this page is open somewhere.
Prometheus, which reads <a href=".${path}">the metrics</a>, remembers more.</p>
${lines.length === 0 ? '' : '<h2>What could be here too</h2>'}
<ul>${lines.map(line => `<li>${line}</li>`).join('\n')}</ul>
</section>
</main>
<footer>fastify-latency ${escapeHtml(version)} · <a href="./">about this server</a></footer>
</html>
`
}

function renderWindow ([value, name]: readonly [value: string, name: string]): string {
  const checked = value === '60' ? ' checked' : ''
  return `<label><input type="radio" name="window" value="${value}"${checked}><span>${name}</span></label>`
}

function renderNumber ([id, name, meaning]: NumberCard): string {
  const value = '<data value="NaN">–</data><small></small>'
  const term = `<dt>${name} <span>${meaning}</span>${copyButton(id, name)}</dt>`
  return `<div id="${id}" data-name="${name}">${term}<dd>${value}</dd></div>`
}

function copyButton (query: string, name: string): string {
  const label = `Copy ${name} as PromQL`
  return `<button class="copy" type="button" data-query="${query}" aria-label="${label}" title="${label}"></button>`
}

function renderObjective ({ latency, share }: NonNullable<Facts['objective']>, { inFlight }: Facts): string {
  const percentage = Number((100 * share).toPrecision(12))
  return `<section id="objective" class="aside" aria-labelledby="objective-name">
<h2 id="objective-name">Objective: ${percentage} % of requests take ${latency} s or less</h2>
<dl>
${renderNumber(['burn-300', 'Burns', 'over 5 min'])}
${renderNumber(['burn-3600', 'Burns', 'over 1 h'])}
${renderNumber(['budget', 'Left', 'of what an hour may use'])}
${inFlight ? renderNumber(['late', 'Late already', 'in flight, not in these']) : ''}
</dl>
<p>1 × uses up the budget exactly in the time for which it is meant. <span id="alert" role="status"></span></p>
</section>
`
}

const telling = '<span class="how"> <code>busyTime: true</code> tells which route computes.</span>'

const slowest = `<section id="slowest" aria-labelledby="slowest-name">
<h2 id="slowest-name">Slowest requests of the last 5 minutes that have been kept as exemplars, of all routes</h2>
<ol></ol>
<p>None yet. With <code>exemplars: true</code> they are requests whose trace is sampled.</p>
</section>`

/** What the classic buckets make of the requests that native buckets have measured, and which would do better. */
function renderBuckets (): string {
  const quantiles = latencies.filter(([id]) => /^p\d/.test(id))
  return `<section id="buckets" class="aside" aria-labelledby="buckets-name" hidden>
<h2 id="buckets-name">What the configured buckets would have answered</h2>
<dl>
${quantiles.map(([id, name]) => renderNumber([`classic-${id}`, `${name}, classic`, 'estimate'])).join('\n')}
</dl>
<p><span></span> <code></code> <button id="propose" type="button">Copy as an option</button></p>
</section>`
}

const nativeNote = `Quantiles of a histogram with native buckets are interpolated as its buckets grow, as Prometheus 3
does. The percentage beside each is how far the true value may be from it.`

const busyNote = `<strong>Loop busy</strong> is the share of a route's time in which the event loop was busy: near
100 %, its requests compute, or wait for others that do; near 0 %, they wait for something else.`

const groupNote = `<p><strong>Several processes answer as one.</strong> Requests are those of all processes of the
group. How busy the event loop is, for how long it did not turn, and since when the process has run, are those of the
process that answers this page. The metrics have them of each, with the label <code>worker</code>.</p>`

const heatKey = '<p class="keys">requests per second: 0 <i class="scale"></i> <data>1</data> <b id="at"></b></p>'

/**
 * A chart. The arrow keys move a cursor through its plot, which is therefore announced as a slider, with the values
 * under the cursor.
 */
function chart (id: string, name: string, about: string): string {
  const slider = 'role="slider" aria-valuemin="0" aria-valuemax="0" aria-valuenow="0" aria-valuetext="nothing yet"'
  return `<figure id="${id}">
<figcaption><h2 id="${id}-name">${name}</h2>${copyButton(id, name)}${about}</figcaption>
<div class="plot" tabindex="0" aria-labelledby="${id}-name" ${slider}></div>
</figure>`
}

function keys (...lines: Array<[key: string, name: string]>): string {
  const values = lines.map(([key, name]) => `<span data-key="${key}">${name} <b>–</b></span>`)
  return `<p class="keys">${values.join('')}</p>`
}
