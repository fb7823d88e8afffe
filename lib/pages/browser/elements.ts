// In the browser: the elements of the page.

export function find<E extends HTMLElement = HTMLElement> (selector: string): E {
  return document.querySelector<E>(selector)!
}

/** Leaves what is there if it says the same, and with it a selection. */
export function setText (element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}
