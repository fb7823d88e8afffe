import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { AuthConfig } from './options'

const realm = 'metrics'

/**
 * Refuses every request without valid credentials, except those for which `isOpen` returns true, and calls `onRefused`
 * for each that it refuses.
 */
export function authenticate (
  app: FastifyInstance, { users, tokens }: AuthConfig, isOpen: (request: FastifyRequest) => boolean,
  onRefused: (request: FastifyRequest) => void
): void {
  if (users !== undefined) {
    const known = Object.entries(users).map(([user, password]) => digest(user, password))
    app.register(require('@fastify/basic-auth') as typeof import('@fastify/basic-auth'), {
      authenticate: { realm },
      validate: (user, password, _request, _reply, done) => {
        const given = digest(user, password)
        // The given credentials are compared with those of all users, each time in constant time. The time of the
        // answer tells nothing.
        const matches = known.filter(expected => timingSafeEqual(expected, given))
        done(matches.length > 0 ? undefined : new Error('Unknown user or wrong password'))
      }
    })
  } else {
    app.register(require('@fastify/bearer-auth') as typeof import('@fastify/bearer-auth'), {
      keys: [...tokens], specCompliance: 'rfc6749', addHook: false
    })
  }
  app.addHook('onRequest', askForCredentials)

  function askForCredentials (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void {
    if (isOpen(request)) return done()
    if (users !== undefined) app.basicAuth(request, reply, finish)
    else app.verifyBearerAuth!(request, reply, finish)

    function finish (error?: Error): void {
      if (error !== undefined) {
        if (users === undefined) reply.header('www-authenticate', `Bearer realm="${realm}"`)
        onRefused(request)
      }
      done(error)
    }
  }
}

/**
 * A digest of a user name and a password. Digests have the same length, so that they can be compared in constant time.
 * The colon separates the two without ambiguity, because a user name has no colon.
 */
function digest (user: string, password: string): Buffer {
  return createHash('sha256').update(`${user}:${password}`).digest()
}
