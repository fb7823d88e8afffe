// What a server of two routes tells of a page, and rows as tests want them.
import type { Answer, CellDefinition, RowDefinition, Sample } from '../../lib/pages/browser/feed'
import { History, type Increase } from '../../lib/pages/browser/history'
import { emptyRow, type Row } from '../../lib/pages/browser/rows'

export const upperBounds = [0.1, 1]

/** Two rows of three buckets and a sum: GET /a is 0 to 3, GET /b is 5 to 8. The others are cells. */
const rows: readonly RowDefinition[] = [['GET', '/a', 0], ['GET', '/b', 5]]
const cells: readonly CellDefinition[] = [
  [4, 0, 'status', '200'], [9, 1, 'status', '503'], [10, 0, 'aborted', 'in_reply'], [11, -1, 'rejected', 'bad_url'],
  [12, 0, 'in flight', ''], [13, 1, 'long lived', 'stream'], [14, 0, 'status', '404'], [15, 0, 'oldest', ''],
  [16, 1, 'oldest', '']
]

export interface Second {
  readonly counts?: number[]
  readonly seconds?: number
  readonly stall?: number
}

/** Answers of a server whose clock is 1000 seconds behind. Each has a sample that ends at the time of the answer. */
export class Server {
  readonly generation: string
  readonly #counts: number[] = []
  #last = 0
  #time: number

  constructor (time: number, generation = 'one') {
    this.#time = time
    this.generation = generation
  }

  get time (): number {
    return this.#time
  }

  sample ({ counts = [], seconds = 1, stall = 0 }: Second): Sample {
    const from = this.#time
    this.#time += seconds
    for (let index = 0; index < counts.length; index += 2) {
      this.#counts[counts[index]!] = (this.#counts[counts[index]!] ?? 0) + counts[index + 1]!
    }
    return { id: ++this.#last, from, time: this.#time, busy: 0.5, stall, rows: [], cells: [], counts }
  }

  answer (samples: Sample[], more: Partial<Answer> = {}): Answer {
    return {
      generation: this.generation,
      now: this.#time,
      nextMs: 1000,
      uptime: 498 + this.#time,
      busy: 0.25,
      last: this.#last,
      gauges: [],
      samples,
      ...more
    }
  }

  /** An answer with all counts. */
  all (samples: Sample[] = [], more: Partial<Answer> = {}): Answer {
    const counts = this.#counts.flatMap((count, id) => [id, count])
    return this.answer(samples, { all: { rows, cells, counts }, ...more })
  }
}

/** A history that began with what `before` says, and has had these seconds since. */
export function historyOf (before: number[], ...seconds: Second[]): { history: History, server: Server } {
  const server = new Server(0)
  const history = new History(upperBounds, 600)
  server.sample({ counts: before })
  history.add(server.all(), server.time + 1000)
  for (const second of seconds) history.add(server.answer([server.sample(second)]), server.time + 1000)
  return { history, server }
}

export function rowWith (buckets: number[], statuses: Record<string, number> = {}, aborted = 0): Row {
  const row = emptyRow(upperBounds, 'GET', '/a')
  Object.assign(row.counts.buckets, buckets)
  Object.assign(row.counts.statuses, statuses)
  if (aborted > 0) row.counts.aborted.in_reply = aborted
  return row
}

/** Ten seconds of rows, each of which is given its requests within each bound and their time in total. */
export function increaseOf (
  rows: Record<string, [buckets: number[], sum: number, statuses?: Record<string, number>]>
): Increase {
  const entries = Object.entries(rows).map(([key, [buckets, sum, statuses]]) => {
    const row = rowWith(buckets, statuses)
    row.counts.sum = sum
    return [key, row] as const
  })
  const total = emptyRow(upperBounds)
  return { seconds: 10, busy: 0.5, loopWait: 0, rows: new Map(entries), total, rejected: {}, waited: {} }
}
