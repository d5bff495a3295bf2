import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createInspector } from '../../../src/intake/inspector.ts'
import { pcap, pcapng } from '../../fixtures/handmade.ts'
import { storedZip } from '../../fixtures/zip.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'inspector-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

async function inspect(bytes: Buffer, { copy = false, maxBytes = 1e9, floorBytes = 0 } = {}) {
  const path = join(dir, 'dropped')
  await writeFile(path, bytes)
  const signal = new AbortController().signal
  return await createInspector({ maxBytes, floorBytes }).inspect(path, { copyDir: dir, copy, signal })
}

const capture = pcap([Buffer.from('first packet'), Buffer.from('second packet')])

describe('a capture is known by its content, whatever wraps it', () => {
  it.each([
    ['pcap, little-endian', capture],
    ['pcap, big-endian', pcap([Buffer.from('one'), Buffer.from('two')], { big: true })],
    ['pcap with nanoseconds', pcap([Buffer.from('one'), Buffer.from('two')], { nanos: true })],
    ['pcap, big-endian with nanoseconds', pcap([Buffer.from('one'), Buffer.from('two')], { big: true, nanos: true })],
    ['pcapng, little-endian', pcapng([Buffer.from('one'), Buffer.from('two')])],
    ['pcapng, big-endian', pcapng([Buffer.from('one'), Buffer.from('two')], { big: true })],
  ])('%s: plain, gzip and zstd give the same hash, two whole packets', async (_name, content) => {
    for (const wrapped of [content, gzipSync(content), zstdCompressSync(content)]) {
      const { captures, fileSha256 } = await inspect(wrapped)
      expect(captures).toHaveLength(1)
      expect(captures[0]).toMatchObject({ sha256: sha256(content), bytes: content.length, packets: 2, complete: true })
      expect(fileSha256).toBe(sha256(wrapped))
    }
  })

  it('finds every capture in a zip archive and names the other members with the reason', async () => {
    const other = pcapng([Buffer.from('x')])
    const zip = storedZip({
      'site/a.pcap': capture,
      'b.cap.gz': gzipSync(other),
      'readme.txt': Buffer.from('hello, hello'),
    })
    const { container, captures, ignored } = await inspect(zip)
    expect(container).toBe('zip')
    expect(captures.map(({ member, sha256: hash, packets }) => [member, hash, packets])).toEqual([
      ['a.pcap', sha256(capture), 2],
      ['b.cap.gz', sha256(other), 1],
    ])
    expect(ignored).toEqual([{ member: 'readme.txt', reason: expect.stringContaining('not a capture') }])
    expect(await readFile(captures[0]?.copy as string)).toEqual(capture)
  })

  it('copies the uncompressed content when it is compressed, or when a copy is asked for', async () => {
    const plain = await inspect(capture)
    expect(plain.captures[0]?.copy).toBeUndefined()
    for (const found of [await inspect(gzipSync(capture)), await inspect(capture, { copy: true })]) {
      expect(await readFile(found.captures[0]?.copy as string)).toEqual(capture)
    }
  })
})

describe('what is cut, empty or damaged is told apart', () => {
  it('a file that ends in the middle of a record is not complete; its whole packets are counted', async () => {
    for (let cut = 1; cut < 28; cut++) {
      const { captures } = await inspect(capture.subarray(0, capture.length - cut))
      expect(captures[0]).toMatchObject({ packets: 1, complete: false })
    }
  })

  it('a capture cut inside its gzip wrapper keeps what can be unwrapped', async () => {
    const long = pcap(
      Array.from({ length: 2000 }, (_, i) => Buffer.from(`packet ${i} ${sha256(Buffer.from([i & 255, i >> 8]))}`)),
    )
    const wrapped = gzipSync(long)
    const { captures } = await inspect(wrapped.subarray(0, wrapped.length / 2))
    expect(captures[0]?.complete).toBe(false)
    expect(captures[0]?.packets).toBeGreaterThan(500)
    expect(captures[0]?.packets).toBeLessThan(2000)
  })

  it('no bytes, and a header without records, are complete captures of no packets', async () => {
    expect((await inspect(Buffer.alloc(0))).captures[0]).toMatchObject({ packets: 0, complete: true, bytes: 0 })
    expect((await inspect(pcap([]))).captures[0]).toMatchObject({ packets: 0, complete: true })
    expect((await inspect(pcapng([]))).captures[0]).toMatchObject({ packets: 0, complete: true })
  })

  it('an absurd record length is damage: what comes before it counts', async () => {
    const damaged = Buffer.concat([capture, Buffer.alloc(16, 0xff), Buffer.alloc(100)])
    expect((await inspect(damaged)).captures[0]).toMatchObject({ packets: 2, complete: false })
  })
})

describe('what is no capture is refused with the reason', () => {
  it.each([
    ['text', Buffer.from('this is no capture, only text'), /not a capture.*74686973/],
    ['compressed text', gzipSync(Buffer.from('this is no capture, only text')), /what is compressed in it begins with/],
    ['a zip of text', storedZip({ 'a.txt': Buffer.from('text, text, text') }), /zip archive without a capture.*a\.txt/],
    ['a damaged zip', Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(200, 7)]), /zip archive cannot be read/],
    [
      'garbage behind a gzip header',
      Buffer.concat([Buffer.from('1f8b0800000000000003', 'hex'), Buffer.alloc(64, 0xee)]),
      /cannot be decompressed/,
    ],
    ['two bytes', Buffer.from('ab'), /not a capture/],
  ])('%s', async (_name, bytes, message) => {
    await expect(inspect(bytes)).rejects.toThrow(message)
    await expect(inspect(bytes)).rejects.toMatchObject({ retryable: false })
  })

  it('a compressed file that grows beyond the limit', async () => {
    const bomb = gzipSync(Buffer.concat([pcap([]), Buffer.alloc(5e6)]))
    await expect(inspect(bomb, { maxBytes: 1e6 })).rejects.toMatchObject({ code: 'capture_too_large' })
  })

  it('a compressed file whose copy would fill the disk stops before it does, and may be tried again', async () => {
    const large = gzipSync(Buffer.concat([pcap([]), Buffer.alloc(70 << 20)]))
    const floorBytes = Number.MAX_SAFE_INTEGER
    await expect(inspect(large, { floorBytes })).rejects.toMatchObject({ code: 'disk_full', retryable: true })
  })
})
