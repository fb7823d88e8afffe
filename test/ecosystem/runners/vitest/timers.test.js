import { test, vi } from 'vitest'
import { build } from './app.js'

test('an application listens and closes under fake timers', async () => {
  vi.useFakeTimers()
  const app = build({ server: { port: 0 } })
  await app.listen({ port: 0 })
  await app.latency.start()
  await app.close()
  vi.useRealTimers()
})
