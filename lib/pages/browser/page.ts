// The page at `/live`. It asks the metrics server once a second, and shows the answers. This file needs a browser; all
// computation is in the other modules.
import { showBuckets } from './buckets'
import { busiestOf, describeBusiest, describeLoop } from './cause'
import { canCompare, changesOf, sinceWhen, type Change } from './changes'
import { Charts, describePoint, failures, formatClock, qs, quantiles, spans, type Marked } from './charts'
import { create, find, setNumber, setText } from './elements'
import type { Answer, ObjectiveWindow, PageData, ShownHistogram, SlowRequest } from './feed'
import {
  formatBucketOf, formatCount, formatCounts, formatEstimate, formatFully, formatPercentage, formatRate, formatSeconds,
  formatShare, formatTotal, formatWindow, nothing
} from './format'
import { copyWith, drawPicture, fileName, save, say, sayWhyNot } from './handover'
import { History, type Increase, type Point } from './history'
import { describeIncident, IncidentWatch } from './incident'
import { Lasting } from './lasting'
import { isMissed, showObjective } from './objective'
import { estimateQuantile, estimateQuantiles } from './quantile'
import { emptyRow, labelsOf, requestsOf, rowKey, statusClass, statusesOf, sumOf, waitsOf, type Row } from './rows'
import { showSlowest } from './slowest'
import { Table } from './table'

const timeoutMs = 10_000
/** An answer that has not come after this time is missed. */
const missedMs = 2000
const keepSeconds = 600
/** The quantiles at a point of the charts are those of this many seconds before the point. */
const quantileSeconds = 10
/** The longest stall is mentioned for this long. */
const mentionSeconds = 60
/** An event loop is busy from when it was so for the second share of these seconds, until it is so for the first. */
const busyShares = [0.7, 0.9] as const
const busySeconds = 3
/** The state that says that something is wrong lasts for so long. */
const lastingSeconds = 10
/** Failures that go on for longer are the worst state that a server which answers can be in. */
const failingSeconds = 60
/** From this share on, it is said how to find out which route keeps the event loop busy. */
const tellingShare = 0.2

const { histograms, inFlight: hasOpen, objective } = JSON.parse(document.body.dataset.page!) as PageData

const state = find('#state')
const select = find<HTMLSelectElement>('#histogram')
const pause = find<HTMLButtonElement>('#pause')
const windows = [...document.querySelectorAll<HTMLInputElement>('#window input')]

let histogram: ShownHistogram
let history: History
let charts: Charts
let table: Table
let points: Point[] = []
let marks: Marked[] = []
let changes: ReadonlyMap<string, Change> = new Map()
let incidents: IncidentWatch
let isWrong: Lasting
let isBusy = false
/** Since when the changes that are named have been there. */
let sinceTimes = new Map<string, number>()
let slowest: readonly SlowRequest[] = []
let objectiveWindows: readonly ObjectiveWindow[] | undefined
/** What the numbers and the table are about. Undefined: since the server started. */
let windowSeconds: number | undefined = 60
let paused = false
/** The time of what is shown. While the page is paused, the history goes on. */
let shownTime = NaN
/**
 * Whether the server has refused to answer. The page then stops asking, because another request would be refused too,
 * or would make the browser ask for a password each time.
 */
let refused = false
/** When the last answer came, in milliseconds. */
let answeredMs = NaN
/** When the page began to ask. */
let begunMs = NaN
/** The PromQL of the numbers by their ids, and what they are about. */
let queries: Promise<Readonly<Record<string, string>>>
let queriesAbout = ''
/** Why there is no answer. Undefined: there is one, or it is too early to tell. */
let problem: string | undefined

function clock (ms: number): number {
  return (performance.timeOrigin + ms) / 1000
}

/** Begins to show a histogram, as a link says. */
function show (shown: ShownHistogram, link: URLSearchParams): void {
  histogram = shown
  history = new History(shown.upperBounds, keepSeconds)
  points = []
  marks = []
  incidents = new IncidentWatch(objective?.histogram === shown.name ? 1 - objective.share : undefined)
  isWrong = new Lasting(lastingSeconds)
  select.selectedIndex = histograms.indexOf(shown)
  const seconds = link.get('window')
  const input = windows.find(({ value }) => value === seconds) ?? windows.find(({ value }) => value === '60')!
  input.checked = true
  windowSeconds = secondsOf(input)
  createCharts()
  table = new Table({
    histogram: shown, hasOpen, sort: link.get('sort') ?? undefined, filter: link.get('filter') ?? '', onChange: draw
  })
  const [method, route] = [link.get('method') ?? undefined, link.get('route') ?? undefined]
  if (method === undefined && route === undefined) draw()
  else table.choose(rowKey(method, route))
}

function createCharts (): void {
  charts?.destroy()
  charts = new Charts(histogram.upperBounds, showPoint)
  drawCharts()
}

/** Asks for what is new. Returns when to ask again, in milliseconds from now. */
async function ask (): Promise<number> {
  const asked = { histogram, history }
  const { generation, last } = history.known
  const shown = JSON.stringify(histogram)
  const query = new URLSearchParams({ histogram: histogram.name, shown, generation, last: String(last) })
  let response
  let answer
  try {
    const signal = AbortSignal.timeout(timeoutMs)
    response = await fetch(`live/data?${query}`, { cache: 'no-store', signal })
    answer = await response.text()
  } catch (error) {
    // A server that does not answer in time may be there, and is asked again. The time goes on from the first question.
    if ((error as Error).name !== 'TimeoutError') problem = unreachable()
    return 1000
  }
  const receivedMs = performance.now()
  if (asked.history !== history) return 0
  if (response.status === 401 || response.status === 403) {
    refused = true
    problem = `Refused with status ${response.status}: reload this page to sign in`
    return 0
  }
  if (!response.ok) {
    problem = response.status === 404 || response.status === 409
      ? `${histogram.name} is not served any more as it was: reload this page`
      : `Answered with status ${response.status}; asking again`
    return 1000
  }
  const content = JSON.parse(answer) as Answer
  history.add(content, clock(receivedMs))
  objectiveWindows = content.objective
  if (content.slowest !== undefined) {
    slowest = content.slowest
    showSlowest(slowest, history.offset)
  }
  answeredMs = receivedMs
  problem = undefined
  if (!paused) drawInFrames()
  return Math.min(Math.max(content.nextMs + 30, 100), 2000)
}

function unreachable (): string {
  return `No answer ${Number.isNaN(answeredMs) ? 'yet' : `since ${formatClock(clock(answeredMs))}`}; asking again`
}

/** Asks as often as there is something new, as long as the page is visible. */
let asking = false
async function keepAsking (): Promise<void> {
  if (asking) return
  asking = true
  answeredMs = NaN
  begunMs = performance.now()
  while (!document.hidden && !refused) {
    const pauseMs = await ask()
    showState()
    await new Promise(resolve => setTimeout(resolve, pauseMs))
  }
  asking = false
}

/** Shows how long an answer has been missed, while it is. */
function keepTime (): void {
  if (document.hidden || paused) return
  showState()
  if (waitingSeconds() !== undefined) drawCharts()
}

/** For how long there has been no answer. Undefined: no answer is missed. */
function waitingSeconds (): number | undefined {
  const waitingMs = performance.now() - (Number.isNaN(answeredMs) ? begunMs : answeredMs)
  return waitingMs > missedMs ? waitingMs / 1000 : undefined
}

/** What draws the page, part by part. If there is something newer to draw, the rest of it is left out. */
let drawing = parts()

function draw (): void {
  drawing = parts()
  finish(drawing)
}

function finish (parts: Generator): void {
  Array.from(parts)
}

/** Draws one part of the page in each frame, so that none takes long. */
async function drawInFrames (): Promise<void> {
  const own = drawing = parts()
  while (true) {
    await new Promise(requestAnimationFrame)
    if (drawing !== own || own.next().done === true) return
  }
}

function * parts (): Generator<undefined, void> {
  const increase = windowSeconds === undefined ? history.sinceStart() : history.over(windowSeconds)
  yield * incidents.look(history, Math.max(windowSeconds ?? 0, 60))
  yield
  const before = compare(increase)
  yield
  points = history.points(qs, quantileSeconds, spans[1], table.chosen)
  marks = history.marks()
  showClock()
  showScope(increase)
  showIncident()
  showLoop(increase)
  showChanges(before)
  if (objective !== undefined && objectiveWindows !== undefined) {
    showObjective(objective, objectiveWindows, history.sinceStart()!)
  }
  yield
  yield * chartParts()
  yield * table.show(increase, changes, `By route and method, ${windowText()}`)
  const row = rowOf(increase, table.chosen)
  showNumbers(increase, row)
  yield
  // The latency of an objective has to be a bound.
  showBuckets(histogram, row, objective?.histogram === histogram.name ? [objective.latency] : [])
  keepLink()
  keepQueries()
  showState()
}

/** Finds what has changed against the time before, and returns what was counted then. */
function compare (increase: Increase | undefined): Increase | undefined {
  changes = incidents.changes
  if (increase === undefined) return undefined
  const before = windowSeconds === undefined
    ? undefined
    : [incidents.calm?.before, history.over(windowSeconds, windowSeconds)].find(one => canCompare(increase, one))
  changes = new Map([...changesOf(histogram.upperBounds, increase, before), ...incidents.changes])
  return before
}

function drawCharts (): void {
  finish(chartParts())
}

function * chartParts (): Generator<undefined, void> {
  const isWaiting = waitingSeconds() !== undefined && !paused
  const end = isWaiting || Number.isNaN(history.time) ? clock(performance.now()) : history.time
  yield * charts.draw(points,
    isWaiting ? [...marks, { from: history.time, time: end, kind: 'waiting' }] : marks, end)
  setText(find('#heat data'), formatRate(charts.most).replace('.0', ''))
  showPoint()
}

/** The row with a key, or what all requests are together. */
function rowOf (increase: Increase | undefined, key: string | undefined): Row {
  const row = key === undefined ? increase?.total : increase?.rows.get(key)
  return row ?? emptyRow(histogram.upperBounds)
}

function rowName (key: string | undefined): string {
  return Object.values(labelsOf(key)).join(' ') || 'all requests'
}

function windowText (): string {
  return windowSeconds === undefined ? 'since the server started' : `over the last ${formatWindow(windowSeconds)}`
}

function showState (): void {
  const waiting = waitingSeconds()
  if (problem !== undefined) return setState('lost', problem, '')
  if (paused && !Number.isNaN(answeredMs)) return setState('paused', `Paused at ${formatClock(shownTime)}`, '')
  if (waiting !== undefined) {
    return setState('lost', 'No answer: the application does not turn, or cannot be reached',
      `for ${Math.floor(waiting)} s`)
  }
  if (Number.isNaN(answeredMs)) return setState('', 'Connecting', '')
  isBusy = busyNow() > busyShares[isBusy ? 0 : 1]
  if (isBusy) {
    return setState('busy', 'Live; the event loop is busy all the time, and every request waits for it', '')
  }
  const { incident } = incidents
  const isFailing = incident?.kind === 'failing' && history.time - (incident.since ?? 0) > failingSeconds
  const name = isFailing ? 'failing' : isWrong.at(history.time, incident !== undefined) ? 'busy' : 'live'
  const [stall] = marks.filter(({ kind, time }) => kind === 'stall' && history.time - time < mentionSeconds)
    .sort((a, b) => b.time - b.from - a.time + a.from)
  if (stall !== undefined) {
    const [length, until] = [formatSeconds(stall.time - stall.from), formatClock(stall.time)]
    return setState(name, `Live; the event loop did not turn for ${length} until ${until}`, '')
  }
  const isIdle = points.length > 0 && points.slice(-10).every(({ rates }) => rates.all === 0)
  setState(name, isIdle ? 'Live; no requests' : 'Live', '')
}

/** The time is not read out, because it changes every second. */
function setState (name: string, text: string, time: string): void {
  state.dataset.state = name
  setText(state.querySelector('[role]')!, text)
  setText(state.querySelector('[aria-hidden]')!, time)
}

/** Shows the time of the last data, with the zone. */
function showClock (): void {
  if (Number.isNaN(history.time)) return
  shownTime = history.time
  const time = new Date(1000 * shownTime)
  const clock = find<HTMLTimeElement>('#clock')
  clock.dateTime = time.toISOString()
  setText(clock, time.toLocaleTimeString([], { timeStyle: 'long' }))
}

function showScope (increase: Increase | undefined): void {
  const { chosen } = table
  find('#all').hidden = chosen === undefined
  setText(find('#chosen'), chosen === undefined ? 'All requests' : `${rowName(chosen)} only`)
  const seconds = increase?.seconds ?? 0
  const isPartial = windowSeconds !== undefined && windowSeconds - seconds > 1
  const known = isPartial ? `(${formatWindow(seconds)} of it are known)` : ''
  setText(find('#seen'), windowSeconds === undefined ? `(${formatWindow(seconds)})` : known)
}

function showNumbers (increase: Increase | undefined, row: Row): void {
  const { counts } = row
  const all = requestsOf(row)
  const isKnown = increase !== undefined
  setNumber('rate', isKnown ? all / increase.seconds : NaN, formatRate, isKnown ? `${formatCount(all)} in all` : '')
  setNumber('mean', counts.sum / all, formatSeconds, all === 0 ? '' : `${formatTotal(counts.sum)} in total`)
  const estimates = estimateQuantiles(qs, histogram.upperBounds, counts)
  for (const [index, estimate] of estimates.entries()) {
    const bucket = formatBucketOf(estimate)
    setNumber(quantiles[index]![0], estimate.value, () => formatEstimate(estimate), bucket && `bucket ${bucket}`)
  }
  const share = (part: number): string => all === 0 || part === 0 ? '' : formatShare(part, all)
  const note = (...parts: string[]): string => parts.filter(part => part !== '').join('; ')
  for (const digit of ['2', '3', '4', '5']) {
    const part = statusClass(row, digit)
    const statuses = digit === '2' ? '' : formatCounts(statusesOf(row, digit))
    setNumber(`status-${digit}`, isKnown ? part : NaN, formatCount, note(share(part), statuses))
  }
  const aborted = sumOf(counts.aborted)
  setNumber('aborted', isKnown ? aborted : NaN, formatCount, note(share(aborted), formatCounts(counts.aborted)))
  const rejected = increase?.rejected ?? {}
  const hasRejected = isKnown && table.chosen === undefined
  setNumber('rejected', hasRejected ? sumOf(rejected) : NaN, formatCount, hasRejected ? formatCounts(rejected) : '')
  setNumber('in-flight', isKnown ? row.inFlight : NaN, formatCount, '')
  const oldest = row.oldest === 0
    ? undefined
    : [...increase?.rows ?? []].find(([, { oldest }]) => oldest === row.oldest)?.[0]
  setNumber('oldest', isKnown ? row.oldest : NaN, age => age === 0 ? nothing : formatTotal(age),
    oldest === undefined ? '' : rowName(oldest))
  setNumber('long-lived', isKnown ? sumOf(row.longLived) : NaN, formatCount, formatCounts(row.longLived))
  showWaits(increase?.waited ?? {})
  setNumber('loop-busy', increase?.busy ?? NaN, formatPercentage,
    `${formatPercentage(busyNow())} now; stall ${longestStall()}`)
}

/** Shows how long requests waited, whichever row is chosen: they waited for the same event loop. */
function showWaits (waited: Readonly<Record<string, number>>): void {
  const { mean, p99 } = waits(waited)
  setNumber('waited', mean, formatSeconds, Number.isNaN(mean) ? '' : `p99 ${p99}`)
}

function waits (waited: Readonly<Record<string, number>>): { mean: number, p99: string } {
  const { upperBounds } = histogram.waits ?? { upperBounds: [] }
  const { mean, buckets } = waitsOf(upperBounds, waited)
  return { mean, p99: formatEstimate(estimateQuantile(0.99, upperBounds, buckets)) }
}

function pointsOver (seconds: number): Point[] {
  const begin = history.time - seconds
  return points.filter(({ time }) => time > begin)
}

/** The share of the last seconds in which the event loop was busy. NaN: nothing is known of them. */
function busyNow (): number {
  let [all, busy] = [0, 0]
  for (const point of pointsOver(busySeconds)) {
    all += point.time - point.from
    busy += point.busy * (point.time - point.from)
  }
  return busy / all
}

/** The longest time of the window in which the event loop did not turn. It is remembered for 5 minutes. */
function longestStall (): string {
  const longest = Math.max(0, ...pointsOver(windowSeconds ?? spans[1]).map(({ stall }) => stall))
  return `${formatSeconds(longest)}${windowSeconds === undefined ? ' in the last 5 min' : ''}`
}

/** Says which row hangs or is slow, since when, and whether the event loop is the cause. */
function showIncident (): void {
  const { incident } = incidents
  const paragraph = find('#trouble')
  paragraph.hidden = incident === undefined
  if (incident === undefined) return
  const { key, text, cause = '' } = incident
  const { what, why } = describeIncident(incident, history.seenSince, formatClock)
  setText(find('#trouble strong'), what)
  const button = find('#trouble button')
  setText(button, `${rowName(key)}: ${text}`)
  button.onclick = () => table.choose(key)
  paragraph.dataset.cause = cause
  setText(find('#trouble small'), why)
}

/** Says what the event loop did, and what the time of requests went into. */
function showLoop (increase: Increase | undefined): void {
  const line = find('#loop-line')
  const isTelling = increase !== undefined && increase.busy >= tellingShare
  line.classList.toggle('telling', isTelling)
  if (increase === undefined) return
  const window = windowSeconds === undefined
    ? 'the time since the start'
    : `the last ${formatWindow(increase.seconds)}`
  const { mean, p99 } = waits(increase.waited)
  const wait = Number.isNaN(mean)
    ? `the longest wait for it was ${longestStall()}`
    : `requests waited ${formatSeconds(mean)} for it, p99 ${p99}`
  const about = table.chosen ?? incidents.incident?.key
  setText(line.querySelector('span')!, describeLoop({
    increase,
    window,
    wait,
    row: rowOf(increase, about),
    name: about && rowName(about),
    busyBefore: incidents.calm?.before.busy
  }))
  const mayCompute = isTelling && histogram.hasBusyTime === true && incidents.incident?.cause !== 'waits'
  const busiest = mayCompute ? busiestOf(increase) : undefined
  setText(line.querySelector('b')!, busiest === undefined ? '' : describeBusiest(rowName(busiest[0]), busiest[1]))
}

/** Names the rows that have changed most against the window before. */
function showChanges (before: Increase | undefined): void {
  const list = find('#changes')
  const { incident } = incidents
  // What the line above says is not said twice.
  const most = [...changes].filter(([key, { text }]) => key !== incident?.key || text !== incident.text)
    .sort(([, a], [, b]) => b.weight - a.weight).slice(0, 3)
  const texts = changeTexts(most)
  // The buttons stay, because one that is replaced loses the focus.
  while (list.children.length > most.length) list.lastElementChild!.remove()
  most.forEach(([key], index) => {
    const button = list.children[index] as HTMLButtonElement ?? list.appendChild(create('button'))
    button.type = 'button'
    setText(button, texts[index]!)
    button.onclick = () => table.choose(key)
  })
  setText(find('#unchanged'), texts.length > 0 ? '' : unchangedText(before))
  find('#most').hidden = windowSeconds === undefined
}

/** What is said if nothing has changed. That is no comfort while something is wrong. */
function unchangedText (before: Increase | undefined): string {
  if (before === undefined) return 'nothing to compare with yet'
  if (incidents.incident !== undefined) return 'nothing else stands out'
  const isBad = objective !== undefined && objectiveWindows !== undefined &&
    isMissed(objective, objectiveWindows, history.sinceStart()!)
  return isBad ? 'nothing: the objective is missed as before' : 'nothing beyond chance'
}

/** What has changed of rows, and since when. The time is computed once, when a change is new. */
function changeTexts (all: ReadonlyArray<[key: string, change: Change]>): string[] {
  const known = sinceTimes
  sinceTimes = new Map()
  return all.map(([key, { text, part, falls }]) => {
    if (part === undefined || windowSeconds === undefined) return `${rowName(key)}: ${text}`
    const id = `${windowSeconds} ${key} ${text.split(' ')[0]}`
    const { until = history.time } = incidents.calm ?? {}
    const seconds = 2 * windowSeconds + history.time - until
    const since = known.get(id) ?? sinceWhen(history.points([], quantileSeconds, seconds, key), part, { falls })
    if (since === undefined) return `${rowName(key)}: ${text}`
    sinceTimes.set(id, since)
    return `${rowName(key)}: ${text} since ${formatClock(since)}`
  })
}

/** Shows the values under the cursor of the charts or, without a cursor, the latest values. */
function showPoint (): void {
  const last = Math.max(points.length - 1, 0)
  const index = Math.min(charts?.cursor ?? last, last)
  const point = points[index]
  quantiles.forEach(([name], quantile) => {
    setKey(name, point === undefined ? nothing : formatFully(point.quantiles[quantile]!))
  })
  setKey('rate', point === undefined ? nothing : formatRate(point.rates.all))
  for (const [name] of failures) setKey(name, point === undefined ? nothing : formatRate(point.rates[name]))
  setKey('busy', formatPercentage(point?.busy ?? NaN))
  setKey('stall', formatSeconds(point?.stall ?? NaN))
  setText(find('#at'), charts?.cursor === null || point === undefined ? '' : formatClock(point.time))
  for (const plot of document.querySelectorAll('.plot')) {
    plot.setAttribute('aria-valuemax', String(last))
    plot.setAttribute('aria-valuenow', String(index))
    plot.setAttribute('aria-valuetext', point === undefined ? 'nothing yet' : describePoint(point))
  }
}

function setKey (name: string, text: string): void {
  setText(find(`[data-key="${name}"] b`), text)
}

/** Keeps in the address what the page shows, so that the address can be handed on. */
function keepLink (): void {
  const link = new URLSearchParams({ window: String(windowSeconds ?? 'start'), sort: table.sort })
  if (histograms.length > 1) link.set('histogram', histogram.name)
  if (table.filter !== '') link.set('filter', table.filter)
  for (const [label, value] of Object.entries(labelsOf(table.chosen))) link.set(label, value)
  const hash = `#${link}`
  if (location.hash !== hash) window.history.replaceState(null, '', hash)
}

/** Asks for the queries of the numbers that the page shows, if they are about something else than before. */
function keepQueries (): void {
  const about = new URLSearchParams({
    histogram: histogram.name, ...labelsOf(table.chosen), window: String(windowSeconds ?? 'start')
  }).toString()
  if (about === queriesAbout) return
  queriesAbout = about
  queries = fetch(`live/queries?${about}`, { signal: AbortSignal.timeout(timeoutMs) }).then(response => response.json())
  queries.catch(() => { queriesAbout = '' })
}

function secondsOf ({ value }: HTMLInputElement): number | undefined {
  return value === 'start' ? undefined : Number(value)
}

/** Everything that the page shows, as plain data. */
async function shownState (): Promise<object> {
  const increase = windowSeconds === undefined ? history.sinceStart() : history.over(windowSeconds)
  return {
    page: location.href,
    savedAt: new Date().toISOString(),
    until: Number.isNaN(history.time) ? null : new Date(1000 * history.time).toISOString(),
    histogram,
    windowSeconds: windowSeconds ?? 'since the server started',
    observedSeconds: increase?.seconds,
    all: increase?.total,
    rejected: increase?.rejected,
    waited: increase?.waited,
    rows: [...increase?.rows.values() ?? []],
    incident: incidents.incident,
    changes: [...changes].map(([key, { text }]) => `${rowName(key)}: ${text}`),
    objective: objective && { ...objective, windows: objectiveWindows },
    slowest,
    seconds: points,
    marks,
    promql: await queries.catch(() => undefined)
  }
}

/** The numbers as lines of text. */
function textLines (): string[] {
  const cards = (list: string): string => [...document.querySelectorAll<HTMLElement>(`${list} > div`)].map(card =>
    `${card.dataset.name!} ${card.querySelector('data')!.textContent!}`).join('   ')
  const rows = [...document.querySelectorAll<HTMLTableRowElement>('#routes tbody tr')].slice(0, 10).map(row =>
    [...row.cells].map(cell => `${cell.dataset.name!} ${cell.firstElementChild!.textContent!}`).join('   '))
  const title = `${histogram.name}, ${find('#chosen').textContent!}, ${windowText()}`
  const time = new Date(1000 * history.time).toISOString()
  return [title, time, cards('#numbers'), cards('#endings'), ...rows]
}

for (const button of document.querySelectorAll<HTMLButtonElement>('[data-query]')) {
  button.onclick = () => queries.then(all => {
    const query = all[button.dataset.query!]
    if (query === undefined) say('No query gives this number')
    else copyWith(button, query, `Copied: ${query}`)
  }, sayWhyNot)
}
for (const button of document.querySelectorAll<HTMLButtonElement>('#propose')) {
  button.onclick = () => copyWith(button, find('#buckets code').textContent!, 'Copied the buckets')
}
find('#link').onclick = () => copyWith(find('#link'), location.href, 'Copied the link')
find('#json').onclick = async () => {
  save(fileName('json'), new Blob([JSON.stringify(await shownState(), null, 2)], { type: 'application/json' }))
}
find('#png').onclick = async () => save(fileName('png'), await drawPicture(textLines()))
select.replaceChildren(...histograms.map(({ name }) => new Option(name)))
select.disabled = histograms.length === 1
select.onchange = () => {
  show(histograms[select.selectedIndex]!, new URLSearchParams({ window: String(windowSeconds ?? 'start') }))
}
pause.onclick = () => {
  paused = !paused
  pause.ariaPressed = String(paused)
  draw()
}
for (const input of windows) {
  input.onchange = () => {
    windowSeconds = secondsOf(input)
    table.reorder()
  }
}
find('#all').onclick = () => table.choose(undefined)
document.onkeydown = event => {
  if (event.key === 'Escape' && !event.defaultPrevented && table.chosen !== undefined) table.choose(undefined)
}
matchMedia('(prefers-color-scheme: dark)').onchange = createCharts
document.onvisibilitychange = () => { keepAsking() }
setInterval(keepTime, 500)

function open (): void {
  const link = new URLSearchParams(location.hash.slice(1))
  show(histograms.find(({ name }) => name === link.get('histogram')) ?? histograms[0]!, link)
}
window.onhashchange = open
open()
keepAsking()
