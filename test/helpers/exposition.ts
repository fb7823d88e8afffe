/**
 * A strict reader of the Prometheus text format 0.0.4, written against the specification and not against the writer:
 * https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
 */
export interface ParsedFamily {
  readonly type: string
  readonly help: string
  readonly samples: ParsedSample[]
}

export interface ParsedSample {
  readonly name: string
  readonly labels: Record<string, string>
  readonly value: number
}

const suffixes: Record<string, string[]> = {
  counter: [''], gauge: [''], untyped: [''], histogram: ['_bucket', '_sum', '_count'], summary: ['', '_sum', '_count']
}

export class Exposition {
  readonly families = new Map<string, ParsedFamily>()

  constructor (text: string) {
    if (!text.endsWith('\n')) throw new Error('The last line does not end in a line feed')
    const seen = new Set<string>()
    let family: ParsedFamily | undefined
    let familyName = ''
    let help: string | undefined
    for (const line of text.slice(0, -1).split('\n')) {
      const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/s.exec(line)
      if (comment !== null) {
        const [, keyword, name, rest] = comment as unknown as [string, string, string, string]
        if (keyword === 'HELP') {
          help = unescape(rest, { '\\': '\\', n: '\n' })
          familyName = name
        } else {
          if (name !== familyName || help === undefined) throw new Error(`TYPE without HELP before it: ${line}`)
          if (!(rest in suffixes)) throw new Error(`Unknown type: ${line}`)
          if (this.families.has(name)) throw new Error(`Family twice: ${line}`)
          this.families.set(name, family = { type: rest, help, samples: [] })
          help = undefined
        }
        continue
      }
      const sample = readSample(line)
      if (family === undefined || help !== undefined) throw new Error(`Sample without TYPE before it: ${line}`)
      if (!suffixes[family.type]!.some(suffix => sample.name === familyName + suffix)) {
        throw new Error(`Sample of another family: ${line}`)
      }
      const series = JSON.stringify([sample.name, Object.entries(sample.labels).sort()])
      if (seen.has(series)) throw new Error(`Series twice: ${line}`)
      seen.add(series)
      family.samples.push(sample)
    }
    for (const [name, { type, samples }] of this.families) if (type === 'histogram') checkHistogram(name, samples)
  }

  /** The value of the one sample with this name and these labels, or undefined. */
  value (name: string, labels: Record<string, string> = {}): number | undefined {
    const wanted = JSON.stringify(Object.entries(labels).sort())
    return this.samples(name).find(sample => JSON.stringify(Object.entries(sample.labels).sort()) === wanted)?.value
  }

  samples (name: string): ParsedSample[] {
    return [...this.families.values()].flatMap(family => family.samples.filter(sample => sample.name === name))
  }
}

function readSample (line: string): ParsedSample {
  const match = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/s.exec(line)
  if (match === null) throw new Error(`Not a sample: ${line}`)
  const [, name, pairs, number] = match as unknown as [string, string, string | undefined, string]
  if (pairs === '') throw new Error(`Empty braces: ${line}`)
  return { name, labels: readLabels(pairs ?? ''), value: readNumber(number) }
}

/** The escapes of a quoted string. */
export const quotedEscapes = { '\\': '\\', n: '\n', '"': '"' }

/** What stands between braces; the same in the text format and in OpenMetrics. */
export function readLabels (pairs: string): Record<string, string> {
  const labels: Record<string, string> = {}
  for (let rest = pairs; rest !== '';) {
    const pair = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(,(?=.)|$)/s.exec(rest)
    if (pair === null) throw new Error(`Not a label: ${rest}`)
    if (Object.hasOwn(labels, pair[1]!)) throw new Error(`Label twice: ${pairs}`)
    labels[pair[1]!] = unescape(pair[2]!, quotedEscapes)
    rest = rest.slice(pair[0].length)
  }
  return labels
}

export function unescape (text: string, escapes: Record<string, string>): string {
  return text.replace(/\\(.?)/gs, (sequence, character: string) => {
    if (!(character in escapes)) throw new Error(`Unknown escape: ${sequence}`)
    return escapes[character]!
  })
}

function readNumber (text: string): number {
  if (/^[+-]Inf$/.test(text)) return text[0] === '-' ? -Infinity : Infinity
  if (text === 'NaN') return NaN
  if (!/^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(text)) throw new Error(`Not a number: ${text}`)
  return Number(text)
}

function checkHistogram (name: string, samples: ParsedSample[]): void {
  const series = new Map<string, { buckets: Array<[bound: number, count: number]>, sum?: number, count?: number }>()
  for (const sample of samples) {
    const { le, ...labels } = sample.labels
    const key = JSON.stringify(Object.entries(labels).sort())
    const entry = series.get(key) ?? { buckets: [] }
    series.set(key, entry)
    if (sample.name === `${name}_bucket`) {
      if (le === undefined) throw new Error(`A bucket of ${name} has no le`)
      entry.buckets.push([readNumber(le), sample.value])
    } else if (sample.name === `${name}_sum`) {
      entry.sum = sample.value
    } else {
      entry.count = sample.value
    }
  }
  for (const [key, { buckets, sum, count }] of series) {
    if (sum === undefined || count === undefined) throw new Error(`${name} ${key} has no sum or no count`)
    const last = buckets.at(-1)
    if (last === undefined || last[0] !== Infinity) throw new Error(`${name} ${key} does not end in +Inf`)
    if (last[1] !== count) throw new Error(`${name} ${key}: +Inf is not the count`)
    buckets.forEach(([bound, cumulative], index) => {
      const [previousBound, previousCount] = buckets[index - 1] ?? [-Infinity, 0]
      if (bound <= previousBound || cumulative < previousCount) throw new Error(`${name} ${key} is not cumulative`)
    })
  }
}
