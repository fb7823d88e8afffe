// Access to the elements of the page. This file needs a browser.
import { nothing } from './format'

export function find<E extends HTMLElement = HTMLElement> (selector: string): E {
  return document.querySelector<E>(selector)!
}

/** Creates an element with a text. */
export function create<K extends keyof HTMLElementTagNameMap> (tag: K, text = ''): HTMLElementTagNameMap[K] {
  return Object.assign(document.createElement(tag), { textContent: text })
}

/** Sets the text of an element. An equal text is left alone, because replacing it would undo the user's selection. */
export function setText (element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** Shows a number with its note. There is no card for what is not counted. */
export function setNumber (id: string, value: number, format: (value: number) => string, note: string): void {
  const card = document.getElementById(id)
  if (card === null) return
  const element = card.querySelector('data')!
  element.value = String(value)
  setText(element, Number.isNaN(value) ? nothing : format(value))
  const small = card.querySelector('small')!
  setText(small, note)
  small.title = note
  card.classList.toggle('some', value > 0)
}
