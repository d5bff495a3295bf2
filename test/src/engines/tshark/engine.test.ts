import { createHash } from 'node:crypto'
import { chmod, copyFile, readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readCapture } from '../../../../src/capture/reader.ts'
import { findExecutable } from '../../../../src/engines/child.ts'
import { openTsharkEngine, type TsharkEngineOptions } from '../../../../src/engines/tshark/engine.ts'
import { accountBalances } from '../../../../state/capture.ts'
import { scratch } from '../../capture/files.ts'
import { captureOf, request } from '../capture-of.ts'
import { ACK, conversation, ethernet, OPEN, type Sent, SHUT } from '../flows/packets.ts'

const SAMPLE = new URL('../../../fixtures/sample.pcap', import.meta.url).pathname
const tshark = findExecutable('tshark')
const where = tshark === undefined ? ' (skipped: no tshark here)' : ''

type Row = Record<string, unknown>

async function convert(capturePath: string, options: TsharkEngineOptions = {}, captureId?: string) {
  const engine = await openTsharkEngine(options)
  const ask = await request(capturePath, captureId === undefined ? {} : { captureId })
  const result = await engine.convert(ask)
  const text = (log: string) => readFile(join(ask.outDir, `${log}.ndjson`), 'utf8')
  const rows = async (log: string): Promise<Row[]> =>
    (await text(log))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
  return { result, ask, text, rows }
}

let port = 40_000
const talk = (request: string): Sent[] =>
  conversation(
    [
      ...OPEN,
      { by: 'c', flags: ACK, payload: `${request} HTTP/1.1\r\n\r\n` },
      { by: 's', flags: ACK, payload: 'HTTP/1.1 204 No Content\r\n\r\n' },
      ...SHUT,
    ],
    [port++, 8080],
  )

describe(`the tshark engine${where}`, () => {
  it.skipIf(!tshark)('writes exactly the files that it names, whole lines each, counted right', async () => {
    const { result, ask, text } = await convert(SAMPLE)
    expect(result).toMatchObject({ engine: 'tshark', engineVersion: expect.stringMatching(/^\d+\.\d+\.\d+/) })
    expect((await readdir(ask.outDir)).sort()).toEqual(
      Object.keys(result.logs)
        .map((log) => `${log}.ndjson`)
        .sort(),
    )
    expect(Object.keys(result.logs)).toEqual(expect.arrayContaining(['conn', 'dns', 'http', 'ssl', 'files']))
    for (const [log, { records, bytes }] of Object.entries(result.logs)) {
      const content = await text(log)
      expect({
        log,
        lines: content.split('\n').length - 1,
        bytes: Buffer.byteLength(content),
        end: content.at(-1),
      }).toEqual({ log, lines: records, bytes, end: '\n' })
    }
  })

  it.skipIf(!tshark)('gives the same lines each time, and other uids to another capture', async () => {
    const [first, second, other] = [
      await convert(SAMPLE),
      await convert(SAMPLE),
      await convert(SAMPLE, {}, 'd'.repeat(64)),
    ]
    for (const log of Object.keys(first.result.logs)) expect(await first.text(log)).toBe(await second.text(log))
    const uids = async ({ rows }: typeof first) => (await rows('conn')).map(({ uid }) => uid)
    const known = new Set(await uids(first))
    expect((await uids(other)).filter((uid) => known.has(uid))).toEqual([])
  })

  it.skipIf(!tshark)('joins the records of a flow by its uid, and files by their fuid', async () => {
    const { rows, result } = await convert(SAMPLE)
    const flows = new Map((await rows('conn')).map((row) => [row.uid, row]))
    for (const log of ['dns', 'http', 'ssl'].filter((each) => result.logs[each] !== undefined))
      for (const row of await rows(log)) {
        expect(flows.get(row.uid)).toMatchObject({ 'id.orig_h': row['id.orig_h'], 'id.resp_p': row['id.resp_p'] })
        expect(String(flows.get(row.uid)?.service).split(',')).toContain(log)
      }
    const fuids = new Set((await rows('files')).map(({ fuid }) => fuid))
    for (const row of await rows('http'))
      for (const fuid of (row.resp_fuids as string[]) ?? []) expect(fuids).toContain(fuid)
  })

  it.skipIf(!tshark)('accounts for every packet, those that are cut off included', async () => {
    const dir = await scratch()
    const cut = join(dir, 'cut.pcap')
    await copyFile(SAMPLE, cut)
    await truncate(cut, (await readFile(SAMPLE)).length - 7)
    const whole = (await convert(SAMPLE)).result.packets
    const { packets } = (await convert(cut)).result
    expect(packets).toMatchObject({ decoded: whole.decoded - 1, salvaged: expect.any(String) })
    expect(accountBalances(packets) && accountBalances(whole)).toBe(true)
  })

  it.skipIf(!tshark)('logs ARP, and says what it could not decode', async () => {
    const dir = await scratch()
    const arp = Buffer.from('0001080006040001020000000bb1c0000201000000000000c0000202', 'hex')
    const sent = [
      { at: 1, data: ethernet(0x0806, arp) },
      { at: 2, data: ethernet(0x0800, Buffer.from('4500')) },
    ]
    const { result, rows } = await convert(await captureOf(join(dir, 'a.pcap'), sent, 1))
    expect(await rows('arp')).toMatchObject([
      { operation: 'request', sender_ip: '192.0.2.1', target_ip: '192.0.2.2', gratuitous: false },
    ])
    expect(result.warnings).toEqual([expect.stringMatching(/^1 packet could not be decoded/)])
  })

  it('logs SMB commands where they are asked for, and only there', async () => {
    const echo = (response: number) => {
      const message = Buffer.alloc(72)
      message.writeUInt32BE(68, 0)
      message.write('\xfeSMB', 4, 'latin1')
      message.writeUInt16LE(64, 8)
      message.writeUInt16LE(13, 16)
      message.writeUInt32LE(response, 20)
      message.writeUInt16LE(4, 68)
      return message
    }
    const blank = (by: 'c' | 's') => ({ by, flags: ACK, payload: '.'.repeat(72) })
    const sent = conversation([...OPEN, blank('c'), blank('s'), ...SHUT], [port++, 445])
    for (const response of [0, 1]) sent[3 + response]?.data.set(echo(response), 40)
    const capture = await captureOf(join(await scratch(), 'smb.pcap'), sent)
    const asked = await convert(capture, { smbCommandLog: true })
    expect(await asked.rows('smb_cmd')).toMatchObject([{ command: 'ECHO', status: 'SUCCESS', version: 'SMB2' }])
    expect((await convert(capture)).result.logs.smb_cmd).toBeUndefined()
  })

  it.skipIf(!tshark)('ends when the caller gives up', async () => {
    const engine = await openTsharkEngine()
    const ask = await request(SAMPLE, { signal: AbortSignal.abort(new Error('shutdown')) })
    await expect(engine.convert(ask)).rejects.toThrow('shutdown')
  })
})

/** The real tshark, but for files that hold the word: there `does` happens. */
async function poisonedBy(dir: string, word: string, does: string): Promise<string> {
  const path = join(dir, 'poisoned-tshark')
  await writeFile(path, `#!/bin/sh\nif grep -q '${word}' "$2" 2>/dev/null; then ${does}; fi\nexec ${tshark} "$@"\n`)
  await chmod(path, 0o755)
  return path
}

describe(`the packet log${where}`, () => {
  it.skipIf(!tshark)('has a row for each frame, in order, with its flow’s uid', async () => {
    const { rows, result } = await convert(SAMPLE, { packetLog: true, parallel: 2 })
    const packets = await rows('packet')
    expect(packets.map(({ frame_number }) => frame_number)).toEqual(
      Array.from({ length: result.packets.inFile }, (_, i) => i + 1),
    )
    const uids = new Set((await rows('conn')).map(({ uid }) => uid))
    const inFlows = packets.filter(({ proto }) => proto === 'tcp' || proto === 'udp')
    expect(inFlows.every(({ uid }) => uids.has(uid))).toBe(true)
    expect(packets.find(({ proto }) => proto === 'tcp')).toMatchObject({
      protocols: expect.stringContaining('tcp'),
      tcp_flags: 'S',
    })
  })

  it.skipIf(!tshark)('loses only the packet on which tshark crashes, which is handed out and counted', async () => {
    const dir = await scratch()
    const sent = [...talk('GET /a'), ...talk('GET /POISON'), ...talk('GET /b')]
    const capture = await captureOf(join(dir, 'a.pcap'), sent)
    const poison: string[] = []
    const { rows, result } = await convert(capture, {
      packetLog: true,
      tsharkPath: await poisonedBy(dir, 'POISON', 'kill -SEGV $$'),
      async onPoison(file, reason) {
        const hashes: string[] = []
        await readCapture(file, {
          onPacket: ({ buffer, offset, capLen }) =>
            hashes.push(
              createHash('sha256')
                .update(buffer.subarray(offset, offset + capLen))
                .digest('hex'),
            ),
        })
        poison.push(...hashes, reason)
      },
    })
    const bad = sent.findIndex(({ data }) => data.includes('POISON'))
    expect((await rows('packet')).map(({ frame_number }) => frame_number)).toEqual(
      sent.map((_, i) => i + 1).filter((n) => n !== bad + 1),
    )
    expect(poison).toEqual([
      createHash('sha256')
        .update(sent[bad]?.data ?? '')
        .digest('hex'),
      expect.stringContaining('SIGSEGV'),
    ])
    expect(result.packets).toMatchObject({ inFile: sent.length, decoded: sent.length - 1, skipped: { poison: 1 } })
    expect(accountBalances(result.packets)).toBe(true)
    expect((await rows('http')).map(({ uri }) => uri)).toEqual(['/a', '/POISON', '/b'])
  })

  it.skipIf(!tshark)('loses only the packet on which tshark hangs', { timeout: 90_000 }, async () => {
    const dir = await scratch()
    const sent = talk('GET /POISON')
    const tsharkPath = await poisonedBy(dir, 'POISON', 'sleep 60')
    const capturePath = await captureOf(join(dir, 'a.pcap'), sent)
    const { result, rows } = await convert(capturePath, { packetLog: true, tsharkPath, timeoutMs: 2500 })
    expect(result.packets).toMatchObject({ decoded: sent.length - 1, skipped: { poison: 1 } })
    expect(await rows('packet')).toHaveLength(sent.length - 1)
  })

  it.skipIf(!tshark)('is not written unless it is asked for', async () => {
    expect((await convert(SAMPLE)).result.logs.packet).toBeUndefined()
  })
})
