import { execFileSync } from 'node:child_process'
import t from 'tap'
import { Project, root, tarball } from './project'

// The others ask the registry that npm is set to.
const registry = execFileSync('npm', ['config', 'get', 'registry'], { cwd: root, encoding: 'utf8' }).trim()
const env = {
  npm_config_registry: registry,
  YARN_NPM_REGISTRY_SERVER: registry.replace(/\/$/, ''),
  YARN_ENABLE_TELEMETRY: '0',
  YARN_ENABLE_IMMUTABLE_INSTALLS: 'false'
}

const yarn = ['npx', '-y', '@yarnpkg/cli-dist@4']

/** How each lays packages out on the disk, is told to install, and runs Node.js. */
const managers: Record<string, [install: string[], node: string[]]> = {
  npm: [['npm', 'install', '--no-audit', '--no-fund'], ['node']],
  pnpm: [['npx', '-y', 'pnpm@10', 'install'], ['node']],
  // On Node.js 20 it refuses a dependency of Fastify, cookie, which asks for 22.
  'Yarn 1': [['npx', '-y', 'yarn@1', 'install', '--ignore-engines'], ['node']],
  "Yarn 4, Plug'n'Play": [[...yarn, 'install'], [...yarn, 'node']]
}

for (const fastify of ['5.0.0', '5']) {
  for (const [manager, [install, node]] of Object.entries(managers)) {
    t.test(`Fastify ${fastify}, installed by ${manager}`, async t => {
      const project = new Project(t, 'application')
      project.write('package.json', JSON.stringify({
        private: true, dependencies: { fastify, 'fastify-latency': `file:${tarball}` }
      }))
      project.write('yarn.lock', '') // Without one, Yarn 4 takes the folder for a part of a project above it.
      await project.run(install[0]!, install.slice(1), env)
      for (const app of ['app.cjs', 'app.mjs']) {
        t.match(
          await project.run(node[0]!, [...node.slice(1), app], env), /^http_request_duration_seconds_count 1$/m, app
        )
      }
    })
  }
}
