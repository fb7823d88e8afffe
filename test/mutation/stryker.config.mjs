// What counts, names and writes is changed in some thousand ways, one at a time; of each, a test must take notice.
export default {
  mutate: [
    'lib/config.ts', 'lib/checks.ts', 'lib/option-hints.ts', 'lib/*/options.ts', 'lib/request/callback.ts',
    'lib/request/label-sources.ts', 'lib/request/labels.ts', 'lib/request/route-names.ts',
    'lib/request/route-series.ts', 'lib/histogram/*.ts', 'lib/exposition/*.ts'
  ],
  // What is changed need not have the right types.
  buildCommand: 'tsc -b test --noCheck',
  testRunner: 'tap',
  tap: {
    // The quickest first: the first that fails is the last that is run.
    testFiles: [
      'options', 'histogram', 'exposition', 'points', 'contract', 'labels', 'registry', 'requests', 'open-telemetry',
      'long/foreign-metrics', 'endings', 'scrape'
    ].map(name => `dist/test/${name}.test.js`)
  },
  coverageAnalysis: 'perTest',
  concurrency: 2,
  timeoutFactor: 3,
  timeoutMS: 15_000,
  ignorePatterns: ['.tap', 'dist', 'docs', 'test/benchmark', 'test/ecosystem'],
  tempDirName: '.stryker',
  reporters: ['clear-text', 'html', 'progress-append-only'],
  clearTextReporter: { allowColor: false, reportTests: false },
  htmlReporter: { fileName: 'dist/mutation.html' },
  thresholds: { high: 95, low: 90, break: 90 }
}
