import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Test } from 'tap'

/** A folder that is gone when the test ends. Its name is short enough for Unix sockets in it. */
export function createFolder (t: Test): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'latency-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
