// To be required before a program: every application that it makes has this plugin, registered first. `START` says when
// its metrics server starts.
'use strict'

const Module = require('node:module')
const latency = require('../..')

const file = require.resolve('fastify')
const { _compile: compile } = Module.prototype

Module.prototype._compile = function (...args) {
  const result = compile.apply(this, args)
  if (args[1] === file) this.exports = registering(this.exports)
  return result
}

function registering (create) {
  function fastify (...args) {
    const app = create(...args)
    app.register(latency, { server: { host: '127.0.0.1', port: 0, start: process.env.START } })
    return app
  }
  return Object.assign(fastify, create, { fastify, default: fastify })
}
