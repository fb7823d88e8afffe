import 'reflect-metadata'
import t from 'tap'
import { Controller, Get, HttpException, Module, Param, Post, Sse, UnauthorizedException } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import { interval, map } from 'rxjs'
import { Client } from './client.mjs'
import { anyPort, compareCounts, latency } from './scenario.mjs'

class UsersController {
  find (id) { return { id } }
  create () { return 'Created' }
  refuse () { throw new UnauthorizedException() }
  fail () { throw new Error('no') }
  teapot () { throw new HttpException('A teapot', 418) }
  events () { return interval(20).pipe(map(number => ({ data: { number } }))) }
}

/** Applies a decorator to a method, as the compiler of TypeScript does. */
function decorateMethod (decorator, name) {
  decorator(UsersController.prototype, name, Object.getOwnPropertyDescriptor(UsersController.prototype, name))
}

decorateMethod(Get(':id'), 'find')
Param('id')(UsersController.prototype, 'find', 0)
decorateMethod(Post(), 'create')
decorateMethod(Get('me/secret'), 'refuse')
decorateMethod(Get('me/fails'), 'fail')
decorateMethod(Get('me/teapot'), 'teapot')
decorateMethod(Sse('me/events'), 'events')
Controller('users')(UsersController)

class AppModule {}
Module({ controllers: [UsersController] })(AppModule)

async function use (client) {
  for (const id of [1, 2]) await client.send('GET', `/users/${id}`, { route: '/users/:id' })
  await client.send('POST', '/users')
  for (const path of ['/users/me/secret', '/users/me/fails', '/users/me/teapot']) await client.send('GET', path)
  await client.send('GET', '/nowhere', { route: 'unmatched' })
  // As EventSource in a browser asks, as fetch() and curl do, and as nobody should.
  for (const accept of ['text/event-stream', '*/*', 'application/json']) {
    await client.stream('GET', '/users/me/events', { events: 8, headers: { accept } })
  }
}

t.test('NestJS: routes, exceptions and @Sse(), with the plugin registered after create()', async t => {
  const answers = []
  for (const isWatched of [false, true]) {
    const adapter = new FastifyAdapter({ forceCloseConnections: true })
    const nest = await NestFactory.create(AppModule, adapter, { logger: false })
    t.teardown(() => nest.close())
    if (isWatched) await nest.register(latency, anyPort)
    await nest.listen(0, '127.0.0.1')
    const app = adapter.getInstance()
    const client = new Client(app, await nest.getUrl())
    await use(client)
    // Nest says when an exception was thrown.
    answers.push(client.answers.map(({ body, ...answer }) => ({ ...answer, body: body?.replace(/"\d{4}-.*?"/, '') })))
    if (isWatched) await compareCounts(t, await app.latency.start(), client.counts)
  }
  t.same(answers[1], answers[0], 'answers are the same as without the plugin')
})
