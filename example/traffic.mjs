// Sends 100 requests a second to an example, for two minutes, and compares what it saw with what was recorded.
//
//   npm run traffic                                                          to localhost:8001
//   npm run traffic -- 3600                                                  for an hour; Infinity ends with Ctrl-C
//   npm run traffic -- http://localhost:3001 http://localhost:3000/metrics   elsewhere
//
// Several instances share the requests, as behind a load balancer. One that refuses a connection is passed over.
import { setTimeout as sleep } from 'node:timers/promises'

const given = process.argv.slice(2)
const seconds = Number(given.find(text => !text.includes(':')) ?? 120)
const addresses = given.filter(text => text.includes(':') && !text.endsWith('/metrics'))
const metrics = given.filter(text => text.endsWith('/metrics'))
if (addresses.length === 0) {
  addresses.push('http://localhost:8001')
  if (metrics.length === 0) metrics.push('http://localhost:8000/metrics')
}
if (metrics.length === 0) {
  // The examples have their metrics on the port before that of the application.
  metrics.push(...addresses.map(address => {
    const url = new URL('/metrics', address)
    url.port = String(Number(url.port) - 1)
    return url.href
  }))
}

const helloWorld = [{ path: '/' }]
const routes = [
  ...Array(40).fill({ path: '/' }),
  ...Array(20).fill({ path: '/users/1', route: '/users/:id' }),
  ...Array(3).fill({ path: '/users/bob', route: '/users/:id' }),
  ...Array(2).fill({ path: '/nowhere', route: 'unmatched' }),
  ...Array(15).fill({ path: '/orders', method: 'POST' }),
  // The client does not wait for the reply.
  { path: '/orders', method: 'POST', patience: 10 },
  ...Array(19).fill({ path: '/reports/2024', route: '/reports/:year' })
]
/** One request in a thousand meets the bug of routes.ts. */
const bug = { path: '/reports/2019', route: '/reports/:year' }

/** Of requests that ended alike, by what they have in common: how many there were, and the seconds of all. */
class Tally {
  groups = new Map()

  add (name, seconds, count = 1) {
    const group = this.groups.get(name) ?? { count: 0, seconds: 0 }
    this.groups.set(name, { count: group.count + count, seconds: group.seconds + seconds })
  }

  /** Of all requests. */
  get total () {
    return [...this.groups.values()].reduce((sum, { count, seconds }) =>
      ({ count: sum.count + count, seconds: sum.seconds + seconds }), { count: 0, seconds: 0 })
  }
}

const seen = new Tally()
let sent = 0
/** Requests that have no answer yet. */
const pending = new Set()

async function send ({ path, route = path, method = 'GET', patience = 10_000 }) {
  const first = sent++
  const start = performance.now()
  let ending = 'no answer'
  for (let attempt = 0; attempt < addresses.length; attempt++) {
    try {
      const address = addresses[(first + attempt) % addresses.length]
      const reply = await fetch(new URL(path, address), { method, signal: AbortSignal.timeout(patience) })
      await reply.text()
      ending = reply.status
      break
    } catch (error) {
      // This is how a request is counted whose client has left.
      if (error.name === 'TimeoutError') ending = 499
      if (error.cause?.code !== 'ECONNREFUSED') break
    }
  }
  seen.add(`${method} ${route} ${ending}`, (performance.now() - start) / 1000)
}

/** What the applications have recorded since they were started; nothing, if one does not tell. */
async function readRecorded () {
  const recorded = new Tally()
  for (const url of metrics) {
    const page = await fetch(url).then(reply => reply.text(), () => undefined)
    const samples = page?.matchAll(
      /^(?:http_request_duration|hello_world_latency)_seconds_(count|sum)(?:{(.*)})? (\S+)$/gm)
    if (samples === undefined) return undefined
    for (const [, kind, labels = '', value] of samples) {
      const { method, route, status_code: status } =
        Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]))
      const name = labels === '' ? 'all requests' : `${method} ${route} ${status}`
      if (kind === 'count') recorded.add(name, 0, Number(value))
      else recorded.add(name, Number(value), 0)
    }
  }
  return recorded
}

function since (before, after) {
  const difference = new Tally()
  for (const [name, { count, seconds }] of after.groups) {
    const { count: countBefore = 0, seconds: secondsBefore = 0 } = before.groups.get(name) ?? {}
    if (count !== countBefore) difference.add(name, seconds - secondsBefore, count - countBefore)
  }
  return difference
}

function columns ({ count, seconds } = { count: 0, seconds: 0 }) {
  const mean = count > 0 ? `${(1000 * seconds / count).toFixed(2)} ms` : ''
  return `${count.toLocaleString('en').padStart(12)}${mean.padStart(12)}`
}

/** The requests by ending: as the clients saw them, and as they were recorded. */
function table (seen, recorded) {
  const names = [...new Set([...seen.groups.keys(), ...recorded.groups.keys()])].sort()
  const width = Math.max(...names.map(name => name.length))
  return [
    `${''.padEnd(width)}${'clients saw'.padStart(24)}${'recorded'.padStart(24)}`,
    `${''.padEnd(width)}${`${'requests'.padStart(12)}${'mean'.padStart(12)}`.repeat(2)}`,
    ...names.map(name => name.padEnd(width) + columns(seen.groups.get(name)) + columns(recorded.groups.get(name)))
  ].join('\n')
}

async function compare (before) {
  let after = await readRecorded()
  // A request whose client has left is recorded a moment later.
  for (let attempt = 0; attempt < 20 && after && since(before, after).total.count < sent; attempt++) {
    await sleep(50)
    after = await readRecorded()
  }
  if (before === undefined || after === undefined) {
    console.log(`\nWhat was recorded is not known: ${metrics.join(' or ')} did not answer.`)
    return
  }
  const recorded = since(before, after)
  const withoutLabels = new Tally()
  withoutLabels.add('all requests', seen.total.seconds, seen.total.count)
  console.log(`\n${table(recorded.groups.has('all requests') ? withoutLabels : seen, recorded)}\n`)
  if ([...recorded.groups.values()].some(({ count }) => count < 0)) {
    console.log('An application was started again meanwhile, and has counted from 0.')
  } else if (recorded.total.count > sent) console.log('Others have sent requests too.')
  else if (recorded.total.count === sent) console.log(`All ${sent.toLocaleString('en')} requests were recorded.`)
  else {
    console.log(`${sent - recorded.total.count} of ${sent.toLocaleString('en')} requests were not recorded: ` +
      'those that a client gave up before an application received them, or that got no answer.')
  }
  console.log('To what was recorded, clients add the way there and back, and their own work.' +
    (seen.groups.size > 1 ? ' A client that did not wait is counted as 499.' : ''))
}

/** Resolves to the requests that the application has routes for, once it answers. */
async function chooseRequests () {
  for (let attempt = 0; ; attempt++) {
    for (const address of addresses) {
      const reply = await fetch(new URL('/users/1', address)).catch(() => undefined)
      await reply?.text()
      if (reply !== undefined) return reply.status === 404 ? helloWorld : routes
    }
    if (attempt === 0) {
      console.log(`Nothing answers at ${addresses.join(', ')} yet. Start an example in another shell: npm start`)
    }
    await sleep(500)
  }
}

const requests = await chooseRequests()
const before = await readRecorded()
console.log(`Sending 100 requests per second to ${addresses.join(', ')}` +
  `${Number.isFinite(seconds) ? ` for ${seconds} seconds` : ''}. Ctrl-C ends it, and shows what was recorded.`)
const start = performance.now()
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => interrupted.abort())
let told = 0

while (!interrupted.signal.aborted) {
  const elapsed = (performance.now() - start) / 1000
  if (elapsed >= seconds) break
  while (sent < 100 * elapsed) {
    const isBug = requests === routes && Math.random() < 0.001
    const request = send(isBug ? bug : requests[Math.floor(Math.random() * requests.length)])
    pending.add(request)
    request.then(() => pending.delete(request))
  }
  if (elapsed >= told + 10) {
    told += 10
    const unanswered = [...seen.groups].filter(([name]) => name.endsWith('no answer'))
      .reduce((sum, [, { count }]) => sum + count, 0)
    const { count, seconds } = seen.total
    console.log(`${String(told).padStart(4)} s ${count.toLocaleString('en').padStart(9)} requests, ` +
      `${(1000 * seconds / count).toFixed(2)} ms on average, ${unanswered} without an answer`)
  }
  await sleep(10)
}
await Promise.all(pending)
await compare(before)
process.exit()
