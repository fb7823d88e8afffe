import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parse, Reader } from 'protobufjs'
import { FileDescriptorSet } from 'protobufjs/ext/descriptor'
import { root } from './repository'

/** Messages of metrics.proto as protobufjs reads them. What is not there is undefined. */
export interface Family {
  readonly name: string
  readonly help: string
  readonly type: 'COUNTER' | 'GAUGE' | 'SUMMARY' | 'UNTYPED' | 'HISTOGRAM'
  readonly unit?: string
  readonly metric: readonly Metric[]
}

export interface Metric {
  readonly label: readonly Label[]
  readonly gauge?: { readonly value: number }
  readonly counter?: { readonly value: number, readonly exemplar?: Exemplar, readonly createdTimestamp?: Timestamp }
  readonly untyped?: { readonly value: number }
  readonly summary?: {
    readonly sampleCount: number
    readonly sampleSum: number
    readonly quantile: ReadonlyArray<{ readonly quantile: number, readonly value: number }>
    readonly createdTimestamp?: Timestamp
  }
  readonly histogram?: Histogram
}

export interface Histogram {
  readonly sampleCount?: number
  readonly sampleCountFloat?: number
  readonly sampleSum: number
  readonly bucket: ReadonlyArray<{
    readonly cumulativeCount?: number
    readonly cumulativeCountFloat?: number
    readonly upperBound: number
    readonly exemplar?: Exemplar
  }>
  readonly createdTimestamp?: Timestamp
  readonly schema?: number
  readonly zeroThreshold?: number
  readonly zeroCount?: number
  readonly positiveSpan?: ReadonlyArray<{ readonly offset: number, readonly length: number }>
  readonly positiveDelta?: readonly number[]
}

export interface Label {
  readonly name: string
  readonly value: string
}

export interface Exemplar {
  readonly label: readonly Label[]
  readonly value: number
  readonly timestamp?: Timestamp
}

export interface Timestamp {
  readonly seconds: number
  readonly nanos: number
}

const { root: schema } = parse(readFileSync(path.join(root, 'test', 'helpers', 'metrics.proto'), 'utf8'))
const metricFamily = schema.lookupType('io.prometheus.client.MetricFamily')

/** All families of an exposition in Protocol Buffers. Throws if there is anything that the schema does not have. */
export function readProtobuf (bytes: Uint8Array): Family[] {
  const reader = Reader.create(bytes)
  const families: Family[] = []
  while (reader.pos < reader.len) {
    const start = reader.pos
    const message = metricFamily.decodeDelimited(reader)
    // A decoder passes over fields that it does not know, and cannot tell an empty one from none.
    assert.equal(reader.pos - start, metricFamily.encodeDelimited(message).finish().length, 'other fields')
    families.push(metricFamily.toObject(message, { longs: Number, enums: String, arrays: true }) as Family)
  }
  return families
}

/** The schema, as other libraries for Protocol Buffers read it. */
export function describeSchema (): Buffer {
  return Buffer.from(FileDescriptorSet.encode(schema.toDescriptor('proto2')).finish())
}

/** The content type of such an exposition. */
export const protobuf =
  'application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited'

export function secondsOf ({ seconds, nanos }: Timestamp): number {
  return seconds + nanos / 1e9
}
