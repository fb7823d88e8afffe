// Jest itself declares `jest` in every file.
const { jest: runner, test } = require('@jest/globals')
const { build } = require('./app')

test('an application listens and closes under fake timers', async () => {
  // Jest fakes what Node.js itself runs next too, unless it is told not to, and no application listens then.
  runner.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask'] })
  const app = build({ server: { port: 0 } })
  await app.listen({ port: 0 })
  await app.latency.start()
  await app.close()
  runner.useRealTimers()
})
