/** TLS with its keys: `tls.pcap` and `tls.keys` are real sessions of Node and openssl (test/fixtures/make-tls.ts). */

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { findExecutable } from '../../../../../src/engines/child.ts'
import { openTsharkEngine, type TsharkEngineOptions } from '../../../../../src/engines/tshark/engine.ts'
import { packetsOf, pcapng } from '../../../../fixtures/variants.ts'
import { scratch } from '../../../capture/files.ts'
import { request } from '../../capture-of.ts'

const FIXTURES = join(import.meta.dirname, '../../../../fixtures')
const PCAP = join(FIXTURES, 'tls.pcap')
const KEYS = join(FIXTURES, 'tls.keys')
const keyLines = readFileSync(KEYS, 'utf8').trimEnd().split('\n')
const tshark = findExecutable('tshark')
const CI = process.env.CI === 'true'
const where = tshark === undefined && !CI ? ' (skipped: no tshark here)' : ''
/** TLS sessions in the capture. */
const SESSIONS = 21

type Row = Record<string, unknown>
interface Setup extends TsharkEngineOptions {
  pcap?: string
  keys?: string | Buffer | undefined
}

async function convert({ pcap = PCAP, keys, ...options }: Setup) {
  const engine = await openTsharkEngine({ parallel: 1, tlsKeys: true, ...options })
  const keysPath = join(await scratch(), 'keys')
  if (keys !== undefined) writeFileSync(keysPath, keys)
  const ask = await request(pcap, keys === undefined ? {} : { keysPath })
  const result = await engine.convert(ask)
  const rows = (log: string): Row[] => {
    const path = join(ask.outDir, `${log}.ndjson`)
    const text = existsSync(path) ? readFileSync(path, 'utf8').trimEnd() : ''
    return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line))
  }
  return { result, rows, requests: () => rows('http').map((row) => `${row['id.orig_p']} ${row.method} ${row.uri}`) }
}

const all = keyLines.join('\n')
const without = (label: string) => keyLines.filter((line) => !line.startsWith(`${label} `)).join('\n')

/** A pcapng of the fixture with a block of secrets in front of its first packet. */
async function embedded(keyLog: Buffer): Promise<string> {
  const path = join(await scratch(), 'embedded.pcapng')
  const bytes = pcapng(readFileSync(PCAP))
  const padded = Buffer.concat([keyLog, Buffer.alloc(-keyLog.length & 3)])
  const head = Buffer.alloc(16)
  const length = 20 + padded.length
  for (const [i, word] of [10, length, 0x544c534b, keyLog.length].entries()) head.writeUInt32LE(word, i * 4)
  const tail = Buffer.alloc(4)
  tail.writeUInt32LE(length)
  const firstPacket = 28 + 20
  writeFileSync(path, Buffer.concat([bytes.subarray(0, firstPacket), head, padded, tail, bytes.subarray(firstPacket)]))
  return path
}

describe('TLS with its keys', () => {
  it.skipIf(tshark === undefined && !CI)(
    `finds every request that tshark finds, of every kind of session${where}`,
    async () => {
      const args = ['-r', PCAP, '-o', `tls.keylog_file:${KEYS}`, '-Y', 'http.request', '-T', 'fields']
      const fields = ['tcp.srcport', 'http.request.method', 'http.request.uri'].flatMap((field) => ['-e', field])
      const theirs = execFileSync('tshark', [...args, ...fields], { stdio: ['ignore', 'pipe', 'ignore'] }).toString()
      const { result, requests } = await convert({ keys: all })
      expect(result.tls).toEqual({ keys: 22, sessions: SESSIONS, withKeys: SESSIONS, decrypted: SESSIONS })
      expect(result.warnings).toEqual([])
      expect(theirs.trimEnd().split('\n')).toHaveLength(55)
      expect(requests().sort()).toEqual(theirs.trimEnd().replaceAll('\t', ' ').split('\n').sort())
    },
  )

  it('logs what the sessions carried as if it were in the clear: answers, bodies, files, and the services of the flow', async () => {
    const { rows } = await convert({ keys: all })
    const long = rows('http').filter(({ uri }) => String(uri).endsWith('/long'))
    expect(long).toHaveLength(17)
    for (const { uri, response_body_len, status_code } of long) {
      const name = String(uri).slice(1).split('/')[0]
      expect({ uri, response_body_len, status_code }).toEqual({
        ...{ uri, status_code: 200 },
        response_body_len: 800 * `${name} was asked for ${uri}\n`.length,
      })
    }
    const posts = rows('http').filter(({ method }) => method === 'POST')
    expect(new Set(posts.map(({ request_body_len }) => request_body_len))).toEqual(
      new Set(['colour=grey&size=8'.length]),
    )
    const uids = new Set(rows('http').map(({ uid }) => uid))
    for (const { uid, service } of rows('conn')) if (uids.has(uid)) expect(service).toBe('ssl,http')
    expect(rows('files').filter(({ source }) => source === 'HTTP').length).toBeGreaterThan(50)
  })

  it('finds the certificates of both sides in TLS 1.3, and leaves what anybody can see as it is', async () => {
    const [open, closed] = [await convert({ keys: all }), await convert({})]
    const of13 = ({ rows }: Awaited<ReturnType<typeof convert>>) =>
      rows('ssl').filter(({ version, established }) => version === 'TLSv13' && established === true)
    expect(of13(closed).every(({ cert_chain_fps }) => cert_chain_fps === undefined)).toBe(true)
    const found = of13(open)
    expect(found.filter(({ cert_chain_fps }) => Array.isArray(cert_chain_fps))).toHaveLength(
      found.filter(({ resumed }) => resumed === false).length,
    )
    expect(
      found.filter(({ client_cert_chain_fps }) => (client_cert_chain_fps as string[] | undefined)?.length === 1),
    ).toHaveLength(1)
    const subjects = open.rows('x509').map((row) => row['certificate.subject'])
    expect(subjects).toEqual(
      expect.arrayContaining(['CN=secure.sample.test,O=Sample', 'CN=visitor.sample.test,O=Sample']),
    )
    const plain = (rows: Row[]) =>
      rows.map(({ cert_chain_fps, client_cert_chain_fps, sni_matches_cert, ...rest }) => rest)
    expect(plain(open.rows('ssl'))).toEqual(plain(closed.rows('ssl')))
  })

  it('gives the same where the keys are in the capture, whole, in parts, and where a pass has to be repeated', async () => {
    const { rows } = await convert({ keys: all })
    const expected = rows('http')
      .map((row) => JSON.stringify(row))
      .sort()
    const pcap = await embedded(Buffer.from(`${all}\n`))
    for (const partsFromBytes of [1e9, 0]) {
      const { result, rows: got } = await convert({ pcap, partsFromBytes })
      expect(result.tls).toMatchObject({ keys: 22, decrypted: SESSIONS })
      expect(
        got('http')
          .map((row) => JSON.stringify(row))
          .sort(),
      ).toEqual(expected)
    }
  })

  it('decrypts nothing without leave, and says that keys were there', async () => {
    const warning = 'TLS keys came with the capture and were not used (TLS_KEYS is false).'
    for (const setup of [{ keys: all }, { pcap: await embedded(Buffer.from(all)) }]) {
      const { result, rows } = await convert({ ...setup, tlsKeys: false })
      expect(result).toMatchObject({ warnings: [warning] })
      expect(result.tls).toBeUndefined()
      expect(rows('http')).toEqual([])
    }
    expect((await convert({})).result.warnings).toEqual([])
  })

  it.skipIf(tshark === undefined && !CI)(
    `lets tshark decrypt for the packet log, with the same keys${where}`,
    async () => {
      for (const setup of [{ keys: all }, { pcap: await embedded(Buffer.from(all)) }]) {
        const { rows } = await convert({ ...setup, packetLog: true })
        const info = rows('packet').map((row) => String(row.info))
        expect(info.filter((text) => text.startsWith('POST /'))).toHaveLength(17)
        expect(rows('packet').some(({ protocols }) => String(protocols).endsWith('tls:http'))).toBe(true)
      }
      const { rows } = await convert({ keys: all, packetLog: true, tlsKeys: false })
      expect(rows('packet').some(({ info }) => String(info).includes('POST /'))).toBe(false)
    },
  )
})

describe('keys that are not as they should be', () => {
  const flipped = keyLines.map((line) => `${line.slice(0, -2)}${line.endsWith('00') ? '01' : '00'}`).join('\n')
  const fewer = keyLines.slice(0, 4).join('\n')

  it('wrong secrets decrypt nothing, and that is said', async () => {
    const { result, requests } = await convert({ keys: flipped })
    expect(requests()).toEqual([])
    expect(result.tls).toMatchObject({ withKeys: SESSIONS, decrypted: 0 })
    expect(result.warnings).toEqual([
      `${SESSIONS} TLS sessions could not be decrypted to the end: secrets that do not fit.`,
    ])
  })

  it('keys of other sessions are told apart from wrong ones', async () => {
    const others = keyLines.map((line) => line.replace(/ [0-9a-f]{8}/, ' 00000000')).join('\n')
    const { result } = await convert({ keys: others })
    expect(result.tls).toMatchObject({ sessions: SESSIONS, withKeys: 0, decrypted: 0 })
    expect(result.warnings).toEqual([`The TLS keys are of none of the ${SESSIONS} sessions in the capture.`])
  })

  it('of a key log that is cut, what is whole is used', async () => {
    const { result, requests } = await convert({ keys: `${fewer}\n${keyLines[4]?.slice(0, 100)}` })
    expect(result.tls?.decrypted).toBe(result.tls?.withKeys)
    expect(result.tls?.decrypted).toBeGreaterThan(0)
    expect(requests().length).toBeGreaterThan(0)
    expect(result.warnings).toEqual(['1 line of the TLS keys is no key.'])
  })

  it('without the secrets of the handshake what follows is decrypted all the same', async () => {
    const keys = keyLines.filter((line) => !line.includes('_HANDSHAKE_')).join('\n')
    const { result, requests } = await convert({ keys })
    expect(result.tls?.decrypted).toBe(SESSIONS)
    const { requests: whole } = await convert({ keys: all })
    expect(requests()).toEqual(whole())
  })

  it('with the secrets of one side alone that side is decrypted', async () => {
    const { result, rows } = await convert({ keys: without('SERVER_TRAFFIC_SECRET_0') })
    expect(result.tls?.decrypted).toBe(SESSIONS)
    expect(rows('http').filter(({ uri }) => String(uri).startsWith('/13-aes128-gcm/'))).toHaveLength(3)
  })

  it.each([
    ['no text', Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7919) & 255))],
    ['no lines', Buffer.alloc(40 << 20, 0x61)],
    ['nothing', Buffer.alloc(0)],
  ])('a key log of %s is said to have no key, and the capture is converted', async (_what, keys) => {
    const { result, rows } = await convert({ keys, memoryBytes: 400 << 20 })
    expect(result.tls).toMatchObject({ keys: 0, sessions: SESSIONS, decrypted: 0 })
    expect(result.warnings).toContain('There is no key in the TLS keys that came with the capture.')
    expect(rows('ssl').length).toBeGreaterThanOrEqual(SESSIONS)
  })

  it('a block of secrets of any content or size harms nothing', async () => {
    for (const keyLog of [Buffer.alloc(0), Buffer.alloc(900_000, 0x41), Buffer.from('\0'.repeat(999))]) {
      const { result } = await convert({ pcap: await embedded(keyLog) })
      expect(result.tls).toMatchObject({ keys: 0, sessions: SESSIONS })
      expect(result.packets.skipped).toEqual({})
      expect(result.packets.inFile).toBe(packetsOf(readFileSync(PCAP)).length)
    }
  })

  it('a session of which packets are missing is decrypted up to there, and that is said', async () => {
    const pcap = join(await scratch(), 'gaps.pcap')
    const bytes = readFileSync(PCAP)
    const kept = [bytes.subarray(0, 24)]
    let [at, n] = [24, 0]
    for (const { data } of packetsOf(bytes)) {
      const end = at + 16 + data.length
      const tcp = data.subarray(34)
      const payload = tcp.subarray(((tcp[12] ?? 0) >> 4) * 4)
      // Of the records of application data one in seven.
      if (!(payload[0] === 23 && n++ % 7 === 3)) kept.push(bytes.subarray(at, end))
      at = end
    }
    writeFileSync(pcap, Buffer.concat(kept))
    const { result, requests } = await convert({ pcap, keys: all })
    expect(result.warnings.join(' ')).toMatch(
      /TLS sessions? could not be decrypted to the end: bytes that the capture lacks\./,
    )
    expect(requests().length).toBeGreaterThan(20)
  })
})
