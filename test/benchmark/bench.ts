/**
 * Runs the parts of the benchmark that are named, or all of them, and writes the report: npm run bench [-- part …]
 *
 * Every sample is taken in a process of its own, since how V8 has compiled a function and laid out a heap
 * stays for the life of a process.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import os from 'node:os'
import { median, type Figures, type Part, type Round } from './part'
import { allocation } from './parts/allocation'
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
  memory,
  'in-flight': inFlight,
  'open-requests': openRequests,
  'start-up': startUp,
  install
}

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

function table ({ title, method, columns, scenarios }: Part, rounds: readonly Round[]): string {
  const rows = Object.keys(scenarios).map(scenario => {
    const cells = columns.map(({ value, digits }) => {
      const values = rounds.flatMap(round => value(round[scenario]!, round) ?? [])
      if (values.length === 0) return '–'
      const [low, high] = [Math.min(...values), Math.max(...values)].map(value => value.toFixed(digits))
      return `${median(values).toFixed(digits)}${low === high ? '' : ` (${low} to ${high})`}`
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
  const least = (scenario: string): number => Math.min(...rounds.map(round => round[scenario]?.ns ?? NaN))
  const ratio = (least('fastify-latency') - least('empty hooks')) / (least('baseline') - least('empty hooks'))
  if (Number.isNaN(ratio)) return undefined
  console.log(`${name}: what is added to a request is ${ratio.toFixed(2)} times that of the baseline`)
  return ratio
}

async function main (names: string[]): Promise<void> {
  const unknown = names.filter(name => !Object.hasOwn(parts, name))
  if (unknown.length > 0) {
    throw new Error(`No such part: ${unknown.join(', ')}. There are ${Object.keys(parts).join(', ')}.`)
  }
  const sections: string[] = []
  for (const name of names.length > 0 ? names : Object.keys(parts)) {
    const rounds = await run(name)
    sections.push(table(parts[name]!, rounds))
    if ((compare(name, rounds) ?? 1) > regression) process.exitCode = 1
  }
  const { model } = os.cpus()[0]!
  const report = '# Benchmark of fastify-latency\n\n' +
    `${new Date().toISOString().slice(0, 10)}, ${os.cpus().length} × ${model}, Node.js ${process.version}. ` +
    `Medians, with the least and the greatest in brackets.\n\n${sections.join('\n')}`
  writeFileSync(reportFile, report)
  console.log(`${report}\nWritten to ${reportFile}`)
}

const [first, ...rest] = process.argv.slice(2)
const job = first === '--sample' ? sample(rest[0]!, rest[1]!) : main(process.argv.slice(2))
job.catch(error => {
  console.error(error)
  process.exit(1)
})
