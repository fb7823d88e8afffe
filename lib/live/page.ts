// The page at /live: asks the metrics server once a second, and shows what it says. Needs a browser; what it computes is in the other modules.
import { Charts, describePoint, formatClock, quantiles } from './charts'
import { formatBucket, formatCount, formatRate, formatSeconds, formatShare, formatWindow, nothing } from './format'
import { History, type Increase, type Point } from './history'
import { estimateQuantile } from './quantile'
import { familyNames, Reader, type Counts, type Row, type ShownHistogram } from './reader'

const intervalMs = 1000
const timeoutMs = 10_000
const keepSeconds = 300
/** Seconds before a point of the charts that its quantiles are of. */
const quantileSeconds = 10

const { path, histograms, inFlight: hasInFlight } = JSON.parse(document.body.dataset.page!) as {
  path: string, histograms: ShownHistogram[], inFlight: boolean
}

function find<E extends HTMLElement = HTMLElement> (selector: string): E {
  return document.querySelector<E>(selector)!
}

const state = find('#state')
const select = find<HTMLSelectElement>('#histogram')
const pause = find<HTMLButtonElement>('#pause')

let histogram: ShownHistogram
let reader: Reader
let history: History
let charts: Charts
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
  createTable()
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
  points = history.points(quantiles.map(([, q]) => q), quantileSeconds)
  showNumbers(increase)
  showRows(increase)
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
  const total = increase?.total ?? { buckets: [...histogram.upperBounds, 0].map(() => 0), errors: 0, aborted: 0 }
  const all = total.buckets.at(-1)!
  setNumber('rate', increase === undefined ? NaN : all / seconds, formatRate, increase === undefined ? '' : `${formatCount(all)} in all`)
  for (const [name, q] of quantiles) {
    const { value, lower, upper } = estimateQuantile(q, histogram.upperBounds, total.buckets)
    setNumber(name, value, () => formatEstimate(q, total), Number.isNaN(value) ? '' : `bucket ${formatBucket(lower, upper)}`)
  }
  const share = (part: number): string => all === 0 ? '' : `${formatShare(part, all)} of requests`
  setNumber('errors', histogram.statusLabel === undefined ? NaN : total.errors, formatCount, histogram.statusLabel === undefined ? 'no label says' : share(total.errors))
  setNumber('aborted', total.aborted, formatCount, share(total.aborted))
  setNumber('rejected', increase?.rejected ?? 0, formatCount, '')
  setNumber('in-flight', hasInFlight ? increase?.rows.reduce((sum, { inFlight }) => sum + inFlight, 0) ?? NaN : NaN, formatCount, '')
  for (const id of ['errors', 'aborted', 'rejected']) find(`#${id}`).classList.toggle('some', Number(find<HTMLDataElement>(`#${id} data`).value) > 0)
}

function setNumber (id: string, value: number, format: (value: number) => string, note: string): void {
  const element = find<HTMLDataElement>(`#${id} data`)
  element.value = String(value)
  setText(element, Number.isNaN(value) ? nothing : format(value))
  setText(find(`#${id} small`), note)
}

function formatEstimate (q: number, { buckets }: Counts): string {
  const { value, upper } = estimateQuantile(q, histogram.upperBounds, buckets)
  return `${upper === Infinity ? '> ' : ''}${formatSeconds(value)}`
}

interface Column {
  readonly name: string
  /** What to sort by. */
  readonly value: (row: Row, seconds: number) => string | number
  readonly text: (row: Row, seconds: number) => string
  readonly isText?: boolean
  /** Whether a number above 0 is bad news. */
  readonly isAlarming?: boolean
}

const requestsOf = ({ counts }: Row): number => counts.buckets.at(-1)!

function columnsOf ({ methodLabel, routeLabel, statusLabel, upperBounds }: ShownHistogram): Column[] {
  const columns: Array<Column | false> = [
    routeLabel !== undefined && { name: 'Route', isText: true, value: ({ route }) => route!, text: ({ route }) => route! },
    methodLabel !== undefined && { name: 'Method', isText: true, value: ({ method }) => method!, text: ({ method }) => method! },
    methodLabel === undefined && routeLabel === undefined && { name: 'Route', isText: true, value: () => 0, text: () => 'all requests' },
    { name: 'Requests/s', value: requestsOf, text: (row, seconds) => requestsOf(row) === 0 ? nothing : formatRate(requestsOf(row) / seconds) },
    ...quantiles.map(([name, q]): Column => ({
      name, value: ({ counts }) => estimateQuantile(q, upperBounds, counts.buckets).value, text: ({ counts }) => formatEstimate(q, counts)
    })),
    statusLabel !== undefined && { name: 'Errors', isAlarming: true, value: ({ counts }) => counts.errors, text: ({ counts }) => formatCount(counts.errors) },
    { name: 'Aborted', isAlarming: true, value: ({ counts }) => counts.aborted, text: ({ counts }) => formatCount(counts.aborted) },
    hasInFlight && { name: 'In flight', value: ({ inFlight }) => inFlight, text: ({ inFlight }) => formatCount(inFlight) }
  ]
  return columns.filter(column => column !== false)
}

let columns: Column[] = []
let sortedBy = 0
let descending = false
let rowElements = new Map<string, HTMLTableRowElement>()

function createTable (): void {
  columns = columnsOf(histogram)
  sortedBy = 0
  descending = false
  rowElements = new Map()
  const heads = columns.map(({ name, isText }, index) => {
    const [head, button] = [document.createElement('th'), document.createElement('button')]
    head.scope = 'col'
    if (isText === true) head.className = 'text'
    button.type = 'button'
    button.textContent = name
    button.onclick = () => {
      descending = sortedBy === index ? !descending : isText !== true
      sortedBy = index
      showRows(history.over(windowSeconds))
    }
    head.append(button)
    return head
  })
  const row = document.createElement('tr')
  row.append(...heads)
  find('#routes thead').replaceChildren(row)
  find('#routes tbody').replaceChildren()
}

function showRows (increase: Increase | undefined): void {
  const body = find('#routes tbody')
  setText(find('#routes caption'), `By route, over the last ${formatWindow(windowSeconds)}`)
  find('#routes thead').querySelectorAll('th').forEach((head, index) => {
    if (index === sortedBy) head.ariaSort = descending ? 'descending' : 'ascending'
    else head.removeAttribute('aria-sort')
  })
  const { value } = columns[sortedBy]!
  const seconds = increase?.seconds ?? NaN
  const rows = (increase?.rows ?? []).map(row => ({ row, key: JSON.stringify([row.route, row.method]), rank: value(row, seconds) }))
  rows.sort((a, b) => (compare(a.rank, b.rank) || 0) * (descending ? -1 : 1) || compare(a.key, b.key))
  rows.forEach(({ row, key }, index) => {
    let element = rowElements.get(key)
    if (element === undefined) {
      element = createRow()
      rowElements.set(key, element)
    }
    element.classList.toggle('idle', requestsOf(row) === 0)
    columns.forEach(({ text, value, isAlarming }, column) => {
      const cell = element.cells[column]!
      setText(cell, text(row, seconds))
      if (isAlarming === true) cell.classList.toggle('some', Number(value(row, seconds)) > 0)
    })
    if (body.children[index] !== element) body.insertBefore(element, body.children[index] ?? null)
  })
  find('#empty').hidden = rows.length > 0
}

function createRow (): HTMLTableRowElement {
  const row = document.createElement('tr')
  columns.forEach(({ isText }, index) => {
    const cell = document.createElement(index === 0 ? 'th' : 'td')
    if (index === 0) (cell as HTMLTableCellElement).scope = 'row'
    if (isText === true) cell.className = 'text'
    row.append(cell)
  })
  return row
}

/** NaN, of a row without requests, is less than any number. */
function compare (a: string | number, b: string | number): number {
  if (typeof a === 'string' || typeof b === 'string') return a < b ? -1 : a > b ? 1 : 0
  return (Number.isNaN(a) ? -1 : a) - (Number.isNaN(b) ? -1 : b)
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

function setText (element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
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
