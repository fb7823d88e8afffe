import { execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const here = path.dirname(fileURLToPath(import.meta.url))

/** The top of the repository. */
export const root = path.join(here, '..', '..')

/** A user's project in a folder of its own, gone when the test ends. This package and those beside it are installed. */
export class Project {
  folder = mkdtempSync(path.join(tmpdir(), 'fastify-latency-ecosystem-'))

  constructor (t, files) {
    t.teardown(() => rmSync(this.folder, { recursive: true, force: true }))
    mkdirSync(path.join(this.folder, 'node_modules'))
    const installed = path.join(here, 'node_modules')
    for (const name of readdirSync(installed)) this.#link(path.join(installed, name), name)
    // From which a program may also import what the package depends on, as users can.
    this.#link(path.join(root, 'node_modules', 'prom-client'), 'prom-client')
    this.#link(root, 'fastify-latency')
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(path.dirname(this.path(file)), { recursive: true })
      writeFileSync(this.path(file), text)
    }
  }

  #link (target, name) {
    try {
      symlinkSync(target, this.path(`node_modules/${name}`), 'junction')
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
  }

  path (file) {
    return path.join(this.folder, file)
  }

  /** Runs Node.js to its end. Resolves to what was printed. */
  async run (args, env = {}) {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, {
      cwd: this.folder, env: { ...process.env, NODE_OPTIONS: '', ...env }, maxBuffer: Infinity, timeout: 120_000
    })
    return stdout + stderr
  }

  /** Starts Node.js, which ends with the test. Resolves to what it printed once that matches the pattern. */
  async start (t, pattern, args, env = {}) {
    const child = spawn(process.execPath, args, {
      cwd: this.folder, env: { ...process.env, NODE_OPTIONS: '', ...env }, stdio: ['ignore', 'pipe', 'pipe']
    })
    const ended = new Promise(resolve => child.once('close', resolve))
    t.teardown(async () => {
      child.kill('SIGKILL')
      await ended
    })
    let output = ''
    return new Promise((resolve, reject) => {
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', text => {
          output += text
          if (pattern.test(output)) resolve(output)
        })
      }
      child.once('close', code => reject(new Error(`Ended with ${code}: ${output}`)))
    })
  }
}
