import t from 'tap'
import { Project } from './project'

const name = 'http_server_request_duration'

/**
 * Series of the histogram without what one of the two does not have: labels with their values,
 * and the bucket they belong to.
 */
function series (page: string, name: string): string[] {
  const lines = [...page.matchAll(new RegExp(`^${name}(_bucket|_count)\\{(.*)\\} (\\d+)$`, 'gm'))]
  return lines
    .filter(([, suffix, labels]) => suffix === '_count' || labels!.includes('le="+Inf"'))
    .map(([, suffix, labels, value]) => {
      const pairs = [...labels!.matchAll(/(\w+)="([^"]*)"/g)].map(([pair, label, value]) => ({
        pair, label: label!, value
      }))
      // OpenTelemetry has the route of a traced request only.
      const common = pairs.filter(({ label, value }) =>
        value !== '' && label !== 'http_route' && !label.startsWith('otel_scope_'))
      return `${suffix} ${common.map(({ pair }) => pair).sort().join()} ${value}`
    })
    .sort()
}

function bounds (page: string): number[] {
  return [...new Set(
    [...page.matchAll(/^http_server_request_duration\w*_bucket.*le="([\d.]+)"/gm)].map(([, bound]) => Number(bound))
  )].sort((a, b) => a - b)
}

t.test("what openTelemetry makes of the histogram is what OpenTelemetry's own instrumentation " +
  'of HTTP counts', async t => {
  const { ours, theirs } = await new Project(t).run('open-telemetry.cjs') as { ours: string, theirs: string }
  t.match(ours, new RegExp(`^# HELP ${name}_seconds Duration of HTTP server requests\\.$`, 'm'))
  // Its exporter does not add the unit to the name, as the specification asks for.
  t.match(theirs, new RegExp(`^# HELP ${name} Duration of HTTP server requests\\.$`, 'm'))
  t.match(theirs, new RegExp(`^# UNIT ${name} s$`, 'm'))
  t.equal(bounds(ours).length, 14)
  t.same(bounds(ours), bounds(theirs))
  t.equal(series(ours, `${name}_seconds`).length, 8)
  t.same(series(ours, `${name}_seconds`), series(theirs, name))
})
