import { readFileSync } from 'node:fs'
import path from 'node:path'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import ts from 'typescript'
import latency from '../lib'
import { parseOptions } from '../lib/config'
import * as errors from '../lib/errors'
import { meanings, needless, routeMeanings, routeMeaningsElsewhere, sourceMeanings } from '../lib/names-elsewhere'
import { labelSources } from '../lib/request/label-sources'
import { parseRouteConfig } from '../lib/request/options'
import { createApplication } from './helpers/application'
import { root } from './helpers/repository'

// Options, their defaults, label sources and error codes are in three places: what index.d.ts declares, what the
// documents say, and what the code does. These tests hold the three together.

const [manual, errorList] = ['options.md', 'errors.md'].map(file => readFileSync(path.join(root, 'docs', file), 'utf8'))
const declarations = ts.createSourceFile(
  'index.d.ts', readFileSync(path.join(root, 'index.d.ts'), 'utf8'), ts.ScriptTarget.Latest, true
)

interface Option {
  /** `server.port` */
  readonly path: string
  /** What its comment says. */
  readonly comment: string
  /** What follows `@default` there. */
  readonly documentedDefault: string | undefined
  /** Options that it consists of, if it may be an object. */
  readonly parts: readonly Option[]
}

function declaration<T extends ts.Node> (name: string, isKind: (node: ts.Node) => node is T): T {
  const find = (node: ts.Node): T | undefined =>
    isKind(node) && (node as unknown as { name: ts.Identifier }).name.text === name ? node : ts.forEachChild(node, find)
  return find(declarations)!
}

function members (name: string): readonly ts.TypeElement[] {
  const { members: own, heritageClauses = [] } = declaration(name, ts.isInterfaceDeclaration)
  const extended = heritageClauses.flatMap(({ types }) => types.map(({ expression }) => expression.getText()))
  return [...extended.filter(name => /Options$/.test(name)).flatMap(members), ...own]
}

/** The interfaces of index.d.ts that a type names, alone or in a union. */
function interfacesOf (type: ts.TypeNode): string[] {
  if (ts.isUnionTypeNode(type)) return type.types.flatMap(interfacesOf)
  const name = ts.isTypeReferenceNode(type) ? type.typeName.getText() : ''
  return /Options$|^RouteConfig$/.test(name) ? [name] : []
}

function declaredOptions (name: string, prefix = ''): Option[] {
  return members(name).filter(ts.isPropertySignature).filter(({ type }) => type!.kind !== ts.SyntaxKind.NeverKeyword)
    .map(member => {
      const path = prefix + member.name.getText()
      const comments = ts.getJSDocCommentsAndTags(member).filter(ts.isJSDoc)
      const tag = ts.getJSDocTags(member).find(({ tagName }) => tagName.text === 'default')
      return {
        path,
        comment: comments.map(({ comment }) => ts.getTextOfJSDocComment(comment) ?? '').join(),
        documentedDefault: tag && ts.getTextOfJSDocComment(tag.comment)!.replace(/\s+/g, ' '),
        parts: interfacesOf(member.type!).flatMap(part => declaredOptions(part, `${path}.`))
      }
    })
}

function literals (name: string): string[] {
  const { type } = declaration(name, ts.isTypeAliasDeclaration)
  return (type as ts.UnionTypeNode).types
    .filter(ts.isLiteralTypeNode)
    .map(({ literal }) => (literal as ts.StringLiteral).text)
}

/** The rows of the first table after a heading of docs/options.md, without their last column's end. */
function table (heading: string): string[][] {
  const section = manual!.slice(manual!.indexOf(`${heading}\n`))
  return /(?:^\|.*\|\n)+/m.exec(section)![0].trimEnd().split('\n').slice(2).map(row => row.slice(2, -2).split(' | '))
}

/** `server.port` and 1 to `{ server: { port: 1 } }`. */
function nest (path: string, value: unknown): unknown {
  return path.split('.').reduceRight((inner, key) => ({ [key]: inner }), value)
}

const options = declaredOptions('Options')
const allOptions = options.flatMap(
  function flatten (option: Option): Option[] { return [option, ...option.parts.flatMap(flatten)] }
)
const rows = new Map(table('# Options').map(([name, byDefault, meaning]) => [
  name!.replaceAll('`', ''), { byDefault: byDefault!, meaning: meaning! }
]))

/** Whether a default is a value rather than prose. */
const isValue = (text: string): boolean => /^(?:\d+|true|false|['[{].*)$/.test(text)

t.test('the code knows the options that are declared, and no other', async t => {
  const known = (parse: () => unknown): string[] => {
    try {
      parse()
      return []
    } catch (error) {
      return / known here: (.*)$/.exec((error as Error).message)![1]!.split(', ').sort()
    }
  }
  const names = (parts: readonly Option[]): string[] => parts.map(({ path }) => path.split('.').at(-1)!).sort()
  t.same(known(() => parseOptions({ '?': 1 })), names(options))
  const objects = allOptions.filter(({ parts }) => parts.length > 0)
  t.ok(objects.length > 4)
  for (const { path, parts } of objects) t.same(known(() => parseOptions(nest(path, { '?': 1 }))), names(parts), path)
  t.same(known(() => parseRouteConfig({ latency: { '?': 1 } as never })), names(declaredOptions('RouteConfig')))
})

t.test('an option in another place is told where it belongs', async t => {
  const objects = ['', ...allOptions.filter(({ parts }) => parts.length > 0).map(({ path }) => path)]
  const isKnown = (path: string): boolean => allOptions.some(option => option.path === path)
  for (const { path } of allOptions.filter(({ path }) => !/^(?:timeToFirstByte|queueTime(?!\.header)|requestSize|responseSize)\./.test(path))) {
    const name = path.split('.').at(-1)!
    for (const place of objects) {
      const given = place === '' ? name : `${place}.${name}`
      if (isKnown(given)) continue
      t.throws(() => parseOptions(nest(given, 1)), { message: `(did you mean "${path}"` }, given)
    }
    if (name === 'route') continue
    t.throws(() => parseRouteConfig({ latency: { [name]: 1 } as never }), { message: '(did you mean "' }, name)
  }
})

t.test('options of the packages that people come from have a hint each', async t => {
  const guide = readFileSync(path.join(root, 'docs', 'migrating.md'), 'utf8')
  const tables = [...guide.matchAll(/^\| option of .*\n\|.*\n((?:\|.*\n)+)/gm)]
  const cells = tables.flatMap(([, rows]) => rows!.split('\n').map(row => row.split(' | ')[0]!))
    .filter(cell => !/config\.|app\.|\(\)|`: /.test(cell))
  const names = cells.flatMap(cell => [...cell.matchAll(/`([\w.]+)`/g)]).map(([, name]) => name!.split('.').at(-1)!)
  t.ok(names.length > 50)
  for (const name of new Set(names)) {
    if (options.some(({ path }) => path === name)) continue
    t.throws(() => parseOptions({ [name]: 1 }), { message: `Unknown option "${name}" (` }, name)
  }
})

t.test('a name from elsewhere is told which option is meant, or why there is none', async t => {
  // What may stand in quotes beside options: values of them, and what is written with one.
  const others = /^(?:app\.register\(latency, \w+\)|config: \{ latency: .+ \}|register|up|unmatched)$/
  const optionOf = (quoted: string): string => quoted.replace(/:.*/, '')
  const isKnown = (quoted: string): boolean =>
    others.test(quoted) || allOptions.some(({ path }) => path === optionOf(quoted))
  const quoted = (text: string): string[] => [...text.matchAll(/"([^"]+)"/g)].map(([, quoted]) => quoted!)
  for (const [name, meaning] of Object.entries(meanings)) {
    // `prefix` alone is an option of Fastify.
    const path = name === 'prefix' ? 'histogram.prefix' : name
    t.throws(() => parseOptions(nest(path, 1)), { message: ` (did you mean ${meaning}?); known here: ` }, name)
    t.ok(quoted(meaning).length > 0 && quoted(meaning).every(isKnown), meaning)
  }
  for (const [name, reason] of Object.entries(needless)) {
    t.throws(() => parseOptions({ [name]: 1 }), { message: ` (leave it out: ${reason}); known here: ` }, name)
    t.ok(/^[\w"].* /.test(reason) && quoted(reason).every(isKnown), reason)
  }
  for (const [name, meaning] of Object.entries(routeMeanings)) {
    const latency = { [name]: 1 } as never
    t.throws(() => parseRouteConfig({ latency }), { message: ` (did you mean ${meaning}?)` }, name)
  }
  for (const meaning of [...Object.values(routeMeanings), ...Object.values(routeMeaningsElsewhere)]) {
    t.ok(meaning === '"route"' || others.test(quoted(meaning)[0]!), meaning)
  }
  for (const [name, source] of Object.entries(sourceMeanings)) {
    t.throws(() => parseOptions({ labels: { a: name } }), { message: ` (did you mean '${source}'?)` }, name)
    t.ok(Object.hasOwn(labelSources, source), source)
  }
})

t.test('docs/options.md lists the options that are declared, by themselves or with what they belong to, ' +
  'and no other', async t => {
  for (const { path, parts } of allOptions) {
    // Other histograms have the parts of `histogram`, whose own parts are described there.
    const outer = path.slice(0, path.lastIndexOf('.')).replace(/^\w+\.native$/, 'histogram.native')
    const described = rows.has(path) || (parts.length > 0 && parts.every(part => rows.has(part.path))) ||
      rows.get(outer)?.meaning.match(new RegExp(`\\b${path.split('.').at(-1)}\\b`)) != null
    t.ok(described, path)
  }
  t.same([...rows.keys()].filter(row => allOptions.every(({ path }) => path !== row)), [])
})

t.test('every option that may be left out has a comment with its default, ' +
  'of which docs/options.md has the beginning', async t => {
  const required = ['server.https.certFile', 'server.https.keyFile', 'server.auth.users', 'server.auth.tokens']
  for (const { path, comment, documentedDefault } of allOptions) {
    t.ok(comment.length > 10, path)
    if (required.includes(path)) continue
    t.ok(documentedDefault, path)
    const row = rows.get(path)
    if (row !== undefined) {
      t.ok(
        documentedDefault!.replaceAll('`', '').startsWith(row.byDefault.replaceAll('`', '')),
        `${path}: ${row.byDefault}`
      )
    }
  }
})

t.test('to give a documented default changes nothing', async t => {
  for (const { path, documentedDefault = '' } of allOptions) {
    const [first, ...others] = documentedDefault.split('; of ')
    const other = others.find(text => text.startsWith(`\`${path.split('.', 1)[0]!}\` `))
    const text = other?.slice(other.indexOf(' ') + 1) ?? first!
    if (!isValue(text)) continue
    const value: unknown = runInNewContext(`(${text})`)
    const outer = path.includes('.') ? path.slice(0, path.lastIndexOf('.')) : undefined
    const without = outer === undefined ? {} : nest(outer, {}) as {}
    if (path === 'server' || path === 'processMetrics') {
      // Left out in a later registration they mean what the first one said, which must be this.
      const app = createApplication(t)
      await app.register(latency)
      await t.resolves(async () => { await app.register(latency, nest(path, value) as {}) }, path)
    } else {
      t.same(parseOptions(nest(path, value)), parseOptions(without), path)
    }
  }
})

t.test('label sources are the same everywhere', async t => {
  const declared = literals('LabelSource')
  t.same(
    table('## labels and constLabels').map(([source]) => source).slice(0, -1),
    declared.map(source => `\`'${source}'\``)
  )
  for (const source of declared) t.equal(parseOptions({ labels: { label: source } }).labels.label, source)
  const rule = declared.map(source => `'${source}'`).join(', ')
  t.throws(() => parseOptions({ labels: { label: 'other' } }), {
    message: new RegExp(`must be ${rule} or a function; received`)
  })
  const [comment] = ts.getJSDocCommentsAndTags(declaration('LabelSource', ts.isTypeAliasDeclaration))
  for (const source of declared) t.ok(comment!.getText().includes(`- \`'${source}'\`: `), source)
})

t.test('error codes are the same everywhere', async t => {
  const codes = Object.keys(errors).filter(name => name.startsWith('FST_')).sort()
  t.same(literals('ErrorCode').sort(), codes)
  for (const [code] of declarations.text.matchAll(/\bFST_\w+/g)) t.ok(codes.includes(code), code)
  t.same([...errorList!.matchAll(/^\| `(FST_LATENCY_\w+)`/gm)].map(match => match[1]).sort(), codes)
  for (const [code] of errorList!.matchAll(/\bFST_\w+/g)) t.ok(codes.includes(code), code)
})

t.test('docs/options.md lists what app.latency has', async t => {
  t.same(
    table('## app.latency').map(([name]) => name!.replaceAll(/[`()]/g, '')),
    members('Latency').map(({ name }) => name!.getText())
  )
})
