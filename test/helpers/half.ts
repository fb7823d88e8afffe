import { readdirSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'

/**
 * Runs every other test file that starts no process, from this one on, all in the process that calls it: to start
 * takes longer than most of them.
 */
export function runHalf (first: 0 | 1): void {
  // The test that takes longest tries as many combinations as it is told, of which a few are enough here.
  fc.configureGlobal({ numRuns: 10 })
  const built = path.join(__dirname, '..', '..')
  const files = ['test', 'browser/test/browser'].flatMap(folder =>
    readdirSync(path.join(built, folder)).map(file => path.join(built, folder, file)))
  const tests = files.filter(file => file.endsWith('.test.js'))
  for (let index = first; index < tests.length; index += 2) require(tests[index]!)
}
