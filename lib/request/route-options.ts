import type { FastifyInstance, RouteOptions } from 'fastify'
import { FST_LATENCY_ERR_ROUTE_OPTION, printable, type WarnOnce } from '../errors'
import { meaningAtRoute } from '../option-hints'

export interface RouteOptionsLog {
  readonly warnOnce: WarnOnce
  /** Writes a line to the application's log that is no warning. A second one about the same subject is not written. */
  readonly informOnce: (subject: string, line: string) => void
}

/**
 * Tells, once for each name, of options of routes that were probably meant for this plugin, but are not read by it. The
 * routes are recorded. An option that another plugin has may be meant for that plugin, so it is no reason to warn.
 */
export function watchRouteOptions (context: FastifyInstance, { warnOnce, informOnce }: RouteOptionsLog): void {
  context.addHook('onRoute', route => {
    for (const [option, value] of optionsOf(route)) {
      const meant = meaningAtRoute(option, value)
      if (meant === undefined) continue
      const { meaning, isOfOther } = meant
      const pattern = printable(`${[route.method].flat().join()} ${route.url}`)
      if (isOfOther) {
        informOnce(option, `The route ${pattern} has the option "${option}" of another plugin, which changes nothing ` +
          `about its latency; did you mean ${meaning}?`)
      } else {
        warnOnce(`route option ${option}`, () => new FST_LATENCY_ERR_ROUTE_OPTION(pattern, printable(option), meaning))
      }
    }
  })
}

/** The options of a route by their paths, such as `config.latency`. */
function optionsOf (route: RouteOptions): Array<[option: string, value: unknown]> {
  const config = Object.entries({ ...route.config })
  // If the route says what is meant, all else is for others.
  if (config.some(([name]) => name === 'latency')) return []
  return [...Object.entries(route), ...config.map(([name, value]): [string, unknown] => [`config.${name}`, value])]
}
