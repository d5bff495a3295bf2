import { chmod, mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readCapture } from '../../../../src/capture/reader.ts'
import { openZeekEngine } from '../../../../src/engines/zeek/engine.ts'
import { seedText } from '../../../../src/engines/zeek/seed.ts'
import { accountBalances } from '../../../../state/capture.ts'
import { scratch } from '../../capture/files.ts'
import { captureOf, request } from '../capture-of.ts'
import { ACK, conversation, OPEN, SHUT } from '../flows/packets.ts'

/**
 * Zeek is not installed where these run: a shell script stands in for it. What they show is how we treat it, not
 * what Zeek does.
 */
async function standIn(dir: string, body: string): Promise<string> {
  const path = join(dir, 'zeek-stand-in')
  await writeFile(path, `#!/bin/sh\nif [ "$1" = --version ]; then echo "$0 version 8.2.2"; exit 0; fi\n${body}\n`)
  await chmod(path, 0o755)
  return path
}

async function setUp(body: string, options = {}) {
  const dir = await scratch()
  const engine = await openZeekEngine({ zeekPath: await standIn(dir, body), ...options })
  const capturePath = await captureOf(join(dir, 'a.pcap'), conversation([...OPEN, ...SHUT]))
  return { engine, capturePath, dir }
}

const WRITES_LOGS = `
echo "$@" > arguments.txt
pwd > where.txt
printf '{"ts":1.0}\\n{"ts":2.0}\\n' > conn.log
printf '{"ts":1.0}\\n{"ts":' > dns.log
printf '#separator\\n' > http.log
: > empty.log
echo 'warning: something odd' >&2`

describe('the Zeek engine, with a stand-in for Zeek', () => {
  it('gives Zeek a copy with the corrected times where the clock of the source is wrong', async () => {
    const { engine, capturePath } = await setUp(`${WRITES_LOGS}\ncp "$3" given.pcap`)
    const given = async (clockOffsetUs: number) => {
      const ask = await request(capturePath, { clockOffsetUs })
      const { packets } = await engine.convert(ask)
      const { account } = await readCapture(join(ask.workDir, 'zeek', 'given.pcap'), { onPacket: () => {} })
      expect(account.firstTime).toBe(packets.firstTime)
      return account.firstTime as number
    }
    expect((await given(-1_500_000)) - (await given(0))).toBeCloseTo(-1.5, 6)
  })

  it('hands over the logs that were written, whole lines of JSON alone, and counts them', async () => {
    const { engine, capturePath } = await setUp(WRITES_LOGS)
    const ask = await request(capturePath)
    const result = await engine.convert(ask)
    expect(result).toMatchObject({
      engine: 'zeek',
      engineVersion: '8.2.2',
      logs: { conn: { records: 2, bytes: 22 }, dns: { records: 1, bytes: 11 } },
    })
    expect((await readdir(ask.outDir)).sort()).toEqual(['conn.ndjson', 'dns.ndjson'])
    expect(await readFile(join(ask.outDir, 'dns.ndjson'), 'utf8')).toBe('{"ts":1.0}\n')
    expect(result.warnings).toEqual([
      'Zeek: warning: something odd',
      'Zeek’s http.log is not JSON and was left out.'.replace('’', "'"),
    ])
  })

  it('is told to load its script for SMB commands where they are asked for', async () => {
    const { engine, capturePath } = await setUp('echo "$@" >&2', { smbCommandLog: true })
    const { warnings } = await engine.convert(await request(capturePath))
    expect(warnings.join(' ')).toContain('policy/protocols/smb/log-cmds')
  })

  it('is told to read the file, to ignore checksums, to write JSON, which seeds and which script to load', async () => {
    const { engine, capturePath } = await setUp(WRITES_LOGS, { zeekScript: 'local' })
    const ask = await request(capturePath)
    await engine.convert(ask)
    const told = (await readFile(join(ask.workDir, 'zeek/arguments.txt'), 'utf8')).trim()
    expect(told).toBe(`-C -r ${capturePath} --load-seeds ${join(ask.workDir, 'zeek.seeds')} LogAscii::use_json=T local`)
    expect((await readFile(join(ask.workDir, 'zeek/where.txt'), 'utf8')).trim()).toBe(join(ask.workDir, 'zeek'))
  })

  it('gets seeds that follow from the capture: 21 numbers of 32 bits, others for another capture', async () => {
    const lines = seedText('a').trimEnd().split('\n')
    expect(lines).toHaveLength(21)
    for (const line of lines) expect(Number(line)).toBeLessThan(2 ** 32)
    expect(seedText('a')).toBe(seedText('a'))
    expect(seedText('b')).not.toBe(seedText('a'))
  })

  it('accounts for the packets by its own reading', async () => {
    const { engine, capturePath } = await setUp(WRITES_LOGS)
    const { packets } = await engine.convert(await request(capturePath))
    expect(packets).toMatchObject({ inFile: 6, decoded: 6, skipped: {}, lostBytes: 0 })
    expect(accountBalances(packets)).toBe(true)
  })

  it('hands a cut capture over as what is whole in it', async () => {
    const { engine, capturePath } = await setUp('wc -c < "$3" > size.txt; printf "{}\\n" > conn.log')
    await truncate(capturePath, 24 + 3 * (16 + 40) + 20)
    const ask = await request(capturePath)
    const { packets } = await engine.convert(ask)
    expect(packets).toMatchObject({ decoded: 3, salvaged: expect.any(String) })
    expect(Number(await readFile(join(ask.workDir, 'zeek/size.txt'), 'utf8'))).toBe(24 + 3 * (16 + 40))
  })

  it('fails with what was said when Zeek fails', async () => {
    const { engine, capturePath } = await setUp('echo "fatal error: no such script" >&2; exit 1')
    const failing = engine.convert(await request(capturePath))
    await expect(failing).rejects.toMatchObject({
      code: 'engine_failed',
      message: expect.stringContaining('no such script'),
    })
  })

  it('loses only the packet on which Zeek crashes, which is handed out and counted', async () => {
    const dir = await scratch()
    const body = 'if grep -q POISON "$3"; then kill -SEGV $$; fi; printf \'{"ts":1.0}\\n\' > conn.log'
    const poison: string[] = []
    const onPoison = async (file: string, reason: string) => {
      const { packets } = await readCapture(file, { onPacket: () => {} })
      poison.push(`${packets}: ${reason}`)
    }
    const engine = await openZeekEngine({ zeekPath: await standIn(dir, body), onPoison })
    const sent = [
      ...conversation([...OPEN, { by: 'c', flags: ACK, payload: 'POISON' }, ...SHUT]),
      ...conversation([...OPEN, ...SHUT], [40_001, 81]),
    ]
    const { packets, logs } = await engine.convert(await request(await captureOf(join(dir, 'a.pcap'), sent)))
    expect(packets).toMatchObject({ inFile: sent.length, decoded: sent.length - 1, skipped: { poison: 1 } })
    expect(accountBalances(packets)).toBe(true)
    expect(poison).toEqual([expect.stringMatching(/^1: Zeek failed \(signal SIGSEGV\)/)])
    expect(logs.conn?.records).toBeGreaterThan(1)
  })

  it('ends when its time is over', async () => {
    const { engine, capturePath } = await setUp('sleep 60', { timeoutMs: 300 })
    await expect(engine.convert(await request(capturePath))).rejects.toMatchObject({ code: 'engine_timeout' })
  })

  it('is not there, and the message says where to get it', async () => {
    const dir = await scratch()
    await mkdir(join(dir, 'bin'))
    const opening = openZeekEngine({ searchPath: join(dir, 'bin') })
    await expect(opening).rejects.toMatchObject({ code: 'engine_missing', message: expect.stringContaining('zeek') })
  })
})
