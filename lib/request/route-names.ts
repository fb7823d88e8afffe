import type { FastifyContextConfig, RouteOptions } from 'fastify'
import type { DeclaredRoute, Options } from '../../index'
import { describe, settled } from '../errors'
import { longestValue, refusedOf, thrownBy } from './callback'

/** The name that the option `routes` gives to a route. False: it is not recorded. Undefined: it has its own pattern. */
export type RouteName = ReturnType<NonNullable<Options['routes']>>

/**
 * The property of a route's `config` that holds the names that were decided when the route was declared, by whoever
 * decided them. Fastify copies it, as it copies every property, into the `config` that it keeps.
 */
const kNames = Symbol('fastify-latency.names')

type NamedConfig = FastifyContextConfig & { [kNames]?: ReadonlyMap<object, RouteName> }

/** Calls the function of the option `routes`. Throws a coded error if it fails. */
export function nameOf (routes: NonNullable<Options['routes']>, route: DeclaredRoute): RouteName {
  let name: unknown
  try {
    name = routes(route)
  } catch (error) {
    settled(error)
    throw thrownBy('routes', error)
  }
  if (name === undefined || name === false) return name
  if (typeof name === 'string' && name !== '' && name.length <= longestValue) return name.toWellFormed()
  settled(name)
  throw refusedOf('routes', name,
    `a name of 1 to ${longestValue} characters, false or undefined (for the route ${describe(route.url)})`)
}

/** Keeps the name of a route that is being declared. */
export function keepName (route: RouteOptions, decider: object, name: RouteName): void {
  const config: NamedConfig = { ...route.config }
  config[kNames] = new Map([...config[kNames] ?? [], [decider, name]])
  route.config = config
}

/** The kept name, or undefined if none was kept. The name itself may be undefined too. */
export function keptName (config: FastifyContextConfig, decider: object): { readonly name: RouteName } | undefined {
  const names = (config as NamedConfig)[kNames]
  return names?.has(decider) === true ? { name: names.get(decider) } : undefined
}
