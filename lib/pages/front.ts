import { createHash } from 'node:crypto'
import type { Config, ScrapeConfig, ServerConfig } from '../config'
import { escape, version } from './html'

const style = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0 0 1.5rem; }
caption { text-align: left; font-weight: bold; }
th, td { text-align: left; vertical-align: top; font-weight: normal; padding: .1rem 1.5rem .1rem 0; overflow-wrap: anywhere; }
`

const styleHash = createHash('sha256').update(style).digest('base64')

/** Allows the page its own style, and nothing else. */
export const contentSecurityPolicy = `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`

/** What the page tells about. */
export interface Facts {
  readonly server: ServerConfig
  readonly scrape: ScrapeConfig
  readonly processMetrics: boolean
  readonly registrations: readonly Config[]
}

/** The page at `/`, for people: what this is, where the metrics are, and with which options. Nothing on it is secret. */
export function frontPage ({ server, scrape, processMetrics, registrations }: Facts, hasLivePage: boolean): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Metrics</title>
<style>${style}</style>
<h1>Metrics</h1>
<p>Latency of the requests to a Fastify application, for Prometheus. Served by fastify-latency ${escape(version)}.</p>
<ul>
<li><a href="${escape(server.path)}">${escape(server.path)}</a>: the metrics</li>
${hasLivePage ? '<li><a href="/live">/live</a>: the latency as it is now</li>\n' : ''}<li><a href="/healthz">/healthz</a>: does the process answer?</li>
<li><a href="/readyz">/readyz</a>: does the application accept requests?</li>
</ul>
<h2>Options</h2>
${registrations.map(registration => table(`Histogram ${registration.histogram.name}`, {
    help: registration.histogram.help,
    buckets: registration.histogram.upperBounds,
    labels: registration.labels,
    constLabels: registration.constLabels,
    ignore: registration.ignore,
    seriesLimit: registration.seriesLimit,
    inFlight: registration.inFlight,
    abortedStatus: registration.abortedStatus ?? 'reply',
    timeToFirstByte: registration.timeToFirstByte?.name,
    route: registration.route
  })).join('')}${table('Metrics server', {
    host: server.host ?? 'where the application listens',
    port: server.port,
    path: server.path,
    live: server.live,
    start: server.start,
    lastScrapeSeconds: server.lastScrapeSeconds,
    https: server.https && (server.https.clientCaFile === undefined ? 'TLS' : 'TLS, with client certificates'),
    auth: server.auth && (server.auth.users === undefined ? 'tokens' : 'users')
  })}${table('Scrapes', { ...scrape, processMetrics })}</html>
`
}

function table (caption: string, options: Record<string, unknown>): string {
  const rows = Object.entries(options).map(([name, value]) => `<tr><th scope="row">${escape(name)}<td>${escape(show(value))}\n`)
  return `<table>\n<caption>${escape(caption)}</caption>\n${rows.join('')}</table>\n`
}

function show (value: unknown): string {
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return value.join(', ')
  if (typeof value === 'object' && value !== null) return Object.entries(value).map(([name, value]) => `${name}: ${show(value)}`).join(', ') || 'none'
  return String(value ?? 'none')
}
