import type { FastifyReply } from 'fastify'
import { defaultUpperBounds } from '../histogram/bounds'
import type { HistogramConfig, HistogramDefaults } from '../histogram/options'
import { receivedBytes, sentBytes } from '../http/body-sizes'
import type { Ending } from '../http/endings'

/**
 * A quantity of each request, which is recorded into a histogram. The inherited properties are the defaults of that
 * histogram.
 */
export interface Measure<Option extends string = string> extends HistogramDefaults {
  /** The option that describes the histogram. */
  readonly option: Option
  readonly isOnByDefault: boolean
  /** The unit of the values. */
  readonly unit: 'seconds' | 'bytes'
  /**
   * The moment at which the quantity is known: when the headers of the reply have been sent, or when the request has
   * ended.
   */
  readonly moment: 'headers' | 'end'
  /**
   * The value: the time from the request's arrival to that moment, in seconds, or what a function reads at the end of
   * the request. Where a function returns undefined, the request has no such value, and nothing is recorded.
   */
  readonly value: 'elapsed seconds' | ((reply: FastifyReply, ending: Ending) => number | undefined)
}

/** How long requests waited. The wait is that of the event loop, so that this histogram has labels of its own. */
export const queueTime: Measure<'queueTime'> = {
  option: 'queueTime',
  isOnByDefault: false,
  unit: 'seconds',
  moment: 'end',
  value: 'elapsed seconds',
  name: 'http_request_queue_seconds',
  help: 'Estimated time for which requests waited before the router received them, in seconds.',
  upperBounds: defaultUpperBounds
}

/** The default bounds of sizes, in bytes: the powers of four from 64 B to 16 MiB. */
const sizeBounds = Array.from({ length: 10 }, (_, power) => 64 * 4 ** power)

/** Gives each row the type of its own option name. */
function measure<Option extends string> (row: Measure<Option>): Measure<Option> {
  return row
}

/**
 * Everything that is measured of a request. A new quantity needs a row here and an option of the same name in
 * index.d.ts.
 */
export const measures = [
  measure({
    option: 'histogram',
    isOnByDefault: true,
    unit: 'seconds',
    moment: 'end',
    value: 'elapsed seconds',
    name: 'http_request_duration_seconds',
    help: 'Time from receiving a request to handing its reply to the operating system, in seconds.',
    upperBounds: defaultUpperBounds
  }),
  measure({
    option: 'timeToFirstByte',
    isOnByDefault: false,
    unit: 'seconds',
    moment: 'headers',
    value: 'elapsed seconds',
    name: 'http_request_first_byte_seconds',
    help: 'Time from receiving a request to sending the headers of its reply, in seconds.',
    upperBounds: defaultUpperBounds
  }),
  measure({
    option: 'requestSize',
    isOnByDefault: false,
    unit: 'bytes',
    moment: 'end',
    value: receivedBytes,
    name: 'http_server_request_body_size_bytes',
    help: 'Size of the bodies of requests as they were received, in bytes.',
    upperBounds: sizeBounds
  }),
  measure({
    option: 'responseSize',
    isOnByDefault: false,
    unit: 'bytes',
    moment: 'end',
    value: (reply, ending) => ending === 'replied' ? sentBytes(reply) : undefined,
    name: 'http_server_response_body_size_bytes',
    help: 'Size of the bodies of replies as they were sent, in bytes.',
    upperBounds: sizeBounds
  })
] as const

export type MeasureOption = typeof measures[number]['option']

/** The histogram of each measure. Undefined: the quantity is not measured. */
export type MeasuredConfig = {
  readonly [Option in MeasureOption]: HistogramConfig | (Option extends 'histogram' ? never : undefined)
}
