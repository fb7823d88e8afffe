import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import * as errors from '../lib/errors'

const codes = Object.keys(errors).filter(name => name.startsWith('FST_')).sort()

t.test('every error is exported under its code', async t => {
  for (const code of codes) t.equal((new (errors as any)[code]('a', 'b', 'c', 'd') as { code: string }).code, code)
})

t.test('every code is provoked by some test', async t => {
  const tests = readdirSync(__dirname).filter(file => file.endsWith('.test.ts')).map(file => readFileSync(path.join(__dirname, file), 'utf8')).join('')
  for (const code of codes) t.ok(tests.includes(`'${code}'`), code)
})
