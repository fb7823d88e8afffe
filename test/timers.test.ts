import t from 'tap'
import { pause } from '../lib/timers'

t.test('a pause ends when its time is over, when the signal is given, or at once if it was given before', async t => {
  const hourMs = 3_600_000
  // Waiting does not keep the process alive.
  const alive = setInterval(() => {}, hourMs)
  t.teardown(() => clearInterval(alive))
  const closing = new AbortController()
  await pause(1, closing.signal)
  const paused = pause(hourMs, closing.signal)
  closing.abort()
  await paused
  await pause(hourMs, closing.signal)
  t.pass('none has waited for an hour')
})
