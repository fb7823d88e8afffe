// The page at /live: asks the metrics server once a second, and shows what it says. Needs a browser; what it computes is in the other modules.
import { Charts, describePoint, formatClock, quantiles } from './charts'
import { find, setText } from './elements'
import { formatBucket, formatCount, formatEstimate, formatRate, formatSeconds, formatShare, formatWindow, nothing } from './format'
import { History, noCounts, type Increase, type Point } from './history'
import { estimateQuantile } from './quantile'
import { familyNames, Reader, type ShownHistogram } from './reader'
import { Table } from './table'

const intervalMs = 1000
const timeoutMs = 10_000
const keepSeconds = 300
/** Seconds before a point of the charts that its quantiles are of. */
const quantileSeconds = 10

const { path, histograms, inFlight: hasInFlight } = JSON.parse(document.body.dataset.page!) as {
  path: string, histograms: ShownHistogram[], inFlight: boolean
}

const state = find('#state')
const select = find<HTMLSelectElement>('#histogram')
const pause = find<HTMLButtonElement>('#pause')

let histogram: ShownHistogram
let reader: Reader
let history: History
let charts: Charts
let table: Table
let points: Point[] = []
let windowSeconds = 60
let paused = false
/** Asking again would not help, or have the browser ask for a password each time. */
let refused = false
let lastAnswer = NaN

/** Begins to show a histogram. */
function show (shown: ShownHistogram): void {
  histogram = shown
  reader = new Reader(shown)
  history = new History(shown.upperBounds, keepSeconds)
  points = []
  createCharts()
  table = new Table(shown, hasInFlight, draw)
  draw()
}

function createCharts (): void {
  charts?.destroy()
  charts = new Charts(histogram.upperBounds, histogram.statusLabel !== undefined, showPoint)
  charts.draw(points)
  showPoint()
}

async function poll (): Promise<void> {
  const asked = histogram
  const query = familyNames(asked).map(name => `name[]=${encodeURIComponent(name)}`).join('&')
  let response
  let text
  let time
  try {
    response = await fetch(`${path}?${query}`, { headers: { accept: 'text/plain' }, cache: 'no-store', signal: AbortSignal.timeout(timeoutMs) })
    // The clock of the page: a server's may be wrong, and jump.
    time = (performance.timeOrigin + performance.now()) / 1000
    text = await response.text()
  } catch {
    return showState('lost', Number.isNaN(lastAnswer) ? 'No answer yet; asking again' : `No answer since ${formatClock(lastAnswer)}; asking again`)
  }
  if (asked !== histogram) return
  if (response.status === 401 || response.status === 403) {
    refused = true
    return showState('lost', `Refused with status ${response.status}: reload this page to sign in`)
  }
  if (!response.ok) return showState('lost', `Answered with status ${response.status}; asking again`)
  try {
    history.add(time, reader.read(text))
  } catch (error) {
    return showState('lost', `${(error as Error).message}: reload this page`)
  }
  lastAnswer = time
  if (!paused) draw()
}

/** Asks as long as somebody looks, once a second, and never more than half of the time. */
let asking = false
async function keepAsking (): Promise<void> {
  if (asking) return
  asking = true
  while (!document.hidden && !refused) {
    const begin = performance.now()
    await poll()
    const took = performance.now() - begin
    await new Promise(resolve => setTimeout(resolve, Math.max(intervalMs - took, Math.min(took, timeoutMs))))
  }
  asking = false
}

function draw (): void {
  const increase = history.over(windowSeconds)
  points = history.points(quantiles.map(([, q]) => q), quantileSeconds, table.chosen)
  showNumbers(increase)
  table.show(increase, windowSeconds)
  const row = table.chosen === undefined ? undefined : increase?.rows.get(table.chosen)
  setText(find('#chosen'), row === undefined ? 'Charts of all requests' : `Charts of ${[row.method, row.route].filter(Boolean).join(' ') || 'all requests'} only`)
  charts.draw(points)
  showPoint()
  find('#heat data').textContent = formatRate(charts.most).replace('.0', '')
  if (Number.isNaN(lastAnswer)) return
  showState('live', paused ? `Paused at ${formatClock(lastAnswer)}` : increase?.total.buckets.at(-1) === 0 ? 'Live; no requests' : 'Live')
}

function showState (name: string, text: string): void {
  state.dataset.state = name
  setText(state, text)
}

function showNumbers (increase: Increase | undefined): void {
  const seconds = increase?.seconds ?? 0
  setText(find('#seen'), increase !== undefined && windowSeconds - seconds > 1 ? `of which this page has seen ${formatWindow(seconds)}` : '')
  const total = increase?.total ?? noCounts(histogram.upperBounds)
  const all = total.buckets.at(-1)!
  setNumber('rate', increase === undefined ? NaN : all / seconds, formatRate, increase === undefined ? '' : `${formatCount(all)} in all`)
  for (const [name, q] of quantiles) {
    const estimate = estimateQuantile(q, histogram.upperBounds, total.buckets)
    const { value, lower, upper } = estimate
    setNumber(name, value, () => formatEstimate(estimate), Number.isNaN(value) ? '' : `bucket ${formatBucket(lower, upper)}`)
  }
  const share = (part: number): string => all === 0 ? '' : `${formatShare(part, all)} of requests`
  setNumber('errors', histogram.statusLabel === undefined ? NaN : total.errors, formatCount, histogram.statusLabel === undefined ? 'no label says' : share(total.errors))
  setNumber('aborted', total.aborted, formatCount, share(total.aborted))
  setNumber('rejected', increase?.rejected ?? 0, formatCount, '')
  setNumber('in-flight', hasInFlight ? increase === undefined ? NaN : [...increase.rows.values()].reduce((sum, { inFlight }) => sum + inFlight, 0) : NaN, formatCount, '')
  for (const id of ['errors', 'aborted', 'rejected']) find(`#${id}`).classList.toggle('some', Number(find<HTMLDataElement>(`#${id} data`).value) > 0)
}

function setNumber (id: string, value: number, format: (value: number) => string, note: string): void {
  const element = find<HTMLDataElement>(`#${id} data`)
  element.value = String(value)
  setText(element, Number.isNaN(value) ? nothing : format(value))
  setText(find(`#${id} small`), note)
}

/** Shows what the charts say under the cursor, or else last. */
function showPoint (): void {
  const last = Math.max(points.length - 1, 0)
  const index = Math.min(charts?.cursor ?? last, last)
  const point = points[index]
  const values: Record<string, string> = { rate: nothing, error: nothing }
  quantiles.forEach(([name], quantile) => { values[name] = formatSeconds(point?.quantiles[quantile] ?? NaN) })
  if (typeof point?.rate === 'number') Object.assign(values, { rate: formatRate(point.rate), error: formatRate(point.errorRate!) })
  for (const [key, text] of Object.entries(values)) setText(find(`[data-key=${key}] b`), text)
  for (const plot of document.querySelectorAll('.plot')) {
    plot.setAttribute('aria-valuemax', String(last))
    plot.setAttribute('aria-valuenow', String(index))
    plot.setAttribute('aria-valuetext', point === undefined ? 'nothing yet' : describePoint(point))
  }
}

select.replaceChildren(...histograms.map(({ name }) => new Option(name)))
select.disabled = histograms.length === 1
select.onchange = () => show(histograms[select.selectedIndex]!)
pause.onclick = () => {
  paused = !paused
  pause.ariaPressed = String(paused)
  draw()
}
for (const input of document.querySelectorAll<HTMLInputElement>('#window input')) {
  input.onchange = () => {
    windowSeconds = Number(input.value)
    draw()
  }
}
matchMedia('(prefers-color-scheme: dark)').onchange = createCharts
document.onvisibilitychange = () => { keepAsking() }
show(histograms[0]!)
keepAsking()
