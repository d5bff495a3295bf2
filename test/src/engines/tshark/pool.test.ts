import { readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { PassRequest } from '../../../../src/engines/tshark/pass.ts'
import { createPool } from '../../../../src/engines/tshark/pool.ts'
import { scratch } from '../../capture/files.ts'
import { captureOf } from '../capture-of.ts'
import { ip4, udp } from '../flows/packets.ts'

const SAMPLE = new URL('../../../fixtures/sample.pcap', import.meta.url).pathname
const POISONED = new URL('../../../support/poisoned-worker.ts', import.meta.url)

const passOver = async (capturePath: string): Promise<PassRequest> => ({
  capturePath,
  captureId: 'c'.repeat(64),
  partCount: 1,
  parts: [0],
  spillDir: await scratch(),
})

const packetThatSays = async (words: string): Promise<PassRequest> => {
  const data = ip4({ src: '10.0.0.1', dst: '10.0.0.2', protocol: 17, payload: udp(5000, 6000, words) })
  return passOver(await captureOf(join(await scratch(), 'one.pcap'), [{ at: 0, data }]))
}

const never = { signal: new AbortController().signal }

describe('the pool', () => {
  it('runs more passes than it has workers, and tells how far each is', async () => {
    const pool = createPool({ workers: 2, heapMb: 256, silenceMs: 20_000 })
    const progress: number[] = []
    const onProgress = ({ packets }: { packets: number }) => progress.push(packets)
    const pass = await passOver(SAMPLE)
    const results = await Promise.all(Array.from({ length: 5 }, () => pool.run(pass, { ...never, onProgress })))
    for (const result of results) expect(result).toEqual(results[0])
    expect(results[0]).toMatchObject({ faults: [], packets: results[0]?.account.inFile })
    expect(progress).toEqual(Array.from({ length: 5 }, () => results[0]?.packets))
  })

  it('tells a hang from too much memory and from an end without an answer, and goes on with a new worker', async () => {
    const pool = createPool({ workers: 1, heapMb: 64, silenceMs: 2000, worker: POISONED })
    const stands = await packetThatSays('STAND STILL')
    await expect(pool.run(stands, never)).rejects.toMatchObject({ code: 'engine_timeout' })
    const eats = await packetThatSays('EAT MEMORY')
    await expect(pool.run(eats, never)).rejects.toMatchObject({ code: 'engine_memory' })
    const goes = await packetThatSays('GO AWAY')
    await expect(pool.run(goes, never)).rejects.toMatchObject({ code: 'engine_failed', retryable: true })
    expect((await pool.run(await packetThatSays('good day'), never)).packets).toBe(1)
  })

  it('ends a pass when the caller gives up, one that waits as well', async () => {
    const pool = createPool({ workers: 1, heapMb: 64, silenceMs: 20_000, worker: POISONED })
    const control = new AbortController()
    const options = { signal: control.signal }
    const stands = await packetThatSays('STAND STILL')
    const both = Promise.allSettled([pool.run(stands, options), pool.run(stands, options)])
    setTimeout(() => control.abort(new Error('shutdown')), 200)
    const reason = expect.objectContaining({ message: 'shutdown' })
    expect(await both).toEqual([
      { status: 'rejected', reason },
      { status: 'rejected', reason },
    ])
  })

  it('hands failures on as what they are: of the capture, and of the system', async () => {
    const pool = createPool({ workers: 1, heapMb: 64, silenceMs: 20_000 })
    const none = join(await scratch(), 'none')
    await writeFile(none, 'not a capture')
    await expect(pool.run(await passOver(none), never)).rejects.toMatchObject({ code: 'capture_not_recognized' })
    const gone = { ...(await passOver(SAMPLE)), uidFile: join(await scratch(), 'no/such/folder') }
    await expect(pool.run(gone, never)).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

it('a pass that is repeated replaces what the first has left in the same folder', async () => {
  const sent = Array.from({ length: 40_000 }, (_, n) => ({
    at: n / 1000,
    data: ip4({ src: `10.1.${n >> 8}.${n & 255}`, dst: '10.0.0.2', protocol: 17, payload: udp(n, 6001, 'good day') }),
  }))
  const path = await captureOf(join(await scratch(), 'many.pcap'), sent)
  const pool = createPool({ workers: 1, heapMb: 512, silenceMs: 20_000 })
  const pass = await passOver(path)
  const first = await pool.run(pass, never)
  expect(await readdir(pass.spillDir)).toContain('0-conn-0.ndjson')
  const { size } = await stat(join(pass.spillDir, '0-conn-0.ndjson'))
  expect(await pool.run(pass, never)).toEqual(first)
  expect((await stat(join(pass.spillDir, '0-conn-0.ndjson'))).size).toBe(size)
})
