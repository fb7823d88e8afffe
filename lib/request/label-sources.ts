import type { FastifyRequest } from 'fastify'
import type { LabelFunction, LabelSource } from '../../index'
import type { Ending } from '../http/endings'
import { other, unmatchedRoute, type RouteSeries } from './route-series'
import { schemeOf } from './scheme'

/** The part of a recorded request that label sources need. */
export interface RecordedRequest {
  readonly request: FastifyRequest
  readonly route: RouteSeries
  readonly status: number
  readonly ending: Ending
}

/** A label source with a name, and not a function. */
export type NamedSource = Exclude<LabelSource, LabelFunction>

interface Source {
  /** The property of a request that the live page can learn from a label with this source. */
  readonly tells?: 'method' | 'route' | 'status'
  /**
   * Whether requests of the same route, method and status may have different values. There must be few different
   * values. Everything that decides about the value has to be in `outcomeOf()` too.
   */
  readonly varies?: true
  readonly read: (recorded: RecordedRequest) => string
}

const statuses = Array.from({ length: 600 }, (_, status) => status)
const statusLabels = statuses.map(status => status < 100 ? other : String(status))
const statusClassLabels = statuses.map(status => status < 100 ? other : `${Math.floor(status / 100)}xx`)

const statusOf = ({ status }: RecordedRequest): string => statusLabels[status] ?? other

/** The versions of HTTP as Node.js writes them, and below as HTTP itself writes them. */
const protocolVersions = ['1.1', '1.0', '2.0']
const protocolVersionLabels = ['1.1', '1.0', '2']

/** For each ending a number, and the value of OpenTelemetry's `error.type`. Undefined: the status code decides. */
const endings = {
  replied: { number: 0, errorType: undefined },
  aborted_before_reply: { number: 1, errorType: 'aborted' },
  aborted_in_reply: { number: 2, errorType: 'aborted' },
  timed_out: { number: 3, errorType: 'timeout' },
  malformed: { number: 4, errorType: 'malformed' },
  long_lived: { number: 5, errorType: undefined }
} satisfies Record<Ending, { number: number, errorType: string | undefined }>

/** Every label source with a name. A new one needs a row here and a name in `LabelSource` of index.d.ts. */
export const labelSources: Readonly<Record<NamedSource, Source>> = {
  method: { tells: 'method', read: ({ route, request }) => route.method(request.method) },
  route: { tells: 'route', read: ({ route }) => route.label },
  status: { tells: 'status', read: statusOf },
  status_class: { tells: 'status', read: ({ status }) => statusClassLabels[status] ?? other },
  matched_route: { read: ({ route: { label } }) => label === unmatchedRoute ? '' : label },
  sent_status: { varies: true, read: recorded => recorded.ending === 'aborted_before_reply' ? '' : statusOf(recorded) },
  error_type: {
    varies: true,
    read: recorded => endings[recorded.ending].errorType ?? (recorded.status < 500 ? '' : statusOf(recorded))
  },
  scheme: { varies: true, read: ({ request }) => schemeOf(request) },
  protocol_version: {
    varies: true,
    read: ({ request }) => protocolVersionLabels[protocolVersions.indexOf(request.raw.httpVersion)] ?? ''
  }
}

/**
 * Everything but the route and the method that named label sources depend on, as one number, because numbers are quick
 * to compare. `scheme` is undefined where no label depends on it.
 */
export function outcomeOf (
  request: FastifyRequest, status: number, ending: Ending, scheme: string | undefined
): number {
  const version = protocolVersions.indexOf(request.raw.httpVersion) + 1
  const encrypted = scheme === 'https' ? 1 : 0
  return ((status * 4 + version) * 2 + encrypted) * 8 + endings[ending].number
}

/** The names of the labels that hold the method, the route and the status of a request, where there are such labels. */
export function labelsThatTell (
  labels: Readonly<Record<string, LabelSource>>
): Readonly<Record<'methodLabel' | 'routeLabel' | 'statusLabel', string | undefined>> {
  const labelThatTells = (what: Source['tells']): string | undefined =>
    Object.entries(labels).find(([, source]) => typeof source === 'string' && labelSources[source].tells === what)?.[0]
  return {
    methodLabel: labelThatTells('method'),
    routeLabel: labelThatTells('route'),
    statusLabel: labelThatTells('status')
  }
}
