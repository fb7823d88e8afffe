import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
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

/** A process that is a member of a group. */
class MemberProcess {
  readonly #process: ChildProcess
  readonly failures: string[] = []
  slot = -1

  static async start (directory: string): Promise<MemberProcess> {
    const member = new MemberProcess(directory)
    member.slot = (await member.#told('slot')) as number
    return member
  }

  private constructor (directory: string) {
    const env = { ...process.env, GROUP: directory }
    this.#process = fork(path.join(__dirname, '..', 'fixtures', 'member'), { env })
    this.#process.on('message', ({ failure }: { failure?: string }) => {
      if (failure !== undefined) this.failures.push(failure)
    })
  }

  async count (amount: number): Promise<void> {
    this.#process.send({ count: amount })
    await this.#told('counted')
  }

  async read (): Promise<{ total: number, members: number[] }> {
    this.#process.send({})
    return this.#answer('total')
  }

  async end (how: 'SIGKILL' | 'leave'): Promise<void> {
    const exited = once(this.#process, 'exit')
    if (how === 'leave') this.#process.send({ leave: true })
    else this.#process.kill(how)
    await exited
  }

  kill (signal: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): void {
    this.#process.kill(signal)
  }

  async #told (about: string): Promise<unknown> {
    return (await this.#answer<Record<string, unknown>>(about))[about]
  }

  async #answer<T extends object> (about: string): Promise<T> {
    for (;;) {
      const [message] = await once(this.#process, 'message') as [T]
      if (about in message) return message
    }
  }
}

t.test('while members are killed, stopped, leave and are replaced, no count falls, and none is ahead', async t => {
  const directory = createFolder(t)
  const members = new Set<MemberProcess>()
  t.teardown(() => { for (const member of members) member.kill('SIGKILL') })
  const start = async (): Promise<void> => { members.add(await MemberProcess.start(directory)) }
  await Promise.all([start(), start(), start()])
  t.same(Array.from(members, ({ slot }) => slot).sort(), [0, 1, 2])

  let [sent, shown] = [0, 0]
  const any = (): MemberProcess => [...members][Math.floor(Math.random() * members.size)]!
  const look = async (member: MemberProcess): Promise<void> => {
    const { total } = await member.read()
    if (total < shown || total > sent) t.fail(`${total} is shown after ${shown}, and ${sent} were sent`)
    shown = total
  }
  for (let round = 0; round < 12; round++) {
    for (const member of members) {
      const amount = Math.ceil(Math.random() * 9)
      sent += amount
      await member.count(amount)
    }
    const other = any()
    await look(other)
    // What was counted until here has been shown, and is lost no more.
    const ending = any()
    const dice = Math.random()
    if (dice < 0.3) {
      members.delete(ending)
      await ending.end('SIGKILL')
    } else if (dice < 0.6) {
      members.delete(ending)
      sent += 7
      await ending.count(7)
      await ending.end('leave')
    } else if (dice < 0.7) {
      ending.kill('SIGSTOP')
      const rest = [...members].filter(member => member !== ending)
      const { members: states } = await rest[0]!.read()
      t.equal(states[1], 1, 'it is called stale')
      await look(rest[1]!)
      ending.kill('SIGCONT')
    } else {
      // The member that serves is killed while it answers others, or itself.
      members.delete(ending)
      const reading = ending.read().then(({ total }) => { shown = Math.max(shown, total) }, () => {})
      await sleep(Math.random() * 5)
      await ending.end('SIGKILL')
      await Promise.race([reading, sleep(20)])
    }
    await look(any())
    while (members.size < 3) await start()
    await look(any())
  }
  t.equal(shown, sent, 'nothing is lost')
  const failures = Array.from(members, ({ failures }) => failures).flat()
  t.same(failures.filter(failure => !failure.includes('did not answer')), [])
  t.same(readdirSync(directory).filter(name => name.endsWith('.points')).length, 3)
  await Promise.all(Array.from(members, async member => member.end('leave')))
  t.notOk(existsSync(directory), 'nothing is left')
})
