// Coverage is of the sources: what was built from them runs in some tests too, but is not what they test.
import { readdirSync } from 'node:fs'

const sources = readdirSync('lib', { recursive: true }).filter(file => file.endsWith('.ts')).map(file => `lib/${file}`)

export default () => sources
