import t from 'tap'
import latency from '../../lib'
import { createListening } from '../helpers/application'
import { until, withEach } from './programs'

t.test('what Prometheus stores has the attributes of the conventions, ' +
  'and no other', withEach(['prometheus', 'promtool'], async (t, installation) => {
  const { app, address } = await createListening(t, latency.openTelemetry, app => {
    app.get('/users/:id', async () => 'x')
    app.get('/fails', async () => { throw new Error('no') })
  })
  for (const path of ['/users/1', '/fails', '/nowhere']) await (await fetch(address + path)).text()

  const page = await (await fetch(app.latency.url!)).text()
  t.equal(installation.promtool(['check', 'metrics'], page).output, '')

  const prometheus = await installation.start(t, 'global: { scrape_interval: 1s }\nscrape_configs:\n' +
    `  - job_name: shop\n    static_configs: [{ targets: ['${new URL(app.latency.url!).host}'] }]\n`)
  const stored = await until('a scrape', async () => {
    const series = await prometheus.query<{ metric: Record<string, string>, value: [number, string] }>(
      'http_server_request_duration_seconds_count'
    )
    return series.length > 0 && series
  })
  const common = { http_request_method: 'GET', url_scheme: 'http', network_protocol_version: '1.1' }
  const counts = stored.map(
    ({ metric: { __name__: name, job, instance, ...labels }, value: [, count] }): [Record<string, string>, string] =>
      [labels, count])
  t.same(counts.sort(([a], [b]) => Number(a.http_response_status_code) - Number(b.http_response_status_code)), [
    [{ ...common, http_route: '/users/:id', http_response_status_code: '200' }, '1'],
    [{ ...common, http_response_status_code: '404' }, '1'],
    [{ ...common, http_route: '/fails', http_response_status_code: '500', error_type: '500' }, '1']
  ])
}))
