// What leaves the page: texts for the clipboard, and files. This file needs a browser.
import { find, setText } from './elements'

/**
 * Copies a text. Browsers offer their clipboard only to pages from this machine or over TLS.
 * Elsewhere an old way does.
 */
async function copy (text: string): Promise<void> {
  if (navigator.clipboard !== undefined) return navigator.clipboard.writeText(text)
  const area = document.createElement('textarea')
  area.value = text
  area.className = 'unseen'
  document.body.append(area)
  area.select()
  const copied = document.execCommand('copy')
  area.remove()
  if (!copied) throw new Error('The browser has refused')
}

/** Copies a text, and says so. The button shows it for a moment. */
export async function copyWith (button: HTMLElement, text: string, done: string): Promise<void> {
  await copy(text).then(() => say(done), sayWhyNot)
  button.dataset.done = ''
  setTimeout(() => delete button.dataset.done, 1500)
}

export function say (words: string): void {
  setText(find('#done'), words)
}

export function sayWhyNot ({ message }: Error): void {
  say(`Not done: ${message}`)
}

export function fileName (extension: string): string {
  return `latency-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}.${extension}`
}

export function save (name: string, content: Blob): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(content)
  link.download = name
  link.click()
  URL.revokeObjectURL(link.href)
}

/** Draws a picture of lines of text with the charts below them. */
export async function drawPicture (lines: readonly string[]): Promise<Blob> {
  const style = getComputedStyle(document.body)
  const figures = [...document.querySelectorAll<HTMLElement>('figure')]
  const [margin, lineHeight] = [24, 22]
  const width = Math.max(900, ...figures.map(({ clientWidth }) => clientWidth)) + 2 * margin
  const heights = figures.map(figure => figure.querySelector('canvas')!.clientHeight + 2 * lineHeight)
  const height = heights.reduce((sum, height) => sum + height, 2 * margin + (lines.length + 1) * lineHeight)
  const canvas = document.createElement('canvas')
  canvas.width = width * devicePixelRatio
  canvas.height = height * devicePixelRatio
  const context = canvas.getContext('2d')!
  context.scale(devicePixelRatio, devicePixelRatio)
  context.fillStyle = style.backgroundColor
  context.fillRect(0, 0, width, height)
  context.fillStyle = style.color
  let top = margin
  const write = (text: string, font: string): void => {
    context.font = `${font} ${style.fontFamily}`
    context.fillText(text, margin, top += lineHeight, width - 2 * margin)
  }
  lines.forEach((line, index) => write(line, index === 0 ? 'bold 18px' : '14px'))
  for (const figure of figures) {
    top += lineHeight / 2
    write(figure.querySelector('h2')!.textContent!, 'bold 14px')
    const chart = figure.querySelector('canvas')!
    context.drawImage(chart, margin, top + 6, chart.clientWidth, chart.clientHeight)
    top += chart.clientHeight + lineHeight / 2
  }
  return new Promise(resolve => canvas.toBlob(blob => resolve(blob!)))
}
