// The classic buckets of a histogram that has native ones too. This file needs a browser.
import { qs, quantiles } from './charts'
import { find, setNumber, setText } from './elements'
import type { ShownHistogram } from './feed'
import { formatBucketOf, formatDifference, formatEstimate, formatShare } from './format'
import { proposeBounds } from './proposal'
import { estimateQuantile, estimateQuantiles } from './quantile'
import type { Row } from './rows'

/**
 * Shows what the classic buckets would have answered, and which would answer best, if native ones have measured. Those
 * that are kept are among them.
 */
export function showBuckets (
  { upperBounds: configured, native: option }: ShownHistogram,
  { counts: { buckets, native } }: Row,
  kept: readonly number[]
): void {
  const section = document.getElementById('buckets')
  if (section === null) return
  section.hidden = native.length === 0
  if (section.hidden) return
  const measured = estimateQuantiles(qs, configured, { buckets, native })
  qs.forEach((q, index) => {
    const classic = estimateQuantile(q, configured, buckets)
    setNumber(`classic-${quantiles[index]![0]}`, classic.value, () => formatEstimate(classic),
      `${formatDifference(classic.value, measured[index]!.value)}; ${formatBucketOf(classic)}`)
  })
  const { upperBounds, error } = proposeBounds(native, configured.length, kept)
  find('#buckets p').hidden = upperBounds.length === 0
  setText(section.querySelector('p span')!, `At most ${formatShare(error, 1)} off from p50 to p99.9 would be`)
  setText(section.querySelector('code')!, `${option!.option}: { buckets: [${upperBounds.join(', ')}] }`)
}
