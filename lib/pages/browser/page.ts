// The page at `/live`. It asks the metrics server once a second, and shows the answers. This file needs a browser; all
// computation is in the other modules.
import { Charts, describePoint, formatClock, quantiles } from './charts'
import { find, setText } from './elements'
import {
  formatBucket, formatCount, formatEstimate, formatRate, formatSeconds, formatShare, formatWindow, nothing
} from './format'
import { History, noCounts, type Increase, type Point } from './history'
import { estimateQuantile } from './quantile'
import { familyNames, Reader, type ShownHistogram } from './reader'
import { Table } from './table'

const intervalMs = 1000
const timeoutMs = 10_000
const keepSeconds = 300
/** The quantiles at a point of the charts are those of this many seconds before the point. */
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
/**
 * Whether the server has refused to answer. The page then stops asking, because another request would be refused too,
 * or would make the browser ask for a password each time.
 */
let refused = false
let lastAnswer = NaN

/** Begins to show a histogram. */
function show (shown: ShownHistogram): void {
  histogram = shown
  reader = new Reader(shown)
  history = new History(shown.upperBounds, keepSeconds)
  points = []
  createCharts()
  table = new Table({ histogram: shown, hasInFlight, onChange: draw })
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
    const signal = AbortSignal.timeout(timeoutMs)
    response = await fetch(`${path}?${query}`, { headers: { accept: 'text/plain' }, cache: 'no-store', signal })
    // The time is that of the page, because the clock of the server may be wrong, and may jump.
    time = (performance.timeOrigin + performance.now()) / 1000
    text = await response.text()
  } catch {
    const since = Number.isNaN(lastAnswer) ? 'yet' : `since ${formatClock(lastAnswer)}`
    return showState('lost', `No answer ${since}; asking again`)
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

/**
 * Asks for the metrics once a second, as long as the page is visible. A slow server is asked less often: requests take
 * up at most half of the time.
 */
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
  const rowName = row === undefined ? '' : [row.method, row.route].filter(Boolean).join(' ') || 'all requests'
  setText(find('#chosen'), row === undefined ? 'Charts of all requests' : `Charts of ${rowName} only`)
  charts.draw(points)
  showPoint()
  find('#heat data').textContent = formatRate(charts.most).replace('.0', '')
  if (Number.isNaN(lastAnswer)) return
  const live = increase?.total.buckets.at(-1) === 0 ? 'Live; no requests' : 'Live'
  showState('live', paused ? `Paused at ${formatClock(lastAnswer)}` : live)
}

function showState (name: string, text: string): void {
  state.dataset.state = name
  setText(state, text)
}

function showNumbers (increase: Increase | undefined): void {
  const seconds = increase?.seconds ?? 0
  const isPartial = increase !== undefined && windowSeconds - seconds > 1
  setText(find('#seen'), isPartial ? `of which this page has seen ${formatWindow(seconds)}` : '')
  const total = increase?.total ?? noCounts(histogram.upperBounds)
  const all = total.buckets.at(-1)!
  const isKnown = increase !== undefined
  setNumber('rate', isKnown ? all / seconds : NaN, formatRate, isKnown ? `${formatCount(all)} in all` : '')
  for (const [name, q] of quantiles) {
    const estimate = estimateQuantile(q, histogram.upperBounds, total.buckets)
    const { value, lower, upper } = estimate
    const bucket = Number.isNaN(value) ? '' : `bucket ${formatBucket(lower, upper)}`
    setNumber(name, value, () => formatEstimate(estimate), bucket)
  }
  const share = (part: number): string => all === 0 ? '' : `${formatShare(part, all)} of requests`
  const hasStatus = histogram.statusLabel !== undefined
  setNumber('errors', hasStatus ? total.errors : NaN, formatCount, hasStatus ? share(total.errors) : 'no status label')
  setNumber('aborted', total.aborted, formatCount, share(total.aborted))
  setNumber('rejected', increase?.rejected ?? 0, formatCount, '')
  const rows = isKnown ? [...increase.rows.values()] : []
  const inFlight = rows.reduce((sum, row) => sum + row.inFlight, 0)
  setNumber('in-flight', hasInFlight && isKnown ? inFlight : NaN, formatCount, '')
  for (const id of ['errors', 'aborted', 'rejected']) {
    const { value } = find<HTMLDataElement>(`#${id} data`)
    find(`#${id}`).classList.toggle('some', Number(value) > 0)
  }
}

function setNumber (id: string, value: number, format: (value: number) => string, note: string): void {
  const element = find<HTMLDataElement>(`#${id} data`)
  element.value = String(value)
  setText(element, Number.isNaN(value) ? nothing : format(value))
  setText(find(`#${id} small`), note)
}

/** Shows the values under the cursor of the charts or, without a cursor, the latest values. */
function showPoint (): void {
  const last = Math.max(points.length - 1, 0)
  const index = Math.min(charts?.cursor ?? last, last)
  const point = points[index]
  const values: Record<string, string> = { rate: nothing, error: nothing }
  quantiles.forEach(([name], quantile) => { values[name] = formatSeconds(point?.quantiles[quantile] ?? NaN) })
  if (typeof point?.rate === 'number') {
    Object.assign(values, { rate: formatRate(point.rate), error: formatRate(point.errorRate!) })
  }
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
