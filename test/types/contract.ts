// Compiled, not run: `npm run build`. What users write is in consumer.ts.
import Fastify from 'fastify'
import latency, { fastifyLatency } from '../..'
import implementation from '../../lib'

// What is implemented is what is declared.
const declared: typeof latency = implementation
const named: typeof latency = fastifyLatency
export { declared, named }

// With exactOptionalPropertyTypes, leaving out is not undefined.
const app = Fastify()
// @ts-expect-error an option
app.register(latency, { histogram: undefined })
// @ts-expect-error a part of one
app.register(latency, { histogram: { name: undefined } })
// @ts-expect-error what names a route
app.get('/', { config: { latency: { route: undefined } } }, async () => 'x')
