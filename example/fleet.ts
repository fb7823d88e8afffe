// Three instances of routes.ts, and a file that tells Prometheus where they are. An instance that ends is started again
// on the same ports. Enter restarts all of them, one after the other.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import closeWithGrace from 'close-with-grace'

const monitoring = join(__dirname, '..', '..', 'example', 'monitoring')
const targets = process.env.TARGETS ?? join(monitoring, 'prometheus', 'targets', 'fleet.json')
const port = Number(process.env.PORT ?? 8001)
const metricsPort = Number(process.env.METRICS_PORT ?? 8000)
let closing = false

class Instance {
  ports: [application: number, metrics: number]
  started: Promise<void>
  #process!: ChildProcess

  constructor (place: number) {
    this.ports = [port && port + 10 * place, metricsPort && metricsPort + 10 * place]
    this.started = this.#start()
  }

  async #start (): Promise<void> {
    const [PORT, METRICS_PORT] = this.ports.map(String)
    const child = this.#process = spawn(process.execPath, [join(__dirname, 'routes.js')], {
      env: { ...process.env, PORT, METRICS_PORT },
      stdio: ['ignore', 'pipe', 'inherit']
    })
    const addresses: string[] = []
    for await (const line of createInterface({ input: child.stdout! })) {
      if (addresses.push(/http:\S+/.exec(line)![0]) === 2) break
    }
    if (addresses.length < 2) throw new Error('An instance ended before it listened')
    child.stdout!.resume()
    child.once('exit', () => { if (!closing) this.started = this.#start() })
    this.ports = [Number(new URL(addresses[0]!).port), Number(new URL(addresses[1]!).port)]
    console.log(`${addresses.join('   ')}   process ${child.pid}`)
  }

  async restart (): Promise<void> {
    await this.stop('SIGTERM')
    await this.started
  }

  async stop (signal?: NodeJS.Signals): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exited = once(this.#process, 'exit')
    if (signal !== undefined) this.#process.kill(signal)
    await exited
  }
}

async function main (): Promise<void> {
  const instances = [0, 1, 2].map(place => new Instance(place))

  closeWithGrace(async ({ signal }) => {
    closing = true
    rmSync(targets, { force: true })
    // Ctrl-C has reached the instances too. A second signal would not let their requests finish.
    await Promise.all(instances.map(instance => instance.stop(signal === 'SIGINT' ? undefined : 'SIGTERM')))
  })

  await Promise.all(instances.map(instance => instance.started))

  // The file is renamed into place, so that nobody reads half of it.
  writeFileSync(`${targets}.new`, JSON.stringify([{ targets: instances.map(({ ports }) => `localhost:${ports[1]}`) }]))
  renameSync(`${targets}.new`, targets)

  console.log(`
Next, in other shells:
  npm run example -- prometheus                         scrapes them; look at it on http://localhost:9090
  npm run traffic -- Infinity ${instances.map(({ ports }) => `http://localhost:${ports[0]}`).join(' ')}

Enter restarts one after the other, Ctrl-C stops them.`)

  let restarted = Promise.resolve()
  createInterface({ input: process.stdin }).on('line', () => {
    for (const instance of instances) restarted = restarted.then(() => instance.restart())
  })
}

main()
