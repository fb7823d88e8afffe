import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ExemplarFunction } from '../../index'
import { isObject } from '../checks'
import type { Warn } from '../errors'
import type { ExemplarLabels } from '../histogram/exemplars'
import { mayBeSampled, sampled } from '../histogram/traceparent'
import type { Labels } from '../snapshot'
import { Callback, thrownBy } from './callback'
import { declareProperty } from './request-property'

/** Reads of a request what its exemplars are labelled with. Undefined: the request is no exemplar. */
export type ExemplarSource = (request: FastifyRequest, reply: FastifyReply) => ExemplarLabels | undefined

/** A source for all histograms of one registration. Undefined: no request is an exemplar. */
export function createExemplarSource (option: boolean | ExemplarFunction, warn: Warn): ExemplarSource | undefined {
  if (option === false) return undefined
  if (option === true) return createTraceSource(warn)
  const callback = new Callback<Labels | typeof none>({
    option: 'exemplars', function: option, read: readLabels, rule: labelsRule, otherwise: none, warn
  })
  // All histograms of a request ask, and the function is called once.
  const kLabels = Symbol('fastify-latency.exemplar')
  return (request: FastifyRequest & { [kLabels]?: Labels | typeof none }, reply) => {
    const labels = request[kLabels] ??= callback.call(request, reply)
    return labels === none ? undefined : labels
  }
}

/** The property of a request that holds the span that was active when the request began. */
const kSpanAtStart = Symbol('fastify-latency.span')

type Request = FastifyRequest & { [kSpanAtStart]?: SpanContext | undefined }

/** Gives the requests of an application the property that `noteSpan()` fills in. */
export function noteSpans (app: FastifyInstance): void {
  declareProperty(app, kSpanAtStart)
}

/**
 * To be called when a request begins. When it ends, its span may be active no more: in HTTP/2 none is, and of pipelined
 * requests it may be that of another one.
 */
export function noteSpan (request: Request): void {
  try {
    request[kSpanAtStart] ??= activeSpan()
  } catch {
    // It will be warned of when the request has ended.
  }
}

/** The trace of a request, if it is sampled: by the active span of OpenTelemetry, or by the client's `traceparent`. */
function createTraceSource (warn: Warn): ExemplarSource {
  let hasFailed = false
  return (request: Request) => {
    try {
      const span = request[kSpanAtStart] ?? activeSpan()
      if (span !== undefined && (span.traceFlags & sampled) !== 0) return `00-${span.traceId}-${span.spanId}-01`
    } catch (error) {
      if (!hasFailed) warn(thrownBy('exemplars', error))
      hasFailed = true
    }
    const { traceparent } = request.headers
    return typeof traceparent === 'string' && mayBeSampled(traceparent) ? traceparent : undefined
  }
}

// Every copy and version 1 of `@opentelemetry/api` keeps what is registered with it under the first symbol, and the
// active span of a context under the second, so that copies work together. test/exemplars.test.ts fails with an API
// that does it in another way. The API itself is no dependency: it might not be found from here, or be another copy.
const kApi = Symbol.for('opentelemetry.js.api.1')
const kSpan = Symbol.for('OpenTelemetry Context Key SPAN')

interface SpanContext {
  readonly traceId: string
  readonly spanId: string
  readonly traceFlags: number
}

interface OpenTelemetryApi {
  /** The context manager that an SDK has registered. */
  readonly context?: { active (): { getValue (key: symbol): { spanContext (): SpanContext } | undefined } }
}

/** An API that was not found may be loaded later. It is not looked for each time, which would take 14 ns. */
const requestsPerLook = 64

let api: OpenTelemetryApi | undefined
let requestsWithoutApi = 0

function activeSpan (): SpanContext | undefined {
  if (api === undefined && requestsWithoutApi++ % requestsPerLook === 0) {
    api = (globalThis as { [kApi]?: OpenTelemetryApi })[kApi]
  }
  return api?.context?.active().getValue(kSpan)?.spanContext()
}

/** What the user's function says of a request that is no exemplar. */
const none = Symbol('none')

/** The greatest number of characters in all labels of an exemplar, which is a limit of OpenMetrics. */
const longestLabels = 128

const labelsRule = `undefined, or labels of at most ${longestLabels} characters`

function readLabels (value: unknown): Labels | typeof none | undefined {
  if (value === undefined) return none
  try {
    if (!isObject(value)) return undefined
    const labels = { ...value }
    return isExemplar(labels) ? labels : undefined
  } catch {
    // A getter of the value has thrown.
    return undefined
  }
}

function isExemplar (labels: Record<string, unknown>): labels is Labels {
  const entries = Object.entries(labels)
  const isLabels = entries.every(([name, value]) => /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) && typeof value === 'string')
  return isLabels && entries.length > 0 && [...entries.flat().join('')].length <= longestLabels
}
