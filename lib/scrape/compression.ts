import type { Readable, Transform } from 'node:stream'
import { promisify } from 'node:util'
import zlib from 'node:zlib'

/** What the types do not tell, which are those of Node.js 20: it has no zstd. Node.js has it from 22.15 on. */
const { createZstdCompress, constants: { ZSTD_c_compressionLevel: zstdLevel } } = zlib as typeof zlib & {
  readonly createZstdCompress?: (options: object) => Transform
  readonly constants: { readonly ZSTD_c_compressionLevel: number }
}

/**
 * The ways to compress, by their names in `Accept-Encoding`. A client that accepts any gets the first one. Their lowest
 * levels are used: higher ones take more time, and make an exposition hardly smaller.
 */
const compressors = new Map([
  { encoding: 'gzip', create: zlib.createGzip as (options: object) => Transform, options: { level: 1 } },
  { encoding: 'zstd', create: createZstdCompress, options: { params: { [zstdLevel]: 1 } } }
].filter(({ create }) => create !== undefined).map(compressor => [compressor.encoding, compressor]))

/** Those that this version of Node.js has. */
export const encodings: readonly string[] = [...compressors.keys()]

/**
 * Compresses chunks one after the other. The next chunk is asked for only when the previous one has been compressed,
 * because the memory of a borrowed chunk is written over when the next one is asked for. A pipeline passes chunks on
 * before they are compressed, and cannot be used here.
 */
export function compress (chunks: AsyncGenerator<Uint8Array>, encoding: string): Readable {
  const { create, options } = compressors.get(encoding)!
  const compressor = create!(options)
  const write = promisify((chunk: Uint8Array, done: (error?: Error | null) => void) => compressor.write(chunk, done))
  const writeAll = async (): Promise<void> => {
    for await (const chunk of chunks) await write(chunk)
    compressor.end()
  }
  writeAll().catch(error => compressor.destroy(error))
  // If the client has left, a chunk may stay half written forever. The generator must end nevertheless.
  return compressor.once('close', () => chunks.return(undefined))
}
