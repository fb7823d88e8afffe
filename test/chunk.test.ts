import t from 'tap'
import { Chunk, allocate } from '../lib/exposition/chunk'

type Bytes = Uint8Array | readonly number[]

const utf8 = (text: string): Bytes => Buffer.from(text)

/** An integer in groups of seven bits, the lowest first; all but the last have the eighth bit. */
function varint (value: bigint): number[] {
  const low = Number(value & 127n)
  return value < 128n ? [low] : [low | 128, ...varint(value >> 7n)]
}

function double (value: number): Bytes {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleLE(value)
  return bytes
}

/** An integer that may be negative, as Protocol Buffers write it. */
const zigzag = (value: number): number[] => varint(BigInt(value) < 0 ? -2n * BigInt(value) - 1n : 2n * BigInt(value))

const join = (...parts: readonly Bytes[]): Bytes => Buffer.concat(parts.map(part => Uint8Array.from(part)))

const withLength = (bytes: Bytes): Bytes => join(varint(BigInt(bytes.length)), bytes)

type Writing = [what: string, write: (chunk: Chunk) => void, expected: Bytes]

const counts = [0, 9, 10, 99, 100, 127, 128, 2 ** 14, 2 ** 31 - 1, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER]
const signed = [
  0, 1, -1, 63, 64, -64, -65, 2 ** 30 - 1, 2 ** 30, -(2 ** 30), -(2 ** 30) - 1, 2 ** 31, -(2 ** 31), 2 ** 40, -(2 ** 40)
]
const ascii = ['', 'a', 'sixteen letters.', 'a'.repeat(127), 'a'.repeat(128)]
const texts = [...ascii, '\x7f', '\x80', 'ä', '€', '😀', 'a'.repeat(20) + 'ä', 'ä'.repeat(63), 'ä'.repeat(64)]
const before = 'written before, '.repeat(2)

/** Everything that a chunk writes: numbers and texts of few and of many bytes, and what they are part of. */
const writings: readonly Writing[] = [
  ...texts.flatMap((text): Writing[] => [
    [`the text ${text}`, chunk => chunk.text(text), utf8(text)],
    [`a field with the text ${text}`, chunk => chunk.textField(2, text), join([2], withLength(utf8(text)))],
    ...[1, 2, 3].map((lengthBytes): Writing => [
      `a message of the text ${text}, with room for a length of ${lengthBytes} bytes`,
      chunk => {
        const start = chunk.open(3, lengthBytes)
        chunk.text(text)
        chunk.close(start, lengthBytes)
      },
      join([3], withLength(utf8(text)))
    ])
  ]),
  ...ascii.flatMap((text): Writing[] => [
    [`ASCII: ${text}`, chunk => chunk.ascii(text), utf8(text)],
    [`what needs no escaping: ${text}`, chunk => { chunk.plain(text) }, utf8(text)]
  ]),
  ...counts.flatMap((count): Writing[] => [
    [`the count ${count}`, chunk => chunk.count(count), utf8(`${count}`)],
    [`the integer ${count}`, chunk => chunk.varint(count), varint(BigInt(count))],
    [`a field with the integer ${count}`, chunk => chunk.integerField(4, count), [4, ...varint(BigInt(count))]],
    [
      `a message of the integer ${count} and a double`,
      chunk => chunk.pairField(5, 6, count, 7, Math.PI),
      join([5], withLength(join([6], varint(BigInt(count)), [7], double(Math.PI))))
    ]
  ]),
  ...[0.5, -1, 2 ** 70].map((count): Writing => [`the count ${count}`, chunk => chunk.count(count), utf8(`${count}`)]),
  ...signed.map((value): Writing =>
    [`a field with ${value}`, chunk => chunk.signedField(8, value), [8, ...zigzag(value)]]),
  ...[signed.length, 2, 0].map((count): Writing => [
    `the first ${count} of signed integers`,
    chunk => chunk.signed(Float64Array.from(signed), count),
    signed.slice(0, count).flatMap(zigzag)
  ]),
  ['a field with a double', chunk => chunk.doubleField(9, Math.PI), join([9], double(Math.PI))],
  ['the end of a line', chunk => chunk.endLine(), utf8('\n')],
  ...Array.from({ length: 20 }, (_, length): Writing =>
    [`${length} bytes again`, chunk => chunk.repeat(2, length), utf8(before.slice(2, 2 + length))]),
  ['another chunk', chunk => {
    const other = new Chunk(allocate)
    other.ascii('of another chunk')
    chunk.copy(other)
  }, utf8('of another chunk')]
]

/** What a chunk has that had room for so many bytes, after something was written before and behind. */
function written (write: (chunk: Chunk) => void, room = 4096): string {
  const chunk = new Chunk(() => Buffer.allocUnsafeSlow(room))
  chunk.ascii(before)
  write(chunk)
  chunk.ascii('!')
  return Buffer.from(chunk.take()).toString('latin1')
}

t.test('a chunk has what was written, and loses nothing, however little room it has left', async t => {
  for (const [what, write, expected] of writings) {
    const whole = `${before}${Buffer.from(expected).toString('latin1')}!`
    t.equal(written(write), whole, what)
    const rooms = Array.from({ length: whole.length - before.length + 30 }, (_, more) => before.length + more)
    t.same(rooms.filter(room => written(write, room) !== whole), [])
  }
})

t.test('what may not stand between quotes is not written', async t => {
  for (const text of ['"', '\\', '\n', '\x80', 'ü', 'at the end "']) {
    t.equal(written(chunk => { t.notOk(chunk.plain(text)) }), `${before}!`)
  }
  t.equal(written(chunk => { t.ok(chunk.plain('!#[]\x7f')) }), `${before}!#[]\x7f!`)
})

t.test('a chunk is full while there is still room for a series', async t => {
  const chunk = new Chunk(allocate)
  chunk.ascii('x'.repeat(60 * 1024 - 1))
  t.notOk(chunk.isFull)
  chunk.ascii('x')
  t.ok(chunk.isFull)
  t.equal(chunk.take().length, 60 * 1024)
  t.notOk(chunk.isFull)
})
