import { opendir } from 'node:fs/promises'
import { collectDefaultMetrics, Gauge, Registry, type Counter } from 'prom-client'
import { setTimeout } from '../timers'
import { addEventLoopMetrics, eventLoopDelayNames } from './event-loop'
import { garbageCollections } from './garbage-collections'

/**
 * Metrics of `prom-client` that are left out. Each of them reads all handles, requests or resources of the process in
 * one go. With 10,000 open connections this holds up the event loop for 5 to 15 ms at every scrape. Those whose names
 * end in `_total` are gauges with the names of counters, to which `promtool check metrics` objects. Users who want
 * these metrics call `collectDefaultMetrics()` of `prom-client`, whose global registry is served too.
 */
const omitted = [
  'nodejs_active_handles', 'nodejs_active_handles_total', 'nodejs_active_requests', 'nodejs_active_requests_total',
  'nodejs_active_resources', 'nodejs_active_resources_total'
]

/** The longest time that a timer can be set to. */
const longestTimerMs = 2 ** 31 - 1

const openFilesName = 'process_open_fds'

/**
 * How many entries of a folder are read at a time. The event loop is held for less than a millisecond when so many
 * arrive.
 */
const entriesAtATime = 256

/** How long a scrape waits for open files to be counted. */
const longestCountMs = 250

let registry: Registry | undefined

/**
 * The metrics of the process. This module keeps their registry, because a process has only one set of these metrics,
 * whatever runs in it.
 */
export function processMetrics (): Registry {
  registry ??= createProcessMetrics()
  return registry
}

function createProcessMetrics (): Registry {
  const registry = new Registry()
  const { user, system } = process.cpuUsage()
  // `prom-client` cannot be told not to watch the event loop, but to look at it once in 24 days only.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: longestTimerMs })
  for (const name of [...omitted, ...eventLoopDelayNames]) registry.removeSingleMetric(name)
  addEventLoopMetrics(registry)
  // The histogram of `prom-client` begins now, and notes one of several collections that came together.
  registry.removeSingleMetric(garbageCollections.name)
  registry.registerMetric(garbageCollections as never)
  // `prom-client` counts the CPU time from now on. What the process has used until now is the larger part of a start.
  addTo(registry, 'process_cpu_user_seconds_total', user)
  addTo(registry, 'process_cpu_system_seconds_total', system)
  addTo(registry, 'process_cpu_seconds_total', user + system)
  const openFiles = registry.getSingleMetric(openFilesName)
  if (openFiles !== undefined) replaceOpenFiles(registry, (openFiles as unknown as { help: string }).help)
  return registry
}

function addTo (registry: Registry, counter: string, microseconds: number): void {
  (registry.getSingleMetric(counter) as unknown as Counter).inc(microseconds / 1e6)
}

/**
 * Replaces the metric of open files. `prom-client` reads the names of all open files in one go, which takes 10 ms with
 * 10,000 connections.
 */
function replaceOpenFiles (registry: Registry, help: string): void {
  registry.removeSingleMetric(openFilesName)
  let counting: Promise<void> | undefined
  const gauge = new Gauge({ name: openFilesName, help, registers: [registry], collect })

  /**
   * The gauge keeps its previous value, which is close to the truth, while the files cannot be counted: a process that
   * may open no more files cannot open the folder either, and the threads that read it may be busy for long.
   */
  async function collect (): Promise<void> {
    counting ??= count().catch(() => {}).finally(() => { counting = undefined })
    await Promise.race([counting, new Promise<void>(resolve => setTimeout(resolve, longestCountMs).unref())])
  }

  async function count (): Promise<void> {
    // One of the open files is the folder itself, while it is read.
    gauge.set(await countEntries('/proc/self/fd') - 1)
  }
}

async function countEntries (path: string): Promise<number> {
  let count = 0
  for await (const { name } of await opendir(path, { bufferSize: entriesAtATime })) if (name !== '') count++
  return count
}
