import type { OpenTelemetryOptions } from '../index'

/**
 * Options for `http.server.request.duration` of OpenTelemetry's semantic conventions. The metric and its attributes
 * have the names that they have in Prometheus:
 * https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
 * https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
 */
export const openTelemetry: OpenTelemetryOptions = Object.freeze({
  histogram: Object.freeze({
    name: 'http_server_request_duration_seconds',
    help: 'Duration of HTTP server requests.',
    buckets: Object.freeze([0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10])
  }),
  labels: Object.freeze({
    http_request_method: 'method',
    http_route: 'matched_route',
    http_response_status_code: 'sent_status',
    error_type: 'error_type',
    url_scheme: 'scheme',
    network_protocol_version: 'protocol_version'
  })
})
