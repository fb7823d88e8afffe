import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { type Figures, type Part } from '../part'
import { peersFolder, root } from '../subjects'

const run = promisify(execFile)

/** Installs packages in an empty folder, without fastify, which everybody has. */
async function measure (specifiers: readonly string[]): Promise<Figures> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'install-'))
  try {
    await run('npm', [
      'install', '--prefix', folder, '--no-audit', '--no-fund', '--ignore-scripts', '--legacy-peer-deps', ...specifiers
    ])
    const modules = path.join(folder, 'node_modules')
    const { packages } = JSON.parse(readFileSync(path.join(modules, '.package-lock.json'), 'utf8'))
    const files = readdirSync(modules, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
    const bytes = files.reduce((sum, { parentPath, name }) => sum + statSync(path.join(parentPath, name)).size, 0)
    return { packages: Object.keys(packages).length, megabytes: bytes / 1e6 }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function measureOurs (): Promise<Figures> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'pack-'))
  try {
    const { stdout } = await run('npm', ['pack', root, '--ignore-scripts', '--pack-destination', folder, '--json'])
    const [{ filename }] = JSON.parse(stdout)
    return await measure([path.join(folder, filename)])
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const { dependencies } = JSON.parse(readFileSync(path.join(peersFolder, 'package.json'), 'utf8'))

const peers = async (...names: string[]): Promise<Figures> =>
  measure(names.map(name => `${name}@${dependencies[name]}`))

export const install: Part = {
  title: 'Installation',
  method: 'Packages and their size in an empty folder, without fastify.',
  samples: 1,
  scenarios: {
    'fastify-latency': measureOurs,
    'prom-client': () => measure(['prom-client']),
    ...Object.fromEntries(['fastify-metrics', '@platformatic/fastify-http-metrics', '@promster/fastify']
      .map(name => [name, () => peers(name)])),
    '@fastify/otel with metrics': () => peers(
      '@fastify/otel', '@opentelemetry/exporter-prometheus', '@opentelemetry/instrumentation-http',
      '@opentelemetry/sdk-metrics'
    )
  },
  columns: [
    { heading: 'packages', digits: 0, value: ({ packages }) => packages! },
    { heading: 'MB', digits: 1, value: ({ megabytes }) => megabytes! }
  ]
}
