// Reads the documents from top to bottom as a user would, and does what their blocks of code say. A block in a language
// that is not dealt with here fails.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readFileSync, symlinkSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createAuthority, issue } from '../helpers/certificates'
import { Exposition } from '../helpers/exposition'
import { listening, missing, Program, Prometheus, promtool, until } from '../e2e/programs'
import { onFreePorts, portOf, Project, root, tarball } from './project'

/** What each of two readers reads, one document after the other. */
const readings = [
  [
    'README.md', 'docs/tutorial.md', 'docs/live.md', 'docs/metrics.md', 'docs/cost.md', 'docs/options.md',
    'docs/endings.md', 'docs/errors.md', 'docs/operations.md', 'docs/comparison.md', 'docs/testing.md',
    'docs/slow.md'
  ],
  ['docs/monitoring.md']
]

/** Commands that are not run, and why. */
const notRun: Record<string, string> = {
  'npm install': 'whoever runs this test has done so in this clone',
  'docker compose -f example/monitoring/compose.yaml up': 'test/e2e/compose.test.ts has Compose read the file'
}

/**
 * Ports that the documents name, in the order in which a fleet says which it has instead: the application's and
 * the metrics' of each instance.
 */
const documentedPorts = ['8001', '8000', '8011', '8010', '8021', '8020']

/** Queries that have no answer when all is well. They must be valid, and be about metrics that there are. */
const maybeEmpty = ['sum by (route) (rate(http_requests_aborted_total[5m]))']

interface Block {
  readonly line: number
  readonly language: string
  readonly text: string
}

function blocksOf (document: string): Block[] {
  const text = readFileSync(join(root, document), 'utf8').replaceAll('\r\n', '\n')
  const fences = [...text.matchAll(/^( *)```(.*)\n([^]*?)^\1```$/gm)]
  const blocks = fences.map(({ 1: indent, 2: language, 3: code, index }) => {
    const line = text.slice(0, index).split('\n').length
    return { line, language: language!, text: code!.replaceAll(new RegExp(`^${indent}`, 'gm'), '') }
  })
  if ((text.match(/^[ >]*(```|~~~)/gm) ?? []).length !== 2 * blocks.length) {
    throw new Error(`A block of ${document} does not begin or end as the others do`)
  }
  return blocks
}

/** Stands at a free port for one that the documents name, and leads to the program that listens on that. */
class Port {
  target = 0
  readonly #server = createServer(socket => {
    const forward = connect(this.target, 'localhost')
    for (const [end, other] of [[socket, forward], [forward, socket]] as const) {
      end.on('error', () => {}).on('close', () => other.destroy()).pipe(other)
    }
  })

  static async open (t: Test): Promise<Port> {
    const port = new Port()
    await once(port.#server.listen(0, '127.0.0.1'), 'listening')
    t.teardown(() => port.#server.close())
    return port
  }

  get number (): number {
    return (this.#server.address() as AddressInfo).port
  }
}

/** Someone who follows a document. */
class Reader {
  readonly #t: Test
  readonly #project: Project
  readonly #clone: Project
  readonly #ports: Readonly<Record<string, Port>>
  readonly #token = 'a-long-random-token'
  /** What the last command printed, or the metrics of the last program. */
  #output = ''
  #prometheus: Prometheus | undefined
  /** The application of the clone, and those who send requests to it. */
  readonly #running: Program[] = []

  private constructor (t: Test, ports: Record<string, Port>) {
    this.#t = t
    this.#ports = ports
    this.#project = new Project(t)
    this.#clone = new Project(t)
  }

  static async create (t: Test): Promise<Reader> {
    const ports: Record<string, Port> = {}
    for (const documented of documentedPorts) ports[documented] = await Port.open(t)
    const reader = new Reader(t, ports)
    await reader.#setUp()
    return reader
  }

  async #setUp (): Promise<void> {
    const ca = await createAuthority('ca')
    const { cert, key } = await issue(ca, 'localhost')
    for (const [name, text] of [['ca.crt', ca.cert], ['tls.crt', cert], ['tls.key', key]] as const) {
      this.#project.write(name, text)
    }
    for (const file of ['lib', 'example', 'build.mjs', 'index.d.ts', 'package.json', 'tsconfig.json']) {
      cpSync(join(root, file), this.#clone.path(file), { recursive: true })
    }
    await this.#project.install('typescript@5.9', '@types/node@20')
    symlinkSync(join(root, 'node_modules'), this.#clone.path('node_modules'))
    // On a busy machine this takes longer than a program is waited for.
    await this.#clone.run('node', ['build.mjs', 'example'])
    this.#edit('example/prometheus.yml', text =>
      this.#onOurPorts(text).replace('scrape_interval: 5s', 'scrape_interval: 1s'))
    this.#edit('example/monitoring/prometheus/prometheus.yml', text =>
      text.replace('scrape_interval: 5s', 'scrape_interval: 1s'))
    for (const file of ['example/traffic.mjs', 'example/monitoring/prometheus/targets/example.json']) {
      this.#edit(file, text => this.#onOurPorts(text))
    }
  }

  #edit (file: string, change: (text: string) => string): void {
    const text = readFileSync(this.#clone.path(file), 'utf8')
    this.#clone.write(file, change(text))
    this.#t.not(change(text), text, file)
  }

  #start (command: string, args: string[], { folder: cwd }: Project, env: NodeJS.ProcessEnv = onFreePorts): Program {
    return new Program(this.#t, command, args, { cwd, env: { ...process.env, ...env, METRICS_TOKEN: this.#token } })
  }

  #onOurPorts (text: string): string {
    return text.replaceAll(/(?<=localhost:)\d+/g, port => String(this.#ports[port]?.number ?? port))
  }

  /**
   * Runs JavaScript in the user's project. What is only a part of a program gets the rest of
   * one, and the metrics are scraped.
   */
  async js (t: Test, { line, text }: Block): Promise<void> {
    await this.#runProgram(t, /^\/\/ (\S+)\n/.exec(text)?.[1] ?? `line-${line}.mjs`, text)
  }

  /** The same, once a strict compiler has accepted it. */
  async ts (t: Test, { line, text }: Block): Promise<void> {
    await this.#runProgram(t, `line-${line}.mts`, text)
  }

  async #runProgram (t: Test, file: string, text: string): Promise<void> {
    const isWhole = /import Fastify|require\('fastify'\)/.test(text)
    const source = isWhole
      ? text
      : `import Fastify from 'fastify'
        ${/import latency/.test(text) ? '' : "import latency from 'fastify-latency'"}
        const app = Fastify()
        ${/register\(latency/.test(text) ? '' : 'await app.register(latency)'}
        ${text}
        if (!app.server.listening) await app.listen({ port: 3000 })`
    const program = source.replaceAll('/etc/tls/', `${this.#project.folder}/`)
    this.#project.write(file, program)
    const typed = file.replace(/mjs$/, 'mts')
    if (file.endsWith('.mts') || (isWhole && typed !== file)) {
      // An ES module that is whole is TypeScript as it stands.
      this.#project.write(typed, program)
      await this.#project.run('npx', [
        'tsc', '--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node', typed
      ])
    }
    const running = this.#start(process.execPath, [file.replace(/mts$/, 'mjs')], this.#project)

    const applicationPort = isWhole ? '8001' : '3000'
    // There is one, also of several workers.
    const page = await until('the metrics', async () => {
      await running.printed(/^listening/m)
      const listening = [...running.output.matchAll(/^listening (\d+) (\d+)$/gm)]
      const application = listening.filter(([, documented]) => documented === applicationPort).map(([, , port]) => port)
      for (const port of application) await fetch(`http://localhost:${port}`)
      const others = new Set(listening.map(([, , port]) => port).filter(port => !application.includes(port)))
      const pages = [...others]
        .map(port => this.#scrape(`${text.includes('https:') ? 'https' : 'http'}://localhost:${port}/metrics`))
        .filter(page => page !== '')
      return pages.length === 1 && pages[0]
    })
    t.ok([...new Exposition(page).families.values()].some(({ type }) => type === 'histogram'))
    this.#output = page

    const printed = running.output.split('\n').filter(line => line !== '' && !line.startsWith('listening '))
    t.strictSame(
      printed, [...text.matchAll(/^console\.log\(.*\) *\/\/ (.*)$/gm)].map(([, value]) => value), 'prints what it says'
    )
    await running.end()
  }

  /** The page, or nothing while there is none. */
  #scrape (url: string): string {
    return spawnSync('curl', [
      '-sf', '--cacert', 'ca.crt', '--cert', 'tls.crt', '--key', 'tls.key',
      '-H', `authorization: Bearer ${this.#token}`, url
    ], { cwd: this.#project.folder, encoding: 'utf8' }).stdout
  }

  /** Runs commands in a clone of the repository; the installation of the package, in the user's project. */
  async sh (t: Test, { text }: Block): Promise<void> {
    const onAnyPort = '--web.listen-address=127.0.0.1:0'
    for (const command of text.startsWith('while') ? [text] : text.trim().split('\n')) {
      if (command in notRun) t.comment(`not run: ${command}: ${notRun[command]}`)
      else if (command.startsWith('prometheus ')) await this.#startPrometheus(t, `${command} ${onAnyPort}`)
      else if (command.startsWith('npm run example -- prometheus')) await this.#startPrometheus(t, `PORT=0 ${command}`)
      else if (command.startsWith('npm run example -- fleet')) await this.#startFleet(t, command)
      else if (/^npm start|^npm run example/.test(command)) await this.#startApplication(t, command)
      else if (/^npm run traffic|^while/.test(command)) await this.#sendRequests(t, command)
      else {
        const project = command.includes('fastify-latency') ? this.#project : this.#clone
        this.#output = await project.run('bash', [
          '-o', 'pipefail', '-c', this.#onOurPorts(command).replace(/ fastify-latency/, ` ${tarball}`)
        ])
        t.pass(command)
      }
    }
  }

  async #startApplication (t: Test, command: string): Promise<void> {
    const application = await this.#startInstead(command)
    for (const documented of ['8000', '8001']) this.#ports[documented]!.target = await portOf(application, documented)
    t.pass(command)
  }

  async #startFleet (t: Test, command: string): Promise<void> {
    const fleet = await this.#startInstead(command, { PORT: '0', METRICS_PORT: '0' })
    await fleet.printed(/Enter restarts/)
    const ports = [...fleet.output.matchAll(/^http:\S+:(\d+) {3}http:\S+:(\d+)\/metrics {3}process/gm)]
      .flatMap(([, ...ports]) => ports)
    documentedPorts.forEach((documented, index) => { this.#ports[documented]!.target = Number(ports[index]) })
    t.pass(command)
  }

  /** Ends what runs, since nobody can have two on the same port. */
  async #startInstead (command: string, env?: NodeJS.ProcessEnv): Promise<Program> {
    for (const program of this.#running.splice(0)) await program.end()
    const program = this.#start('bash', ['-c', command], this.#clone, env)
    this.#running.push(program)
    return program
  }

  async #sendRequests (t: Test, command: string): Promise<void> {
    const before = await this.#observed()
    // They go on, so that Prometheus sees the counts grow.
    this.#running.push(this.#start('bash', ['-c', this.#onOurPorts(command)], this.#clone))
    await until('20 requests', async () => await this.#observed() >= before + 20)
    t.pass(command)
  }

  async #observed (): Promise<number> {
    const page = await (await fetch(this.#onOurPorts('http://localhost:8000/metrics'),
      { headers: { connection: 'close' } })).text()
    return [...page.matchAll(/^(?!fastify_latency).*_seconds_count\S* (\d+)$/gm)]
      .reduce((sum, [, count]) => sum + Number(count), 0)
  }

  async #startPrometheus (t: Test, command: string): Promise<void> {
    if (missing('prometheus')) return
    const program = this.#start('bash', ['-c', command], this.#clone)
    const address = await listening(program)
    this.#prometheus = new Prometheus(address)
    t.pass(command)
  }

  /** Asks the Prometheus that was started. */
  async promql (t: Test, { text }: Block): Promise<void> {
    const prometheus = this.#prometheus
    if (prometheus === undefined) return t.comment('not asked: prometheus is not installed')
    for (const query of text.trim().split('\n\n')) {
      if (maybeEmpty.includes(query)) {
        await prometheus.query(query)
        const metric = /\bhttp_\w+(?=_total)/.exec(query)![0] // The family, as OpenMetrics names it.
        t.ok(metric in await prometheus.get<object>('metadata', { metric }), metric)
      } else t.ok(await until(`an answer to ${query}`, async () => (await prometheus.query(query)).length > 0), query)
    }
  }

  /** A configuration of Prometheus. */
  yaml (t: Test, { text }: Block): void {
    if (missing('promtool')) return t.comment('not checked: promtool is not installed')
    this.#clone.write('checked.yml', text)
    const { status, output } = promtool(['check', 'config', '--syntax-only', this.#clone.path('checked.yml')])
    t.equal(status, 0, output)
  }

  /**
   * Compares with what the last command printed: the same lines, but for the values of samples and what `…` stands for.
   */
  text (t: Test, { text }: Block): void {
    const escape = (line: string): string => line.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')
    const pattern = text.trim().split('\n').map(line => line === '…'
      ? '[^]*'
      : (line.startsWith('#') ? escape(line) : `${escape(line.replace(/ \S+$/, ''))} [\\d.e+-]+`) + '\n')
    t.match(this.#output, new RegExp(pattern.join('')))
  }
}

for (const documents of readings) {
  t.test(`${documents}`, async t => {
    const reader = await Reader.create(t)
    for (const document of documents) {
      for (const block of blocksOf(document)) {
        await t.test(`${document}:${block.line}, ${block.language}: ${block.text.split('\n', 1)}`, async t => {
          if (!(block.language in reader)) {
            throw new Error(`Nothing is known of blocks in the language '${block.language}'`)
          }
          await reader[block.language as 'js' | 'ts' | 'sh' | 'yaml' | 'promql' | 'text'](t, block)
        })
      }
    }
  })
}

t.test('docs/tutorial.md shows example/prometheus.yml as it is', async t => {
  const [, config] = /^# prometheus .*\n([^]*)$/.exec(readFileSync(join(root, 'example', 'prometheus.yml'), 'utf8'))!
  t.ok(blocksOf('docs/tutorial.md').some(({ text }) => text === config))
})
