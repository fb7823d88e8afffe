import { X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { createServer, type Server, type ServerOptions } from 'node:https'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { HttpsConfig } from './options'
import { describe, FST_LATENCY_ERR_CERTIFICATE } from '../errors'

type CertificateError = InstanceType<typeof FST_LATENCY_ERR_CERTIFICATE>

/** The time that a client has for the TLS handshake. */
const handshakeTimeoutMs = 10_000

/**
 * Makes a server whose certificates come from files. The files are read again when they have changed: a connection that
 * comes after the change gets the new certificates. If the changed files cannot be used, the server keeps the old
 * certificates and calls `warn`, once for each change.
 */
export function createHttpsServer (
  config: HttpsConfig, options: ServerOptions, handler: RequestListener, warn: (error: CertificateError) => void
): Server {
  let version = versionOf(config)
  const mutual = config.clientCaFile !== undefined
  const server = createServer({
    ...options,
    ...readCertificates(config),
    requestCert: mutual,
    rejectUnauthorized: mutual,
    handshakeTimeout: handshakeTimeoutMs
  }, handler)
  // This listener has to run before the one that begins the handshake.
  server.prependListener('connection', () => {
    const current = versionOf(config)
    if (current === version) return
    version = current
    try {
      // The new context also has new keys for session tickets. Clients that were trusted before have to authenticate
      // again.
      server.setSecureContext(readCertificates(config))
    } catch (error) {
      warn(error as CertificateError)
    }
  })
  return server
}

function readCertificates ({ certFile, keyFile, clientCaFile }: HttpsConfig): SecureContextOptions {
  const ca = clientCaFile === undefined ? undefined : readFile(clientCaFile, checkAuthorities)
  const cert = readFile(certFile, cert => createSecureContext({ cert }))
  // Also throws if the key is not that of the certificate.
  const key = readFile(keyFile, key => createSecureContext({ cert, key }))
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

/**
 * Throws if one of the certificates cannot be used. OpenSSL itself would ignore a broken certificate and all that
 * follow it. It would accept a file without any certificate, and then trust no client.
 */
function checkAuthorities (pem: Buffer): void {
  const text = pem.toString('latin1')
  const certificates = text.match(/-----BEGIN [A-Z0-9 ]*CERTIFICATE-----[^]*?(?=-----BEGIN|$)/g) ?? [text]
  for (const certificate of certificates) new X509Certificate(certificate) // eslint-disable-line no-new -- throws
}

/** A string that differs whenever one of the files has been replaced or changed. */
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
