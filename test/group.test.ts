import { chmodSync, chownSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import fs, { rm } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { openDirectory } from '../lib/group/directory'
import { Listener } from '../lib/group/sockets'
import { takeTurn } from '../lib/group/turn'
import { createFolder } from './helpers/folder'
import { until } from './helpers/until'

const user = process.geteuid!()

/** What keeps the process alive, which members of a group do not. */
const alive = setInterval(() => {}, 1000)
t.teardown(() => clearInterval(alive))

t.test('members of a group meet in a directory that is theirs alone, and other groups in others', async t => {
  const temporary = createFolder(t)
  const directory = await openDirectory('a', temporary)
  t.equal(await openDirectory('a', temporary), directory)
  t.not(await openDirectory('b', temporary), directory)
  t.equal(path.dirname(directory), path.join(temporary, `fastify-latency-${user}`))
  for (const folder of [directory, path.dirname(directory)]) t.equal(statSync(folder).mode & 0o777, 0o700)
})

t.test('a directory that somebody else could have prepared or could replace is refused', async t => {
  const refuse = async (what: string, message: RegExp, prepare: (ofUser: string, above: string) => void) => {
    const temporary = createFolder(t)
    prepare(path.join(temporary, `fastify-latency-${user}`), temporary)
    await t.rejects(openDirectory('a', temporary), { code: 'FST_LATENCY_ERR_GROUP_DIRECTORY', message }, what)
  }
  const prepared = /somebody else could have prepared it/
  await refuse('others may use it', prepared, ofUser => {
    mkdirSync(ofUser)
    chmodSync(ofUser, 0o750)
  })
  await refuse('a link', prepared, ofUser => symlinkSync('/tmp', ofUser))
  await refuse('a file', /not a directory/, ofUser => writeFileSync(ofUser, ''))
  await refuse('others may remove it', /others could replace what is in it/, (_, above) => chmodSync(above, 0o777))
  if (user === 0) {
    await refuse("another's", prepared, ofUser => {
      mkdirSync(ofUser, { mode: 0o700 })
      chownSync(ofUser, 65534, 65534)
    })
    await refuse("another's, above", /others could replace/, (_, above) => chownSync(above, 65534, 65534))
  }
  const deep = path.join(createFolder(t), 'x'.repeat(80))
  mkdirSync(deep)
  await t.rejects(openDirectory('a', deep), {
    code: 'FST_LATENCY_ERR_GROUP_DIRECTORY', message: /too long for Unix sockets in it, by \d+ bytes/
  })
  await t.rejects(openDirectory('a', '/nowhere'), { code: 'FST_LATENCY_ERR_GROUP_DIRECTORY', message: /ENOENT/ })
})

t.test('who waits for a turn has it when the one before has ended, or rejects in time', async t => {
  const directory = createFolder(t)
  const first = await takeTurn(directory, 10_000)
  await t.rejects(takeTurn(directory, 50), { message: /changing the group for 50 ms/ })
  let active = 0
  const rest = Promise.all(Array.from({ length: 5 }, async () => {
    const turn = await takeTurn(directory, 10_000)
    t.equal(++active, 1, 'nobody else has it')
    await new Promise(resolve => setImmediate(resolve))
    active--
    await turn.end()
  }))
  await first.end()
  await rest
  t.same(readdirSync(directory), [])
})

t.test('what is no turn stops nobody, and a socket that nobody uses is removed', async t => {
  const directory = createFolder(t)
  writeFileSync(path.join(directory, 'turn-1'), 'x')
  mkdirSync(path.join(directory, 'turn-2'))
  symlinkSync('nowhere', path.join(directory, 'turn-3'))
  writeFileSync(path.join(directory, '00000000.turn'), '')
  writeFileSync(path.join(directory, 'other'), '')
  await (await takeTurn(directory, 10_000)).end()
  t.same(readdirSync(directory).sort(), ['other'])
})

t.test('of two who have made links, none goes on while the other is there', async t => {
  const directory = createFolder(t)
  const other = await Listener.open(path.join(directory, '99999999.turn'), () => {})
  const { symlink } = fs
  t.teardown(() => { fs.symlink = symlink })
  let attempts = 0
  fs.symlink = async (target, link) => {
    if (attempts++ === 0) await symlink('99999999.turn', path.join(directory, 'turn-7'))
    return symlink(target, link)
  }
  const turn = takeTurn(directory, 10_000)
  await until('it to withdraw', () => readdirSync(directory).sort().join() === '99999999.turn,turn-7')
  await rm(path.join(directory, 'turn-7'))
  other.close()
  await (await turn).end()
  t.equal(attempts, 2)
  t.same(readdirSync(directory), [])

  fs.symlink = async () => { throw new Error('no') }
  await t.rejects(takeTurn(directory, 10_000), { message: 'no' })
  fs.symlink = async (target, link) => {
    await symlink(target, link)
    rmSync(directory, { recursive: true })
  }
  await t.rejects(takeTurn(directory, 10_000), { message: /ENOENT/ })
})
