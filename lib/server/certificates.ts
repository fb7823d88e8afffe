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

/** The time after which files that could not be used are read again, though they have not changed. */
const retryMs = 1000

/**
 * The certificates of servers, which come from files. The files are read again when they have changed: a connection
 * that comes after the change gets the new certificates. If the files cannot be used, the servers keep the old
 * certificates, and the files are read again until they can be used.
 */
export class Certificates {
  readonly #config: HttpsConfig
  readonly #warn: (error: CertificateError) => void
  readonly #servers: Server[] = []
  #certificates: SecureContextOptions
  /** The version of the files that the certificates are from. */
  #version: string
  /** The version of the files that was last read, and when. */
  #triedVersion: string
  #triedMs = 0

  /** Throws if the files cannot be used. `warn` is called later, once for each change to files that cannot be used. */
  constructor (config: HttpsConfig, warn: (error: CertificateError) => void) {
    this.#config = config
    this.#warn = warn
    this.#version = this.#triedVersion = versionOf(config)
    this.#certificates = readCertificates(config)
  }

  createServer (options: ServerOptions, handler: RequestListener): Server {
    const mutual = this.#config.clientCaFile !== undefined
    const server = createServer({
      ...options,
      ...this.#certificates,
      requestCert: mutual,
      rejectUnauthorized: mutual,
      handshakeTimeout: handshakeTimeoutMs
    }, handler)
    // This listener has to run before the one that begins the handshake.
    server.prependListener('connection', () => this.#update())
    this.#servers.push(server)
    return server
  }

  #update (): void {
    const version = versionOf(this.#config)
    if (version === this.#version) return
    const isNew = version !== this.#triedVersion
    const now = performance.now()
    if (!isNew && now - this.#triedMs < retryMs) return
    this.#triedVersion = version
    this.#triedMs = now
    try {
      this.#certificates = readCertificates(this.#config)
      this.#version = version
    } catch (error) {
      if (isNew) this.#warn(error as CertificateError)
      return
    }
    // The new context also has new keys for session tickets. Clients that were trusted before have to authenticate
    // again.
    for (const server of this.#servers) server.setSecureContext(this.#certificates)
  }
}

function readCertificates ({ certFile, keyFile, clientCaFile }: HttpsConfig): SecureContextOptions {
  const ca = clientCaFile === undefined ? undefined : readFile('clientCaFile', clientCaFile, checkAuthorities)
  const cert = readFile('certFile', certFile, cert => createSecureContext({ cert }))
  // Also throws if the key is not that of the certificate.
  const key = readFile('keyFile', keyFile, key => createSecureContext({ cert, key }))
  return { cert, key, ca }
}

function readFile (option: keyof HttpsConfig, file: string, check: (contents: Buffer) => void): Buffer {
  try {
    const contents = readFileSync(file)
    check(contents)
    return contents
  } catch (error) {
    throw new FST_LATENCY_ERR_CERTIFICATE(option, file, describe(error), { cause: error })
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
