// The charts of the page, drawn by uPlot. The data and texts of the charts come from history.ts and format.ts, which
// are tested in Node.js. This file needs a browser.
import type UPlot from 'uplot'
import { formatBound, formatRate, formatSeconds } from './format'
import type { Point } from './history'

/** The page loads uPlot before its modules. */
declare const uPlot: typeof UPlot
const Chart = uPlot

export const quantiles: ReadonlyArray<[name: string, q: number]> = [['p50', 0.5], ['p90', 0.9], ['p99', 0.99]]

/** The charts show the whole history, but not less than the first and not more than the second number of seconds. */
const spans = [60, 300] as const

const axisWidth = 64
const font = '12px system-ui, sans-serif'

interface Plot {
  readonly chart: UPlot
  readonly element: HTMLElement
}

/** The three charts, which show the same time and share a cursor. */
export class Charts {
  readonly #plots: Plot[]
  readonly #onCursor: () => void
  readonly #resizes = new ResizeObserver(entries => {
    for (const { target } of entries) this.#fit(target as HTMLElement)
  })

  #points: readonly Point[] = []
  #most = 1
  #cursor: number | null = null
  readonly #colours: string[]

  /** `onCursor` is called when the cursor has moved. */
  constructor (upperBounds: readonly number[], hasErrors: boolean, onCursor: () => void) {
    this.#onCursor = onCursor
    this.#colours = shades(colour('--heat-few'), colour('--heat-many'))
    const rows = upperBounds.length + 1
    const steps = { width: 1.5, points: { show: false }, paths: uPlot.paths.stepped!({ align: -1 }) }
    this.#plots = [
      this.#create('#heat .plot', { y: { range: [0, rows] } }, [{ paths: () => null, points: { show: false } }], {
        splits: chart => boundSplits(rows, chart.bbox.height / devicePixelRatio),
        values: (_chart, splits) => splits.map(row => formatBound(upperBounds[row - 1]!)),
        grid: { show: false }
      }, chart => this.#paintCells(chart)),
      this.#create('#quantiles .plot', { y: { range: fromZero(0.001) } },
        quantiles.map(([name]) => ({ stroke: colour(`--${name}`), width: 2, points: { show: false } })),
        { values: (_chart, splits) => splits.map(formatBound) }),
      this.#create('#rates .plot', { y: { range: fromZero(1) } }, [
        { ...steps, stroke: colour('--rate'), fill: colour('--rate-fill') },
        ...hasErrors ? [{ ...steps, stroke: colour('--error'), fill: colour('--error') }] : []
      ], { values: (_chart, splits) => splits.map(value => formatRate(value).replace('.0', '')) })
    ]
    for (const { element } of this.#plots) this.#resizes.observe(element)
  }

  draw (points: readonly Point[]): void {
    this.#points = points
    const bucketRates = points.flatMap(({ time, from, bucketCounts }) =>
      bucketCounts?.map(count => count / (time - from)) ?? [])
    this.#most = niceCeiling(Math.max(1, ...bucketRates))
    const times = points.map(({ time }) => time)
    const data = [
      [times.map(() => null)],
      quantiles.map((_quantile, index) => points.map(point => point.quantiles[index]!)),
      [points.map(({ rate }) => rate), points.map(({ errorRate }) => errorRate === 0 ? null : errorRate)]
    ]
    const end = points.at(-1)?.time ?? 0
    const span = Math.min(Math.max(end - (points[0]?.from ?? end), spans[0]), spans[1])
    this.#plots.forEach(({ chart }, index) => {
      chart.batch(() => {
        chart.setData([times, ...data[index]!.slice(0, chart.series.length - 1)] as UPlot.AlignedData, false)
        chart.setScale('x', { min: end - span, max: end })
      })
    })
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
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: 'live', scales: ['x', null] },
        y: false,
        drag: { x: false, y: false, setScale: false },
        points: { size: 7 }
      },
      scales: { x: { time: false }, ...scales },
      axes: [
        { ...lines, size: 26, splits: timeSplits, values: agoLabels },
        { ...lines, size: axisWidth, ...yAxis, grid: { ...grid, ...yAxis.grid } }
      ],
      series: [{}, ...series],
      hooks: { draw: [paint], setCursor: [chart => this.#moved(chart)] }
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

  #moved ({ cursor: { idx, left } }: UPlot): void {
    this.#cursor = left! < 0 ? null : idx ?? null
    this.#onCursor()
  }

  /** Paints the heat map: a cell for each second and bucket, coloured by the rate of requests in the bucket. */
  #paintCells (chart: UPlot): void {
    const { ctx, bbox } = chart
    ctx.save()
    ctx.beginPath()
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height)
    ctx.clip()
    for (const { time, from, bucketCounts } of this.#points) {
      const [left, right] = [from, time].map(x => Math.round(chart.valToPos(x, 'x', true))) as [number, number]
      const gap = right - left > 4 ? 1 : 0
      bucketCounts?.forEach((count, row) => {
        if (count === 0) return
        const [top, bottom] = [row + 1, row].map(y => Math.round(chart.valToPos(y, 'y', true))) as [number, number]
        ctx.fillStyle = this.#shade(count / (time - from))
        ctx.fillRect(left, top + 1, Math.max(right - left - gap, 1), bottom - top - 1)
      })
    }
    ctx.restore()
  }

  /** The colour of a cell. The scale is logarithmic, because one slow request among a hundred has to be visible. */
  #shade (rate: number): string {
    const share = Math.log1p(rate) / Math.log1p(this.#most)
    return this.#colours[Math.min(Math.floor(share * this.#colours.length), this.#colours.length - 1)]!
  }
}

/** The text of one point of the charts, for people who read it or hear it. */
export function describePoint ({ time, rate, quantiles: values }: Point): string {
  const estimates = quantiles.map(([name], index) => `${name} ${formatSeconds(values[index] ?? NaN)}`).join(', ')
  const what = rate === null ? 'nothing is known' : `${formatRate(rate)} requests per second, ${estimates}`
  return `${formatClock(time)}: ${what}`
}

export function formatClock (time: number): string {
  return new Date(time * 1000).toLocaleTimeString()
}

function colour (property: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(property).trim()
}

/** Colours from one to another. Both are given as `#rrggbb`. */
function shades (from: string, to: string): string[] {
  const channelsOf = (hex: string): number[] => [1, 3, 5].map(index => parseInt(hex.slice(index, index + 2), 16))
  const [start, end] = [channelsOf(from), channelsOf(to)]
  return Array.from({ length: 24 }, (_shade, index) => {
    const channels = start.map((part, channel) => Math.round(part + (end[channel]! - part) * index / 23))
    return `rgb(${channels.join(' ')})`
  })
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
