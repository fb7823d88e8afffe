import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { missing, Program, root, temporaryFolder, withEach } from './programs'

const folder = join(root, 'example', 'monitoring')
const text = readFileSync(join(folder, 'compose.yaml'), 'utf8')
const [program, ...compose] = spawnSync('docker', ['compose', 'version']).status === 0
  ? ['docker', 'compose']
  : ['docker-compose']

t.test('Compose accepts example/monitoring/compose.yaml', {
  skip: program !== 'docker' && missing('docker-compose')
}, async t => {
  const { error, status, stderr } = spawnSync(
    program!, [...compose, '-f', join(folder, 'compose.yaml'), 'config', '--quiet'], { encoding: 'utf8' }
  )
  if (error !== undefined) throw error
  t.equal(status, 0, stderr)
})

t.test('every image has a version', async t => {
  const images = [...text.matchAll(/image: (\S+\/\S+)/g)].map(([, image]) => image!)
  t.equal(images.length, 2)
  for (const image of images) t.match(image, /:v?\d+\.\d+\.\d+$/)
})

t.test('what is mounted fits together', withEach(['promtool'], async (t, installation) => {
  const container = temporaryFolder(t)
  for (const [, from, to] of text.matchAll(/- (\.\/\S+?):(\/\S+):ro/g)) {
    t.ok(existsSync(join(folder, from!)), from)
    mkdirSync(join(container, dirname(to!)), { recursive: true })
    cpSync(join(folder, from!), join(container, to!))
  }
  const read = (file: string): string => readFileSync(join(container, file), 'utf8')

  const { status, output } = installation.promtool([
    'check', 'config', '--lint-fatal', join(container, 'etc/prometheus/prometheus.yml')
  ])
  t.equal(status, 0, output)
  const applications = [...text.matchAll(/^ {2}(app-\d): \*app$/gm)].map(([, name]) => name)
  t.same(JSON.parse(read('etc/prometheus/targets/compose.json')), [
    { targets: applications.map(name => `${name}:8000`) }
  ])
  t.same([...text.matchAll(/'(http:\S+)'/g)].map(([, url]) => url), applications.map(name => `http://${name}:8001`))

  t.match(read('etc/grafana/provisioning/datasources/prometheus.yaml'), /^ {4}url: http:\/\/prometheus:9090$/m)
  t.match(text, /^ {2}prometheus:$/m)
  const [, dashboards] = /^ {6}path: (\S+)$/m.exec(read('etc/grafana/provisioning/dashboards/fastify-latency.yaml'))!
  t.equal(JSON.parse(read(join(dashboards!, 'fastify-latency.json'))).title, 'Fastify latency')
  const [, home] = /HOME_DASHBOARD_PATH: (\S+)/.exec(text)!
  t.ok(existsSync(join(container, home!)))
}))

t.test('the image has what its commands need', async t => {
  const image = temporaryFolder(t)
  const dockerfile = readFileSync(join(folder, 'Dockerfile'), 'utf8')
  for (const [, sources, target] of dockerfile.matchAll(/^COPY (.+) (\S+)$/gm)) {
    for (const source of sources!.split(' ')) {
      cpSync(join(root, source), target === './' ? join(image, source) : join(image, target!), { recursive: true })
    }
  }
  symlinkSync(join(root, 'node_modules'), join(image, 'node_modules'))
  const [, command] = /^RUN npm (run .+)$/m.exec(dockerfile)!
  const build = spawnSync('npm', command!.split(' '), { cwd: image, encoding: 'utf8' })
  t.equal(build.status, 0, build.stdout)
  const commands = [...text.matchAll(/command: \[node, ([^,\]]+)/g)].map(([, script]) => script!)
  t.equal(commands.length, 2)
  for (const script of commands) t.ok(existsSync(join(image, script)), script)

  const app = new Program(t, process.execPath, [commands[0]!], {
    cwd: image, env: { ...process.env, HOST: '127.0.0.1', PORT: '0', METRICS_PORT: '0' }
  })
  await app.printed(/http:\/\/127\.0\.0\.1:\d+[^]*http:\/\/127\.0\.0\.1:\d+\/metrics/)
})
