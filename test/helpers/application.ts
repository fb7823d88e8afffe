import cluster from 'node:cluster'
import dns from 'node:dns'
import { isIPv6 } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Registry } from 'prom-client'
import type { Test } from 'tap'
import type { Options } from '../..'
import latency from '../../lib'
import { Exposition } from './exposition'
import { familyOf, observe } from './histogram'

/** Server options that depend on no port being free. */
export const anyPort = { host: '127.0.0.1', port: 0 }

export const hasIPv6 = Object.values(os.networkInterfaces()).flat().some(address => address?.address === '::1')

/** A loopback address beside 127.0.0.1: macOS has none in IPv4, some containers have no IPv6. */
export const otherLoopback = hasIPv6 ? '::1' : '127.0.0.2'

/** Gives `localhost` these addresses until the test ends, whatever the machine says. */
export function resolveLocalhost (t: Test, addresses: string[]): void {
  const { lookup } = dns
  const found = addresses.map(address => ({ address, family: isIPv6(address) ? 6 : 4 }))
  t.teardown(() => { dns.lookup = lookup })
  dns.lookup = ((host: string, ...rest: [callback: Function] | [options: { all?: boolean }, callback: Function]) => {
    const [options, callback] = rest.length === 1 ? [{}, rest[0]] : rest
    if (host !== 'localhost') lookup(host, options, callback as never)
    else if (options.all === true) callback(null, found)
    else callback(null, found[0]!.address, found[0]!.family)
  }) as unknown as typeof lookup
}

/** Makes this process look like a worker of a node:cluster until the test ends. */
export function lookLikeWorker (t: Test): void {
  t.intercept(cluster, 'isWorker', { value: true })
}

/** What `load` requires of lib, loaded once more, in what looks like a worker of a node:cluster until the test ends. */
export function loadInWorker<T> (t: Test, load: () => T): T {
  lookLikeWorker(t)
  return loadAnew(t, load)
}

/** What `load` requires of lib, loaded once more. Whatever that needs later is loaded once more too, in this test. */
export function loadAnew<T> (t: Test, load: () => T): T {
  const folder = path.dirname(require.resolve('../../lib'))
  const loaded = Object.entries(require.cache).filter(([file]) => file.startsWith(folder))
  for (const [file] of loaded) delete require.cache[file]
  t.teardown(() => Object.assign(require.cache, Object.fromEntries(loaded)))
  return load()
}

/** An application without the plugin; it is closed when the test ends. */
export function createApplication (t: Test, options: FastifyServerOptions = {}): FastifyInstance {
  const app = Fastify({ ...options }) // A copy, since Fastify 5.0 adds to it.
  t.teardown(() => app.close())
  return app
}

/**
 * An application with the plugin and whatever `declare` adds, listening, with its metrics server
 * up. Resolves to where it listens.
 */
export async function listen (app: FastifyInstance): Promise<string> {
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  await app.latency.start()
  return address
}

export async function createListening (
  t: Test, options: Options, declare: (app: FastifyInstance) => void = () => {}
): Promise<{ app: FastifyInstance, address: string }> {
  const app = createApplication(t)
  await app.register(latency, { server: anyPort, processMetrics: false, ...options })
  declare(app)
  return { app, address: await listen(app) }
}

/** The registry of an application that was given none of another library. */
export function registryOf (app: FastifyInstance): Registry {
  return app.latency.registry as Registry
}

export async function scrape (url: string | null): Promise<Exposition> {
  const response = await fetch(url!)
  const text = await response.text()
  if (response.status !== 200) throw new Error(`${response.status}: ${text}`)
  return new Exposition(text)
}

/** The process warning that an action causes. */
export async function warningOf (action: () => unknown): Promise<Error & { code?: string }> {
  const warning = new Promise<Error>(resolve => process.once('warning', resolve))
  await action()
  return warning
}

/** The process warnings from now on until the test ends. */
export function collectWarnings (t: Test): Array<Error & { code?: string }> {
  const warnings: Array<Error & { code?: string }> = []
  const collect = (warning: Error): void => { warnings.push(warning) }
  process.on('warning', collect)
  t.teardown(() => process.off('warning', collect))
  return warnings
}

/** Makes pages of more bytes than the buffers of a connection hold. */
export function declareLarge (app: FastifyInstance): void {
  for (let index = 0; index < 3000; index++) observe(familyOf(app), ['GET', `${'x'.repeat(1000)}${index}`, '200'])
}
