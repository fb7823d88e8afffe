import t from 'tap'
import multipart from '@fastify/multipart'
import { compare } from './scenario.mjs'

function form (...sizes) {
  const data = new FormData()
  sizes.forEach((size, index) => data.append(`file${index}`, new Blob(['x'.repeat(size)]), `${index}.txt`))
  return data
}

t.test('@fastify/multipart', async t => compare(t, {
  async declare (app) {
    await app.register(multipart, { limits: { fileSize: 100_000, files: 2 } })
    app.post('/upload', async request => {
      const sizes = []
      for await (const part of request.files()) sizes.push((await part.toBuffer()).length)
      return { sizes }
    })
    app.post('/unread', async (_request, reply) => reply.code(202).send('Later'))
    app.post('/aborted', async request => {
      for await (const part of request.files()) await part.toBuffer()
      return 'never'
    })
  },
  async use (client) {
    await client.send('POST', '/upload', { body: form(10, 90_000) })
    await client.send('POST', '/upload', { body: form(200_000) })
    await client.send('POST', '/upload', { body: form(1, 2, 3) })
    await client.send('POST', '/upload', { body: '{}', headers: { 'content-type': 'application/json' } })
    await client.send('POST', '/unread', { body: form(10) })
    await client.leaveBeforeReply('POST', '/aborted', {
      headers: { 'content-type': 'multipart/form-data; boundary=x', 'content-length': '1000' },
      body: '--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nx'
    })
  }
}))
