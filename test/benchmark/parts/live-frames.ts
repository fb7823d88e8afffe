import { existsSync } from 'node:fs'
import Fastify from 'fastify'
import latency from 'fastify-latency'
import { launchBrowser } from '../../e2e/browser'
import { type Figures, type Part } from '../part'

const routes = 500
const frames = 600

/** Longer frames than this were missed at 60 frames per second. */
const frameMs = 17.5

/** Looks at an application whose routes are all asked, and measures how far frames of the page are apart. */
async function measure (prepare: string): Promise<Figures> {
  const app = Fastify()
  await app.register(latency, { server: { host: '127.0.0.1', port: 0 } })
  for (let route = 0; route < routes; route++) app.get(`/tenants/${route}`, async () => 'x')
  await app.listen({ host: '127.0.0.1', port: 0 })
  for (let route = 0; route < routes; route++) await app.inject(`/tenants/${route}`)
  let next = 0
  const timer = setInterval(() => { app.inject(`/tenants/${next++ % routes}`) }, 5)
  const browser = await launchBrowser()
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
  await page.goto(`${new URL('/live', await app.latency.start()).href}#window=start`)
  await page.getByRole('button', { name: `Show all ${routes} rows` }).click()
  await page.evaluate(prepare)
  // The first frames are those in which V8 compiles.
  await page.waitForTimeout(5000)
  const lengths = await page.evaluate(`new Promise(resolve => {
    const lengths = []
    let last = performance.now()
    requestAnimationFrame(function frame (now) {
      lengths.push(now - last)
      last = now
      if (lengths.length < ${frames}) requestAnimationFrame(frame)
      else resolve(lengths)
    })
  })`) as number[]
  clearInterval(timer)
  await browser.close()
  await app.close()
  return {
    perSecond: 1000 * frames / lengths.reduce((sum, length) => sum + length, 0),
    missed: lengths.filter(length => length > frameMs).length,
    longest: Math.max(...lengths)
  }
}

export const liveFrames: Part = {
  title: `The live page: frames, with ${routes} routes`,
  method: `${frames} frames of Chromium without a graphics card, while all rows of the table are shown and 200 ` +
    'requests per second are answered. It is left out where Chromium is not installed.',
  samples: 3,
  scenarios: existsSync('/usr/bin/chromium')
    ? {
        'the numbers and charts are in view': () => measure('scrollTo(0, 0)'),
        'the table is in view': () => measure("document.querySelector('#routes-name').scrollIntoView()")
      }
    : {},
  columns: [
    { heading: 'frames per second', digits: 1, value: ({ perSecond }) => perSecond! },
    { heading: `frames of more than ${frameMs} ms`, digits: 0, value: ({ missed }) => missed! },
    { heading: 'longest frame, ms', digits: 1, value: ({ longest }) => longest! }
  ]
}
