import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

/**
 * Loads `prom-client`, a file at a time: in one go this would hold up the event loop for 20 ms. Most of its files, and
 * of the package that it depends on, are beside or below the two modules named here.
 */
export function * loadPromClient (): Generator<undefined, void> {
  for (const module of ['@opentelemetry/api', './lib/registry']) yield * loadFolder(module)
  require('prom-client')
  yield
}

/** Loads the files of a folder, those of the innermost folders first. They depend on few others. */
function * loadFolder (module: string): Generator<undefined, void> {
  try {
    const load = createRequire(require.resolve('prom-client'))
    const entry = load.resolve(module)
    const files = readdirSync(path.dirname(entry), { recursive: true, encoding: 'utf8' })
      .filter(file => path.extname(file) === path.extname(entry))
      .sort((a, b) => b.split(path.sep).length - a.split(path.sep).length)
    for (const file of files) {
      yield
      load(path.join(path.dirname(entry), file))
    }
  } catch {
    // Another version, or a bundle, has its files elsewhere. They are then loaded all at once.
  }
}
