import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { root } from './helpers/repository'

/** Names that a room may import, and those of which it may import only types. */
interface Allowed {
  readonly values: readonly string[]
  readonly types: readonly string[]
}

/** A cell of the table, such as "`http`, `pages`; types of `scrape`". */
function readCell (cell: string): Allowed {
  const [values = '', types = ''] = cell.split(/;? ?types of /)
  const names = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, name]) => name!)
  return { values: names(values), types: names(types) }
}

/** What CONTRIBUTING.md says that each room may import. */
function readRules (): Map<string, Allowed> {
  const lines = readFileSync(path.join(root, 'CONTRIBUTING.md'), 'utf8').split('\n')
  const start = lines.indexOf('| room | is responsible for | may import | packages |') + 2
  const rows = lines.slice(start, lines.indexOf('', start)).map(line => line.split('|').map(cell => cell.trim()))
  return new Map(rows.map(([, room, , rooms, packages]) => {
    const [ofRooms, ofPackages] = [readCell(rooms!), readCell(packages!)]
    return [
      room!.replaceAll('`', ''),
      { values: [...ofRooms.values, ...ofPackages.values], types: [...ofRooms.types, ...ofPackages.types] }
    ]
  }))
}

/** The folder of a module, or the module itself where it is in none. */
function roomOf (module: string): string {
  return module.includes('/') ? path.posix.dirname(module) : module
}

const rules = readRules()
const groundFloor = [...rules.keys()].slice(-7)
const files = readdirSync(path.join(root, 'lib'), { recursive: true, encoding: 'utf8' })
  .filter(file => file.endsWith('.ts')).map(file => file.replaceAll('\\', '/'))

t.test('every module imports only what CONTRIBUTING.md allows its room', async t => {
  t.same(groundFloor, ['checks', 'errors', 'names-elsewhere', 'option-hints', 'snapshot', 'time-slices', 'timers'])
  t.same([...new Set(files.map(file => roomOf(file.slice(0, -'.ts'.length))))].sort(), [...rules.keys()].sort())
  for (const file of files) {
    const room = roomOf(file.slice(0, -'.ts'.length))
    const { values, types } = rules.get(room)!
    const source = readFileSync(path.join(root, 'lib', file), 'utf8')
    // What is required inside a function is loaded when that function needs it.
    for (const [statement, imported, required] of source.matchAll(
      /^import [^']*'([^']+)'|(?:^import type .* = )?\brequire\('([^']+)'\)/gm
    )) {
      const name = (imported ?? required)!
      const isType = statement.startsWith('import type')
      if (isType && (name === 'fastify' || /^(?:\.\.\/)+index$/.test(name))) continue
      if (name.endsWith('/package.json')) continue
      const target = name.startsWith('.') ? roomOf(path.posix.join(path.posix.dirname(file), name)) : name
      const isAllowed = target === room || groundFloor.includes(target) || values.includes(target) ||
        (isType && types.includes(target))
      t.ok(isAllowed, `${file} imports ${isType ? 'types of ' : ''}${name}`)
    }
  }
})

t.test('no arrow runs back up, so that there is no circle', async t => {
  const rooms = [...rules.keys()]
  for (const [room, { values, types }] of rules) {
    for (const target of [...values, ...types].filter(target => rules.has(target))) {
      t.ok(rooms.indexOf(target) > rooms.indexOf(room), `${target} is below ${room}`)
    }
  }
})

t.test('only formats know the suffixes and the labels of an exposition', async t => {
  for (const file of files.filter(file => !/^(?:exposition|pages)\//.test(file))) {
    const source = readFileSync(path.join(root, 'lib', file), 'utf8')
    t.notMatch(source, /_(?:bucket|sum|count|created)\b|\ble:|'quantile'|endsWith\('_total'\)/, file)
  }
})
