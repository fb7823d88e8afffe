import type { Page } from 'playwright-core'
import { until } from '../helpers/until'

/** The address of the page, beside that of the metrics. */
export const live = (metrics: string): string => new URL('/live', metrics).href

/** A number at the top of the page, by its id. */
export async function number (page: Page, id: string): Promise<number> {
  return Number(await page.locator(`#${id} data`).getAttribute('value'))
}

/** Waits for the page to show something. */
export async function shows (page: Page, what: string, check: () => Promise<boolean>): Promise<void> {
  try {
    await until(what, check)
  } catch (error) {
    throw new Error(`${(error as Error).message}; the page shows: ${await page.locator('body').innerText()}`)
  }
}

/** Sends requests, one after the other. */
export async function send (requests: number, address: string, options?: RequestInit): Promise<void> {
  for (let index = 0; index < requests; index++) await (await fetch(address, options)).text()
}

/** The cells of the row with this route and method, by the names of their columns. Undefined: there is none. */
export async function row (page: Page, route: string, method?: string): Promise<Record<string, string> | undefined> {
  const rows = await page.evaluate(`[...document.querySelectorAll('#routes tbody tr')].map(row =>
    Object.fromEntries([...row.cells].map(cell => [cell.dataset.name, cell.firstElementChild.textContent])))`)
  return (rows as Array<Record<string, string>>).find(({ Route, Method }) =>
    Route === route && (method === undefined || Method === method))
}

/** Waits until the page has had its first answers. */
export async function isLive (page: Page): Promise<void> {
  await shows(page, 'that it is live', async () =>
    (await state(page)).startsWith('Live') && await number(page, 'rate') >= 0)
}

/** What the page says of itself. */
export async function state (page: Page): Promise<string> {
  return page.locator('#state').innerText()
}

/** What a button of the page copies. */
export async function copied (page: Page, id: string): Promise<string> {
  await page.locator('#done').evaluate(done => { done.textContent = '' })
  await page.locator(`[data-query="${id}"]`).click()
  return until('the copy', async () => {
    const text = await page.locator('#done').textContent()
    return text !== '' && text!.replace('Copied: ', '')
  })
}
