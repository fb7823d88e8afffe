import cluster from 'node:cluster'
import { inspect } from 'node:util'
import type { ServerOptions } from '../../index'
import { check, isBoolean, isObject, isPath, isText, isTimeout, optional, pathRule, readObject } from '../checks'

/** The options of the metrics server. */
export interface ServerConfig {
  /** Undefined: the metrics server listens where the application listens. */
  readonly host: string | undefined
  /** Undefined: the server has no port, because the workers of a `node:cluster` would share a default one. */
  readonly port: number | undefined
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

export const defaultServer: ServerConfig = Object.freeze({
  host: undefined,
  port: cluster.isWorker ? undefined : 8000,
  path: '/metrics',
  live: true,
  start: 'listen',
  lastScrapeSeconds: 0,
  https: undefined,
  auth: undefined
})

const options = ['host', 'port', 'path', 'live', 'start', 'lastScrapeSeconds', 'https', 'auth']

const startPolicies: readonly unknown[] = ['listen', 'ready', 'manual']

const usersRule = 'an object of at least one user name and its password, all of them strings that are not empty and ' +
  'have no control characters, and the user names without a colon'

export function parseServerOptions (server: unknown): ServerConfig | false | undefined {
  if (server === undefined || server === false) return server
  if (server === true) return defaultServer
  optional('server', server, isObject, 'a boolean or an object')
  const given = readObject('server', server, options)
  return Object.freeze({
    host: optional('server.host', given.host, isText, 'a string that is not empty'),
    port: optional('server.port', given.port, isPort, 'an integer from 0 to 65535') ?? defaultServer.port,
    path: optional('server.path', given.path, isPath, pathRule) ?? defaultServer.path,
    live: parseLive(given.live),
    start: optional('server.start', given.start, isStartPolicy, "'listen', 'ready' or 'manual'") ?? defaultServer.start,
    lastScrapeSeconds:
      optional('server.lastScrapeSeconds', given.lastScrapeSeconds, isWait, 'a number from 0 to 3600') ??
        defaultServer.lastScrapeSeconds,
    https: given.https === undefined ? undefined : parseHttps(given.https),
    auth: given.auth === undefined ? undefined : parseAuth(given.auth)
  })
}

function parseLive (live: unknown): ServerConfig['live'] {
  if (live === undefined) return defaultServer.live
  if (isBoolean(live)) return live
  check('server.live', isObject(live), 'a boolean or an object', live)
  const { objective } = readObject('server.live', live, ['objective'])
  if (objective === undefined) return Object.freeze({ objective: undefined })
  const { latency, share } = readObject('server.live.objective', objective, ['latency', 'share'])
  check('server.live.objective.latency', isPositive(latency), 'a number of seconds above 0', latency)
  check('server.live.objective.share', isPositive(share) && share < 1, 'a number above 0 and below 1', share)
  return Object.freeze({ objective: Object.freeze({ latency: latency as number, share: share as number }) })
}

function parseHttps (https: unknown): HttpsConfig {
  check('server.https', isObject(https), 'an object', unlessSecret(https))
  const given = readObject('server.https', https, ['certFile', 'keyFile', 'clientCaFile'])
  const fileOf = (option: keyof HttpsConfig): string => {
    const file = given[option]
    check(`server.https.${option}`, isFileName(file), 'the name of a file', unlessSecret(file))
    return file as string
  }
  return Object.freeze({
    certFile: fileOf('certFile'),
    keyFile: fileOf('keyFile'),
    clientCaFile: given.clientCaFile === undefined ? undefined : fileOf('clientCaFile')
  })
}

/** What a message may show in place of a value that may be a private key. */
function unlessSecret (value: unknown): unknown {
  return (typeof value === 'object' && value !== null) || isText(value) ? hidden : value
}

/** Whether a value is a text, and not the contents of a PEM file. */
function isFileName (value: unknown): boolean {
  return isText(value) && !value.includes('-----')
}

/** Shows itself in messages in place of passwords and tokens. */
const hidden = Object.freeze({ [inspect.custom]: () => 'a value that is not shown' })

/** Reads the option `auth`, and keeps passwords and tokens out of messages. */
function parseAuth (auth: unknown): AuthConfig {
  const rule = 'an object with either "users" or "tokens"'
  check('server.auth', isObject(auth), rule, hidden)
  const { users, tokens } = readObject('server.auth', auth, ['users', 'tokens'])
  check('server.auth', (users === undefined) !== (tokens === undefined), rule, hidden)
  if (users !== undefined) {
    check('server.auth.users', isUsers(users), usersRule, hidden)
    return secret({ users: Object.freeze({ ...users as Record<string, string> }), tokens: undefined })
  }
  const tokensRule = 'an array of at least one token, [A-Za-z0-9._~+/-]+=* (RFC 6750)'
  check('server.auth.tokens', isTokens(tokens), tokensRule, isUnset(tokens) ? [undefined] : hidden)
  return secret({ users: undefined, tokens: Object.freeze([...tokens as string[]]) })
}

function secret (auth: AuthConfig): AuthConfig {
  return Object.freeze(Object.assign(Object.create(hidden), auth))
}

function isPort (value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65535
}

function isPositive (value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value < Infinity
}

function isWait (value: unknown): value is number {
  return value === 0 || isTimeout(value)
}

function isStartPolicy (value: unknown): value is ServerConfig['start'] {
  return startPolicies.includes(value)
}

function isUsers (value: unknown): value is Record<string, string> {
  return isObject(value) && Object.keys(value).length > 0 &&
    Object.entries(value).every(([user, password]) => isPrintable(user) && !user.includes(':') && isPrintable(password))
}

function isPrintable (value: unknown): boolean {
  return isText(value) && !/\p{Cc}/u.test(value)
}

/** Whether a token is undefined, as one is that was to come from an environment variable which is not set. */
function isUnset (tokens: unknown): boolean {
  return Array.isArray(tokens) && tokens.includes(undefined)
}

function isTokens (value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 &&
    value.every(token => typeof token === 'string' && /^[\w.~+/-]+=*$/.test(token))
}
