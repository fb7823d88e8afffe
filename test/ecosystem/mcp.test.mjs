import t from 'tap'
import { Client as McpClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { compare, until } from './scenario.mjs'

function createServer () {
  const server = new McpServer({ name: 'test', version: '1.0.0' })
  server.registerTool('greet', {}, async () => ({ content: [{ type: 'text', text: 'Hello World' }] }))
  return server
}

t.test("MCP's streamable HTTP: the stream of events of a session, and the calls beside it", async t => compare(t, {
  fastify: { forceCloseConnections: true },
  declare (app) {
    // One session, as the client keeps it.
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => 'session', enableJsonResponse: true
    })
    const connected = createServer().connect(transport)
    app.route({
      method: ['GET', 'POST', 'DELETE'],
      url: '/mcp',
      async handler (request, reply) {
        await connected
        reply.hijack()
        await transport.handleRequest(request.raw, reply.raw, request.body)
      }
    })
  },
  async use (client, app) {
    const address = new URL(`http://127.0.0.1:${app.server.address().port}/mcp`)
    const statuses = {}
    const transport = new StreamableHTTPClientTransport(address, {
      fetch: async (url, init) => {
        const response = await fetch(url, init)
        const key = `${init.method} ${response.headers.get('content-type')} ${response.status}`
        statuses[key] = (statuses[key] ?? 0) + 1
        return response
      }
    })
    const mcp = new McpClient({ name: 'test', version: '1.0.0' })
    await mcp.connect(transport)
    const answers = []
    for (let call = 0; call < 3; call++) answers.push(await mcp.callTool({ name: 'greet' }))
    // The client opens the stream by itself, in its own time.
    await until('the stream', () => Object.keys(statuses).some(key => key.startsWith('GET')))
    await transport.close()
    client.answers.push({ answers, statuses })
    for (const [key, times] of Object.entries(statuses)) {
      const [method, type, status] = key.split(' ')
      if (type === 'text/event-stream') client.count('longLived', `${method} /mcp stream`, times)
      else client.count('replied', `${method} /mcp ${status}`, times)
    }
  }
}))
