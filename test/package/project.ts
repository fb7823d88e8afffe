import { execFile, type ExecFileException } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { Program } from '../e2e/programs'
import { root } from '../helpers/repository'

export { root }

const fixtures = join(root, 'test', 'package', 'fixtures')

/** The package, as `npm run test:package` has packed it. */
export const tarball = join(root, 'dist', `fastify-latency-${require('fastify-latency/package.json').version}.tgz`)

/** Environment of a program that listens on fixed ports: it gets free ones instead, and says which. */
export const onFreePorts = { NODE_OPTIONS: `--require ${join(fixtures, 'free-ports.cjs')}` }

/** The port that such a program has in place of a fixed one, once it listens. */
export async function portOf (program: Program, fixed: number | string): Promise<number> {
  return Number((await program.printed(new RegExp(`^listening ${fixed} (\\d+)$`, 'm')))[1])
}

/** A user's project in a folder of its own, gone when the test ends: empty, or a copy of a fixture. */
export class Project {
  readonly folder = mkdtempSync(join(tmpdir(), 'fastify-latency-'))

  constructor (t: Test, fixture?: string) {
    t.teardown(() => rmSync(this.folder, { recursive: true, force: true }))
    if (fixture !== undefined) cpSync(join(fixtures, fixture), this.folder, { recursive: true })
  }

  path (file: string): string {
    return join(this.folder, file)
  }

  write (file: string, text: string): void {
    writeFileSync(this.path(file), text)
  }

  /** Installs what its `package.json` names, and these. */
  async install (...packages: string[]): Promise<void> {
    await this.run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...packages])
  }

  /** What the program wrote to stdout. Rejects with all that it wrote unless it ends with exit code 0. */
  async run (command: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
    try {
      return (await promisify(execFile)(command, args,
        { cwd: this.folder, env: { ...process.env, ...env }, maxBuffer: Infinity })).stdout
    } catch (error) {
      const { message, stdout } = error as ExecFileException
      throw new Error(`${message}\n${stdout}`, { cause: error })
    }
  }
}
