import { createHash } from 'node:crypto'
import type { Facts, OptionTable } from './facts'
import { escapeHtml, version } from './html'

const style = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0 0 1.5rem; }
caption { text-align: left; font-weight: bold; }
th, td { text-align: left; vertical-align: top; font-weight: normal; padding: .1rem 1.5rem .1rem 0; }
th, td { overflow-wrap: anywhere; }
`

const styleHash = createHash('sha256').update(style).digest('base64')

/** The Content-Security-Policy of the page: it allows the page's own style, and nothing else. */
export const contentSecurityPolicy = `default-src 'none'; style-src 'sha256-${styleHash}'; ` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** The page at `/`, for people. It says what this server is, where the metrics are, and which options are in effect. */
export function frontPage (
  { path, tables }: Facts, pages: ReadonlyArray<readonly [path: string, about: string]>
): string {
  const links = [[path, 'the metrics'] as const, ...pages]
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Metrics</title>
<style>${style}</style>
<h1>Metrics</h1>
<p>Latency of the requests to a Fastify application, for Prometheus.
Served by fastify-latency ${escapeHtml(version)}.</p>
<ul>
${links.map(renderLink).join('\n')}
</ul>
<h2>Options</h2>
${tables.map(renderTable).join('')}</html>
`
}

function renderLink ([path, about]: readonly [path: string, about: string]): string {
  return `<li><a href="${escapeHtml(path)}">${escapeHtml(path)}</a>: ${about}</li>`
}

function renderTable ({ caption, options }: OptionTable): string {
  const rows = Object.entries(options)
    .map(([name, value]) => `<tr><th scope="row">${escapeHtml(name)}<td>${escapeHtml(value)}\n`)
  return `<table>\n<caption>${escapeHtml(caption)}</caption>\n${rows.join('')}</table>\n`
}
