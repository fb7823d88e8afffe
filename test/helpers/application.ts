import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'
import type { Options } from '../..'
import latency from '../../lib'
import { Exposition } from './exposition'

/** Server options that depend on no port being free. */
export const anyPort = { host: '127.0.0.1', port: 0 }

/** An application without the plugin; it is closed when the test ends. */
export function createApplication (t: Test, options: FastifyServerOptions = {}): FastifyInstance {
  const app = Fastify(options)
  t.teardown(() => app.close())
  return app
}

/** An application with the plugin and whatever `declare` adds, listening, with its metrics server up. Resolves to where it listens. */
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
