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

/** A wrong option or call is a mistake in the program, as a TypeError says. */
const typeErrors: unknown[] = [
  errors.FST_LATENCY_ERR_OPTION_UNKNOWN, errors.FST_LATENCY_ERR_OPTION_INVALID, errors.FST_LATENCY_ERR_NOT_REGISTERED
]

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
  const sources = ['test', 'test/long', 'test/processes'].flatMap(folder =>
    readdirSync(path.join(root, folder)).map(file => path.join(root, folder, file)))
  const tests = sources.filter(file => file.endsWith('.test.ts')).map(file => readFileSync(file, 'utf8')).join('')
  for (const [code] of coded) t.ok(tests.includes(`'${code}'`), code)
})

t.test('whatever a value is, it is described on one line that a terminal shows as it is', async t => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const throws = (): never => { throw new Error('no') }
  const values: Record<string, unknown> = {
    'a revoked proxy': proxy,
    'a proxy that answers nothing': new Proxy({}, new Proxy({}, { get: throws })),
    'an error without a message': new Error(''),
    'an error whose message throws': Object.defineProperty(new Error('x'), 'message', { get: throws }),
    'an error whose message is none': Object.assign(new Error('x'), { message: { a: 1 } }),
    'an error with a long message': new Error('x'.repeat(10_000_000)),
    'an error that writes to the terminal': new Error('\u001b[2J\u0007\r\nnext\u2028\u202e\ud800'),
    'an object that shows itself and throws': { [Symbol.for('nodejs.util.inspect.custom')]: throws },
    'a rejected promise': Promise.reject(new Error('on\nlines')),
    'a function': throws
  }
  ;(values['a rejected promise'] as Promise<never>).catch(() => {})
  for (const [description, value] of Object.entries(values)) {
    t.match(errors.describe(value), /^[^\p{C}\p{Z}][^\p{C}\p{Zl}\p{Zp}]{0,1300}$/u, description)
  }
  t.equal(errors.describe(new Error('\u001b[2J\nx\u{e0001}')), '\\u001b[2J\\nx\\u{e0001}')
  t.equal(errors.describe(new RangeError('')), "an error of the type 'RangeError'")
})

t.test('the cause of an error is what was thrown, or a copy that no logger stumbles over', async t => {
  const throws = (): never => { throw new Error('no') }
  const plain = new TypeError('two\nlines', { cause: new Error('inner', { cause: 'text' }) })
  t.equal(errors.causeOf(plain).cause, plain)
  for (const nothing of [undefined, null, 'x', 1]) t.equal(errors.causeOf(nothing).cause, undefined)

  const deep = (depth: number): Error => new Error('x', depth === 0 ? {} : { cause: deep(depth - 1) })
  const copied: Record<string, object> = {
    'a long message': new Error('x'.repeat(10_000)),
    'what a terminal obeys': new Error('\u001b[2J'),
    'a message that throws': Object.defineProperty(new Error('x'), 'message', { get: throws }),
    'a stack that throws': Object.defineProperty(new Error('x'), 'stack', { get: throws }),
    'a stack that is none': Object.assign(new Error('x'), { stack: 1 }),
    'a cause that throws': Object.defineProperty(new Error('x'), 'cause', { get: throws }),
    'a cause that is no error': new Error('x', { cause: {} }),
    'many causes': deep(10),
    'itself as the cause': Object.defineProperty(new Error('x'), 'cause', { get () { return this } }),
    'no error at all': { message: 'x' }
  }
  for (const [description, thrown] of Object.entries(copied)) {
    const cause = errors.causeOf(thrown).cause!
    t.not(cause, thrown, description)
    t.ok(`${cause.message}${cause.stack}`.length < 6000, description)
    t.notMatch(`${cause.message}${cause.stack}`.replaceAll('\n', ''), /\p{C}/u, description)
    t.equal(cause.cause, undefined, description)
  }
  const thrown = new Error('\u001b[2J')
  t.match(errors.causeOf(thrown).cause!.stack, /errors\.test/, 'the stack is that of the user')
})

t.test('a warning comes through whatever the logger and the listeners do', async t => {
  const throws = (): never => { throw new Error('no') }
  const cause = new Error('inner')
  const logs: unknown[] = [
    {}, undefined, { error: throws, warn: throws, info: throws },
    { error: async () => throws() },
    { get error () { return throws() } },
    { error () { return { get then () { return throws() } } } }
  ]
  for (const log of logs) {
    const guarded = errors.guardLog({ log } as never)
    const warned = new Promise<Error>(resolve => process.once('warning', resolve))
    errors.warn(guarded, new errors.FST_LATENCY_ERR_METRIC_INVALID('m', 'p', { cause }))
    for (const level of ['error', 'warn', 'info'] as const) guarded[level]('line')
    t.match(await warned, { name: 'FastifyLatencyWarning', code: 'FST_LATENCY_ERR_METRIC_INVALID', cause })
  }
  const heard = new Promise<void>(resolve => {
    process.once('warning', () => {
      resolve()
      throws()
    })
  })
  errors.warn(errors.guardLog({ log: {} } as never), new errors.FST_LATENCY_ERR_SERVER_OFF())
  await heard
})
