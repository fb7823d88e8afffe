// Checks and follows what example/ has for containers.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { missing, Program, startPrometheus, until } from '../e2e/programs'
import { onFreePorts, portOf, Project, root, tarball } from './project'

const project = new Project(t, 'deployment')
t.before(() => project.install())

const container = join(root, 'example', 'container')
const kubernetes = join(root, 'example', 'kubernetes')
const dockerfile = readFileSync(join(container, 'Dockerfile'), 'utf8')

t.test('the Dockerfile is valid', async t => {
  const check = async (text: string): Promise<string> => {
    project.write('Dockerfile', text)
    return project.run('node', ['dockerfile.cjs', 'Dockerfile'])
  }
  t.equal(await check(dockerfile), '')
  t.match(await check(dockerfile.replace('EXPOSE 8001', 'EXPOSE http')), /^line 8: /)
})

t.test('its steps lead to an application that serves its metrics, on the ports that it exposes, ' +
  'and stops on SIGTERM', async t => {
  const context = new Project(t)
  context.write('app.js', readFileSync(join(container, 'app.js'), 'utf8'))
  await context.install('--package-lock-only', tarball, 'fastify@5', 'close-with-grace@2')
  const image = new Project(t)
  const env: NodeJS.ProcessEnv = { ...onFreePorts, HOST: '127.0.0.1' }
  let command: string[] = []
  let ports: string[] = []
  for (const [instruction, ...words] of dockerfile.trim().split('\n').map(line => line.split(' '))) {
    const text = words.join(' ')
    if (instruction === 'ENV') Object.assign(env, Object.fromEntries([text.split('=')]))
    else if (instruction === 'COPY') await context.run('cp', [...words.slice(0, -1), image.folder])
    else if (instruction === 'RUN') await image.run('sh', ['-c', text], env)
    else if (instruction === 'EXPOSE') ports = words
    else if (instruction === 'CMD') command = JSON.parse(text)
    else t.ok(['FROM', 'WORKDIR', 'USER'].includes(instruction!), instruction)
  }
  const running = new Program(t, command[0]!, command.slice(1), { cwd: image.folder, env: { ...process.env, ...env } })
  const [address, metrics] =
    await Promise.all(ports.map(async port => `http://127.0.0.1:${await portOf(running, port)}`))
  t.equal(await (await fetch(address!)).text(), 'Hello World')
  t.match(await (await fetch(`${metrics}/metrics`)).text(), /^http_request_duration_seconds_count\{.*\} 1$/m)
  t.equal((await fetch(`${metrics}/readyz`)).status, 200)
  t.equal(await running.stop('SIGTERM'), 0)
})

t.test('the manifests are what the schemas of Kubernetes and of the Prometheus Operator ask for', async t => {
  const check = async (text: string): Promise<string> => {
    project.write('manifests.yaml', text)
    project.write('manifests.ts', await project.run('node', ['manifests.cjs', 'manifests.yaml']))
    await project.run('npx', ['tsc', '--strict', '--skipLibCheck', '--module', 'node16', 'manifests.ts'])
    return project.run('node', ['manifests.js'])
  }
  const manifests = Object.fromEntries(
    ['deployment', 'pod-monitor'].map(name => [name, readFileSync(join(kubernetes, `${name}.yaml`), 'utf8')])
  )
  for (const [name, text] of Object.entries(manifests)) await t.resolves(check(text), name)
  await t.rejects(check(manifests.deployment!.replace('periodSeconds', 'periodMs')),
    { message: /"periodMs"' does not exist/ }, 'an unknown field')
  await t.rejects(
    check(manifests['pod-monitor']!.replace('15s', '15 s')), { message: /must match pattern/ }, 'a wrong value'
  )

  const ports = [...manifests.deployment!.matchAll(/name: (http|metrics)\n +containerPort: (\d+)/g)]
    .map(([, name, port]) => [name, port])
  t.same(ports, [['http', '8001'], ['metrics', '8000']])
  t.match(manifests['pod-monitor'], 'port: metrics')
  for (const text of Object.values(manifests)) t.match(text, 'matchLabels:\n      app: hello-world')
})

t.test('kubernetes/prometheus.yml scrapes the pods of the Deployment, once each', {
  skip: missing('prometheus')
}, async t => {
  const config = readFileSync(join(kubernetes, 'prometheus.yml'), 'utf8')
  // Debian's Prometheus does not discover pods: here is what it would find.
  const discovery = 'kubernetes_sd_configs:\n      - role: pod\n'
  t.match(config, discovery)
  const deployment = readFileSync(join(kubernetes, 'deployment.yaml'), 'utf8')
  const annotations = Object.fromEntries([...deployment.matchAll(/prometheus\.io\/(\w+): "?([^"\n]+)/g)]
    .map(([, name, value]) => [`annotation_prometheus_io_${name}`, value!]))
  const found = [
    { ...annotations, pod_container_port_number: '8000' },
    { ...annotations, pod_container_port_number: '8001' },
    { pod_container_port_number: '8000' }
  ].map((labels: Record<string, string>, index) => ({
    targets: [`127.0.0.1:${labels.pod_container_port_number}`],
    labels: Object.fromEntries(Object.entries({ ...labels, namespace: 'shop', pod_name: `hello-${index}` })
      .map(([name, value]) => [`__meta_kubernetes_${name.replace('annotation', 'pod_annotation')}`, value]))
  }))
  const prometheus = await startPrometheus(t, config.replace(discovery, `static_configs: ${JSON.stringify(found)}\n`))
  const { activeTargets } = await until('a target', async () => {
    const targets = await prometheus.get<{ activeTargets: Array<{ scrapeUrl: string, labels: object }> }>('targets', {
      state: 'active'
    })
    return targets.activeTargets.length > 0 && targets
  })
  t.strictSame(activeTargets.map(({ scrapeUrl, labels }) => ({ scrapeUrl, ...labels })), [
    {
      scrapeUrl: 'http://127.0.0.1:8000/metrics',
      instance: '127.0.0.1:8000',
      job: 'pods',
      namespace: 'shop',
      pod: 'hello-0'
    }
  ])
})
