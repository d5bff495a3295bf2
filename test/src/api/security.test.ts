import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createAttempts } from '../../../src/api/attempts.ts'
import { hashPassword } from '../../../src/api/passwords.ts'
import { safeFileName } from '../../../src/api/uploads.ts'
import { sample } from '../../fixtures/variants.ts'
import { type ApiHome, openApiHome } from '../../support/api.ts'

const TOKEN = 'a token that nobody guesses'
let home: ApiHome
let page: string

beforeAll(async () => {
  page = mkdtempSync(join(tmpdir(), 'page-'))
  mkdirSync(join(page, 'assets'))
  writeFileSync(join(page, 'index.html'), '<!doctype html><title>page</title>')
  writeFileSync(join(page, 'assets/index-a1b2c3d4.js'), 'export {}')
  home = await openApiHome({ HTTP_TOKEN: TOKEN, HTTP_HOSTS: 'pcap.example' }, { page })
  home.parts.ledger.accounts.set('ann', await hashPassword('correct horse battery'))
}, 60_000)

afterAll(async () => await home[Symbol.asyncDispose]())

const bearer = { authorization: `Bearer ${TOKEN}` }

describe('who may ask', () => {
  it('has to log in: by token, or by name and password', async () => {
    expect((await home.get('/api/captures')).status).toBe(401)
    expect((await home.get('/metrics')).status).toBe(401)
    expect((await home.get('/api/captures', { authorization: 'Bearer wrong' })).status).toBe(401)
    expect((await home.get('/api/captures', bearer)).status).toBe(200)
    const answer = await home.post('/api/session', { user: 'ann', password: 'correct horse battery' })
    expect(answer.body).toMatchObject({ auth: 'accounts', user: 'ann' })
    const cookie = String(answer.headers['set-cookie'])
    expect(cookie).toMatch(/HttpOnly; SameSite=Strict/)
    const session = cookie.split(';')[0] as string
    expect((await home.get('/api/captures', { cookie: session })).status).toBe(200)
    await home.send({ method: 'DELETE', url: '/api/session', headers: { cookie: session } })
    expect((await home.get('/api/captures', { cookie: session })).status).toBe(401)
  })

  it('is slowed down when guessing, and noted', async () => {
    const statuses: number[] = []
    for (let i = 0; i < 8; i++)
      statuses.push((await home.post('/api/session', { user: 'bob', password: `guess number ${i}` })).status)
    expect(statuses.slice(0, 5)).toEqual([401, 401, 401, 401, 401])
    expect(statuses.at(-1)).toBe(429)
    const refused = home.parts.ledger.accounts.audited(50).filter(({ action }) => action === 'log-in refused')
    expect(refused.length).toBeGreaterThanOrEqual(5)
    expect(JSON.stringify(refused)).not.toContain('guess number')
  })

  it('may see the probes and the page without it', async () => {
    expect((await home.get('/healthz')).status).toBe(200)
    expect((await home.get('/')).text).toContain('<title>page')
    expect((await home.get('/api/session')).body.user).toBeNull()
  })

  it('waits longer with each failure, and not for ever', () => {
    let now = 0
    const attempts = createAttempts(() => now)
    for (let i = 0; i < 30; i++) attempts.failed('x')
    expect(attempts.waitSeconds('x')).toBe(900)
    now += 901_000
    expect(attempts.waitSeconds('x')).toBe(0)
    expect(attempts.waitSeconds('y')).toBe(0)
  })
})

describe('requests of other pages', () => {
  it.each([
    ['a name that is pointed here', { host: 'evil.example' }, 421],
    ['another origin', { origin: 'https://evil.example' }, 403],
    ['an opaque origin', { origin: 'null' }, 403],
    ['another port', { host: 'localhost:8080', origin: 'http://localhost:9999' }, 403],
    ['a page of another site', { 'sec-fetch-site': 'cross-site' }, 403],
  ])('are refused: %s', async (_, headers, status) => {
    expect((await home.post('/api/jobs/retry', { all: true }, { ...bearer, ...headers })).status).toBe(status)
  })

  it.each<Record<string, string>>([
    { host: 'localhost' },
    { host: '127.0.0.1:8080' },
    { host: '[::1]:8080' },
    { host: 'PCAP.example:443' },
    { host: 'localhost:8080', origin: 'http://localhost:8080' },
  ])('are answered where they are ours: %j', async (headers) => {
    expect((await home.post('/api/jobs/retry', { all: true }, { ...bearer, ...headers })).status).toBe(200)
  })

  it('cannot be framed, sniffed or scripted', async () => {
    const { headers } = await home.get('/')
    expect(headers['content-security-policy']).toContain("default-src 'none'")
    expect(headers['content-security-policy']).toContain("script-src 'self';")
    expect(headers['content-security-policy']).toContain("frame-ancestors 'none'")
    expect(headers['x-content-type-options']).toBe('nosniff')
  })
})

describe('the page', () => {
  it('is asked for anew, and its hashed files are kept', async () => {
    expect((await home.get('/')).headers['cache-control']).toBe('no-cache')
    expect((await home.get('/search?text=x')).text).toContain('<title>page')
    expect((await home.get('/assets/index-a1b2c3d4.js')).headers['cache-control']).toContain('immutable')
    expect((await home.get('/assets/nothing.js')).status).toBe(404)
  })

  it.each([
    '/../package.json',
    '/..%2f..%2fpackage.json',
    '/%2e%2e/%2e%2e/etc/passwd',
    '/assets/../../x',
    '/.env',
    '//etc/passwd',
    '/\\..\\x',
  ])('gives nothing beside itself: %s', async (url) => {
    const { status, text } = await home.get(url)
    expect(text).not.toContain('"name"')
    expect(text).not.toContain('root:')
    expect([200, 400, 403, 404]).toContain(status)
    if (status === 200) expect(text).toContain('<title>page')
  })
})

describe('names of files', () => {
  const hostile = [
    ...[
      '../../etc/passwd',
      '..',
      '.',
      '',
      '/',
      '.hidden',
      'a/b/c.pcap',
      '..\\..\\x.pcap',
      'a\u0000b.pcap',
      '\u202egpj.pcap',
      'con:aux|?*.pcap',
    ],
    ...[
      'x'.repeat(5000),
      '😀'.repeat(300),
      ' . ',
      '-rf',
      'a\nb.pcap',
      'x.part',
      'x.pcap~',
      '%2e%2e%2fx',
      '\ud800.pcap',
      '$(id).pcap',
      '`id`.pcap',
    ],
  ]
  it.each(hostile)('become one plain name: %j', (name) => {
    const safe = safeFileName(name)
    expect(safe).not.toMatch(/[/\\\0\n]|^\.|~$|\.part$/)
    expect(Buffer.byteLength(safe)).toBeLessThanOrEqual(190)
    expect(safe.length).toBeGreaterThan(0)
  })

  it('never lead out of the inbox, and the capture is taken in', async () => {
    const upload = await home.post('/api/uploads', { name: '../../../evil/../x.pcap', bytes: sample().length }, bearer)
    const sent = await home.send({
      method: 'PUT',
      url: `/api/uploads/${upload.body.id}?offset=0`,
      payload: sample(),
      headers: { ...bearer, 'content-type': 'application/octet-stream' },
    })
    expect(sent.body.state).not.toBe('receiving')
    expect(readdirSync(home.dir)).toEqual(['data'])
    for (const source of ['../x', 'a/b', '.x', 'x\u0000']) {
      expect((await home.post('/api/uploads', { name: 'x.pcap', bytes: 10, source }, bearer)).status, source).toBe(400)
    }
  })
})

describe('uploads', () => {
  const put = (id: string, offset: number, payload: Buffer) =>
    home.send({
      method: 'PUT',
      url: `/api/uploads/${id}?offset=${offset}`,
      payload,
      headers: { ...bearer, 'content-type': 'application/octet-stream' },
    })

  it('go on where they were cut, and bear being repeated', async () => {
    const bytes = Buffer.concat([sample(), sample().subarray(24)])
    const file = { name: 'in pieces.pcap', bytes: bytes.length, modified: 1 }
    const { id } = (await home.post('/api/uploads', file, bearer)).body
    expect((await put(id, 0, bytes.subarray(0, 1000))).body).toMatchObject({ offset: 1000, state: 'receiving' })
    expect((await home.post('/api/uploads', file, bearer)).body).toMatchObject({ id, offset: 1000 })
    expect((await put(id, 2000, bytes.subarray(2000))).status).toBe(409)
    expect((await put(id, 500, bytes.subarray(500, 3000))).body.offset).toBe(3000)
    expect((await put(id, 3000, bytes.subarray(3000))).body.offset).toBe(bytes.length)
    expect((await put(id, 0, bytes)).body.state).not.toBe('receiving')
  })

  it.each([
    ['a text', Buffer.from('root:x:0:0:root\n'.repeat(10))],
    ['an image', Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')],
    ['zeros', Buffer.alloc(100)],
    ['three bytes', Buffer.from('abc')],
  ])('of what is no capture are refused with their first bytes: %s', async (name, bytes) => {
    const { id } = (await home.post('/api/uploads', { name, bytes: bytes.length }, bearer)).body
    const { status, body } = await put(id, 0, bytes)
    expect(status).toBe(415)
    expect(body.code).toBe('capture_not_recognized')
    expect((await home.get(`/api/uploads/${id}`, bearer)).body.state).toBe('refused')
    expect(readdirSync(home.config.inboxDir).filter((file) => file.includes(id))).toEqual([])
  })

  it('of more than was announced, or than may be, are refused', async () => {
    const { id } = (await home.post('/api/uploads', { name: 'long.pcap', bytes: 100 }, bearer)).body
    expect((await put(id, 0, sample())).status).toBe(413)
    expect((await home.post('/api/uploads', { name: 'huge.pcap', bytes: 1e15 }, bearer)).status).toBe(413)
  })
})

describe('listening', () => {
  it('elsewhere than on loopback is refused without a log-in, and says what to do', async () => {
    await using open = await openApiHome({ HTTP_HOST: '0.0.0.0' })
    await expect(open.api.listen()).rejects.toThrow(/HTTP_TOKEN/)
    open.parts.ledger.accounts.set('ann', await hashPassword('correct horse battery'))
    expect(await open.api.listen()).toMatch(/^http:/)
  }, 60_000)
})
