import { once } from 'node:events'
import { createHash } from 'node:crypto'
import { get, type IncomingMessage } from 'node:http'
import t from 'tap'
import { SharedPages } from '../lib/shared-pages'
import { TimeSlices } from '../lib/time-slices'
import { createListening, declareLarge } from './helpers/application'

/** An exposition of so many pages, and how many of them have been rendered. */
function createPages (count: number): { pages: SharedPages, rendered: () => number } {
  let rendered = 0
  function * render (): Generator<Uint8Array> {
    for (let index = 0; index < count; index++) {
      rendered++
      yield Uint8Array.of(index)
    }
  }
  return { pages: new SharedPages(render, new TimeSlices()), rendered: () => rendered }
}

async function readAll (pages: AsyncGenerator<Uint8Array>): Promise<number[]> {
  const all: number[] = []
  for await (const page of pages) all.push(...page)
  return all
}

const expected = Array.from({ length: 200 }, (_, index) => index)

t.test('readers who keep up with each other share what is rendered', async t => {
  const { pages, rendered } = createPages(200)
  t.strictSame(await Promise.all([readAll(pages.read()), readAll(pages.read()), readAll(pages.read())]), [expected, expected, expected])
  t.equal(rendered(), 200)
})

t.test('one who falls behind, or comes late, reads the same', async t => {
  const { pages, rendered } = createPages(200)
  const slow = pages.read()
  const first = [...(await slow.next()).value as Uint8Array]
  t.strictSame(await readAll(pages.read()), expected)
  t.strictSame([...first, ...await readAll(slow)], expected)
  t.strictSame(await readAll(pages.read()), expected)
  t.equal(rendered(), 600)
})

t.test('what cannot be rendered fails for every reader: none takes what came before for all of it', async t => {
  function * render (): Generator<Uint8Array> {
    yield Uint8Array.of(0)
    throw new Error('broken')
  }
  const pages = new SharedPages(render, new TimeSlices())
  const results = await Promise.allSettled([1, 2, 3].map(async () => readAll(pages.read())))
  t.match(results, results.map(() => ({ status: 'rejected', reason: { message: 'broken' } })))
})

t.test('nothing is rendered that nobody reads', async t => {
  const { pages, rendered } = createPages(200)
  const reader = pages.read()
  for (let read = 0; read < 5; read++) await reader.next()
  await reader.return(undefined)
  t.equal(rendered(), 5)
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
