import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import * as errors from '../lib/errors'
import { root } from './helpers/repository'

interface CodedError extends Error {
  readonly code: string
  readonly statusCode: number
}

const coded = Object.entries(errors).filter(([name]) => name.startsWith('FST_')) as unknown as
  Array<[code: string, type: new (...args: unknown[]) => CodedError]>

/** What is wrong with an option is a mistake in the program, as a TypeError says. */
const typeErrors: unknown[] = [errors.FST_LATENCY_ERR_OPTION_UNKNOWN, errors.FST_LATENCY_ERR_OPTION_INVALID]

t.test('every error has the code under which it is exported, and a message with all that it is told', async t => {
  t.ok(coded.length > 10)
  for (const [code, CodedError] of coded) {
    const places = new CodedError().message.match(/%\w/g) ?? []
    const told = places.map((_, index) => 1001 + index)
    const error = new CodedError(...told)
    t.match(error, { name: 'FastifyError', code, statusCode: 500 }, code)
    t.notMatch(error.message, /%|undefined|NaN/, code)
    t.same(error.message.match(/\b10\d\d\b/g) ?? [], told.map(String), code)
    t.equal(error instanceof TypeError, typeErrors.includes(CodedError), code)
  }
})

t.test('every code is provoked by some test', async t => {
  const sources = ['test', 'test/processes'].flatMap(folder =>
    readdirSync(path.join(root, folder)).map(file => path.join(root, folder, file)))
  const tests = sources.filter(file => file.endsWith('.test.ts')).map(file => readFileSync(file, 'utf8')).join('')
  for (const [code] of coded) t.ok(tests.includes(`'${code}'`), code)
})
