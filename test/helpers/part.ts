import { readdirSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'

/**
 * Runs one of three parts of the test files that start no process and take no long time. All of them run in the process
 * that calls this function, because to start a process takes longer than most of them.
 */
export function runPart (first: 0 | 1 | 2): void {
  // A property is tried with fewer values than by `npm test`.
  fc.configureGlobal({ numRuns: 10 })
  const built = path.join(__dirname, '..', '..')
  const files = ['test', 'browser/test/browser'].flatMap(folder =>
    readdirSync(path.join(built, folder)).map(file => path.join(built, folder, file)))
  const tests = files.filter(file => file.endsWith('.test.js'))
  for (let index = first; index < tests.length; index += 3) require(tests[index]!)
}
