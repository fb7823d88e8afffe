// What counts, names and writes is changed in some thousand ways, one at a time; of each, a test must take notice.
// ROOM=exposition changes one of the rooms only, and runs the tests that are most likely to notice.

/** What is changed in each room, and its tests, the quickest first: the first that fails is the last that is run. */
const rooms = {
  exposition: {
    mutate: ['lib/exposition/*.ts'],
    tests: [
      'chunk', 'points', 'exposition', 'protobuf', 'native', 'long/foreign-metrics', 'exemplars', 'registry', 'scrape'
    ]
  },
  histogram: {
    mutate: ['lib/histogram/*.ts', '!lib/histogram/options.ts'],
    tests: ['histogram', 'merge', 'points', 'native', 'protobuf', 'exemplars', 'labels', 'registry', 'scrape']
  },
  labels: {
    mutate: [
      'lib/request/callback.ts', 'lib/request/label-sources.ts', 'lib/request/labels.ts', 'lib/request/route-names.ts',
      'lib/request/route-series.ts'
    ],
    tests: ['labels', 'requests', 'open-telemetry', 'endings', 'live-page']
  },
  options: {
    mutate: ['lib/config.ts', 'lib/checks.ts', 'lib/names-elsewhere.ts', 'lib/option-hints.ts', 'lib/*/options.ts'],
    tests: ['options', 'contract', 'registration', 'access', 'labels']
  }
}

const { ROOM } = process.env
const chosen = ROOM === undefined ? Object.values(rooms) : [rooms[ROOM]]
const tests = new Set(chosen.flatMap(({ tests }) => tests))

export default {
  mutate: chosen.flatMap(({ mutate }) => mutate),
  // What is changed need not have the right types. There is no node_modules yet, in which build.mjs looks.
  buildCommand: 'tsc -b test --noCheck',
  testRunner: 'tap',
  tap: { testFiles: [...tests].map(name => `dist/test/${name}.test.js`) },
  coverageAnalysis: 'perTest',
  concurrency: 2,
  timeoutFactor: 3,
  timeoutMS: 15_000,
  ignorePatterns: ['.tap', 'dist', 'docs/*.png', 'test/benchmark', 'test/ecosystem'],
  tempDirName: '.stryker',
  reporters: ['clear-text', 'html', 'progress-append-only'],
  clearTextReporter: { allowColor: false, reportTests: false },
  htmlReporter: { fileName: 'dist/mutation.html' },
  thresholds: { high: 95, low: 90, break: 90 }
}
