// Draws the pictures of the live page from real data. Takes two minutes, and Chromium.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { chromium } from 'playwright-core'

const seconds = 100

const example = spawn(process.execPath, ['dist/example/routes.js'], {
  env: { ...process.env, PORT: '0', METRICS_PORT: '0' },
  stdio: ['ignore', 'pipe', 'inherit']
})
let output = ''
while (!output.includes('/metrics')) output += (await once(example.stdout, 'data'))[0]
const [, address, metrics] = /(http:\S+)[^]*?(http:\S+)\/metrics/.exec(output)

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'
  ]
})
const pictures = [
  ['live-light', { colorScheme: 'light', viewport: { width: 1280, height: 1340 } }],
  ['live-dark', { colorScheme: 'dark', viewport: { width: 1280, height: 1340 } }],
  ['live-phone', { colorScheme: 'light', viewport: { width: 390, height: 1560 }, isMobile: true, deviceScaleFactor: 1 }]
]
const pages = await Promise.all(pictures.map(async ([name, options]) => {
  const page = await browser.newPage(options)
  page.on('console', message => console.log(name, message.text()))
  page.on('pageerror', error => console.log(name, error))
  await page.goto(`${metrics}/live`)
  return [name, page]
}))

/** More requests in some seconds than in others, and something for every column of the table. */
const end = performance.now() + 1000 * seconds
while (performance.now() < end) {
  const busy = 1 + Math.sin(performance.now() / 9000)
  const requests = []
  for (let index = 0; index < 2 + 6 * busy; index++) requests.push(fetch(`${address}/users/${index}`))
  if (Math.random() < 0.5) requests.push(fetch(`${address}/orders`, { method: 'POST' }))
  if (Math.random() < 0.2) requests.push(fetch(`${address}/users/bob`), fetch(`${address}/nowhere`))
  if (Math.random() < 0.02) {
    requests.push(fetch(`${address}/orders`, { method: 'POST', signal: AbortSignal.timeout(5) }).catch(() => {}))
  }
  await Promise.all([fetch(`${address}/`), ...requests])
  await sleep(100)
}
for (const [name, page] of pages) await page.screenshot({ path: `docs/${name}.png` })
await browser.close()
example.kill()
