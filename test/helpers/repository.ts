import path from 'node:path'

/** The top of the repository: tests run in dist/test. */
export const root = path.join(__dirname, '..', '..', '..')
