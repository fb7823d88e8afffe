import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { takeTurn } from '../../lib/group/turn'
import { createFolder } from '../helpers/folder'

t.test('one process at a time has its turn, and those who are killed at any moment leave it to the others', async t => {
  const directory = createFolder(t)
  const failures: string[] = []
  const turns = new Map<number, number>()
  const running = new Set<ChildProcess>()
  const start = (): void => {
    const child = fork(path.join(__dirname, '..', 'fixtures', 'turns'), { env: { ...process.env, TURNS: directory } })
    running.add(child)
    child.on('message', ({ turn, failure }: { turn?: number, failure?: string }) => {
      if (failure !== undefined) failures.push(failure)
      else turns.set(turn!, (turns.get(turn!) ?? 0) + 1)
    })
    child.once('exit', () => running.delete(child))
  }
  t.teardown(() => { for (const child of running) child.kill('SIGKILL') })

  for (let kills = 0; kills < 12; kills++) {
    while (running.size < 4) start()
    const child = [...running][0]!
    await once(child, 'message')
    await sleep(Math.random() * 5)
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  t.same(failures, [])
  t.ok(turns.size >= 12)

  const gone = Array.from(running, async child => once(child, 'exit'))
  for (const child of running) child.kill('SIGKILL')
  await Promise.all(gone)
  const turn = await takeTurn(directory, 20_000)
  t.match(readdirSync(directory).filter(name => name !== 'inside'), { length: 2 }, 'nothing is left of the others')
  await turn.end()
  t.same(readdirSync(directory).filter(name => name !== 'inside'), [])
})
