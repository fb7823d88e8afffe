// Starts the installed Prometheus for http://localhost:8000/metrics and for the instances of example/fleet.ts.
// It keeps its data in a folder that is removed when it ends.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const data = mkdtempSync(join(tmpdir(), 'prometheus-'))
const prometheus = spawn('prometheus', [
  `--config.file=${fileURLToPath(new URL('monitoring/prometheus/prometheus.yml', import.meta.url))}`,
  `--storage.tsdb.path=${data}`,
  `--web.listen-address=127.0.0.1:${process.env.PORT ?? 9090}`
], { stdio: 'inherit' })

// Ctrl-C reaches Prometheus too. The folder is removed when Prometheus has ended.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => prometheus.kill())

prometheus.on('error', error => {
  rmSync(data, { recursive: true })
  if (error.code !== 'ENOENT') throw error
  process.exitCode = 1
  console.error(`
There is no program called prometheus on your PATH. Get it
  from https://prometheus.io/download/
  or with a package manager: brew install prometheus, apt install prometheus
  or, with Docker, Prometheus and Grafana together: docker compose -f example/monitoring/compose.yaml up`)
})

prometheus.on('exit', code => {
  rmSync(data, { recursive: true, force: true })
  process.exitCode = code ?? 1
})
