import { execFile, type ExecFileException } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { root } from '../helpers/repository'

/** The oldest and newest that are supported, and the last of each major version between them. */
const versions = ['5.4', '5.9', '6', '7']

const settings: ReadonlyArray<[resolution: string, module: string, exact: 'true' | 'false', files: string[]]> = [
  ['nodenext', 'nodenext', 'true', ['consumer.cts', 'consumer.mts']],
  ['nodenext', 'nodenext', 'false', ['consumer.mts']],
  ['bundler', 'esnext', 'true', ['consumer.mts']]
]

const project = mkdtempSync(join(tmpdir(), 'fastify-latency-types-'))
t.teardown(() => rmSync(project, { recursive: true, force: true }))

t.test('npm installs the compilers beside Fastify 5', async () => {
  writeFileSync(join(project, 'package.json'), '{ "private": true }')
  await run('npm', ['install', '--no-audit', '--no-fund', 'fastify@5', 'prom-client@15', '@types/node@20',
    ...versions.map(version => `typescript-${version}@npm:typescript@${version}`)])
  const installed = join(project, 'node_modules', 'fastify-latency')
  mkdirSync(installed)
  for (const file of ['package.json', 'index.d.ts']) copyFileSync(join(root, file), join(installed, file))
  for (const file of settings[0]![3]) copyFileSync(join(root, 'test', 'types', 'consumer.ts'), join(project, file))
})

for (const version of versions) {
  t.test(`TypeScript ${version} accepts the types and what they allow, and refuses each misuse`, async t => {
    for (const [resolution, module, exact, files] of settings) {
      await t.resolves(run('node', [
        join('node_modules', `typescript-${version}`, 'bin', 'tsc'), '--noEmit', '--strict', '--skipLibCheck', 'false',
        '--target', 'es2022', '--module', module, '--moduleResolution', resolution, '--types', 'node',
        '--exactOptionalPropertyTypes', exact, ...files
      ]), `${resolution}, exactOptionalPropertyTypes: ${exact}`)
    }
  })
}

/** Rejects with all that the program wrote unless it ends with exit code 0. */
async function run (command: string, args: string[]): Promise<void> {
  try {
    // Without what tap has every Node.js process load, which TypeScript 7 does not survive.
    await promisify(execFile)('env', ['-u', 'NODE_OPTIONS', command, ...args], { cwd: project, maxBuffer: Infinity })
  } catch (error) {
    const { message, stdout } = error as ExecFileException
    throw new Error(`${message}\n${stdout}`, { cause: error })
  }
}
