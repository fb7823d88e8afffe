import type { FastifyRequest } from 'fastify'
import type { LabelFunction, LabelSource } from '../../index'
import type { Ending } from '../http/endings'
import { unmatchedRoute, type RouteSeries } from './route-series'
import { schemeOf } from './scheme'

/** A request that is recorded, as far as label sources need to know it. */
export interface RecordedRequest {
  readonly request: FastifyRequest
  readonly route: RouteSeries
  readonly status: number
  readonly ending: Ending
}

/** A label source that has a name. */
export type NamedSource = Exclude<LabelSource, LabelFunction>

interface Source {
  /** What of a request the live page can learn from such a label. */
  readonly tells?: 'method' | 'route' | 'status'
  /**
   * Whether requests of the same route, method and status may have different values. There are few of each. What decides about the value has
   * to be in `outcomeOf()` too.
   */
  readonly varies?: true
  readonly read: (recorded: RecordedRequest) => string
}

/** What OpenTelemetry's semantic conventions call a method that is not a known one; here also a status code that is none. */
export const other = '_OTHER'

const statusLabels = Array.from({ length: 600 }, (_, status) => status < 100 ? other : String(status))
const statusClassLabels = Array.from({ length: 600 }, (_, status) => status < 100 ? other : `${Math.floor(status / 100)}xx`)

const statusOf = ({ status }: RecordedRequest): string => statusLabels[status] ?? other

/** HTTP versions as Node.js writes them, and as HTTP calls them. */
const protocolVersions = ['1.1', '1.0', '2.0']
const protocolVersionLabels = ['1.1', '1.0', '2']

/** A number for each ending, and what OpenTelemetry's `error.type` is then. Undefined: the status tells. */
const endings = {
  replied: { number: 0, errorType: undefined },
  aborted_before_reply: { number: 1, errorType: 'aborted' },
  aborted_in_reply: { number: 2, errorType: 'aborted' },
  timed_out: { number: 3, errorType: 'timeout' },
  malformed: { number: 4, errorType: 'malformed' },
  long_lived: { number: 5, errorType: undefined }
} satisfies Record<Ending, { number: number, errorType: string | undefined }>

/** Every label source that has a name. A further one is a further row here, and a name in `LabelSource` of index.d.ts. */
export const labelSources: Readonly<Record<NamedSource, Source>> = {
  method: { tells: 'method', read: ({ route, request }) => route.method(request.method) },
  route: { tells: 'route', read: ({ route }) => route.label },
  status: { tells: 'status', read: statusOf },
  status_class: { tells: 'status', read: ({ status }) => statusClassLabels[status] ?? other },
  matched_route: { read: ({ route: { label } }) => label === unmatchedRoute ? '' : label },
  sent_status: { varies: true, read: recorded => recorded.ending === 'aborted_before_reply' ? '' : statusOf(recorded) },
  error_type: { varies: true, read: recorded => endings[recorded.ending].errorType ?? (recorded.status < 500 ? '' : statusOf(recorded)) },
  scheme: { varies: true, read: ({ request }) => schemeOf(request) },
  protocol_version: {
    varies: true,
    read: ({ request }) => protocolVersionLabels[protocolVersions.indexOf(request.raw.httpVersion)] ?? ''
  }
}

/** Everything that named label sources may depend on beside route and method, in one number, since numbers are quick to compare. */
export function outcomeOf (request: FastifyRequest, status: number, ending: Ending, needsScheme: boolean): number {
  const version = protocolVersions.indexOf(request.raw.httpVersion) + 1
  const encrypted = needsScheme && schemeOf(request) === 'https' ? 1 : 0
  return ((status * 4 + version) * 2 + encrypted) * 8 + endings[ending].number
}

/** The labels, if any, that tell the method, the route and the status of a request. */
export function labelsThatTell (
  labels: Readonly<Record<string, LabelSource>>
): Readonly<Record<'methodLabel' | 'routeLabel' | 'statusLabel', string | undefined>> {
  const labelThatTells = (what: Source['tells']): string | undefined =>
    Object.entries(labels).find(([, source]) => typeof source === 'string' && labelSources[source].tells === what)?.[0]
  return { methodLabel: labelThatTells('method'), routeLabel: labelThatTells('route'), statusLabel: labelThatTells('status') }
}
