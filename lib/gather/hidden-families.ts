import type { ValuePoints } from '../snapshot'

/** The gauge of the metrics that a page does not show, without its value. */
export const hiddenFamilies = {
  type: 'gauge',
  aggregator: 'max',
  name: 'fastify_latency_hidden_families',
  help: 'Metric families left out of this scrape because an earlier registry holds one of the same name.',
  unit: undefined,
  labelNames: [],
  labelSets: [[]],
  sharedLabels: {},
  startSeconds: undefined,
  exemplars: []
} satisfies Omit<ValuePoints, 'values'>
