// The list of the slowest requests. This file needs a browser.
import { formatClock } from './charts'
import { create, find } from './elements'
import type { SlowRequest } from './feed'
import { formatSeconds } from './format'

/** Lists the slowest requests. The clock of the page is ahead of that of the server by the offset. */
export function showSlowest (slowest: readonly SlowRequest[], offset: number): void {
  const list = document.querySelector('#slowest ol')
  if (list === null) return
  list.replaceChildren(...slowest.map(({ time, seconds, method, route, labels, url }) => {
    const item = create('li')
    const text = labels.trace_id ?? Object.entries(labels).map(label => label.join('=')).join(' ')
    item.append(
      ...[formatClock(time + offset), formatSeconds(seconds), method ?? '', route ?? '']
        .map(word => create('span', word)),
      url === undefined ? text : Object.assign(create('a', text), { href: url, rel: 'noreferrer', target: '_blank' })
    )
    return item
  }))
  find('#slowest p').hidden = slowest.length > 0
}
