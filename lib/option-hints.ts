import { types } from 'node:util'
import { describe } from './errors'
import {
  leaveOut, meanings, needless, routeMeanings, routeMeaningsElsewhere, sourceMeanings
} from './names-elsewhere'

/** Where each option belongs. Other histograms have the parts of `histogram`. */
const paths = [
  'histogram', 'histogram.name', 'histogram.help', 'histogram.buckets', 'histogram.native', 'histogram.native.schema',
  'histogram.native.maxBuckets', 'histogram.from', 'timeToFirstByte', 'requestSize', 'responseSize', 'queueTime',
  'queueTime.header', 'busyTime', 'labels', 'constLabels', 'routes', 'ignore', 'knownMethods', 'seriesLimit',
  'inFlight', 'abortedStatus', 'exemplars', 'registry', 'processMetrics', 'endpoint',
  'server', 'server.host', 'server.port', 'server.socket', 'server.group', 'server.path', 'server.live',
  'server.live.objective',
  'server.live.objective.latency', 'server.live.objective.share', 'server.live.traceUrl', 'server.start',
  'server.lastScrapeSeconds', 'server.https', 'server.https.certFile', 'server.https.keyFile',
  'server.https.clientCaFile', 'server.auth', 'server.auth.users', 'server.auth.tokens',
  'scrape', 'scrape.errorHandling', 'scrape.concurrency', 'scrape.timeoutSeconds', 'scrape.created'
]

const places: ReadonlyMap<string, string> = new Map(paths.map(path => [path.slice(path.lastIndexOf('.') + 1), path]))

/** What to say beside the place of an option that people look for in another place. */
const notes: Readonly<Record<string, string>> = {
  https: ', with "certFile" and "keyFile", the names of files',
  path: ', or "endpoint" for a route of the application'
}

/** Names that can only mean this plugin, or nearly so. */
const ownNames = ['latency', 'fastifyLatency', 'fastify-latency']

/**
 * What was probably meant by an option of a route, such as `latency` or `config.statsId`, that this plugin does not
 * read. Undefined if it is none that was meant for this plugin.
 */
export function meaningAtRoute (option: string, value: unknown): { meaning: string, isOfOther: boolean } | undefined {
  if (value === undefined) return undefined
  const name = option.replace('config.', '')
  const elsewhere = entry(routeMeaningsElsewhere, name)
  if (elsewhere !== undefined) return { meaning: elsewhere, isOfOther: true }
  if (nearest(name, ownNames) === undefined) return undefined
  return { meaning: `"config: { latency: ${typeof value === 'object' ? '{ route }' : 'false'} }"`, isOfOther: false }
}

/**
 * What was probably meant by a name that is unknown in the value of an option. Empty if there is no guess. `option` is
 * `options` for the options of the plugin. An option of fastify-metrics has others in it: they tell more than its name.
 */
export function hintAt (option: string, name: string, known: readonly string[], value: unknown): string {
  const inner = name === 'routeMetrics' && isParts(value) ? Object.keys(value).slice(0, 3) : []
  const hints = inner.map(inner => `"${inner}"${hintAtName(name, inner, known)}`).filter(hint => hint.includes('('))
  return hints.length === 0 ? hintAtName(option, name, known) : `: ${hints.join(', ')}`
}

function hintAtName (option: string, name: string, known: readonly string[]): string {
  const [table, reasons] = option === 'config.latency' ? [routeMeanings, {}] : [meanings, needless]
  const find = (name: string): string | undefined => {
    const meaning = entry(table, `${option}.${name}`) ?? placeOf(option, name) ?? entry(table, name)
    const reason = entry(reasons, name)
    return meaning === undefined ? reason && ` (leave it out: ${reason})` : didYouMean(meaning)
  }
  const typo = nearest(name, known)
  return find(name) ?? (typo === undefined ? undefined : didYouMean(`"${typo}"`)) ??
    find(nearest(name, [...places.keys(), ...Object.keys(table), ...Object.keys(reasons)]) ?? '') ?? ''
}

/** Where an option belongs that is in another one. */
function placeOf (option: string, name: string): string | undefined {
  const path = places.get(name)
  if (path === undefined) return undefined
  if (option === 'config.latency') return entry(routeMeanings, name) ?? `"${path}" among the options of the plugin`
  if (path === option) return `"${path}" itself, with no other "${name}" in it`
  const beside = path.includes('.') ? '' : `, beside "${option.split('.')[0]}"`
  return `"${path}"${beside}${entry(notes, name) ?? ''}`
}

/**
 * What was probably meant by a value that an option must not have: the same value in a form that the option may have,
 * or what is else known of this option. Empty if there is no guess.
 */
export function hintAbout (option: string, value: unknown, isValid: (value: unknown) => boolean): string {
  for (const form of formsOf(value, option)) if (isValid(form)) return didYouMean(describe(form))
  if (Number.isNaN(value)) return ` (Number() makes it of undefined, ${notSet})`
  const part = option.slice(option.lastIndexOf('.') + 1)
  return didYouMean((entry(valueMeanings, option) ?? entry(valueMeanings, part))?.(value) ?? ofUnfinished(value))
}

/** What is meant by a value that is still to be asked for. */
function ofUnfinished (value: unknown): string | undefined {
  if (typeof value === 'function') return 'what this function returns: it has to be called'
  return types.isPromise(value) ? 'what this promise resolves to: write await before it' : undefined
}

const notSet = 'such as an environment variable that is not set'

/** What was probably meant by a text that has to be given, and is not there. Empty if there is something else. */
export function hintAboutMissing (value: unknown): string {
  return value === undefined || value === '' ? ` (${notSet}?)` : ''
}

/** Contents of a file, which may be a private key: PEM, or the base64 in it. */
export const fileContents = /-----|^M[CHI][A-Za-z0-9+/\s]{60,}=*\s*$/

/** What was probably meant by something that is not the name of a file. */
export function hintAboutFile (value: unknown): string {
  if (ArrayBuffer.isView(value) || (typeof value === 'string' && fileContents.test(value))) {
    return didYouMean('the name of the file, which is read here, and again when it has changed')
  }
  if (value instanceof URL) return didYouMean('fileURLToPath() of node:url with it')
  return hintAboutMissing(value) || didYouMean(ofUnfinished(value))
}

/** What was probably meant by a value that stands for nothing in other programs. Empty if it does not. */
export function hintToLeaveOut (value: unknown): string {
  return value === null || value === false || value === '' ? didYouMean('to leave it out') : ''
}

/** Values of the same meaning in other forms, the likeliest first. */
function * formsOf (value: unknown, option: string): Generator<unknown> {
  if (typeof value === 'string' && value !== '') yield * formsOfText(value.trim(), option)
  if (typeof value === 'number') {
    yield [false, true][value]
    yield [value]
    if (/seconds$|\.latency$/i.test(option)) yield value / 1000
    if (option.endsWith('.share')) yield value / 100
  }
  if (value instanceof Map) yield Object.fromEntries(value)
  if (value instanceof Set || ArrayBuffer.isView(value)) yield Array.from(value as Iterable<unknown>)
  if (Array.isArray(value)) {
    if (value.length === 1) yield value[0]
    const numbers = numbersIn(value).filter(Number.isFinite)
    yield numbers
    yield [...new Set(numbers)].sort((a, b) => a - b)
  }
}

function * formsOfText (text: string, option: string): Generator<unknown> {
  yield text
  yield text.toLowerCase()
  const [, amount, unit = ''] = /^(-?[\d.]+) ?(s|ms|%)?$/.exec(text) ?? []
  if (amount !== undefined) yield Number(amount) / (units[unit] ?? 1)
  yield entry(truths, text.toLowerCase())
  yield numbersIn(text.split(/[\s,;]+/))
  if (option.endsWith('.traceUrl')) {
    const url = (text.includes('://') ? text : `https://${text}`).replace(/\$?\{+(\w+)\}+|:trace_id\b/g,
      (_found, name: string | undefined) => `{${name ?? 'trace_id'}}`)
    yield url
    yield `${url.replace(/\/$/, '')}/{trace_id}`
  }
  if (URL.canParse(text, 'http://localhost')) yield new URL(text, 'http://localhost').pathname
  if (/name$|labels$/i.test(option)) yield text.replaceAll(/\W+/g, '_')
}

function numbersIn (values: unknown[]): number[] {
  return values.filter(value => typeof value === 'number' || (typeof value === 'string' && value !== '')).map(Number)
}

const units: Readonly<Record<string, number>> = { ms: 1000, '%': 100 }

const truths: Readonly<Record<string, boolean>> = {
  true: true, yes: true, on: true, false: false, no: false, off: false
}

/** The parts of the address of a server that a text has, as the options of the server. */
function addressIn (text: string): { host?: string, port?: number, path?: string } | undefined {
  if (/^\d+$/.test(text)) return { port: Number(text) }
  if (/^[\da-f.]*:[\da-f.]*:[\da-f:.]*$/i.test(text)) return { host: text }
  const withoutScheme = text.replace(/^[a-z][\w+.-]*:\/\//i, '').replace(/^[^/@]*@/, '')
  const parts = /^(?:\[([\w:.%]+)\]|([^\s/:[\]]*))(?::(\d+))?(\/[^?#]*)?$/.exec(withoutScheme)
  if (parts === null) return undefined
  const [, inBrackets, name, port, path = '/'] = parts
  const host = inBrackets ?? (name === '*' ? '0.0.0.0' : name!)
  return {
    ...host !== '' && { host },
    ...port !== undefined && { port: Number(port) },
    ...path !== '/' && { path }
  }
}

function ofHistogram (value: unknown): string | undefined {
  if (Array.isArray(value)) return `{ buckets: ${describe(value)} }`
  if (typeof value === 'string' && value !== '') return `{ name: ${describe(value)} }`
  if (value === false) return '"config: { latency: false }" on a route, or not to register the plugin'
  return ofDefault(value)
}

/** What is meant by the parameters of functions of prom-client, or by one of them that is not called. */
function ofBuckets (value: unknown): string | undefined {
  if (typeof value === 'function') return 'what this function returns, as linearBuckets(0.1, 0.1, 10) of prom-client'
  const { start, width, factor, count } = Object(value) as Record<string, unknown>
  if (typeof start !== 'number' || typeof count !== 'number') return undefined
  return typeof factor === 'number'
    ? `exponentialBuckets(${start}, ${factor}, ${count}) of prom-client`
    : `linearBuckets(${start}, ${String(width)}, ${count}) of prom-client`
}

function isParts (value: unknown): value is Readonly<Record<string, unknown>> {
  return Object.prototype.toString.call(value) === '[object Object]'
}

/** What is meant by true for an option that has a default. */
function ofDefault (value: unknown): string | undefined {
  return value === true ? 'to leave it out' : undefined
}

function isPattern (value: unknown): boolean {
  return Array.isArray(value) || (typeof value === 'string' && value !== '') || value instanceof RegExp
}

/** What is meant by a value that has a meaning for this option only. */
const valueMeanings: Readonly<Record<string, (value: unknown) => string | undefined>> = {
  'config.latency': value => typeof value === 'string' && value !== ''
    ? `{ route: ${describe(value)} }`
    : value === null || value === 0 ? 'false' : value === true ? 'to leave it out' : undefined,
  'config.latency.route': value => value === false ? '"config: { latency: false }"' : undefined,
  constLabels: value => Array.isArray(value) ? 'an object of names and values' : undefined,
  buckets: ofBuckets,
  endpoint: value => {
    const { path, url = path } = Object(value) as { path?: unknown, url?: unknown }
    if (typeof url === 'string' && url.startsWith('/')) return describe(url)
    return value === true || isParts(value) ? "a path, such as '/metrics'" : undefined
  },
  histogram: ofHistogram,
  ignore: value => isPattern(value) ? leaveOut : undefined,
  knownMethods: value => {
    const methods: unknown = typeof value === 'string' && value !== '' ? value.split(/[\s,]+/) : value
    return Array.isArray(methods) ? describe(methods.map(method => String(method).toUpperCase())) : undefined
  },
  processMetrics: value => {
    const given = typeof value === 'string' && value !== '' ? { prefix: value } : value
    if (typeof given !== 'object' || given === null) return undefined
    const { enabled, ...others } = given as { enabled?: unknown }
    return typeof enabled === 'boolean' && Object.keys(others).length === 0
      ? String(enabled)
      : `false, and to call collectDefaultMetrics(${describe(given)}) of prom-client: its global registry is served too`
  },
  registry: value => typeof Object(value).register === 'object'
    ? 'the property "register" of it'
    : typeof value === 'function'
      ? 'an object that is made with new'
      : value === true || typeof value === 'string' ? '"register" of prom-client, an object' : undefined,
  routes: value => isPattern(value) || (typeof value === 'object' && value !== null)
    ? 'a function of a route that returns its name, or "config: { latency: { route } }" on the route'
    : undefined,
  scrape: value =>
    typeof value === 'string' && value !== '' ? `{ errorHandling: ${describe(value)} }` : ofDefault(value),
  seriesLimit: value => [false, null, 0, -1, Infinity].includes(value as number)
    ? 'as many as there may be, such as 100000: without a limit, clients could fill the memory'
    : undefined,
  server: value => {
    const address = typeof value === 'string' || typeof value === 'number' ? addressIn(String(value)) : undefined
    return address && describe(address)
  },
  'server.host': value => {
    if (value === true) return "'0.0.0.0', every address"
    const { host, port } = (typeof value === 'string' && addressIn(value)) || {}
    if (host === undefined) return undefined
    return describe(host) + (port === undefined ? '' : `, and ${port} as "server.port"`)
  },
  'server.live': value => typeof value === 'string' && value.startsWith('/') ? 'true: its path is /live' : undefined,
  'server.live.objective': value => {
    const [latency, share = 0.99] = Array.isArray(value) ? value : [value]
    return typeof latency === 'number' ? describe({ latency, share }) : undefined
  },
  'server.path': ofDefault,
  'server.port': value => {
    if (value === false) return '"server: false"'
    const { port } = (typeof value === 'string' && addressIn(value)) || {}
    return port === undefined ? undefined : String(port)
  },
  'server.start': value => {
    if (typeof value === 'boolean') return value ? "'listen'" : "'manual'"
    if (typeof value !== 'string') return undefined
    const policy = ['listen', 'ready', 'manual'].find(policy => value.toLowerCase().includes(policy))
    return policy && describe(policy)
  },
  timeToFirstByte: ofHistogram,
  queueTime: value => typeof value === 'string' && value.includes('-')
    ? `{ header: ${describe(value)} }`
    : ofHistogram(value),
  'queueTime.header': value => value === true ? "'x-request-start'" : undefined,
  requestSize: ofHistogram,
  responseSize: ofHistogram
}

/** What was probably meant by labels that are a list of names. `sources` are the sources that have a name. */
export function hintAboutLabels (value: unknown, sources: readonly string[]): string {
  if (value === null || value === false) return didYouMean('{}, no labels')
  if (value === true) return didYouMean(ofDefault(value))
  const names = typeof value === 'string' ? value.split(/[\s,]+/) : value instanceof Set ? [...value] : value
  if (!Array.isArray(names)) return didYouMean(ofUnfinished(value))
  const labels = names.slice(0, 5).map(name => [String(name), sourceOf(String(name), sources) ?? 'a source'])
  return didYouMean(describe(Object.fromEntries(labels)))
}

/** What was probably meant by the source of a label that is none. */
export function hintAboutSource (label: string, value: unknown, sources: readonly string[]): string {
  if (value === true) {
    const source = sourceOf(label, sources)
    return didYouMean(source === undefined ? 'a function that returns the value' : describe(source))
  }
  if (typeof value === 'number') return didYouMean('"constLabels", for a fixed value')
  if (typeof value !== 'string' || value === '') return hintToLeaveOut(value)
  const source = sourceOf(value, sources)
  return didYouMean(source === undefined ? '"constLabels", for a fixed value' : describe(source))
}

/** What was probably meant by a value of a constant label that is no text. */
export function hintAboutConstant (value: unknown): string {
  return ['number', 'boolean', 'bigint'].includes(typeof value)
    ? didYouMean(describe(String(value)))
    : hintToLeaveOut(value)
}

/** The source that a name stands for, or that reads most like it. */
function sourceOf (name: string, sources: readonly string[]): string | undefined {
  return sources.includes(name)
    ? name
    : entry(sourceMeanings, name.replaceAll('.', '_')) ?? nearest(name, sources) ??
      entry(sourceMeanings, nearest(name, Object.keys(sourceMeanings)) ?? '')
}

export function didYouMean (meaning: string | undefined): string {
  return meaning === undefined ? '' : ` (did you mean ${meaning}?)`
}

function entry<T> (table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined
}

/** The name that differs from another one by case, or by one letter in four at the most. */
function nearest (name: string, names: readonly string[]): string | undefined {
  const most = Math.floor(name.length / 4)
  // The options of every route are compared, and most need no more than their length.
  const similar = names.filter(other => Math.abs(other.length - name.length) <= most)
  const distances = similar.map(other => distance(name.toLowerCase(), other.toLowerCase()))
  const least = Math.min(...distances)
  return least <= most ? similar[distances.indexOf(least)] : undefined
}

/** How many letters have to be changed, added, left out or swapped with the next one to make one text of another. */
function distance (a: string, b: string): number {
  let [beforeLast, last]: number[][] = [[], Array.from({ length: b.length + 1 }, (_, index) => index)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1]
      row.push(Math.min(row[j - 1]! + 1, last![j]! + 1, last![j - 1]! + (isSame ? 0 : 1)))
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j]!, beforeLast![j - 2]! + 1)
    }
    [beforeLast, last] = [last!, row]
  }
  return last![b.length]!
}
