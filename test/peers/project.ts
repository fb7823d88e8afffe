import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { root } from '../helpers/repository'

export { root }

/** Where `npm run test:peers` installs other packages. */
export const peers = path.join(root, 'test', 'benchmark', 'peers', 'node_modules')

/** A folder, gone when the test ends, from which this package, Fastify and the other packages can be imported. */
export class Project {
  readonly #folder = mkdtempSync(path.join(tmpdir(), 'fastify-latency-peers-'))

  constructor (t: Test) {
    t.teardown(() => rmSync(this.#folder, { recursive: true, force: true }))
    mkdirSync(path.join(this.#folder, 'node_modules'))
    for (const name of readdirSync(peers).filter(name => !name.startsWith('.'))) {
      this.#link(path.join(peers, name), name)
    }
    this.#link(path.join(root, 'node_modules', 'fastify'), 'fastify')
    this.#link(root, 'fastify-latency')
  }

  #link (target: string, name: string): void {
    symlinkSync(target, path.join(this.#folder, 'node_modules', name), 'junction')
  }

  write (file: string, text: string): void {
    writeFileSync(path.join(this.#folder, file), text)
  }

  /** Runs a program of this folder; resolves to what it printed, as JSON. */
  async run (program: string, ...args: string[]): Promise<unknown> {
    copyFileSync(path.join(root, 'test', 'peers', program), path.join(this.#folder, program))
    const { stdout } = await promisify(execFile)('node', [program, ...args], {
      cwd: this.#folder, maxBuffer: Infinity, timeout: 60_000
    })
    return JSON.parse(stdout)
  }
}
