// The objective, and how fast its budget is being used up. This file needs a browser.
import { find, setNumber, setText } from './elements'
import type { Objective, ObjectiveWindow } from './feed'
import { formatCount, formatPercentage, formatRate, formatTotal, formatWindow } from './format'
import type { Increase } from './history'
import { lateRequests } from './incident'

/** Whether the budget of an objective is being used up too fast, or will be, because open requests are late already. */
export function isMissed (objective: Objective, windows: readonly ObjectiveWindow[], increase: Increase): boolean {
  return windows.some(({ requests, slow }) => slow > requests * (1 - objective.share)) ||
    lateRequests(increase, objective.latency).most > 0
}

export function showObjective (objective: Objective, windows: readonly ObjectiveWindow[], increase: Increase): void {
  const late = lateRequests(increase, objective.latency)
  setNumber('late', late.most, value => value > 1 ? `1 to ${formatCount(value)}` : formatCount(value),
    late.most === 0 ? '' : `the oldest for ${formatTotal(late.oldest)}`)
  const budget = 1 - objective.share
  for (const { seconds, observedSeconds, requests, slow } of windows) {
    const id = `burn-${seconds}`
    const burn = requests === 0 ? NaN : slow / requests / budget
    const part = seconds - observedSeconds > 15 ? `, ${formatWindow(observedSeconds)} of it known` : ''
    const note = `${formatCount(slow)} of ${formatCount(requests)} slow${part}`
    setNumber(id, burn, value => `${formatRate(value)} ×`, note)
    document.getElementById(id)!.classList.toggle('some', burn >= 1)
  }
  const hour = windows.at(-1)!
  const left = hour.requests === 0 ? NaN : 1 - hour.slow / hour.requests / budget
  setNumber('budget', left, value => value < 0 ? 'used up' : formatPercentage(value),
    `${formatCount(Math.floor(hour.requests * budget))} may be slow, ${formatCount(hour.slow)} were`)
  // The factor and the windows are those of FastifyLatencyBudgetFastBurn in example/monitoring.
  const isFast = windows.every(({ requests, slow }) => slow / requests > 14.4 * budget) && hour.requests >= 10
  setText(find('#alert'), isFast ? 'FastifyLatencyBudgetFastBurn wakes somebody when both are above 14.4 ×.' : '')
}
