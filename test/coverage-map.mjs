// Coverage is of what was built from lib, and is shown by the lines of its sources. What only browsers run is loaded by
// no test: test/e2e/live.test.ts runs it in Chromium.
export default () => ['dist/lib/**/*.js', 'dist/browser/lib/**/*.js']
