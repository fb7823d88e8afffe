import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { generate } from 'selfsigned'
import type { Test } from 'tap'

export interface Certificate {
  readonly cert: string
  readonly key: string
}

const options = { keyType: 'ec', algorithm: 'sha256' } as const

export async function createAuthority (name: string): Promise<Certificate> {
  const { cert, private: key } = await generate([{ name: 'commonName', value: name }], {
    ...options,
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true }, { name: 'keyUsage', keyCertSign: true, critical: true }
    ]
  })
  return { cert, key }
}

/** For localhost, and for clients too. */
export async function issue (ca: Certificate, name: string): Promise<Certificate> {
  const { cert, private: key } = await generate([{ name: 'commonName', value: name }], {
    ...options,
    ca,
    extensions: [
      { name: 'basicConstraints', cA: false },
      { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
      { name: 'subjectAltName', altNames: [{ type: 2, value: 'localhost' }, { type: 7, ip: '127.0.0.1' }] }
    ]
  })
  return { cert, key }
}

/** Files in a folder of their own, gone when the test ends. */
export class Files {
  readonly #folder = mkdtempSync(path.join(tmpdir(), 'latency-'))

  constructor (t: Test) {
    t.teardown(() => rmSync(this.#folder, { recursive: true, force: true }))
  }

  write (name: string, text: string): string {
    const file = path.join(this.#folder, name)
    writeFileSync(file, text)
    return file
  }

  remove (name: string): void {
    rmSync(path.join(this.#folder, name))
  }
}

/** What `server.https` needs, for tests that do not look at the certificate. */
export async function createCertificate (t: Test): Promise<{ certFile: string, keyFile: string }> {
  const files = new Files(t)
  const { cert, key } = await issue(await createAuthority('ca'), 'localhost')
  return { certFile: files.write('cert.pem', cert), keyFile: files.write('key.pem', key) }
}
