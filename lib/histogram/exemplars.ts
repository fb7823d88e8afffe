import type { Exemplar, Labels } from '../snapshot'
import { nowSeconds } from './clock'
import { idsOf, isSampledTrace } from './traceparent'

/**
 * The labels of an exemplar, or a `traceparent` from which they are taken. If the `traceparent` turns out not to be
 * valid, there is no exemplar.
 */
export type ExemplarLabels = string | Labels

interface Candidate {
  slot: number
  bucket: number
  labels: ExemplarLabels
  value: number
  timestampSeconds: number
}

interface Kept extends Omit<Exemplar, 'series' | 'bucket'> {
  /** The number of the round of decisions in which it was kept. */
  readonly round: number
}

/** How many candidates wait at most. */
const longestQueue = 128

/**
 * The latest exemplar of each bucket of each series. There are never more of them than buckets.
 *
 * A candidate waits until many have come, or until somebody reads the exemplars. Then only the latest of each bucket
 * has to be checked, which takes longer than everything else about it.
 */
export class KeptExemplars {
  /** By slot and bucket. A bucket without an exemplar is a hole, which `flatMap()` passes over. */
  readonly #ofSlots: Array<Kept[] | undefined> = []
  /** The candidates. The objects are used again. */
  readonly #candidates: Candidate[] = []
  #waiting = 0
  #round = 0

  get isEmpty (): boolean {
    this.#decide()
    return this.#ofSlots.length === 0
  }

  keep (slot: number, bucket: number, labels: ExemplarLabels, value: number): void {
    if (this.#waiting === longestQueue) this.#decide()
    const candidate = this.#candidates[this.#waiting++]
    if (candidate === undefined) {
      this.#candidates.push({ slot, bucket, labels, value, timestampSeconds: nowSeconds() })
      return
    }
    candidate.slot = slot
    candidate.bucket = bucket
    candidate.labels = labels
    candidate.value = value
    candidate.timestampSeconds = nowSeconds()
  }

  /** The exemplars of a slot, as those of a series in points. */
  of (slot: number, series: number): Exemplar[] {
    this.#decide()
    return this.#ofSlots[slot]?.flatMap(({ labels, value, timestampSeconds }, bucket) =>
      ({ series, bucket, labels, value, timestampSeconds })) ?? []
  }

  clear (): void {
    this.#waiting = 0
    this.#ofSlots.length = 0
  }

  /** Keeps the latest of the candidates of each bucket. */
  #decide (): void {
    const round = this.#round++
    while (this.#waiting > 0) {
      const { slot, bucket, labels, value, timestampSeconds } = this.#candidates[--this.#waiting]!
      if (this.#ofSlots[slot]?.[bucket]?.round === round) continue
      if (typeof labels === 'string' && !isSampledTrace(labels)) continue
      const ofBuckets = this.#ofSlots[slot] ??= []
      const read = typeof labels === 'string' ? idsOf(labels) : labels
      ofBuckets[bucket] = { labels: read, value, timestampSeconds, round }
    }
  }
}
