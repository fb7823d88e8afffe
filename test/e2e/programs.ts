import { type ChildProcess, spawn, type SpawnOptions, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import type { Test } from 'tap'
import { root } from '../helpers/repository'
import { until } from '../helpers/until'

export { root, until }

/**
 * A reason to skip a test: that a program is not installed. With REQUIRE_E2E=1 nothing is skipped and the test fails.
 */
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

  /** The exit code or the signal that ended the program. */
  get ended (): Promise<number | NodeJS.Signals> {
    return this.#ended
  }

  /** Types into a program that was started with a pipe for its input. */
  type (text: string): void {
    this.#child.stdin!.write(text)
  }

  signal (signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Sends a signal, and resolves when the program has ended. */
  stop (signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
    this.signal(signal)
    return this.ended
  }
}

/** A built example, on ports that the operating system chooses. */
export async function startExample (
  t: Test, name: string
): Promise<{ example: Program, address: string, metrics: string }> {
  const example = new Program(t, process.execPath, [`dist/example/${name}.js`], {
    env: { ...process.env, PORT: '0', METRICS_PORT: '0' }
  })
  const [, address, metrics] = await example.printed(/(http:\S+)[^]*?(http:\S+\/metrics)/)
  return { example, address: address!, metrics: metrics! }
}

/** A running Prometheus, and its HTTP API. */
export class Prometheus {
  readonly address: string
  readonly name: string
  readonly #program: Program | undefined
  readonly #configFile: string

  constructor (address: string, name = 'Prometheus', program?: Program, configFile = '') {
    this.address = address
    this.name = name
    this.#program = program
    this.#configFile = configFile
  }

  /** Makes it read another configuration. */
  reload (config: string): void {
    writeFileSync(this.#configFile, config)
    this.#program!.signal('SIGHUP')
  }

  async stop (): Promise<void> {
    await this.#program!.stop('SIGTERM')
  }

  async get<T> (path: string, parameters: Record<string, string>): Promise<T> {
    const response = await fetch(`${this.address}/api/v1/${path}?${new URLSearchParams(parameters)}`)
    const { status, data, error } = await response.json() as { status: string, data: T, error?: string }
    if (status !== 'success') throw new Error(error)
    return data
  }

  async query<T> (query: string, time?: number): Promise<T[]> {
    const parameters = time === undefined ? { query } : { query, time: String(time) }
    return (await this.get<{ result: T[] }>('query', parameters)).result
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
    .replace('[recording.yml, alerts.yml]', `[${folder}/recording.yml, ${folder}/alerts.yml]`)
    .replace('targets/*.json', targets)
}

/** A Prometheus that can be started, and the promtool beside it. */
export class Installation {
  /** With its version, for the titles of tests. */
  readonly name: string
  readonly #folder: string | undefined
  readonly #version: readonly number[]

  /** Without a folder, what is on PATH. */
  constructor (folder?: string) {
    this.#folder = folder === undefined ? undefined : resolve(root, folder)
    const { stdout } = spawnSync(this.program('prometheus'), ['--version'], { encoding: 'utf8' })
    const version = /^prometheus, version (\S+)/.exec(stdout ?? '')?.[1]
    this.#version = (version ?? '').split('.').map(Number.parseFloat)
    this.name = `Prometheus ${version ?? `in ${this.#folder ?? 'PATH'}`}`
  }

  /** Whether it has this version, or a newer one. */
  isAtLeast (major: number, minor: number): boolean {
    const [ownMajor = 0, ownMinor = 0] = this.#version
    return ownMajor === major ? ownMinor >= minor : ownMajor > major
  }

  /** How to start one of its programs. */
  program (name: 'prometheus' | 'promtool'): string {
    return this.#folder === undefined ? name : join(this.#folder, name)
  }

  /** The environment in which it is the one on PATH. */
  get env (): NodeJS.ProcessEnv {
    return this.#folder === undefined
      ? process.env
      : { ...process.env, PATH: `${this.#folder}${delimiter}${process.env.PATH}` }
  }

  missing (...programs: Array<'prometheus' | 'promtool'>): string | false {
    return missing(...programs.map(name => this.program(name)))
  }

  promtool (args: string[], input = ''): { status: number | null, output: string } {
    const { error, status, stdout, stderr } = spawnSync(this.program('promtool'), args, {
      cwd: root, input, encoding: 'utf8'
    })
    if (error !== undefined) throw error
    return { status, output: stdout + stderr }
  }

  /**
   * Starts Prometheus with a configuration, and with features that it has to be asked for. What another one has stored
   * in the same folder is there.
   */
  async start (
    t: Test, config: string, features: readonly string[] = [], folder = temporaryFolder(t)
  ): Promise<Prometheus> {
    const configFile = join(folder, 'prometheus.yml')
    writeFileSync(configFile, config)
    const program = new Program(t, this.program('prometheus'), [
      `--config.file=${configFile}`, `--storage.tsdb.path=${join(folder, 'data')}`,
      '--web.listen-address=127.0.0.1:0', `--enable-feature=${features.join(',')}`
    ])
    return new Prometheus(await listening(program), this.name, program, configFile)
  }
}

/** Where a Prometheus listens, once it does. */
export async function listening (prometheus: Program): Promise<string> {
  // Prometheus prints these two in either order.
  const [, address] = await prometheus.printed(/msg="Listening on".* address=(\S+)/)
  await prometheus.printed(/Server is ready/)
  return `http://${address}`
}

/** The folders that a variable of the environment names. */
function foldersIn (variable: string): string[] {
  return (process.env[variable] ?? '').split(delimiter).filter(folder => folder !== '')
}

const installed = new Installation()
const named = foldersIn('PROMETHEUS_PATHS')

/** Those in the folders that PROMETHEUS_PATHS names, or else the one on PATH. */
export const installations: readonly Installation[] = named.length > 0
  ? named.map(folder => new Installation(folder))
  : [installed]

const namedVictoriaMetrics = foldersIn('VICTORIA_METRICS_PATHS')

/** How to start each VictoriaMetrics: those in the folders of VICTORIA_METRICS_PATHS, or else the one on PATH. */
export const victoriaMetrics: readonly string[] = namedVictoriaMetrics.length > 0
  ? namedVictoriaMetrics.map(folder => join(folder, 'victoria-metrics'))
  : ['victoria-metrics']

/**
 * A test that is run with each of the installations that has these programs, of this version or a newer one. All run at
 * once, since they mostly wait for scrapes.
 */
export function withEach (
  programs: Array<'prometheus' | 'promtool'>,
  run: (t: Test, installation: Installation) => Promise<void>,
  [major, minor]: readonly [major: number, minor: number] = [0, 0]
): (t: Test) => Promise<void> {
  return async t => {
    t.jobs = installations.length
    await Promise.all(installations.map(installation =>
      t.test(installation.name, {
        skip: installation.missing(...programs) || (!installation.isAtLeast(major, minor) && 'too old')
      }, t => run(t, installation))))
  }
}

/** A reason to skip what needs any Prometheus. */
export function noPrometheus (): string | false {
  const reasons = installations.map(installation => installation.missing('prometheus'))
  return reasons.every(reason => reason !== false) && reasons.join(', ')
}

/** Starts all of the installations to watch the same, and notes which are not there. */
export async function startEach (t: Test, config: string): Promise<Prometheus[]> {
  const there = installations.filter(installation => {
    const reason = installation.missing('prometheus')
    if (reason !== false) t.pass(installation.name, { skip: reason })
    return reason === false
  })
  return Promise.all(there.map(installation => installation.start(t, config)))
}

/** With what is on PATH, where documents have users put it. */
export const promtool: Installation['promtool'] = (...given) => installed.promtool(...given)
export const startPrometheus: Installation['start'] = (...given) => installed.start(...given)
