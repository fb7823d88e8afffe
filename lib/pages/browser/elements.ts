// Access to the elements of the page. This file needs a browser.

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
