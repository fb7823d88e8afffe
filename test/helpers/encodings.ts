import zlib from 'node:zlib'

const { zstdDecompressSync } = zlib as typeof zlib & { readonly zstdDecompressSync?: (body: Buffer) => Buffer }

/** The name of zstd, where Node.js has it: from 22.15 on. */
export const zstd = zstdDecompressSync === undefined ? undefined : 'zstd'

/** What a client reads of a body that was sent with this `Content-Encoding`. */
export function decode (body: Buffer, encoding: string | undefined): Buffer {
  if (encoding === 'gzip') return zlib.gunzipSync(body)
  if (encoding === 'zstd') return zstdDecompressSync!(body)
  return body
}
