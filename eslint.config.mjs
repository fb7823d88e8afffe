import neostandard, { plugins } from 'neostandard'

/** What no line may be longer than, but for a URL or a regular expression, which cannot be broken. */
const lineLimit = { code: 120, ignoreUrls: true, ignoreRegExpLiterals: true }

/** Files whose lines are limited. */
const limited = ['lib/**/*.ts', 'index.d.ts', 'test/**/*.{ts,mjs}', 'example/**/*.{ts,js,mjs}', 'docs/*.mjs']

/** A style sheet in a template literal, whose line breaks would be sent to browsers. */
const styleSheet = 'lib/pages/style.ts'

/** What fake timers of tests replace. */
const timers = ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'clearImmediate']

export default [
  ...neostandard({ ts: true, ignores: neostandard.resolveIgnoresFromGitignore() }),
  {
    files: limited,
    plugins: { '@stylistic': plugins['@stylistic'] },
    rules: { '@stylistic/max-len': ['error', lineLimit] }
  },
  {
    files: ['lib/**/*.ts'],
    ignores: ['lib/timers.ts', 'lib/pages/browser/**'],
    rules: {
      'no-restricted-globals': ['error', ...timers.map(name => ({ name, message: 'Import it from lib/timers.ts.' }))],
      '@typescript-eslint/no-restricted-imports': ['error', 'node:timers', 'node:timers/promises']
    }
  },
  {
    files: [styleSheet],
    plugins: { '@stylistic': plugins['@stylistic'] },
    rules: { '@stylistic/max-len': ['error', { ...lineLimit, ignoreTemplateLiterals: true }] }
  }
]
