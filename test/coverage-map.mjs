// Coverage is of the sources: what was built from them runs in some tests too, but is not what they test.
// Some of them need a browser: test/e2e/live.test.ts runs what was built from these in Chromium.
import { readdirSync } from 'node:fs'

const inBrowser = ['pages/browser/page.ts', 'pages/browser/charts.ts', 'pages/browser/table.ts', 'pages/browser/elements.ts']
const sources = readdirSync('lib', { recursive: true }).map(file => file.replaceAll('\\', '/'))
  .filter(file => file.endsWith('.ts') && !inBrowser.includes(file)).map(file => `lib/${file}`)

export default () => sources
