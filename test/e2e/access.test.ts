import t, { type Test } from 'tap'
import type { ServerOptions } from '../..'
import { anyPort, createListening } from '../helpers/application'
import { createAuthority, Files, issue } from '../helpers/certificates'
import { until, withEach } from './programs'

interface Target {
  readonly labels: { job: string }
  readonly health: string
  readonly lastError: string
}

async function startServer (t: Test, server: ServerOptions): Promise<string> {
  const { app } = await createListening(t, { server: { ...anyPort, ...server } })
  return new URL(app.latency.url!).host
}

t.test('Prometheus scrapes over TLS with a client certificate, with a password and with a token, ' +
  'and not without', withEach(['prometheus'], async (t, installation) => {
  const files = new Files(t)
  const ca = await createAuthority('ca')
  const [server, client] = await Promise.all([issue(ca, 'server'), issue(ca, 'client')])
  const caFile = files.write('ca.pem', ca.cert)
  const https = {
    certFile: files.write('cert.pem', server.cert), keyFile: files.write('key.pem', server.key), clientCaFile: caFile
  }
  const trust = `scheme: https, tls_config: { ca_file: ${caFile}`
  const certificate =
    `cert_file: ${files.write('client.pem', client.cert)}, key_file: ${files.write('client-key.pem', client.key)}`
  const [tls, users, tokens] = await Promise.all([
    startServer(t, { https }),
    startServer(t, { auth: { users: { prometheus: 'pass:wörd' } } }),
    startServer(t, { https: { certFile: https.certFile, keyFile: https.keyFile }, auth: { tokens: ['s3cret+/='] } })
  ])
  const jobs: Array<[job: string, host: string, config: string, error: RegExp]> = [
    ['certificate', tls, `${trust}, ${certificate} }`, /^$/],
    ['no certificate', tls, `${trust} }`, /certificate required/],
    ['no TLS', tls, '', /400 Bad Request|malformed HTTP response|EOF|reset/],
    ['password', users, 'basic_auth: { username: prometheus, password: "pass:wörd" }', /^$/],
    ['wrong password', users, 'basic_auth: { username: prometheus, password: other }', /401 Unauthorized/],
    ['no password', users, '', /401 Unauthorized/],
    ['token', tokens, `authorization: { credentials: s3cret+/= }, ${trust} }`, /^$/],
    ['wrong token', tokens, `authorization: { credentials: s3cret }, ${trust} }`, /401 Unauthorized/],
    ['no token', tokens, `${trust} }`, /401 Unauthorized/]
  ]
  const prometheus = await installation.start(t, 'global: { scrape_interval: 1s }\nscrape_configs:\n' + jobs
    .map(([job, host, config]) => `  - { job_name: ${job}, static_configs: [{ targets: ['${host}'] }], ${config} }\n`)
    .join(''))
  const targets = await until('a scrape of every target', async () => {
    const { activeTargets } = await prometheus.get<{ activeTargets: Target[] }>('targets', { state: 'active' })
    return activeTargets.length === jobs.length && activeTargets.every(target => target.health !== 'unknown') &&
      activeTargets
  })
  for (const [job, , , error] of jobs) {
    const target = targets.find(({ labels }) => labels.job === job)!
    t.match(target.lastError, error, job)
    const stored = await prometheus.query(`{job="${job}",__name__=~"http_.*"}`)
    t.equal(stored.length > 0, target.health === 'up', `${job}: ${target.health}`)
  }
}))
