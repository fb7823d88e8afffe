import type { Exemplar, HistogramPoints } from '../snapshot'
import type { TimeSlices } from '../time-slices'
import type { ShownHistogram, SlowRequest } from './browser/feed'

/** How many requests are told, and how old they are at most. */
const most = 10
const slowSeconds = 300

/** How many exemplars are looked at in one step. */
const exemplarsPerStep = 1000

export interface SlowestOptions {
  readonly histogram: ShownHistogram
  /** Undefined: there are no links. */
  readonly traceUrl: string | undefined
  readonly slices: TimeSlices
}

/** The slowest of the exemplars that a histogram has from the last minutes before `now`, the slowest first. */
export async function slowestOf (
  { exemplars, labelNames, labelSets }: HistogramPoints, now: number, { histogram, traceUrl, slices }: SlowestOptions
): Promise<SlowRequest[]> {
  let slowest: Exemplar[] = []
  for (let first = 0; first < exemplars.length; first += exemplarsPerStep) {
    await slices.next()
    const least = slowest[most - 1]?.value ?? -1
    const slower = exemplars.slice(first, first + exemplarsPerStep)
      .filter(({ value, timestampSeconds }) => value > least && timestampSeconds! > now - slowSeconds)
    slowest = [...slowest, ...slower].sort((a, b) => b.value - a.value).slice(0, most)
  }
  return slowest.map(({ series, labels, value, timestampSeconds }) => {
    const label = (name: string | undefined): string | null =>
      name === undefined ? null : labelSets[series]![labelNames.indexOf(name)] ?? ''
    return {
      time: timestampSeconds!,
      seconds: value,
      method: label(histogram.methodLabel),
      route: label(histogram.routeLabel),
      labels,
      url: traceUrl && urlOf(traceUrl, labels)
    }
  })
}

/** The address of a trace. Undefined: it needs a label that is not there. */
function urlOf (traceUrl: string, labels: Exemplar['labels']): string | undefined {
  let isWhole = true
  const url = traceUrl.replace(/\{([a-zA-Z_]\w*)\}/g, (_found, name: string) => {
    const value = Object.hasOwn(labels, name) ? labels[name]! : undefined
    if (value === undefined) isWhole = false
    // Half of a surrogate pair cannot be encoded. UTF-8 has another character in its place.
    return encodeURIComponent(Buffer.from(value ?? '').toString())
  })
  return isWhole ? url : undefined
}
