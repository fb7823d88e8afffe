import t from 'tap'
import Fastify from 'fastify'
import awsLambdaFastify from '@fastify/aws-lambda'
import { anyPort, countsOf, latency } from './scenario.mjs'

const event = (httpMethod, path, more = {}) => ({ httpMethod, path, headers: {}, body: null, ...more })

t.test('@fastify/aws-lambda: answers are the same, and each event is counted; no port is bound', async t => {
  const answers = []
  for (const isWatched of [false, true]) {
    const app = Fastify()
    t.teardown(() => app.close())
    if (isWatched) await app.register(latency, { ...anyPort, endpoint: '/metrics' })
    app.get('/users/:id', async request => ({ id: request.params.id }))
    app.post('/orders', async (request, reply) => reply.code(201).send(request.body))
    app.get('/fails', async () => { throw new Error('no') })
    const handler = awsLambdaFastify(app)
    const answered = []
    for (const sent of [
      event('GET', '/users/1'), event('GET', '/users/2'), event('HEAD', '/users/2'), event('GET', '/fails'),
      event('GET', '/nowhere'),
      event('POST', '/orders', { headers: { 'content-type': 'application/json' }, body: '{"item":1}' })
    ]) {
      const { statusCode, headers: { date, ...headers }, body } = await handler(sent, {})
      answered.push({ statusCode, headers, body })
    }
    const stream = awsLambdaFastify(app, { payloadAsStream: true, decorateRequest: false })
    const { meta: { statusCode }, stream: body } = await stream(event('GET', '/users/3'), {})
    answered.push({ statusCode, body: (await body.toArray()).join('') })
    answers.push(answered)
    if (!isWatched) continue
    t.equal(app.latency.url, null)
    t.same(countsOf((await app.inject('/metrics')).body).counts.replied, {
      'GET /users/:id 200': 3,
      'HEAD /users/:id 200': 1,
      'GET /fails 500': 1,
      'GET unmatched 404': 1,
      'POST /orders 201': 1
    })
  }
  t.same(answers[1], answers[0])
})
