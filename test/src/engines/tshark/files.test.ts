import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { createFile, createSharedFiles, fuidOf } from '../../../../src/engines/tshark/files.ts'
import { createInflater } from '../../../../src/engines/tshark/protocols/inflate.ts'
import { sniffMime } from '../../../../src/engines/tshark/protocols/mime.ts'
import type { Flow } from '../../../../src/engines/tshark/protocols/protocol.ts'
import { textOf } from '../../../../src/engines/tshark/protocols/text.ts'

const flow = (uid = 'C1'): Flow => ({
  uid,
  origAddr: '10.0.0.1',
  origPort: 1,
  respAddr: '192.0.2.2',
  respPort: 80,
  transport: 'tcp',
  origLocal: true,
  respLocal: false,
  partial: false,
})

function recorder() {
  const records: Record<string, unknown>[] = []
  const write = (log: string, record: object) => void records.push({ log, ...record })
  return { records, write }
}

describe('a file', () => {
  it('is logged once, with what was seen and what was missing of it', () => {
    const { records, write } = recorder()
    const { sink } = createFile(write, { flow: flow(), fromOriginator: false }, 'F1', 'HTTP', 100)
    sink.totalBytes = 25
    sink.data(Buffer.from('GIF89a...'), 101)
    sink.gap(10, 102)
    sink.data(Buffer.from('xxxxxx'), 103)
    sink.end(104)
    sink.end(105)
    expect(records).toEqual([
      expect.objectContaining({
        log: 'files',
        ts: 100,
        fuid: 'F1',
        uid: 'C1',
        source: 'HTTP',
        depth: 0,
        analyzers: [],
        mime_type: 'image/gif',
        duration: 3,
        local_orig: false,
        is_orig: false,
        seen_bytes: 15,
        total_bytes: 25,
        missing_bytes: 10,
        overflow_bytes: 0,
        timedout: false,
      }),
    ])
  })

  it('that comes in ranges over several flows is one, logged for each of them', () => {
    const { records, write } = recorder()
    const shared = createSharedFiles(write)
    const piece = (uid: string, offset: number, text: string, ts: number) => {
      const sink = shared.open('key', { flow: flow(uid), fromOriginator: false }, () => fuidOf(uid, 0), 'HTTP', ts)
      sink.totalBytes = 30
      sink.seek(offset)
      sink.data(Buffer.from(text), ts)
      shared.check('key', ts)
    }
    piece('C1', 0, '0123456789', 1)
    piece('C2', 20, '0123456789', 2)
    expect(records).toEqual([])
    piece('C2', 10, '0123456789', 3)
    expect(records).toMatchObject([
      { uid: 'C1', fuid: fuidOf('C1', 0), seen_bytes: 30, missing_bytes: 0, timedout: false },
      { uid: 'C2', fuid: fuidOf('C1', 0) },
    ])
    piece('C3', 5, 'abc', 10)
    piece('C3', 5, 'abc', 500)
    shared.finish()
    expect(records.slice(2)).toMatchObject([
      { uid: 'C3', seen_bytes: 3, missing_bytes: 5, timedout: true },
      { uid: 'C3', ts: 500, timedout: true },
    ])
  })

  it('has an id that follows from its flow and its number', () => {
    expect(fuidOf('C1', 0)).toMatch(/^F[0-9A-Za-z]{17}$/)
    expect(new Set(['C1', 'C2'].flatMap((uid) => [fuidOf(uid, 0), fuidOf(uid, 1)])).size).toBe(4)
    expect(fuidOf('C1', 0)).toBe(fuidOf('C1', 0))
  })
})

describe('the type of a file', () => {
  it.each([
    ['MZ\x90\0', 'application/x-dosexec'],
    ['\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0', 'application/x-executable'],
    ['%PDF-1.7', 'application/pdf'],
    ['PK\x03\x04\x14\0\0\0\0\0', 'application/zip'],
    ['\x1f\x8b\x08', 'application/x-gzip'],
    ['\x89PNG\r\n\x1a\n', 'image/png'],
    ['\xff\xd8\xff\xe0', 'image/jpeg'],
    ['  <!DOCTYPE html><p>', 'text/html'],
    ['<?xml version="1.0"?><a/>', 'application/xml'],
    ['{"a": 1}', 'text/json'],
    ['just some text', 'text/plain'],
    ['too short', undefined],
    ['\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a', undefined],
    ['', undefined],
  ])('%j is %s', (start, mime) => {
    expect(sniffMime(Buffer.from(start, 'latin1'))).toBe(mime)
  })
})

describe('inflate', () => {
  const texts = [
    Buffer.alloc(0),
    Buffer.from('hello '.repeat(20_000)),
    Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * i * 31) >> 3)),
  ]

  it('undoes gzip, zlib and bare deflate, whatever pieces they come in', () => {
    for (const text of texts)
      for (const coded of [
        gzipSync(text),
        deflateSync(text, { level: 1 }),
        deflateRawSync(text, { strategy: 4 }),
        gzipSync(text, { level: 0 }),
      ])
        for (const size of [13, 4096, 1e9]) {
          const out: Buffer[] = []
          const inflater = createInflater((bytes) => void out.push(Buffer.from(bytes)))
          for (let at = 0; at < coded.length; at += size) inflater.write(coded.subarray(at, at + size))
          expect(Buffer.concat(out).equals(text)).toBe(true)
        }
  })

  it('gives what a cut or spoilt stream holds, and says when it is spoilt', () => {
    const coded = gzipSync(texts[1] as Buffer)
    let seen = 0
    const cut = createInflater((bytes) => {
      seen += bytes.length
    })
    cut.write(coded.subarray(0, coded.length >> 1))
    expect({ some: seen > 0, damaged: cut.damaged }).toEqual({ some: true, damaged: false })
    for (let at = 10; at < coded.length; at += 3) {
      const spoilt = Buffer.from(coded)
      spoilt[at] = (spoilt[at] as number) ^ 0xff
      expect(() => createInflater(() => {}).write(spoilt)).not.toThrow()
    }
    const junk = createInflater(() => {})
    junk.write(Buffer.from('\x1f\x8b\x08\0\0\0\0\0\0\0\xff\xff\xff\xff', 'latin1'))
    expect(junk.damaged).toBe(true)
  })
})

describe('text in a record', () => {
  it.each([
    ['plain', 'plain'],
    ['tab\tand\nlines\r', 'tab\tand\nlines\r'],
    ['bell\x07nul\x00del\x7f', 'bell\\x07nul\\x00del\\x7f'],
    [Buffer.from('grüß').toString('latin1'), 'grüß'],
    ['\xe9 alone', '\\xe9 alone'],
    ['back\\slash', 'back\\slash'],
  ])('%j reads %j', (bytes, text) => {
    expect(textOf(Buffer.from(bytes, 'latin1'))).toBe(text)
  })
})
