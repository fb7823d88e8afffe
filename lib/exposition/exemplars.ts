import type { Exemplar } from '../snapshot'

/** The greatest number of characters in all labels of an exemplar, which is a limit of OpenMetrics. */
const longestExemplar = 128

/**
 * Finds the exemplars of a family while its series and buckets are written, which happens in the order that the
 * exemplars have.
 */
export class ExemplarReader {
  readonly #exemplars: readonly Exemplar[]
  #next = 0

  constructor (exemplars: readonly Exemplar[]) {
    this.#exemplars = exemplars
  }

  /**
   * The exemplar of a bucket. Undefined if there is none, or if it is longer than OpenMetrics allows: Prometheus does
   * not store such an exemplar from any format.
   */
  read (series: number, bucket: number): Exemplar | undefined {
    const exemplar = this.#exemplars[this.#next]
    if (exemplar === undefined || exemplar.series !== series || exemplar.bucket !== bucket) return undefined
    this.#next++
    const labels = Object.entries(exemplar.labels)
    const length = labels.reduce((length, [name, value]) => length + [...name, ...value].length, 0)
    return length > longestExemplar ? undefined : exemplar
  }
}
