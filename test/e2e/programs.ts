import { type ChildProcess, spawn, type SpawnOptions, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { root } from '../helpers/repository'
import { until } from '../helpers/until'

export { root, until }

/** A reason to skip a test: that a program is not installed. With REQUIRE_E2E=1 nothing is skipped and the test fails. */
export function missing (...programs: string[]): string | false {
  if (process.env.REQUIRE_E2E === '1') return false
  const absent = programs.filter(program => spawnSync(program, ['--version']).error !== undefined)
  return absent.length > 0 && `not installed: ${absent.join(', ')}`
}

export function temporaryFolder (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'fastify-latency-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const groups = new Set<number>()

function endGroup (group: number): void {
  groups.delete(group)
  try {
    process.kill(-group, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

// Ctrl-C and a timeout of the test run skip teardowns.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    groups.forEach(endGroup)
    process.kill(process.pid, signal)
  })
}

/** A program that runs until the test ends, in a process group of its own so that what it starts ends with it. */
export class Program {
  output = ''
  readonly #child: ChildProcess
  readonly #ended: Promise<number | NodeJS.Signals>
  #running = true

  constructor (t: Test, command: string, args: string[], options: SpawnOptions = {}) {
    this.#child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], detached: true, ...options })
    this.#child.stdout!.on('data', data => { this.output += data })
    this.#child.stderr!.on('data', data => { this.output += data })
    this.#ended = new Promise(resolve => {
      this.#child.on('error', error => { this.output += error.message })
      this.#child.on('close', (code, signal) => {
        this.#running = false
        resolve(code ?? signal!)
      })
    })
    if (this.#child.pid !== undefined) groups.add(this.#child.pid)
    t.teardown(async () => {
      await this.end()
      if (!t.passing()) t.comment(`${command} ${args.join(' ')}\n${this.output}`)
    })
  }

  /** What the program printed, once it matches. */
  printed (pattern: RegExp): Promise<RegExpExecArray> {
    return until(`${pattern} in the output`, () => {
      const match = pattern.exec(this.output)
      if (match === null && !this.#running) throw new Error(`Ended before it printed ${pattern}: ${this.output}`)
      return match
    })
  }

  /** Ends it with all that it started. */
  async end (): Promise<void> {
    const group = this.#child.pid
    if (group === undefined) return
    if (groups.has(group)) endGroup(group)
    await this.#ended
  }

  /** Types into a program that was started with a pipe for its input. */
  type (text: string): void {
    this.#child.stdin!.write(text)
  }

  /** Sends a signal, and resolves to the exit code or the signal that ended the program. */
  stop (signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
    this.#child.kill(signal)
    return this.#ended
  }
}

/** A built example, on ports that the operating system chooses. */
export async function startExample (t: Test, name: string): Promise<{ example: Program, address: string, metrics: string }> {
  const example = new Program(t, process.execPath, [`dist/example/${name}.js`], { env: { ...process.env, PORT: '0', METRICS_PORT: '0' } })
  const [, address, metrics] = await example.printed(/(http:\S+)[^]*?(http:\S+\/metrics)/)
  return { example, address: address!, metrics: metrics! }
}

export function promtool (args: string[], input = ''): { status: number | null, output: string } {
  const { error, status, stdout, stderr } = spawnSync('promtool', args, { cwd: root, input, encoding: 'utf8' })
  if (error !== undefined) throw error
  return { status, output: stdout + stderr }
}

/** A running Prometheus, and its HTTP API. */
export class Prometheus {
  readonly address: string

  constructor (address: string) {
    this.address = address
  }

  async get<T> (path: string, parameters: Record<string, string>): Promise<T> {
    const response = await fetch(`${this.address}/api/v1/${path}?${new URLSearchParams(parameters)}`)
    const { status, data, error } = await response.json() as { status: string, data: T, error?: string }
    if (status !== 'success') throw new Error(error)
    return data
  }

  async query<T> (query: string, time?: number): Promise<T[]> {
    return (await this.get<{ result: T[] }>('query', time === undefined ? { query } : { query, time: String(time) })).result
  }

  async value (promql: string, time?: number): Promise<number | undefined> {
    const [series] = await this.query<{ value: [time: number, value: string] }>(promql, time)
    return series === undefined ? undefined : Number(series.value[1])
  }
}

/** The configuration of example/monitoring, but for the targets, and with intervals of a second. */
export function monitoringConfig (targets: string): string {
  const folder = join(root, 'example', 'monitoring', 'prometheus')
  return readFileSync(join(folder, 'prometheus.yml'), 'utf8').replace(/(?<=_interval: )5s/g, '1s')
    .replace('[recording.yml, alerts.yml]', `[${folder}/recording.yml, ${folder}/alerts.yml]`).replace('targets/*.json', targets)
}

export async function startPrometheus (t: Test, config: string): Promise<Prometheus> {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'prometheus.yml'), config)
  const program = new Program(t, 'prometheus', [
    `--config.file=${join(folder, 'prometheus.yml')}`, `--storage.tsdb.path=${join(folder, 'data')}`, '--web.listen-address=127.0.0.1:0'
  ])
  const [, address] = await program.printed(/msg="Listening on".* address=(\S+)[^]*Server is ready/)
  return new Prometheus(`http://${address}`)
}
