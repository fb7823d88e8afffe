import { execFileSync } from 'node:child_process'
import t from 'tap'
import { root } from '../helpers/repository'

t.test('openTelemetry can be imported by name, required by name, and is on the plugin', async t => {
  const statements = {
    module: "import latency, { openTelemetry } from 'fastify-latency'",
    commonjs: "const latency = require('fastify-latency'), { openTelemetry } = latency"
  }
  for (const [type, statement] of Object.entries(statements)) {
    const program = `${statement}; console.log(latency.openTelemetry === openTelemetry, openTelemetry.histogram.name)`
    const output = execFileSync(process.execPath, [`--input-type=${type}`, '-e', program], {
      cwd: root, encoding: 'utf8'
    })
    t.equal(output, 'true http_server_request_duration_seconds\n')
  }
})
