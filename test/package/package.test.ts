import { cpSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, posix, relative, sep } from 'node:path'
import t from 'tap'
import { Project, root, tarball } from './project'

const bin = join(root, 'node_modules', '.bin')
const project = new Project(t)

t.before(() => project.install(tarball, 'fastify@5', 'typescript@5.9', '@types/node@20'))

/** The files of the package. */
async function packedFiles (): Promise<string[]> {
  const files = (await project.run('tar', ['-tf', tarball])).trim().split('\n')
  return files.map(file => file.replace('package/', '')).sort()
}

/** Files of the examples that are of use in a clone only. */
const inClone = [
  'example/fleet.ts', 'example/run.mjs', 'example/tsconfig.json', 'example/monitoring/prometheus/targets/fleet.json'
]

t.test('the package is the built library, its types, its documents and the examples', async t => {
  const documents = readdirSync(join(root, 'docs')).filter(file => file.endsWith('.md')).map(file => `docs/${file}`)
  const examples = readdirSync(join(root, 'example'), { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(({ parentPath, name }) => relative(root, join(parentPath, name)).replaceAll(sep, '/'))
    .filter(file => !inClone.includes(file))
  const modules = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' })
    .map(file => file.replaceAll(sep, '/'))
    .filter(file => file.endsWith('.ts') && !file.startsWith('pages/browser/'))
    .map(file => `dist/lib/${file.replace(/ts$/, 'js')}`)
  t.strictSame(await packedFiles(), [
    ...modules, 'dist/lib/pages/browser.min.js', ...documents, ...examples,
    'CHANGELOG.md', 'LICENSE', 'README.md', 'index.d.ts', 'package.json'
  ].sort())
})

t.test('the package has at most 300 kB', async t => {
  const { size } = statSync(tarball)
  t.ok(size <= 300_000, `it has ${size} bytes`)
})

/** What the packed documents link to, and the pictures that they show. */
async function readTargets (folder: string): Promise<Array<{ document: string, target: string }>> {
  const documents = (await packedFiles()).filter(file => file.endsWith('.md'))
  return documents.flatMap(document => {
    const text = readFileSync(join(folder, document), 'utf8')
    return [...text.matchAll(/\]\(([^)#]+)[^)]*\)|\bsrc(?:set)?="([^"]+)"/g)]
      .map(([, link, source]) => ({ document, target: link ?? source! }))
  })
}

const isPicture = ({ target }: { target: string }): boolean => /\.(?:png|svg)$/.test(target)

t.test('what the packed documents link to is packed', async t => {
  const packed = await packedFiles()
  const links = (await readTargets(root)).filter(link => !isPicture(link) && !link.target.startsWith('https:'))
  t.ok(links.length > 30)
  for (const { document, target } of links) {
    const file = posix.join(posix.dirname(document), target)
    t.ok(packed.some(other => other === file || other.startsWith(`${file}/`)), `${document}: ${target}`)
  }
})

t.test('a release shows the pictures of the repository in the packed documents', async t => {
  const workflow = readFileSync(join(root, '.github', 'workflows', 'release.yml'), 'utf8')
  const [, script] = /- name: Pictures have absolute addresses\n +run: \|\n((?: {10}.*\n)+)/.exec(workflow)!
  const release = new Project(t)
  for (const file of await packedFiles()) {
    if (file.endsWith('.md')) cpSync(join(root, file), release.path(file))
  }
  await release.run('bash', ['-ec', script!], { GITHUB_REPOSITORY: 'owner/name', GITHUB_REF_NAME: 'v1.2.3' })
  const targets = await readTargets(root)
  const pictures = targets.filter(isPicture)
  t.ok(pictures.length > 8)
  const folder = 'https://raw.githubusercontent.com/owner/name/v1.2.3/docs/'
  t.same(await readTargets(release.folder), targets.map(({ document, target }) =>
    ({ document, target: isPicture({ target }) ? folder + posix.basename(target) : target })))
  for (const { document, target } of pictures) {
    t.ok(statSync(join(root, dirname(document), target)).isFile(), `${document}: ${target}`)
  }
})

t.test('README.md says what the packed examples need', async t => {
  const [, section] = /\n## Examples\n([^]*?)\n## /.exec(readFileSync(join(root, 'README.md'), 'utf8'))!
  const programs = (await packedFiles()).filter(file => /^example\/.*js$|^example\/.*ts$/.test(file))
  t.ok(programs.length > 9)
  for (const program of programs) {
    const text = readFileSync(join(root, program), 'utf8')
    for (const [, name] of text.matchAll(/(?:^import .* from |require\()'([^.'][^']*)'/gm)) {
      if (!name!.startsWith('node:')) t.match(section, new RegExp(`\`[^\`]*\\b${name}\\b.*\``), `${program}: ${name}`)
    }
  }
})

t.test('publint has nothing to say', async t => {
  t.match(await project.run(join(bin, 'publint'), ['run', tarball]), 'All good!')
})

t.test('the types are right for every way of resolving modules (attw)', async t => {
  t.match(await project.run(join(bin, 'attw'), [tarball]), 'No problems found')
})

const imports = {
  'require.cjs': "const latency = require('fastify-latency')",
  'require-named.cjs': "const { fastifyLatency: latency } = require('fastify-latency')",
  'import-default.mjs': "import latency from 'fastify-latency'",
  'import-named.mjs': "import { fastifyLatency as latency } from 'fastify-latency'"
}
for (const [file, statement] of Object.entries(imports)) {
  t.test(`${statement} records and serves`, async t => {
    project.write('check.cjs', `
      exports.check = async function (latency) {
        const app = require('fastify')()
        await app.register(latency, { labels: {}, server: { port: 0 } })
        app.get('/', async () => 'Hello World')
        await fetch(await app.listen({ port: 0 }))
        console.log(await (await fetch(await app.latency.start())).text())
        await app.close()
      }`)
    const check = file.endsWith('.mjs')
      ? "import { check } from './check.cjs'"
      : "const { check } = require('./check.cjs')"
    project.write(file, `${statement}\n${check}\ncheck(latency)\n`)
    t.match(await project.run('node', [file]), /^http_request_duration_seconds_count 1$/m)
  })
}

t.test('every import gives the same function', async t => {
  project.write('same.mjs', `
    import latency, { fastifyLatency } from 'fastify-latency'
    import { createRequire } from 'node:module'
    const required = createRequire(import.meta.url)('fastify-latency')
    console.log(new Set([latency, fastifyLatency, required, required.default, required.fastifyLatency]).size, ` +
    'typeof latency)')
  t.equal(await project.run('node', ['same.mjs']), '1 function\n')
})

const tsc = [
  join('node_modules', 'typescript', 'bin', 'tsc'), '--module', 'nodenext', '--target', 'es2022', '--strict',
  '--exactOptionalPropertyTypes'
]
const program = `
  import Fastify from 'fastify'
  import latency, { fastifyLatency, type Options } from 'fastify-latency'

  async function main (): Promise<void> {
    const options: Options = { labels: { team: request => request.hostname }, server: { port: 0 } }
    const app = Fastify()
    await app.register(latency, options)
    await app.register(fastifyLatency, { histogram: { name: 'other_seconds' }, server: { port: 0 } })
    app.get('/', { config: { latency: false } }, async () => 'Hello World')
    app.get('/users/:id', { config: { latency: { route: 'users' } } }, async () => 'Hello World')
    const url: string | null = app.latency.url
    const bounds: readonly number[] = app.latency.histogram.buckets
    console.log(url, bounds.length)
    await app.close()
  }
  main()
`

t.test("strict TypeScript accepts the options, app.latency and a route's config, " +
  'in CommonJS and ES modules', async t => {
  project.write('typed.cts', program)
  project.write('typed.mts', program)
  await project.run('node', [...tsc, 'typed.cts', 'typed.mts'])
  for (const built of ['typed.cjs', 'typed.mjs']) t.equal(await project.run('node', [built]), 'null 11\n')
})

t.test('TypeScript refuses a misspelt option', async t => {
  project.write('misspelt.mts', program.replace('{ name:', '{ nmae:'))
  await t.rejects(project.run('node', [...tsc, '--noEmit', 'misspelt.mts']), { message: /'nmae' does not exist/ })
})
