import type { Exemplar, Labels } from '../snapshot'
import { nowSeconds } from './clock'

/**
 * The labels of an exemplar, or a valid `traceparent` (https://www.w3.org/TR/trace-context/), from which they are taken
 * when the exemplar is shown. To take them for every request would cost more than everything else about an exemplar.
 */
export type ExemplarLabels = string | Labels

interface Kept {
  labels: ExemplarLabels
  value: number
  timestampSeconds: number
}

/** The latest exemplar of each bucket of each series. There are never more of them than buckets. */
export class KeptExemplars {
  /** By slot and bucket. A bucket without an exemplar is a hole, which `flatMap()` passes over. */
  readonly #ofSlots: Array<Kept[] | undefined> = []

  get isEmpty (): boolean {
    return this.#ofSlots.length === 0
  }

  keep (slot: number, bucket: number, labels: ExemplarLabels, value: number): void {
    const ofBuckets = this.#ofSlots[slot] ??= []
    const kept: Kept | undefined = ofBuckets[bucket]
    if (kept === undefined) {
      ofBuckets[bucket] = { labels, value, timestampSeconds: nowSeconds() }
    } else {
      kept.labels = labels
      kept.value = value
      kept.timestampSeconds = nowSeconds()
    }
  }

  /** The exemplars of a slot, as those of a series in points. */
  of (slot: number, series: number): Exemplar[] {
    return this.#ofSlots[slot]?.flatMap(({ labels, value, timestampSeconds }, bucket) =>
      ({ series, bucket, labels: read(labels), value, timestampSeconds })) ?? []
  }

  clear (): void {
    this.#ofSlots.length = 0
  }
}

function read (labels: ExemplarLabels): Labels {
  return typeof labels === 'string' ? { trace_id: labels.slice(3, 35), span_id: labels.slice(36, 52) } : labels
}
