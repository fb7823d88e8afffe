import cluster from 'node:cluster'
import { isIP } from 'node:net'
import { inspect } from 'node:util'
import type { ServerOptions } from '../../index'
import {
  check, isBoolean, isObject, isObjectOrBoolean, isPath, isText, isTimeout, optional, pathRule, readObject, required
} from '../checks'
import { kindOf } from '../errors'
import { didYouMean, fileContents, hintAboutFile, hintAboutMissing, hintToLeaveOut } from '../option-hints'

/** The options of the metrics server. */
export interface ServerConfig {
  /** Undefined: the metrics server listens where the application listens. */
  readonly host: string | undefined
  /**
   * Undefined: the server has no port, because it listens on a Unix socket, or because workers of a `node:cluster` that
   * are no group would share a default one.
   */
  readonly port: number | undefined
  /** The path of a Unix socket, on which the server listens instead of a host and a port. */
  readonly socket: string | undefined
  /** The name of the group. Undefined: workers and threads are one by themselves. False: there is none. */
  readonly group: string | false | undefined
  readonly path: string
  /** False: there is no page for people. */
  readonly live: LiveConfig | boolean
  readonly start: NonNullable<ServerOptions['start']>
  readonly lastScrapeSeconds: number
  /** Undefined: plain HTTP. */
  readonly https: HttpsConfig | undefined
  /** Undefined: everyone who reaches the port may read. */
  readonly auth: AuthConfig | undefined
}

/** The options of the page for people. */
export interface LiveConfig {
  /** This share of requests, below 1, is to take `latency` seconds or less. Undefined: there is no objective. */
  readonly objective: { readonly latency: number, readonly share: number } | undefined
  /** The address of a trace, with names of labels in braces. Undefined: exemplars are shown without a link. */
  readonly traceUrl: string | undefined
}

/** The names of PEM files. */
export interface HttpsConfig {
  readonly certFile: string
  readonly keyFile: string
  /** Undefined: clients need no certificate. */
  readonly clientCaFile: string | undefined
}

export type AuthConfig =
  | { readonly users: Readonly<Record<string, string>>, readonly tokens: undefined }
  | { readonly users: undefined, readonly tokens: readonly string[] }

/** Members of a group meet at Unix sockets, which Windows does not have. */
const defaultGroup = process.platform === 'win32' ? false : undefined

/** Workers of a `node:cluster` that are no group cannot share a port. */
function defaultPort (group: string | false | undefined): number | undefined {
  return cluster.isWorker && group === false ? undefined : 8000
}

export const defaultServer: ServerConfig = Object.freeze({
  host: undefined,
  port: defaultPort(defaultGroup),
  socket: undefined,
  group: defaultGroup,
  path: '/metrics',
  live: true,
  start: 'listen',
  lastScrapeSeconds: 0,
  https: undefined,
  auth: undefined
})

const options = ['host', 'port', 'socket', 'group', 'path', 'live', 'start', 'lastScrapeSeconds', 'https', 'auth']

const startPolicies: readonly unknown[] = ['listen', 'ready', 'manual']

/** Where a metrics server is to listen, in words. */
export function describeAddress ({ socket, port }: ServerConfig, host: string): string {
  return socket === undefined ? `host ${host}, port ${port}` : `socket ${socket}`
}

export function parseServerOptions (server: unknown): ServerConfig | false | undefined {
  if (server === undefined || server === false) return server
  if (server === true) return defaultServer
  const given = readObject('server', optional('server', server, isObjectOrBoolean, 'a boolean or an object'), options)
  const group = optional('server.group', given.group, isGroup, 'a name of at most 200 characters, or false') ??
    defaultGroup
  const config: ServerConfig = Object.freeze({
    host: optional('server.host', given.host, isHost, 'an address or a name, without scheme, port or path'),
    port: optional('server.port', given.port, isPort, 'an integer from 0 to 65535') ??
      (given.socket === undefined ? defaultPort(group) : undefined),
    socket: optional('server.socket', given.socket, isSocketPath,
      `the absolute path of a Unix socket, of at most ${longestSocketPath} bytes, and left out on Windows`),
    group,
    path: optional('server.path', given.path, isPath, pathRule) ?? defaultServer.path,
    live: parseLive(given.live),
    start: optional('server.start', given.start, isStartPolicy, "'listen', 'ready' or 'manual'") ?? defaultServer.start,
    lastScrapeSeconds:
      optional('server.lastScrapeSeconds', given.lastScrapeSeconds, isWait, 'a number from 0 to 3600') ??
        defaultServer.lastScrapeSeconds,
    https: given.https === undefined ? undefined : parseHttps(given.https),
    auth: given.auth === undefined ? undefined : parseAuth(given.auth)
  })
  checkPath(config)
  checkSocket(config)
  return config
}

/** What the operating systems allow: 107 on Linux, and 103 on macOS. */
const longestSocketPath = 103

/** Checks that the server has one address. What keeps strangers from a Unix socket are the permissions of its file. */
function checkSocket ({ host, port, socket, https }: ServerConfig): void {
  if (socket === undefined) return
  for (const [option, value] of Object.entries({ host, port, https })) {
    check(`server.${option}`, value === undefined, 'left out beside "server.socket"',
      option === 'https' ? kindOnly(value) : value)
  }
}

/** The paths at which the metrics server answers probes. Probes have no credentials, and need none. */
export const probePaths: readonly string[] = ['/healthz', '/readyz']

/** Checks that the metrics are not where probes or the live page are. */
function checkPath ({ path, live }: ServerConfig): void {
  check('server.path', !probePaths.includes(path),
    `another path than ${probePaths.join(' and ')}, with which the metrics server answers probes`, path)
  check('server.path', live === false || (path !== '/live' && !path.startsWith('/live/')),
    'another path than that of the page at /live, unless "server.live" is false', path)
}

function parseLive (live: unknown): ServerConfig['live'] {
  const given = optional('server.live', live, isObjectOrBoolean, 'a boolean or an object') ?? defaultServer.live
  if (isBoolean(given)) return given
  const { objective, traceUrl } = readObject('server.live', given, ['objective', 'traceUrl'])
  return Object.freeze({
    objective: objective === undefined ? undefined : parseObjective(objective),
    traceUrl: optional('server.live.traceUrl', traceUrl, isTraceUrl,
      'an http or https URL with {trace_id} or the name of another label in braces behind the host')
  })
}

function parseObjective (objective: unknown): LiveConfig['objective'] {
  const { latency, share } = readObject('server.live.objective', objective, ['latency', 'share'])
  return Object.freeze({
    latency: required('server.live.objective.latency', latency, isPositive, 'a number of seconds above 0'),
    share: required('server.live.objective.share', share, isShare, 'a number above 0 and below 1')
  })
}

function parseHttps (https: unknown): HttpsConfig {
  check('server.https', isObject(https), 'an object', kindOnly(https),
    hintToLeaveOut(https) || didYouMean('{ certFile, keyFile }, the names of files'))
  const given = readObject('server.https', https, ['certFile', 'keyFile', 'clientCaFile'])
  const fileOf = (option: keyof HttpsConfig): string => {
    const file = given[option]
    checkSecret(`server.https.${option}`, file, fileNameFlaws, 'the name of a file', hintAboutFile(file))
    return file as string
  }
  return Object.freeze({
    certFile: fileOf('certFile'),
    keyFile: fileOf('keyFile'),
    clientCaFile: given.clientCaFile === undefined ? undefined : fileOf('clientCaFile')
  })
}

/** What a text may have that an option does not allow, and how a message says it. */
type Flaw = readonly [pattern: RegExp, flaw: string]

const controlFlaws: readonly Flaw[] = [
  [/[\r\n]$/, 'a line break at its end'], [/[\r\n]/, 'a line break'], [/\p{Cc}/u, 'a control character']
]

const userNameFlaws: readonly Flaw[] = [...controlFlaws, [/:/, 'a colon']]

const tokenFlaws: readonly Flaw[] = [
  ...controlFlaws,
  [/\s/, 'a space'],
  [/^=|=(?!=*$)/, '= before its end'],
  [/[^\w.~+/=-]/, 'a character of another kind']
]

const fileNameFlaws: readonly Flaw[] = [[fileContents, 'the contents of a file'], ...controlFlaws]

/** Checks a text that is a secret, or in whose place a secret may be. A message tells its flaw, and not the text. */
function checkSecret (
  option: string, value: unknown, flaws: readonly Flaw[], rule: string, hint = hintAboutMissing(value)
): void {
  const flaw = isText(value) ? flaws.find(([pattern]) => pattern.test(value))?.[1] : undefined
  check(option, isText(value) && flaw === undefined, rule,
    flaw === undefined ? kindOnly(value) : wording(`a string with ${flaw}`), hint)
}

/** Shows itself in messages as the kind of a value that may be a secret. */
function kindOnly (value: unknown): object {
  return wording(isText(value) ? 'a string' : kindOf(value))
}

/** Shows itself in messages as these words. */
function wording (words: string): object {
  return Object.freeze({ [inspect.custom]: () => words })
}

/** Shows itself in messages in place of passwords and tokens. */
const hidden = wording('a value that is not shown')

/** Reads the option `auth`, and keeps passwords and tokens out of messages. */
function parseAuth (auth: unknown): AuthConfig {
  const rule = 'an object with either "users" or "tokens"'
  check('server.auth', isObject(auth), rule, kindOnly(auth),
    hintToLeaveOut(auth) || didYouMean('{ tokens: [token] }'))
  const { users, tokens } = readObject('server.auth', auth, ['users', 'tokens'])
  check('server.auth', users === undefined || tokens === undefined, rule, wording('both'))
  check('server.auth', users !== undefined || tokens !== undefined, rule, wording('neither'))
  return users === undefined
    ? secret({ users: undefined, tokens: parseTokens(tokens) })
    : secret({ users: parseUsers(users), tokens: undefined })
}

function parseUsers (users: unknown): Readonly<Record<string, string>> {
  const entries = isObject(users) ? Object.entries(users) : []
  check('server.auth.users', entries.length > 0, 'an object of at least one user name and its password',
    isObject(users) ? wording('an empty object') : kindOnly(users), didYouMean('{ name: password }'))
  for (const [index, [name, password]] of entries.entries()) {
    checkSecret(`server.auth.users (name ${index + 1})`, name, userNameFlaws,
      'a string that is not empty and has neither colons nor control characters')
    checkSecret(`server.auth.users (password ${index + 1})`, password, controlFlaws,
      'a string that is not empty and has no control characters')
  }
  return Object.freeze(Object.fromEntries(entries) as Record<string, string>)
}

function parseTokens (tokens: unknown): readonly string[] {
  const given: unknown[] = Array.isArray(tokens) ? [...tokens] : []
  check('server.auth.tokens', given.length > 0, 'an array of at least one token',
    Array.isArray(tokens) ? wording('an empty array') : kindOnly(tokens), didYouMean('[token]'))
  for (const [index, token] of given.entries()) {
    checkSecret(`server.auth.tokens[${index}]`, token, tokenFlaws, 'a token, [A-Za-z0-9._~+/-]+=* (RFC 6750)')
  }
  return Object.freeze(given as string[])
}

function secret (auth: AuthConfig): AuthConfig {
  return Object.freeze(Object.assign(Object.create(hidden), auth))
}

/** Whether a value is an IP address, or may be a name. */
function isHost (value: unknown): value is string {
  return isText(value) && (isIP(value) !== 0 || !/[\s/\\:?#@[\]*]/.test(value))
}

function isPort (value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65535
}

function isGroup (value: unknown): value is string | false {
  return value === false || (isText(value) && value.length <= 200)
}

function isSocketPath (value: unknown): value is string {
  return process.platform !== 'win32' && isText(value) && /^\/[^\0]*[^/\0]$/.test(value) &&
    Buffer.byteLength(value) <= longestSocketPath
}

function isPositive (value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value < Infinity
}

function isShare (value: unknown): value is number {
  return isPositive(value) && value < 1
}

/** Whether a value is a URL in which labels decide neither the scheme nor the host. */
function isTraceUrl (value: unknown): value is string {
  return typeof value === 'string' && /^https?:\/\/[^\s/?#@\\{}]+[/?#]\S*\{[a-zA-Z_]\w*\}\S*$/.test(value) &&
    URL.canParse(value)
}

function isWait (value: unknown): value is number {
  return value === 0 || isTimeout(value)
}

function isStartPolicy (value: unknown): value is ServerConfig['start'] {
  return startPolicies.includes(value)
}
