import type { Aggregator, Labels, ValuePoints } from '../snapshot'
import type { Column } from './columns'
import { SeriesIndex } from './series-index'

export interface ValueDefinition {
  readonly name: string
  readonly help: string
}

/** Series with the same label names, and one value for each. */
interface Part {
  readonly index: SeriesIndex
  readonly column: Column
}

/**
 * A counter or gauge of this plugin. Its values are changed rarely, so that a series can be looked up by its labels
 * each time. Series with different label names are in different parts, each with an index of its own.
 */
export class ValueFamily {
  readonly #definition: ValueDefinition & Pick<ValuePoints, 'aggregator'> & { readonly type: 'counter' | 'gauge' }
  readonly #parts = new Map<string, Part>()

  constructor (type: 'counter' | 'gauge', { name, help }: ValueDefinition, aggregator: Aggregator = 'sum') {
    this.#definition = { type, name, help, aggregator }
  }

  /** Adds to a series. A new series is added first. */
  add (labels: Labels, amount: number): void {
    const { index, column } = this.#part(Object.keys(labels))
    column.add(index.slot(Object.values(labels)), amount)
  }

  /** Sets a series to a value, unless it has a greater one. A new series is added first. */
  raise (labels: Labels, value: number): void {
    const { index, column } = this.#part(Object.keys(labels))
    const slot = index.slot(Object.values(labels))
    column.set(slot, Math.max(column.get(slot), value))
  }

  /** Sets every series to 0. */
  zero (): void {
    for (const { column } of this.#parts.values()) column.clear()
  }

  /** Forgets every series. */
  reset (): void {
    this.#parts.clear()
  }

  /** The points of each part. Without any part, the points are those of a family without series. */
  snapshot (): ValuePoints[] {
    if (this.#parts.size === 0) return [this.#points([], [], [], [])]
    return Array.from(this.#parts.values(), ({ index, column }) => {
      const slots = Array.from({ length: index.size }, (_, slot) => slot)
      return this.#points(
        index.labelNames,
        slots.map(slot => index.labelSet(slot)),
        slots.map(slot => column.get(slot)),
        slots.map(slot => index.startSeconds(slot))
      )
    })
  }

  #points (
    labelNames: readonly string[],
    labelSets: ValuePoints['labelSets'],
    values: readonly number[],
    startSeconds: readonly number[]
  ): ValuePoints {
    return {
      ...this.#definition,
      unit: undefined,
      labelNames,
      labelSets,
      sharedLabels: {},
      startSeconds: this.#definition.type === 'counter' ? Float64Array.from(startSeconds) : undefined,
      exemplars: [],
      values: Float64Array.from(values)
    }
  }

  #part (labelNames: readonly string[]): Part {
    const key = labelNames.join()
    let part = this.#parts.get(key)
    if (part === undefined) this.#parts.set(key, part = createPart(labelNames))
    return part
  }
}

function createPart (labelNames: readonly string[]): Part {
  const index = new SeriesIndex(labelNames)
  return { index, column: index.addColumn(1) }
}
