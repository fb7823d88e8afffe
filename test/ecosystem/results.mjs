// A reporter of node:test: a line of JSON for each test that has ended.
export default async function * results (events) {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue
    const outcome = data.skip !== undefined || data.todo !== undefined ? 'skipped' : type.slice('test:'.length)
    yield `\n@result ${JSON.stringify({ name: data.name, nesting: data.nesting, outcome })}\n`
  }
}
