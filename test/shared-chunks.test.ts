import { once } from 'node:events'
import { createHash } from 'node:crypto'
import { get, type IncomingMessage } from 'node:http'
import t from 'tap'
import type { Allocate } from '../lib/exposition/chunk'
import { SharedChunks } from '../lib/scrape/shared-chunks'
import { TimeSlices } from '../lib/time-slices'
import { createListening, declareLarge } from './helpers/application'

/** An exposition of so many pages, and how many of them have been rendered. */
function createPages (count: number): { pages: SharedChunks, rendered: () => number } {
  let rendered = 0
  function * render (): Generator<Uint8Array> {
    for (let index = 0; index < count; index++) {
      rendered++
      yield Uint8Array.of(index)
    }
  }
  return { pages: new SharedChunks(render, new TimeSlices()), rendered: () => rendered }
}

async function readAll (pages: AsyncGenerator<Uint8Array>): Promise<number[]> {
  const all: number[] = []
  for await (const page of pages) all.push(...page)
  return all
}

const expected = Array.from({ length: 200 }, (_, index) => index)

t.test('readers who keep up with each other share what is rendered', async t => {
  const { pages, rendered } = createPages(200)
  t.strictSame(
    await Promise.all([readAll(pages.read('kept')), readAll(pages.read('kept')), readAll(pages.read('kept'))]),
    [expected, expected, expected]
  )
  t.equal(rendered(), 200)
})

t.test('one who falls behind, or comes late, reads the same', async t => {
  const { pages, rendered } = createPages(200)
  const slow = pages.read('kept')
  const first = [...(await slow.next()).value as Uint8Array]
  t.strictSame(await readAll(pages.read('kept')), expected)
  t.strictSame([...first, ...await readAll(slow)], expected)
  t.strictSame(await readAll(pages.read('kept')), expected)
  t.equal(rendered(), 600)
})

t.test('what cannot be rendered fails for every reader: none takes what came before for all of it', async t => {
  function * render (): Generator<Uint8Array> {
    yield Uint8Array.of(0)
    throw new Error('broken')
  }
  const pages = new SharedChunks(render, new TimeSlices())
  const results = await Promise.allSettled([1, 2, 3].map(async () => readAll(pages.read('kept'))))
  t.match(results, results.map(() => ({ status: 'rejected', reason: { message: 'broken' } })))
})

t.test('nothing is rendered that nobody reads', async t => {
  const { pages, rendered } = createPages(200)
  const reader = pages.read('kept')
  for (let read = 0; read < 5; read++) await reader.next()
  await reader.return(undefined)
  t.equal(rendered(), 5)
})

/** An exposition of so many pages of four equal bytes, and what memory was asked for. */
function createFilledPages (count: number): { pages: SharedChunks, memory: Set<Buffer['buffer']> } {
  const memory = new Set<Buffer['buffer']>()
  function * render (allocate: Allocate): Generator<Uint8Array> {
    for (let index = 0; index < count; index++) {
      const bytes = allocate()
      memory.add(bytes.buffer)
      yield bytes.fill(index).subarray(0, 4)
    }
  }
  return { pages: new SharedChunks(render, new TimeSlices()), memory }
}

t.test('a page that all have read is written over, unless one of them keeps it', async t => {
  const borrowed = createFilledPages(200)
  const [first, second] = await Promise.all([1, 2].map(async () => readAll(borrowed.pages.read('borrowed'))))
  t.strictSame(first, expected.flatMap(index => Array(4).fill(index)))
  t.strictSame(second, first)
  t.ok(borrowed.memory.size <= 3, `200 pages in ${borrowed.memory.size}`)

  const kept = createFilledPages(200)
  const keep = async (): Promise<number[]> => {
    const all: Uint8Array[] = []
    for await (const page of kept.pages.read('kept')) all.push(page)
    return all.flatMap(page => [...page])
  }
  t.strictSame(await Promise.all([readAll(kept.pages.read('borrowed')), keep()]), [first, first])
  t.equal(kept.memory.size, 200)
})

t.test('a page is not written over while a reader is at it, however far the others are', async t => {
  const { pages } = createFilledPages(200)
  const slow = pages.read('borrowed')
  const { value } = await slow.next()
  await readAll(pages.read('borrowed'))
  t.strictSame([...value as Uint8Array], [0, 0, 0, 0])
  t.strictSame(await readAll(slow), expected.slice(1).flatMap(index => Array(4).fill(index)))
})

t.test('a scraper who stops reading for a while gets the same page as one who does not', async t => {
  const { app } = await createListening(t, {})
  declareLarge(app)
  const ask = async (): Promise<IncomingMessage> => (await once(get(app.latency.url!, { agent: false }), 'response'))[0]
  const [fast, slow] = await Promise.all([ask(), ask()])
  const digest = async (response: IncomingMessage): Promise<string> => {
    const hash = createHash('sha256')
    for await (const chunk of response) hash.update(chunk)
    return hash.digest('hex')
  }
  const wanted = await digest(fast)
  t.equal(await digest(slow), wanted)
})
