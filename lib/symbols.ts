/** On `app.server`, which all contexts of one application share: its `ApplicationLatency`. */
export const kLatency = Symbol('fastify-latency.application')
