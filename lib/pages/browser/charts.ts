// The charts of the page, drawn by uPlot. The data and texts of the charts come from history.ts and format.ts, which
// are tested in Node.js. This file needs a browser.
import type UPlot from 'uplot'
import { formatBound, formatFully, formatPercentage, formatRate, formatSeconds } from './format'
import { roomFor, type Endings, type Mark, type Point } from './history'

/** The page loads uPlot before its modules. */
declare const uPlot: typeof UPlot
const Chart = uPlot

export const quantiles: ReadonlyArray<[name: string, q: number]> = [['p50', 0.5], ['p90', 0.9], ['p99', 0.99]]
export const qs = quantiles.map(([, q]) => q)

/** The endings that have a line of their own. The lines have different dashes too, for those who see colours alike. */
export const failures: ReadonlyArray<[name: keyof Endings, dash: number[]]> = [
  ['5xx', []], ['4xx', [6, 3]], ['aborted', [2, 2]], ['rejected', [8, 3, 2, 3]]
]

/** The charts show the whole history, but not less than the first and not more than the second number of seconds. */
export const spans = [60, 300] as const

const axisWidth = 64
/** The height above a chart in which its marks are named. */
const namesHeight = 20
const font = '12px system-ui, sans-serif'

/** Times before this are not drawn on the logarithmic scale of the latency. */
const leastSeconds = 1e-6

/** A time that is marked, or the time since the last answer. */
export type Marked = Omit<Mark, 'kind'> & { readonly kind: Mark['kind'] | 'waiting' }

const markTexts = { restart: 'started again', unknown: 'not known', waiting: 'no answer' }

interface Plot {
  readonly chart: UPlot
  readonly element: HTMLElement
}

/** The charts, which show the same time and share a cursor. */
export class Charts {
  readonly #plots: Plot[]
  readonly #onCursor: () => void
  readonly #resizes = new ResizeObserver(entries => {
    for (const { target } of entries) this.#fit(target as HTMLElement)
  })

  #points: readonly Point[] = []
  #marks: readonly Marked[] = []
  #most = 1
  #cursor: number | null = null
  readonly #cell: string
  readonly #hatching: CanvasPattern
  readonly #markName = colour('--error')

  /** `onCursor` is called when the cursor has moved. */
  constructor (upperBounds: readonly number[], onCursor: () => void) {
    this.#onCursor = onCursor
    this.#cell = colour('--heat')
    this.#hatching = hatch(colour('--mark'))
    const rows = upperBounds.length + 1
    const steps = { width: 2, points: { show: false }, paths: uPlot.paths.stepped!({ align: -1 }) }
    const area = { ...steps, width: 1.5, stroke: colour('--rate'), fill: colour('--rate-fill') }
    const values = (_chart: UPlot, splits: number[]): string[] => splits.map(rate => formatRate(rate).replace('.0', ''))
    this.#plots = [
      this.#create('#heat .plot', { y: { range: [0, rows] } }, [{ paths: () => null, points: { show: false } }], {
        splits: chart => boundSplits(rows, chart.bbox.height / devicePixelRatio),
        values: (_chart, splits) => splits.map(row => formatBound(upperBounds[row - 1]!)),
        grid: { show: false }
      }, chart => this.#paintCells(chart)),
      this.#create('#quantiles .plot', { y: { distr: 3, range: (_chart, min, max) => logarithmicRange(min, max) } },
        quantiles.map(([name]) => ({ stroke: colour(`--${name}`), width: 2, points: { show: false } })),
        {
          splits: (chart, _axis, min, max) => logarithmicSplits(min, max, chart.bbox.height / devicePixelRatio),
          filter: (_chart, splits) => splits,
          values: (_chart, splits) => splits.map(formatBound)
        }),
      this.#create('#rates .plot', { y: { range: fromZero(1) } }, [area], { values }),
      this.#create('#failures .plot', { y: { range: fromZero(1) } },
        failures.map(([name, dash]) => ({ ...steps, dash, stroke: colour(`--${cssName(name)}`) })), { values }),
      this.#create('#loop .plot', { y: { range: [0, 1] } }, [area], {
        splits: () => [0, 0.5, 1],
        values: (_chart, splits) => splits.map(formatPercentage)
      })
    ]
    for (const { element } of this.#plots) this.#resizes.observe(element)
  }

  /** Draws points and marks up to a time, chart by chart. */
  * draw (points: readonly Point[], marks: readonly Marked[], end: number): Generator<undefined, void> {
    this.#points = points
    this.#marks = marks
    const bucketRates = points.flatMap(point => point.bucketCounts.map(count => count / cellSeconds(point)))
    this.#most = niceCeiling(Math.max(1, ...bucketRates))
    const times = points.map(({ time }) => time)
    const data = [
      [times.map(() => null)],
      quantiles.map((_quantile, index) => points.map(({ quantiles }) => {
        const { value } = quantiles[index]!
        return Number.isNaN(value) ? null : Math.max(value, leastSeconds)
      })),
      [points.map(({ rates }) => rates.all)],
      failures.map(([name]) => points.map(({ rates }) => rates[name])),
      [points.map(({ busy }) => Number.isNaN(busy) ? null : busy)]
    ]
    for (const [index, { kind, from }] of marks.entries()) {
      // A line does not go through a time of which nothing is known.
      if (kind !== 'stall') insertBreak(times, data, from + 0.001 * (index + 1))
    }
    const span = Math.min(Math.max(end - (points[0]?.from ?? end), spans[0]), spans[1])
    for (const [index, { chart }] of this.#plots.entries()) {
      chart.batch(() => {
        chart.setData([times, ...data[index]!] as UPlot.AlignedData, false)
        chart.setScale('x', { min: end - span, max: end })
      })
      yield
    }
  }

  /** The requests per second that the last colour of the heat map stands for. */
  get most (): number {
    return this.#most
  }

  /** The index of the point under the cursor, or null without a cursor. */
  get cursor (): number | null {
    return this.#cursor
  }

  destroy (): void {
    this.#resizes.disconnect()
    for (const { chart } of this.#plots) chart.destroy()
  }

  #create (
    selector: string,
    scales: UPlot.Scales,
    series: UPlot.Series[],
    yAxis: UPlot.Axis,
    paint: (chart: UPlot) => void = () => {}
  ): Plot {
    const element = document.querySelector<HTMLElement>(selector)!
    const grid = { stroke: colour('--line'), width: 1 }
    const lines = { stroke: colour('--muted'), font, ticks: { show: false }, grid }
    const agoLabels = (_chart: UPlot, splits: number[]): string[] =>
      splits.map(time => formatAgo(splits.at(-1)! - time))
    const chart = new Chart({
      width: element.clientWidth,
      height: element.clientHeight,
      padding: [namesHeight, 18, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: 'live', scales: ['x', null] },
        y: false,
        drag: { x: false, y: false, setScale: false },
        points: { size: 7 }
      },
      scales: { x: { time: false }, ...scales },
      axes: [
        { ...lines, size: 30, gap: 10, splits: timeSplits, values: agoLabels },
        { ...lines, size: axisWidth, ...yAxis, grid: { ...grid, ...yAxis.grid } }
      ],
      series: [{}, ...series],
      hooks: {
        drawAxes: [chart => this.#paintMarks(chart)],
        draw: [paint, chart => this.#nameMarks(chart)],
        setCursor: [chart => this.#moved(chart)]
      }
    }, [[], ...series.map(() => [])] as UPlot.AlignedData, element)
    element.onkeydown = event => this.#onKey(event)
    element.onblur = () => this.#setCursor(undefined)
    return { chart, element }
  }

  #fit (target: HTMLElement): void {
    const { chart } = this.#plots.find(({ element }) => element === target)!
    if (chart.width !== target.clientWidth || chart.height !== target.clientHeight) {
      chart.setSize({ width: target.clientWidth, height: target.clientHeight })
    }
  }

  #onKey (event: KeyboardEvent): void {
    const last = this.#points.length - 1
    const index = this.#cursor ?? last + 1
    const moves = new Map([
      ['ArrowLeft', index - 1], ['ArrowRight', index + 1],
      ['PageUp', index - 10], ['PageDown', index + 10],
      ['Home', 0], ['End', last]
    ])
    const moved = moves.get(event.key)
    if (moved === undefined || last < 0) {
      if (event.key === 'Escape') this.#setCursor(undefined)
      return
    }
    event.preventDefault()
    this.#setCursor(this.#points[Math.min(Math.max(moved, 0), last)]!.time)
  }

  /** Moves the cursor of all charts to a time. Undefined moves it out of the charts. */
  #setCursor (time: number | undefined): void {
    for (const { chart } of this.#plots) {
      chart.setCursor(time === undefined ? { left: -10, top: -10 } : { left: chart.valToPos(time, 'x'), top: 0 })
    }
  }

  #moved ({ cursor: { left }, posToVal }: UPlot): void {
    if (left! < 0 || this.#points.length === 0) {
      this.#cursor = null
    } else {
      const time = posToVal(left!, 'x')
      const index = this.#points.findIndex(point => point.time >= time)
      this.#cursor = index === -1 ? this.#points.length - 1 : index
    }
    this.#onCursor()
  }

  /** Paints the heat map: a cell for each second and bucket, coloured by the rate of requests in the bucket. */
  #paintCells (chart: UPlot): void {
    clipped(chart, context => {
      context.fillStyle = this.#cell
      for (const point of this.#points) {
        const { time, bucketCounts } = point
        const seconds = cellSeconds(point)
        const [left, right] = [time - seconds, time]
          .map(x => Math.round(chart.valToPos(x, 'x', true))) as [number, number]
        const gap = right - left > 4 ? 1 : 0
        bucketCounts.forEach((count, row) => {
          if (count === 0) return
          const [top, bottom] = [row + 1, row].map(y => Math.round(chart.valToPos(y, 'y', true))) as [number, number]
          context.globalAlpha = this.#opacity(count / seconds)
          context.fillRect(left, top + 1, Math.max(right - left - gap, 1), bottom - top - 1)
        })
      }
    })
  }

  /** Hatches the times that are marked. */
  #paintMarks (chart: UPlot): void {
    clipped(chart, context => {
      for (const { from, time } of this.#marks) {
        const [left, right] = [from, time].map(x => chart.valToPos(x, 'x', true)) as [number, number]
        context.fillStyle = this.#hatching
        context.fillRect(left, chart.bbox.top, Math.max(right - left, 2), chart.bbox.height)
      }
    })
  }

  /** Writes above the marks what they are, as far as there is room. */
  #nameMarks ({ ctx, bbox, valToPos }: UPlot): void {
    ctx.save()
    ctx.font = font.replace('12px', `${12 * devicePixelRatio}px`)
    ctx.textBaseline = 'top'
    ctx.textAlign = 'left'
    ctx.fillStyle = this.#markName
    const names = this.#marks.flatMap(mark => {
      const text = describeMark(mark)
      const { width } = ctx.measureText(text)
      const middle = valToPos((mark.from + mark.time) / 2, 'x', true)
      const left = Math.max(Math.min(middle - width / 2, bbox.left + bbox.width - width), bbox.left)
      return middle < bbox.left ? [] : [{ text, seconds: mark.time - mark.from, left, width: width + 8 }]
    })
    for (const [index, left] of roomFor(names)) ctx.fillText(names[index]!.text, left, 2)
    ctx.restore()
  }

  /** How opaque a cell is. The scale is logarithmic, because one slow request among a hundred has to be visible. */
  #opacity (rate: number): number {
    return 0.15 + 0.85 * Math.log1p(rate) / Math.log1p(this.#most)
  }
}

/** The text of one point of the charts, for people who hear it. */
export function describePoint ({ time, rates, quantiles: estimates, busy, stall }: Point): string {
  const latency = quantiles.map(([name], index) => `${name} ${formatFully(estimates[index]!)}`)
  const endings = failures.filter(([name]) => rates[name] > 0).map(([name]) => `${name} ${formatRate(rates[name])}`)
  const stalled = stall < 0.5 ? [] : [`stalled for ${formatSeconds(stall)}`]
  return `${formatClock(time)}: ${formatRate(rates.all)} requests per second, ` +
    [...latency, ...endings, `event loop busy ${formatPercentage(busy)}`, ...stalled].join(', ')
}

export function describeMark ({ from, time, kind }: Marked): string {
  return kind === 'stall' ? `stalled ${formatSeconds(time - from)}` : markTexts[kind]
}

export function formatClock (time: number): string {
  return new Date(time * 1000).toLocaleTimeString()
}

/**
 * The length of the cells of a point. After a stall they are of its last second: while the event loop does not turn
 * no request ends.
 */
function cellSeconds ({ from, time, stall }: Point): number {
  return stall < 0.5 ? time - from : Math.min(time - from, 1)
}

/** Adds a point without values, so that lines end there. */
function insertBreak (times: number[], data: Array<Array<Array<number | null>>>, time: number): void {
  const found = times.findIndex(other => other > time)
  const index = found === -1 ? times.length : found
  times.splice(index, 0, time)
  for (const series of data.flat()) series.splice(index, 0, null)
}

function clipped (chart: UPlot, paint: (context: CanvasRenderingContext2D) => void): void {
  const { ctx, bbox } = chart
  ctx.save()
  ctx.beginPath()
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height)
  ctx.clip()
  paint(ctx)
  ctx.restore()
}

function hatch (stroke: string): CanvasPattern {
  const tile = document.createElement('canvas')
  tile.width = tile.height = 8
  const context = tile.getContext('2d')!
  context.strokeStyle = stroke
  context.lineWidth = 2
  for (const x of [-8, 0, 8]) {
    context.moveTo(x, 8)
    context.lineTo(x + 8, 0)
  }
  context.stroke()
  return context.createPattern(tile, 'repeat')!
}

/** The name of a custom property cannot begin with a digit in all browsers. */
function cssName (name: string): string {
  return name.replace(/^(\d)xx$/, 'status-$1')
}

/** A range from one round number to another, so that it stays the same while the values change a little. */
function logarithmicRange (min: number | null, max: number | null): [number, number] {
  const [least, most] = [Math.max(min ?? 0.001, leastSeconds), Math.max(max ?? 0.1, leastSeconds)]
  const floor = 10 ** Math.floor(Math.log10(least) + 1e-9)
  return [floor * [5, 2, 1].find(step => step * floor <= least * 1.001)!, niceCeiling(Math.max(most, least * 2) * 1.1)]
}

/** The times that get a label, as many as there is room for. */
function logarithmicSplits (min: number, max: number, height: number): number[] {
  const decades = Array.from({ length: 14 }, (_decade, index) => 10 ** (index - 6))
  const all = [[1, 2, 5], [1, 3], [1]].map(steps => decades.flatMap(decade => steps.map(step => step * decade))
    .filter(value => value >= min * 0.999 && value <= max * 1.001))
  return all.find(splits => splits.length * 24 <= height) ?? all.at(-1)!
}

function colour (property: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(property).trim()
}

/** A scale from 0 to a round number. A round number stays the same while the values change a little. */
function fromZero (least: number): UPlot.Range.Function {
  return (_chart, _min, max) => [0, niceCeiling(Math.max(max ?? 0, least))]
}

function niceCeiling (value: number): number {
  const magnitude = 10 ** Math.floor(Math.log10(value))
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find(step => step * magnitude >= value * 0.9999)! * magnitude
}

/** The bounds that get a label, as many as there is room for. */
function boundSplits (rows: number, height: number): number[] {
  const step = Math.ceil(18 * rows / height)
  return Array.from({ length: Math.floor((rows - 1) / step) }, (_split, index) => (index + 1) * step)
}

/** The times that get a label. They are counted back from the end, which is one of them. */
function timeSplits (_chart: UPlot, _axis: number, min: number, max: number): number[] {
  const step = [15, 30, 60].find(seconds => (max - min) / seconds <= 5.5) ?? 60
  const length = Math.floor((max - min) / step + 0.01) + 1
  return Array.from({ length }, (_split, index) => max - index * step).reverse()
}

function formatAgo (seconds: number): string {
  if (seconds < 1) return 'now'
  return seconds % 60 < 1 || seconds % 60 > 59 ? `−${Math.round(seconds / 60)} min` : `−${Math.round(seconds)} s`
}
