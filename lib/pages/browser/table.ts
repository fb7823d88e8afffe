// The table of routes, and the row of it that the user has chosen. This file needs a browser.
import { quantiles } from './charts'
import { find, setText } from './elements'
import { formatCount, formatEstimate, formatRate, formatWindow, nothing } from './format'
import type { Increase } from './history'
import { estimateQuantile, type Estimate } from './quantile'
import type { Row, ShownHistogram } from './reader'

interface Column {
  readonly name: string
  /** The value that rows are sorted by. */
  readonly value: (row: Row, seconds: number) => string | number
  readonly text: (row: Row, seconds: number) => string
  readonly isText?: boolean
  /** Whether a number above 0 is marked as bad news. */
  readonly isAlarming?: boolean
}

const requestsOf = ({ counts }: Row): number => counts.buckets.at(-1)!

export interface TableOptions {
  readonly histogram: ShownHistogram
  /** Whether the server counts requests in flight. */
  readonly hasInFlight: boolean
  /** Called when the user has chosen another order or another row. */
  readonly onChange: () => void
}

function columnsOf ({ histogram, hasInFlight }: TableOptions): Column[] {
  const { methodLabel, routeLabel, statusLabel, upperBounds } = histogram
  const columns: Array<Column | false> = [
    routeLabel !== undefined && textColumn('Route', ({ route }) => route!),
    methodLabel !== undefined && textColumn('Method', ({ method }) => method!),
    methodLabel === undefined && routeLabel === undefined && textColumn('Route', () => 'all requests'),
    {
      name: 'Requests/s',
      value: requestsOf,
      text: (row, seconds) => requestsOf(row) === 0 ? nothing : formatRate(requestsOf(row) / seconds)
    },
    ...quantiles.map(([name, q]): Column => {
      const estimate = ({ counts }: Row): Estimate => estimateQuantile(q, upperBounds, counts.buckets)
      return { name, value: row => estimate(row).value, text: row => formatEstimate(estimate(row)) }
    }),
    statusLabel !== undefined && { ...countColumn('Errors', ({ counts }) => counts.errors), isAlarming: true },
    { ...countColumn('Aborted', ({ counts }) => counts.aborted), isAlarming: true },
    hasInFlight && countColumn('In flight', ({ inFlight }) => inFlight)
  ]
  return columns.filter(column => column !== false)
}

function textColumn (name: string, text: (row: Row) => string): Column {
  return { name, isText: true, value: text, text }
}

function countColumn (name: string, value: (row: Row) => number): Column {
  return { name, value, text: row => formatCount(value(row)) }
}

export class Table {
  readonly #columns: Column[]
  readonly #onChange: () => void
  readonly #body = find('#routes tbody')
  readonly #rows = new Map<string, HTMLTableRowElement>()
  #sortedBy = 0
  #descending = false
  #chosen: string | undefined

  constructor (options: TableOptions) {
    this.#columns = columnsOf(options)
    this.#onChange = options.onChange
    const heads = document.createElement('tr')
    heads.append(...this.#columns.map((column, index) => this.#createHead(column, index)))
    find('#routes thead').replaceChildren(heads)
    this.#body.replaceChildren()
    this.#body.onkeydown = ({ key }) => { if (key === 'Escape') this.#choose(undefined) }
  }

  /** The key of the chosen row, or undefined if none is chosen. */
  get chosen (): string | undefined {
    return this.#chosen
  }

  show (increase: Increase | undefined, windowSeconds: number): void {
    setText(find('#routes caption'), `By route, over the last ${formatWindow(windowSeconds)}`)
    find('#routes thead').querySelectorAll('th').forEach((head, index) => {
      if (index === this.#sortedBy) head.ariaSort = this.#descending ? 'descending' : 'ascending'
      else head.removeAttribute('aria-sort')
    })
    const { value } = this.#columns[this.#sortedBy]!
    const seconds = increase?.seconds ?? NaN
    const rows = Array.from(increase?.rows ?? [], ([key, row]) => ({ row, key, rank: value(row, seconds) }))
    const direction = this.#descending ? -1 : 1
    rows.sort((a, b) => (compare(a.rank, b.rank) || 0) * direction ||
      compare(a.row.route ?? '', b.row.route ?? '') || compare(a.key, b.key))
    rows.forEach(({ row, key }, index) => {
      let element = this.#rows.get(key)
      if (element === undefined) {
        element = this.#createRow(key)
        this.#rows.set(key, element)
      }
      element.classList.toggle('idle', requestsOf(row) === 0)
      element.classList.toggle('chosen', key === this.#chosen)
      element.querySelector('button')!.ariaPressed = String(key === this.#chosen)
      this.#columns.forEach(({ text, value, isAlarming }, column) => {
        const cell = element.cells[column]!
        setText(cell.querySelector('button') ?? cell, text(row, seconds))
        if (isAlarming === true) cell.classList.toggle('some', Number(value(row, seconds)) > 0)
      })
      if (this.#body.children[index] !== element) this.#body.insertBefore(element, this.#body.children[index] ?? null)
    })
    find('#empty').hidden = rows.length > 0
  }

  #choose (key: string | undefined): void {
    this.#chosen = key
    this.#onChange()
  }

  #createHead ({ name, isText }: Column, index: number): HTMLTableCellElement {
    const [head, button] = [document.createElement('th'), document.createElement('button')]
    head.scope = 'col'
    if (isText === true) head.className = 'text'
    button.type = 'button'
    button.textContent = name
    button.onclick = () => {
      this.#descending = this.#sortedBy === index ? !this.#descending : isText !== true
      this.#sortedBy = index
      this.#onChange()
    }
    head.append(button)
    return head
  }

  /**
   * Creates a row with a button for the keyboard and for screen readers. A click anywhere on the row counts as a click
   * on the button.
   */
  #createRow (key: string): HTMLTableRowElement {
    const row = document.createElement('tr')
    row.onclick = () => this.#choose(this.#chosen === key ? undefined : key)
    this.#columns.forEach(({ isText }, index) => {
      const cell = document.createElement(index === 0 ? 'th' : 'td')
      if (isText === true) cell.className = 'text'
      if (index === 0) {
        const button = document.createElement('button')
        button.type = 'button'
        Object.assign(cell, { scope: 'row' }).append(button)
      }
      row.append(cell)
    })
    return row
  }
}

/** Compares two values of a column. NaN, the quantile of a row without requests, is less than any number. */
function compare (a: string | number, b: string | number): number {
  if (typeof a === 'string' || typeof b === 'string') return a < b ? -1 : a > b ? 1 : 0
  return (Number.isNaN(a) ? -1 : a) - (Number.isNaN(b) ? -1 : b)
}
