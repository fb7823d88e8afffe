import t, { type Test } from 'tap'
import { TimeSlices } from '../lib/time-slices'

/** Lets time pass only where the test says so. */
function createClock (t: Test): { pass: (ms: number) => void } {
  let now = 0
  t.intercept(performance, 'now', { value: () => now })
  return { pass: ms => { now += ms } }
}

/**
 * Has two pieces of work, a and b, take steps of 0.25 ms, while something else takes so long in each
 * turn of the loop. In which order?
 */
async function takeTurns (t: Test, othersMs: number): Promise<string> {
  const clock = createClock(t)
  const slices = new TimeSlices()
  let order = ''
  const isOver = (): boolean => order.length >= 16
  const others = (): void => {
    clock.pass(othersMs)
    order += '.'
    if (!isOver()) setImmediate(others)
  }
  const work = async (name: string): Promise<void> => {
    while (!isOver()) {
      await slices.next()
      clock.pass(0.25)
      order += name
    }
  }
  setImmediate(others)
  await Promise.race([work('a'), work('b')])
  return order
}

t.test('all work together has half a millisecond at a time, and everything else three times as long', async t => {
  t.match(await takeTurns(t, 0.5), /^\.ab\.\.\.ab\.\.\.ab\.\.\./)
  t.match(await takeTurns(t, 5), /^\.ab\.ab\.ab\.ab\./)
})

t.test('it goes on in every turn of the loop in which there is nothing else to do', async t => {
  t.match(await takeTurns(t, 0.01), /^\.ab\.ab\.ab\.ab\./)
})
