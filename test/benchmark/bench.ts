/**
 * Runs the parts of the benchmark that are named, or all of them, and writes the report: npm run bench [-- part …]
 *
 * Every sample is taken in a process of its own, since how V8 has compiled a function and laid out a heap
 * stays for the life of a process.
 */
import { execFile, fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { areOneSided, median, type Column, type Figures, type Part, type Round } from './part'
import { allocation } from './parts/allocation'
import { firstSecond } from './parts/first-second'
import { formats } from './parts/formats'
import { hooks } from './parts/hooks'
import { http } from './parts/http'
import { inFlight } from './parts/in-flight'
import { inProcess } from './parts/in-process'
import { install } from './parts/install'
import { live } from './parts/live'
import { liveFrames } from './parts/live-frames'
import { load } from './parts/load'
import { memory } from './parts/memory'
import { options } from './parts/options'
import { openRequests } from './parts/open-requests'
import { processes } from './parts/processes'
import { queue } from './parts/queue'
import { rate } from './parts/rate'
import { render } from './parts/render'
import { scrape } from './parts/scrape'
import { startUp } from './parts/start-up'

const parts: Readonly<Record<string, Part>> = {
  hooks,
  'in-process': inProcess,
  options,
  allocation,
  http,
  render,
  scrape,
  formats,
  rate,
  queue,
  load,
  live,
  'live-frames': liveFrames,
  processes,
  memory,
  'in-flight': inFlight,
  'open-requests': openRequests,
  'start-up': startUp,
  'first-second': firstSecond,
  install
}

/** Programs beside the parts, which say how they end by themselves. */
const programs = ['comparison', 'soak']

const reportFile = 'benchmark-report.md'

/** More than this times what the baseline costs is a regression. */
const regression = 1.25

/** In a process of its own: takes one sample. */
async function sample (part: string, scenario: string): Promise<void> {
  process.send!(await parts[part]!.scenarios[scenario]!())
  process.disconnect()
}

async function takeSample (part: string, scenario: string): Promise<Figures> {
  const child = fork(__filename, ['--sample', part, scenario], {
    execArgv: ['--expose-gc', ...parts[part]!.execArgv ?? []]
  })
  const [figures] = await Promise.race([
    once(child, 'message') as Promise<[Figures]>,
    once(child, 'exit').then(([code]) => { throw new Error(`${part}, ${scenario}: exited with ${code}`) })
  ])
  child.kill()
  return figures
}

/** How many pairs of the same work tell how exact this machine is. */
const controlPairs = 15

/** Work that takes a process of its own some tenths of a second, whatever there is in this repository. */
const control = `
  const start = performance.now()
  for (let round = 0; round < 60; round++) {
    const values = Array.from({ length: 10000 }, (_, index) => ({ key: (index * 7919) % 10007 }))
    JSON.parse(JSON.stringify(values.sort((a, b) => a.key - b.key)))
  }
  console.log(performance.now() - start)`

/** By how many percent two processes that do the same work one after the other differ, in half of all pairs at most. */
async function measureNoise (): Promise<number> {
  const differences: number[] = []
  async function work (): Promise<number> {
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', control])
    return Number(stdout)
  }
  for (let pair = 0; pair < controlPairs; pair++) differences.push(100 * Math.abs(await work() / await work() - 1))
  return median(differences)
}

/** Takes one sample of each part, which tells how many minutes all will take, and whether all is there. */
async function rehearse (names: readonly string[]): Promise<void> {
  let total = 0
  for (const name of names) {
    const { scenarios, samples } = parts[name]!
    const start = performance.now()
    await takeSample(name, Object.keys(scenarios)[0]!)
    const minutes = (performance.now() - start) / 60_000 * Object.keys(scenarios).length * samples
    console.error(`${name} will take some ${Math.ceil(minutes)} minutes`)
    total += minutes
  }
  if (names.length > 1) console.error(`All of it will take some ${Math.ceil(total)} minutes`)
}

async function run (name: string): Promise<Round[]> {
  const part = parts[name]!
  const scenarios = Object.keys(part.scenarios)
  const rounds: Round[] = []
  for (let index = 0; index < part.samples; index++) {
    const round: Record<string, Figures> = {}
    // From another one each time, so that none always comes after the same.
    for (const scenario of [
      ...scenarios.slice(index % scenarios.length), ...scenarios.slice(0, index % scenarios.length)
    ]) {
      round[scenario] = await takeSample(name, scenario)
      const figures = Object.entries(round[scenario])
        .map(([figure, value]) => `${figure} ${Number(value.toPrecision(4))}`)
        .join(', ')
      console.error(`${name} ${index + 1}/${part.samples} ${scenario}: ${figures}`)
    }
    rounds.push(round)
  }
  return rounds
}

function valuesOf ({ value }: Column, scenario: string, rounds: readonly Round[]): number[] {
  return rounds.flatMap(round => value(round[scenario]!, round) ?? [])
}

/** The median, unless samples do not even tell whether there is a difference. */
function showMedian ({ digits, same }: Column, values: readonly number[]): string {
  if (values.length === 0) return '–'
  const isTold = same === undefined || values.every(value => value === same) || areOneSided(values, same)
  return isTold ? median(values).toFixed(digits) : 'lost in noise'
}

/** All medians in one table, in a form that can be pasted into an issue. */
function summarize (measured: ReadonlyMap<string, readonly Round[]>): string {
  const rows = Array.from(measured, ([name, rounds]) => {
    const { scenarios, columns } = parts[name]!
    return Object.keys(scenarios).map(scenario => {
      const figures = columns
        .map(column => [column.heading, showMedian(column, valuesOf(column, scenario, rounds))] as const)
        .filter(([, median]) => median !== '–')
      return `| ${name} | ${scenario} | ${figures.map(([heading, median]) => `${heading}: ${median}`).join('; ')} |`
    })
  })
  return `| part | what | medians |\n|---|---|---|\n${rows.flat().join('\n')}\n`
}

function table ({ title, method, columns, scenarios }: Part, rounds: readonly Round[]): string {
  const rows = Object.keys(scenarios).map(scenario => {
    const cells = columns.map(column => {
      const values = valuesOf(column, scenario, rounds)
      const cell = showMedian(column, values)
      const [low, high] = [Math.min(...values), Math.max(...values)].map(value => value.toFixed(column.digits))
      return values.length === 0 || low === high ? cell : `${cell} (${low} to ${high})`
    })
    return `| ${scenario} | ${cells.join(' | ')} |`
  })
  return `## ${title}\n\n${method}\n\n| | ${columns.map(({ heading }) => heading).join(' | ')} |\n` +
    `|${'---|'.repeat(columns.length + 1)}\n${rows.join('\n')}\n`
}

/**
 * With a baseline: how many times what the baseline adds to a request is added now, in a part that tells. The least of
 * all samples, since whatever else a machine does only adds to them.
 */
function compare (name: string, rounds: readonly Round[]): number | undefined {
  const ratioOf = (rounds: readonly Round[]): number => {
    const least = (scenario: string): number => Math.min(...rounds.map(round => round[scenario]?.ns ?? NaN))
    return (least('fastify-latency') - least('empty hooks')) / (least('baseline') - least('empty hooks'))
  }
  const ratio = ratioOf(rounds)
  if (Number.isNaN(ratio)) return undefined
  const [half, otherHalf] = [0, 1].map(half => ratioOf(rounds.filter((_round, index) => index % 2 === half)))
  if ((half! > regression) !== (otherHalf! > regression)) {
    console.log(`${name}: the machine is too noisy for a comparison with the baseline. What is added to a request ` +
      `is ${half!.toFixed(2)} times as much by one half of the samples, and ${otherHalf!.toFixed(2)} by the other`)
    return undefined
  }
  console.log(`${name}: what is added to a request is ${ratio.toFixed(2)} times that of the baseline`)
  return ratio
}

async function main (names: string[]): Promise<void> {
  const unknown = names.filter(name => !Object.hasOwn(parts, name))
  if (unknown.length > 0) {
    const all = [...Object.keys(parts), ...programs]
    throw new Error(`No such part: ${unknown.join(', ')}. There are ${all.join(', ')}.`)
  }
  const chosen = names.length > 0 ? names : Object.keys(parts)
  const { model } = os.cpus()[0]!
  const machine = `${new Date().toISOString().slice(0, 10)}, ${os.cpus().length} × ${model}, Node.js ` +
    `${process.version}. The same work in two processes, one after the other, took times that differ by ` +
    `${(await measureNoise()).toFixed(1)} % in the median of ${controlPairs} pairs.`
  console.error(machine)
  await rehearse(chosen)
  const measured = new Map<string, readonly Round[]>()
  for (const name of chosen) {
    const rounds = await run(name)
    measured.set(name, rounds)
    if ((compare(name, rounds) ?? 1) > regression) process.exitCode = 1
  }
  const sections = Array.from(measured, ([name, rounds]) => table(parts[name]!, rounds))
  const report = `# Benchmark of fastify-latency\n\n${machine} Medians, with the least and the greatest in brackets. ` +
    'Where a quarter of the samples contradicts the median about there being a difference, it is lost in noise.\n\n' +
    sections.join('\n')
  writeFileSync(reportFile, report)
  console.log(`${report}\nWritten to ${reportFile}. To paste into an issue:\n\n${machine}\n\n${summarize(measured)}`)
}

const [first, ...rest] = process.argv.slice(2)
function start (): Promise<void> {
  if (first === '--sample') return sample(rest[0]!, rest[1]!)
  if (!programs.includes(first!)) return main(process.argv.slice(2))
  const { status } = spawnSync(
    process.execPath, ['--expose-gc', path.join(__dirname, `${first}.js`), ...rest], { stdio: 'inherit' })
  process.exit(status ?? 1)
}

start().catch(error => {
  console.error(error)
  process.exit(1)
})
