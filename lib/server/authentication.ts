import { createHash, timingSafeEqual } from 'node:crypto'
import basicAuth = require('@fastify/basic-auth')
import bearerAuth = require('@fastify/bearer-auth')
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { AuthConfig } from './options'

const realm = 'metrics'

/** Lets no request pass that does not prove who it is from, but those that `isOpen` is true for. To be called before any hook is added. */
export function authenticate (app: FastifyInstance, { users, tokens }: AuthConfig, isOpen: (request: FastifyRequest) => boolean): void {
  if (users !== undefined) {
    const known = Object.entries(users).map(([user, password]) => digest(user, password))
    app.register(basicAuth, {
      authenticate: { realm },
      validate: (user, password, _request, _reply, done) => {
        const given = digest(user, password)
        // Compares with all of them, each in constant time: how long it takes tells nothing.
        const matches = known.filter(expected => timingSafeEqual(expected, given))
        done(matches.length > 0 ? undefined : new Error('Unknown user or wrong password'))
      }
    })
  } else {
    app.register(bearerAuth, { keys: [...tokens], specCompliance: 'rfc6749', addHook: false })
  }
  app.addHook('onRequest', (request, reply, done) => {
    if (isOpen(request)) return done()
    if (users !== undefined) return app.basicAuth(request, reply, done)
    app.verifyBearerAuth!(request, reply, error => {
      if (error !== undefined) reply.header('www-authenticate', `Bearer realm="${realm}"`)
      done(error)
    })
  })
}

/** Of any length, as bytes that can be compared. A user name holds no colon. */
function digest (user: string, password: string): Buffer {
  return createHash('sha256').update(`${user}:${password}`).digest()
}
