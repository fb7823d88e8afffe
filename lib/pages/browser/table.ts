// The table of routes, and the row of it that the user has chosen. This file needs a browser.
import type { Change } from './changes'
import { qs, quantiles } from './charts'
import { create, find, setText } from './elements'
import type { ShownHistogram } from './feed'
import {
  formatBucketOf, formatCount, formatEstimate, formatPercentage, formatRate, formatSeconds, formatTotal, nothing
} from './format'
import type { Increase } from './history'
import { estimateQuantiles, type Estimate } from './quantile'
import { busyShareOf, requestsOf, statusClass, sumOf, type Row } from './rows'

/** A row, and what else its columns are made of. */
interface Shown {
  readonly key: string
  readonly row: Row
  readonly seconds: number
  readonly change: Change | undefined
  /** Computed once for all columns. */
  readonly estimates: ReadonlyMap<string, Estimate>
}

interface Column {
  readonly id: string
  readonly name: string
  /** The value that rows are sorted by. */
  readonly value: (shown: Shown) => string | number
  readonly text: (shown: Shown) => string
  /** A second line, such as the bucket of an estimate. */
  readonly note?: (shown: Shown) => string
  readonly isText?: boolean
  /** The width in rem that its texts need. Columns keep their widths whatever is in them. */
  readonly width: number
  /** The kind of bad news that a number above 0 is. */
  readonly alarm?: string
}

/** With more rows than this, the others are shown when they are asked for. */
const firstRows = 100

/** How many rows are shown in one part. */
const rowsPerPart = 50

/** The quantiles of how many rows are computed in one part. */
const rowsPerSelection = 250

/** The order of rows that change is kept for this long, so that a row can be read. */
const keepOrderMs = 3000

export interface TableOptions {
  readonly histogram: ShownHistogram
  /** Whether the server counts open requests. */
  readonly hasOpen: boolean
  /** What the page was opened with. */
  readonly sort: string | undefined
  readonly filter: string
  /** Called when the user has chosen another order, another row, or other rows. */
  readonly onChange: () => void
}

function columnsOf ({ histogram, hasOpen }: TableOptions): Column[] {
  const { methodLabel, routeLabel, statusLabel, hasBusyTime } = histogram
  const columns: Array<Column | false> = [
    (routeLabel !== undefined || methodLabel === undefined) &&
      { ...textColumn('route', 'Route', ({ row }) => row.route ?? 'all requests'), note: changeText },
    methodLabel !== undefined && {
      ...textColumn('method', 'Method', ({ row }) => row.method!), ...routeLabel === undefined && { note: changeText }
    },
    {
      id: 'requests',
      name: 'Requests',
      width: 5.2,
      value: ({ row }) => requestsOf(row),
      text: ({ row }) => formatCount(requestsOf(row)),
      note: ({ row, seconds }) => requestsOf(row) === 0 ? '' : `${formatRate(requestsOf(row) / seconds)}/s`
    },
    {
      id: 'total',
      name: 'Time in total',
      width: 6.6,
      value: ({ row }) => row.counts.sum,
      text: ({ row }) => requestsOf(row) === 0 ? nothing : formatTotal(row.counts.sum)
    },
    {
      id: 'mean',
      name: 'Mean',
      width: 4.8,
      value: ({ row }) => row.counts.sum / requestsOf(row),
      text: ({ row }) => formatSeconds(row.counts.sum / requestsOf(row))
    },
    ...quantiles.map(([name]): Column => ({
      id: name,
      name,
      width: 6.1,
      value: ({ estimates }) => estimates.get(name)!.value,
      text: ({ estimates }) => formatEstimate(estimates.get(name)!),
      note: ({ estimates }) => formatBucketOf(estimates.get(name)!)
    })),
    hasBusyTime === true && {
      id: 'busy',
      name: 'Loop busy',
      width: 5,
      value: ({ row }) => busyShareOf(row),
      text: ({ row }) => formatPercentage(busyShareOf(row))
    },
    ...statusLabel === undefined
      ? []
      : ['3', '4', '5'].map(digit => countColumn(`${digit}xx`, ({ row }) => statusClass(row, digit), digit)),
    countColumn('Aborted', ({ row }) => sumOf(row.counts.aborted), 'aborted'),
    hasOpen && countColumn('Open', ({ row }) => row.inFlight + sumOf(row.longLived)),
    hasOpen && {
      ...countColumn('Oldest', ({ row }) => row.oldest),
      width: 5.2,
      text: ({ row }) => row.oldest === 0 ? '0' : formatTotal(row.oldest)
    }
  ]
  return columns.filter(column => column !== false)
}

function changeText ({ change }: Shown): string {
  return change?.text ?? ''
}

function textColumn (id: string, name: string, text: (shown: Shown) => string): Column {
  return { id, name, width: id === 'route' ? 9.6 : 5, isText: true, value: text, text }
}

function countColumn (name: string, value: (shown: Shown) => number, alarm = 'some'): Column {
  const width = 1.3 + 0.46 * name.length
  return { id: name.toLowerCase(), name, width, value, text: shown => formatCount(value(shown)), alarm }
}

/** The cells of a row, and what is in them, which is quicker to look up here than in the document. */
interface Element {
  readonly row: HTMLTableRowElement
  readonly texts: HTMLElement[]
  readonly notes: HTMLElement[]
  readonly shown: string[]
}

export class Table {
  readonly #histogram: ShownHistogram
  readonly #columns: Column[]
  readonly #onChange: () => void
  readonly #body = find('#routes tbody')
  readonly #filter = find<HTMLInputElement>('#filter')
  readonly #sort = find<HTMLSelectElement>('#sort')
  readonly #more = find<HTMLButtonElement>('#more')
  readonly #elements = new Map<string, Element>()
  #sortedBy: number
  #descending: boolean
  #chosen: string | undefined
  #all = false
  /** The keys of the rows in their order, and when they were put into it. */
  #order: string[] = []
  #orderedMs = -Infinity

  constructor (options: TableOptions) {
    this.#histogram = options.histogram
    this.#columns = columnsOf(options)
    this.#onChange = options.onChange
    const [id, order] = (options.sort ?? '').split(' ')
    const index = this.#columns.findIndex(column => column.id === id)
    this.#sortedBy = index === -1 ? this.#columns.findIndex(({ id }) => id === 'total') : index
    this.#descending = index === -1 || order !== 'ascending'
    const heads = create('tr')
    heads.role = 'row'
    heads.append(...this.#columns.map((column, index) => this.#createHead(column, index)))
    find('#routes thead').replaceChildren(heads)
    const widths = this.#columns.map(({ width }, index) => `minmax(${width}rem, ${index === 0 ? 4 : 1}fr)`)
    find('#routes').style.setProperty('--columns', widths.join(' '))
    this.#body.replaceChildren()
    this.#sort.replaceChildren(...this.#columns.map(({ id, name }) => new Option(name, id)))
    this.#sort.onchange = () => this.#sortBy(this.#sort.selectedIndex)
    this.#filter.value = options.filter
    this.#filter.oninput = () => this.reorder()
    this.#more.onclick = () => {
      this.#all = true
      this.reorder()
    }
  }

  /** The key of the chosen row, or undefined if none is chosen. */
  get chosen (): string | undefined {
    return this.#chosen
  }

  get sort (): string {
    return [this.#columns[this.#sortedBy]!.id, this.#descending ? 'descending' : 'ascending'].join(' ')
  }

  get filter (): string {
    return this.#filter.value
  }

  choose (key: string | undefined): void {
    this.#chosen = key
    this.#onChange()
  }

  /** Shows rows, some in each part. */
  * show (
    increase: Increase | undefined, changes: ReadonlyMap<string, Change>, caption: string
  ): Generator<undefined, void> {
    setText(find('#routes-name'), caption)
    this.#sort.selectedIndex = this.#sortedBy
    find('#routes thead').querySelectorAll('th').forEach((head, index) => {
      if (index === this.#sortedBy) head.ariaSort = this.#descending ? 'descending' : 'ascending'
      else head.removeAttribute('aria-sort')
    })
    const shown = this.#inOrder(yield * this.#select(increase, changes))
    const visible = this.#all ? shown : shown.slice(0, firstRows)
    for (const [index, one] of visible.entries()) {
      if (index % rowsPerPart === 0) yield
      const row = this.#showRow(one)
      if (this.#body.children[index] !== row) this.#body.insertBefore(row, this.#body.children[index] ?? null)
    }
    while (this.#body.children.length > visible.length) this.#body.lastElementChild!.remove()
    this.#more.hidden = visible.length === shown.length
    setText(this.#more, `Show all ${formatCount(shown.length)} rows`)
    const empty = find('#empty')
    empty.hidden = visible.length > 0 || increase === undefined
    setText(empty, increase === undefined || increase.rows.size === 0
      ? 'No requests yet. A route is here as soon as it has answered one.'
      : 'No route or method has this text.')
  }

  /** The rows that the filter lets through. */
  * #select (
    increase: Increase | undefined, changes: ReadonlyMap<string, Change>
  ): Generator<undefined, Shown[]> {
    const wanted = this.#filter.value.toLowerCase().split(' ')
    const shown: Shown[] = []
    let read = 0
    for (const [key, row] of increase?.rows ?? []) {
      if (++read % rowsPerSelection === 0) yield
      const text = `${row.method ?? ''} ${row.route ?? ''}`.toLowerCase()
      if (!wanted.every(word => text.includes(word))) continue
      const found = estimateQuantiles(qs, this.#histogram.upperBounds, row.counts)
      const estimates = new Map(quantiles.map(([name], index) => [name, found[index]!]))
      shown.push({ key, row, seconds: increase!.seconds, change: changes.get(key), estimates })
    }
    return shown
  }

  /** Puts rows into their order. It is kept for some time, and while somebody points at the table or is in it. */
  #inOrder (shown: Shown[]): Shown[] {
    const { value } = this.#columns[this.#sortedBy]!
    const direction = this.#descending ? -1 : 1
    const isInUse = this.#body.matches(':hover') || this.#body.contains(document.activeElement)
    if (performance.now() - this.#orderedMs > keepOrderMs && !isInUse) this.#order = []
    const places = new Map(this.#order.map((key, index) => [key, index]))
    const ranks = new Map(shown.map(one => [one.key, value(one)]))
    shown.sort((a, b) => {
      const [placeA, placeB] = [places.get(a.key), places.get(b.key)]
      if (placeA !== undefined && placeB !== undefined) return placeA - placeB
      return compare(ranks.get(a.key)!, ranks.get(b.key)!) * direction ||
        compare(a.row.route ?? '', b.row.route ?? '') || compare(a.key, b.key)
    })
    if (this.#order.length !== shown.length) {
      this.#order = shown.map(({ key }) => key)
      this.#orderedMs = performance.now()
    }
    return shown
  }

  #showRow (shown: Shown): HTMLTableRowElement {
    const { key, row } = shown
    let element = this.#elements.get(key)
    if (element === undefined) this.#elements.set(key, element = this.#createRow(key))
    element.row.classList.toggle('idle', requestsOf(row) + row.inFlight === 0)
    element.row.classList.toggle('chosen', key === this.#chosen)
    element.row.querySelector('button')!.ariaPressed = String(key === this.#chosen)
    this.#columns.forEach(({ text, note, value, alarm }, index) => {
      const [content, below] = [text(shown), note?.(shown) ?? '']
      if (element.shown[index] === `${content}\n${below}`) return
      element.shown[index] = `${content}\n${below}`
      element.texts[index]!.textContent = content
      element.notes[index]!.textContent = below
      if (alarm !== undefined) element.texts[index]!.dataset.alarm = Number(value(shown)) > 0 ? alarm : ''
    })
    return element.row
  }

  /** Forgets the order of the rows, and shows them again. */
  reorder (): void {
    this.#order = []
    this.#onChange()
  }

  #sortBy (index: number): void {
    this.#descending = this.#sortedBy === index ? !this.#descending : this.#columns[index]!.isText !== true
    this.#sortedBy = index
    this.reorder()
  }

  #createHead ({ name, isText }: Column, index: number): HTMLTableCellElement {
    const [head, button] = [create('th'), create('button', name)]
    head.role = 'columnheader'
    head.scope = 'col'
    if (isText === true) head.className = 'text'
    button.type = 'button'
    button.onclick = () => this.#sortBy(index)
    head.append(button)
    return head
  }

  /**
   * Creates a row with a button for the keyboard and for screen readers. A click anywhere on the row counts as a click
   * on the button.
   */
  #createRow (key: string): Element {
    const row = create('tr')
    row.onclick = () => this.choose(this.#chosen === key ? undefined : key)
    // Rows that are laid out as grids are laid out one by one, and only those that are seen. Browsers then forget that
    // they are rows.
    row.role = 'row'
    const element: Element = { row, texts: [], notes: [], shown: [] }
    this.#columns.forEach(({ id, name, isText }, index) => {
      const cell = create(index === 0 ? 'th' : 'td')
      cell.role = index === 0 ? 'rowheader' : 'cell'
      cell.className = `${isText === true ? 'text ' : ''}${id}`
      cell.dataset.name = name
      const [text, note] = [create(index === 0 ? 'button' : 'span'), create('small')]
      if (text instanceof HTMLButtonElement) text.type = 'button'
      cell.append(text, note)
      element.texts.push(text)
      element.notes.push(note)
      row.append(cell)
    })
    return element
  }
}

const collator = new Intl.Collator('en', { numeric: true })

/** Compares two values of a column. NaN, the quantile of a row without requests, is less than any number. */
function compare (a: string | number, b: string | number): number {
  if (typeof a === 'string' || typeof b === 'string') return collator.compare(String(a), String(b))
  return (Number.isNaN(a) ? -1 : a) - (Number.isNaN(b) ? -1 : b)
}
