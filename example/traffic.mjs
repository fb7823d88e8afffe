// Sends 100 requests a second to example/routes.ts, until Ctrl-C. Several instances share the requests, as behind a
// load balancer. An instance that refuses a connection is passed over.
//
//   node example/traffic.mjs http://localhost:8001 http://localhost:8011
const addresses = process.argv.length > 2 ? process.argv.slice(2) : ['http://localhost:8001']

const requests = [
  ...Array(40).fill({ path: '/' }),
  ...Array(20).fill({ path: '/users/1' }),
  ...Array(3).fill({ path: '/users/bob' }),
  ...Array(2).fill({ path: '/nowhere' }),
  ...Array(15).fill({ path: '/orders', method: 'POST' }),
  // The client does not wait for the reply.
  { path: '/orders', method: 'POST', patience: 10 },
  ...Array(19).fill({ path: '/reports/2024' })
]
let sent = 0
let unanswered = 0

async function send ({ path, method, patience = 10_000 }) {
  const first = sent++
  for (let attempt = 0; attempt < addresses.length; attempt++) {
    try {
      const address = addresses[(first + attempt) % addresses.length]
      await (await fetch(new URL(path, address), { method, signal: AbortSignal.timeout(patience) })).text()
      return
    } catch (error) {
      if (error.cause?.code !== 'ECONNREFUSED') break
    }
  }
  unanswered++
}

setInterval(() => {
  // One request in a thousand meets the bug.
  send(Math.random() < 0.001 ? { path: '/reports/2019' } : requests[Math.floor(Math.random() * requests.length)])
}, 10)

setInterval(() => console.log(`${sent} requests sent, ${unanswered} of them not answered or not waited for`), 10_000)
