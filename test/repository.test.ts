import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { root } from './helpers/repository'

const read = (file: string): string => readFileSync(path.join(root, file), 'utf8').replaceAll('\r\n', '\n')

/** Licences that ask for no more than to be named. */
const permissive = ['0BSD', 'Apache-2.0', 'BlueOak-1.0.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT']

t.test('users get permissive licences only', async t => {
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { license?: string, dev?: boolean }>
  }
  const installed = Object.entries(packages).filter(([, { dev }]) => dev !== true)
  t.ok(installed.length > 10)
  for (const [name, { license }] of installed) {
    t.ok(permissive.includes(license!), `${name || 'fastify-latency'}: ${license}`)
  }
})

t.test('CONTRIBUTING.md says what each dependency is for', async t => {
  const { dependencies, devDependencies } = JSON.parse(read('package.json'))
  const reasons = read('CONTRIBUTING.md').split('## Dependencies')[1]!
  for (const name of Object.keys({ ...dependencies, ...devDependencies })) {
    // Types belong to the package that they describe.
    t.match(reasons, `\`${name.replace(/^@types\/(?!node)/, '')}\``, name)
  }
})

t.test('tests that start processes are in test/processes', async t => {
  const starts = (folder: string): boolean[] => readdirSync(path.join(root, folder))
    .filter(file => file.endsWith('.test.ts'))
    .map(file =>
      /'node:(child_process|cluster)'|\/(service|instances)'/.test(read(path.join(folder, file)).match(/^import .*$/gm)!.join()))
  t.notOk(starts('test').includes(true))
  t.notOk(starts('test/browser').includes(true))
  t.notOk(starts('test/processes').includes(false))
})

t.test('documents link to what there is', async t => {
  const documents = ['.', 'docs', 'example'].flatMap(folder =>
    readdirSync(path.join(root, folder)).filter(file => file.endsWith('.md')).map(file => path.join(folder, file)))
  // As GitHub makes them.
  const anchors = (file: string): string[] => [...read(file).matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title!.toLowerCase().replace(/[^\w -]/g, '').replaceAll(' ', '-'))
  for (const document of documents) {
    for (const [, link] of read(document).matchAll(/\]\(([^)]+)\)/g)) {
      if (link!.startsWith('https:')) continue
      const [file, anchor] = link!.split('#') as [string, string?]
      const target = file === '' ? document : path.join(path.dirname(document), file)
      t.ok(existsSync(path.join(root, target)), `${document}: ${link}`)
      if (anchor !== undefined) t.ok(anchors(target).includes(anchor), `${document}: ${link}`)
    }
  }
})

t.test('each question that people ask is two clicks from the first screen of README.md', async t => {
  const [firstScreen] = read('README.md').split('```')
  t.match(firstScreen, '](docs/questions.md)')
  const rows = read(path.join('docs', 'questions.md')).split('\n').filter(line => line.startsWith('| ')).slice(1)
  t.ok(rows.length >= 15)
  for (const row of rows) t.match(row, /\]\([\w-]+\.md[^)]*\) \|$/, row)
})

t.test('package.json has few scripts, and all that are named anywhere', async t => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
  t.ok(Object.keys(scripts).length <= 15)
  const folders = ['.', '.ci', '.github', 'docs', 'example', 'test']
  const files = folders.flatMap(folder =>
    readdirSync(path.join(root, folder), { recursive: folder !== '.', encoding: 'utf8' })
      .map(file => path.join(folder, file))
      .filter(file => /^(?!.*node_modules).*(?:\.(?:md|ts|mjs|ya?ml)|[\\/]run|Dockerfile)$/.test(file)))
  t.ok(files.includes('CONTRIBUTING.md') && files.includes(path.join('.ci', 'run')))
  for (const file of files) {
    for (const [command, script, example] of read(file).matchAll(/npm\s+run ([\w:]+)(?: -- ([a-z-]+))?/g)) {
      t.ok(script! in scripts, `${file}: ${command}`)
      if (script !== 'example' || example === undefined) continue
      const sources = ['ts', 'mjs', 'js'].map(type => path.join(root, 'example', `${example}.${type}`))
      t.ok(sources.some(source => existsSync(source)), `${file}: ${command}`)
    }
  }
})

t.test('workflows may do nothing by default but read, and use actions by their hash', async t => {
  const folder = path.join('.github', 'workflows')
  for (const file of readdirSync(path.join(root, folder))) {
    const workflow = read(path.join(folder, file))
    t.match(workflow, /^permissions:( \{\}|\n {2}contents: read)$/m, file)
    for (const [, action] of workflow.matchAll(/uses: (.*)/g)) {
      t.match(action, /^(\.\/.*|\S+@[0-9a-f]{40} # v\d.*)$/, `${file}: ${action}`)
    }
    t.equal(/id-token: write/.test(workflow), file === 'release.yml', `${file}: id-token`)
  }
})
