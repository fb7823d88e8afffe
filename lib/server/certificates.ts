import { X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { createServer, type Server, type ServerOptions } from 'node:https'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { HttpsConfig } from './options'
import { describe, FST_LATENCY_ERR_CERTIFICATE } from '../errors'

/** How long a client may take to agree on TLS. */
const handshakeTimeoutMs = 10_000

/**
 * Makes a server whose certificates come from files, which are read again when they have changed: a connection that comes after the change
 * gets the new ones. While they cannot be used it gets those from before, and each such change is reported.
 */
export function createHttpsServer (
  config: HttpsConfig, options: ServerOptions, handler: RequestListener, warn: (error: InstanceType<typeof FST_LATENCY_ERR_CERTIFICATE>) => void
): Server {
  let version = versionOf(config)
  const mutual = config.clientCaFile !== undefined
  const server = createServer({
    ...options, ...readCertificates(config), requestCert: mutual, rejectUnauthorized: mutual, handshakeTimeout: handshakeTimeoutMs
  }, handler)
  // Comes before the listener that begins the handshake.
  server.prependListener('connection', () => {
    const current = versionOf(config)
    if (current === version) return
    version = current
    try {
      // Has new keys for session tickets too: whoever was trusted before has to prove anew who they are.
      server.setSecureContext(readCertificates(config))
    } catch (error) {
      warn(error as InstanceType<typeof FST_LATENCY_ERR_CERTIFICATE>)
    }
  })
  return server
}

function readCertificates ({ certFile, keyFile, clientCaFile }: HttpsConfig): SecureContextOptions {
  const ca = clientCaFile === undefined ? undefined : readFile(clientCaFile, checkAuthorities)
  const cert = readFile(certFile, cert => createSecureContext({ cert }))
  const key = readFile(keyFile, key => createSecureContext({ cert, key })) // Throws when they do not belong together, too.
  return { cert, key, ca }
}

function readFile (file: string, check: (contents: Buffer) => void): Buffer {
  try {
    const contents = readFileSync(file)
    check(contents)
    return contents
  } catch (error) {
    throw new FST_LATENCY_ERR_CERTIFICATE(file, describe(error), { cause: error })
  }
}

/** OpenSSL reads certificates up to a broken one, and takes a file that has none for one that trusts nobody. */
function checkAuthorities (pem: Buffer): void {
  const text = pem.toString('latin1')
  const certificates = text.match(/-----BEGIN [A-Z0-9 ]*CERTIFICATE-----[^]*?(?=-----BEGIN|$)/g) ?? [text]
  for (const certificate of certificates) new X509Certificate(certificate) // eslint-disable-line no-new -- throws
}

/** Another string whenever a file is another one, or holds something else. */
function versionOf (config: HttpsConfig): string {
  return files(config).map(file => {
    try {
      const { ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true })
      return [ino, size, mtimeNs, ctimeNs].join()
    } catch (error) {
      return describe(error)
    }
  }).join(';')
}

function files ({ certFile, keyFile, clientCaFile }: HttpsConfig): string[] {
  return [certFile, keyFile, ...clientCaFile === undefined ? [] : [clientCaFile]]
}
