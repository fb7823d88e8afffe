import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import type { Test } from 'tap'

export async function launchBrowser (): Promise<Browser> {
  return chromium.launch({
    // Where Debian has it, and the machines of GitHub too.
    executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'
    ]
  })
}

export async function startBrowser (t: Test): Promise<Browser> {
  const browser = await launchBrowser()
  t.teardown(() => browser.close())
  return browser
}

/** A page, and whatever goes wrong in it: errors, and what its Content-Security-Policy has refused. */
export async function openPage (
  browser: Browser, url: string, options: BrowserContextOptions = {}
): Promise<{ page: Page, complaints: string[] }> {
  const page = await browser.newPage(options)
  const complaints: string[] = []
  page.on('pageerror', error => complaints.push(error.message))
  page.on('console', message => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()) })
  await page.goto(url)
  return { page, complaints }
}
