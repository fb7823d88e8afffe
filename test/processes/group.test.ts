import { execFileSync, fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { takeTurn } from '../../lib/group/turn'
import { scrape } from '../helpers/application'
import type { Exposition } from '../helpers/exposition'
import { createFolder } from '../helpers/folder'
import { Service } from '../helpers/service'
import { freePort } from '../helpers/instances'
import { until } from '../helpers/until'

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

  /** Lets its event loop turn no more. */
  hang (): void {
    this.#process.send({ busy: true })
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
    return new Promise(resolve => {
      const receive = (message: T): void => {
        if (!(about in message)) return
        this.#process.off('message', receive)
        resolve(message)
      }
      this.#process.on('message', receive)
    })
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
  t.same(failures.filter(failure => !/has shown nothing|still hangs/.test(failure)), [])
  t.same(readdirSync(directory).filter(name => name.endsWith('.points')).length, 3)
  await Promise.all(Array.from(members, async member => member.end('leave')))
  t.notOk(existsSync(directory), 'nothing is left')
})

t.test('members that hang hold up one reading for half a second, and the next ones not at all', async t => {
  const directory = createFolder(t)
  const members = [...await Promise.all([1, 2, 3].map(async () => MemberProcess.start(directory)))]
  t.teardown(() => { for (const member of members) member.kill('SIGKILL') })
  for (const member of members) await member.count(5)
  const [first, stopped, busy] = members
  t.same(await first!.read(), { total: 15, members: [3, 0, 0] })
  stopped!.kill('SIGSTOP')
  busy!.hang()
  const start = performance.now()
  for (let times = 0; times < 6; times++) t.same(await first!.read(), { total: 15, members: [1, 2, 0] })
  t.ok(performance.now() - start < 6 * 500)
  stopped!.kill('SIGCONT')
  await until('it to be back', async () => (await first!.read()).members.join() === '2,1,0')
})

t.test('pipes in place of files hold up nobody', async t => {
  const directory = createFolder(t)
  for (const name of ['0.points.next', '5.points']) execFileSync('mkfifo', [path.join(directory, name)])
  const member = await MemberProcess.start(directory)
  t.teardown(() => member.kill('SIGKILL'))
  // Whoever joins an empty group removes what is there.
  for (const name of ['0.points.next', '5.points']) execFileSync('mkfifo', [path.join(directory, name)])
  await member.count(3)
  t.same(await member.read(), { total: 3, members: [1, 0, 0] })
  t.same(member.failures.map(failure => failure.replace(/:.*/, '')).sort(), ['file 5', 'save'])
  await until('it to be saved', async () => existsSync(path.join(directory, '0.points')))
  await member.end('leave')
  t.notOk(existsSync(directory))
})

t.test('processes that start and end leave no more files than members ran at once', async t => {
  const directory = createFolder(t)
  const first = await MemberProcess.start(directory)
  t.teardown(() => first.kill('SIGKILL'))
  for (let times = 0; times < 8; times++) {
    const members = await Promise.all([MemberProcess.start(directory), MemberProcess.start(directory)])
    await Promise.all(members.map(async member => member.count(1)))
    t.equal((await first.read()).total, 2 * (times + 1))
    await Promise.all(members.map(async (member, index) => member.end(index === 0 ? 'leave' : 'SIGKILL')))
  }
  t.same(readdirSync(directory).filter(name => /points|sock/.test(name) && !/^[012]\./.test(name)), [])
  t.ok(readdirSync(directory).length <= 8, readdirSync(directory).join())
  t.equal((await first.read()).total, 16)
  await first.end('leave')
  t.notOk(existsSync(directory))
})

const total = 'http_request_duration_seconds_count'

/** Sends requests, each with a connection of its own, so that the primary hands them to one worker after another. */
async function send (address: string, requests: number): Promise<void> {
  for (let sent = 0; sent < requests; sent++) {
    await (await fetch(address, { headers: { connection: 'close' } })).text()
  }
}

/** A scrape, which may have to wait until another member has the port. */
async function scrapeSoon (url: string): Promise<Exposition> {
  return until('a scrape', async () => scrape(url).catch(() => undefined))
}

t.test('workers of a node:cluster are scraped at one port, whichever of them is killed', async t => {
  const options = { labels: {}, server: { host: '127.0.0.1', port: await freePort() } }
  const service = new Service(t, 'cluster', { WORKERS: JSON.stringify([options, options, options]), AGAIN: 'true' })
  const pids: number[] = []
  let url = ''
  let address = ''
  const started = async (worker: number): Promise<void> => {
    pids.push(Number(await service.told('pid', worker)))
    address = await service.told('address', worker)
    url = await service.told('url', worker)
  }
  for (const worker of [1, 2, 3]) await started(worker)
  let sent = 0
  for (let worker = 4; worker < 8; worker++) {
    await send(address, 30)
    sent += 30
    const page = await scrape(url)
    t.equal(page.value(total), sent)
    t.equal(page.value('fastify_latency_group_members', { state: 'fresh' }), 3)
    const workers = page.samples('process_start_time_seconds').map(({ labels }) => labels.worker)
    t.same(workers.sort(), ['0', '1', '2'])
    // The first to come has the port, and then the next.
    process.kill(pids.shift()!, 'SIGKILL')
    t.equal((await scrapeSoon(url)).value(total), sent)
    await started(worker)
  }
})

t.test('threads of a process are scraped at one port, whichever of them ends', async t => {
  const options = { labels: {}, server: { host: '127.0.0.1', port: await freePort() }, processMetrics: false }
  const start = async (): Promise<{ thread: Worker, address: string, url: string }> => {
    const thread = new Worker(path.join(__dirname, '..', 'fixtures', 'thread'), { workerData: options })
    t.teardown(() => thread.terminate())
    const [{ address, url }] = await once(thread, 'message') as [{ address: string, url: string }]
    return { thread, address, url }
  }
  const threads = [await start(), await start(), await start()]
  const { url } = threads[0]!
  let sent = 0
  for (const end of ['close', 'exit', 'terminate']) {
    for (const { address } of threads) await send(address, 5)
    sent += 15
    if (end === 'terminate') t.equal((await scrape(url)).value(total), sent)
    const { thread } = threads.shift()!
    const exited = once(thread, 'exit')
    if (end === 'terminate') thread.terminate()
    else thread.postMessage(end)
    await exited
    t.equal((await scrapeSoon(url)).value(total), sent, `nothing is lost after ${end}`)
    threads.push(await start())
  }
  t.equal((await scrape(url)).value('fastify_latency_group_members', { state: 'fresh' }), 3)
})

t.test('processes that name a group are one, and the last of them waits for a last scrape', async t => {
  const group = `test ${process.pid}`
  const options = { labels: {}, server: { host: '127.0.0.1', port: await freePort(), group, lastScrapeSeconds: 20 } }
  const env = { OPTIONS: JSON.stringify(options) }
  const [first, second] = [new Service(t, 'service', env), new Service(t, 'service', env)]
  for (const service of [first, second]) await send(await service.told('address'), 5)
  const url = await first.told('url')
  t.equal(await second.told('url'), url)
  t.equal((await scrape(url)).value(total), 10)
  t.equal(await first.terminate(), 0, 'it does not wait')
  t.equal((await scrapeSoon(url)).value(total), 10)
  const last = second.terminate()
  const counts = new Set()
  await until('the end', async () => scrape(url).then(page => { counts.add(page.value(total)) }, () => true))
  t.same([...counts], [10])
  t.equal(await last, 0)
})
