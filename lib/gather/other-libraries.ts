import type { RegistryLike } from '../../index'
import { FST_LATENCY_ERR_REGISTRY_UNSERVED, printable, type WarnOnce } from '../errors'
import type { NamedRegistry } from './listing'

/**
 * Warns of client libraries that are loaded beside the `prom-client` of this plugin, and whose global registry has
 * metrics that are not served. This happens if a package manager installs two versions of `prom-client`. Only the
 * modules that Node.js has loaded with `require()` are known.
 */
export function warnOfOtherLibraries (served: readonly NamedRegistry[], warnOnce: WarnOnce): void {
  try {
    for (const [file, module] of Object.entries(require.cache)) {
      if (!/[\\/](?:prom-client|@prometheus-io[\\/]client)[\\/]index\.js$/.test(file)) continue
      const { register } = module!.exports as { readonly register: RegistryLike }
      if (served.some(({ registry }) => registry === register) || register.getMetricsAsArray().length === 0) continue
      warnOnce(`library ${file}`, () => new FST_LATENCY_ERR_REGISTRY_UNSERVED(printable(file)))
    }
  } catch {
    // A bundler may have left out the cache, and a test may have put something else in the place of a library.
  }
}
