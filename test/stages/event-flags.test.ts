import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createEventFlags, readEventFlags, writeEventFlags } from '../../stages/event-flags.ts'
import { testLayout } from '../support/pipeline.ts'

const captureId = 'c'.repeat(64)
const ANN = { watch_employee: ['7'], watch_list: ['employees'], watch_reason: ['ip 10.0.0.1 (src_ip)'] }
const BAD = { watch_employee: null, watch_list: ['bad'], watch_reason: ['domain b (query b)'] }
const dns = (firstOrdinal: number, lines: number) => ({ captureId, logType: 'dns', firstOrdinal, lines })
const live = {
  idPrefix: 'zeek-raw.0a1b2c3d-4-',
  logType: 'dns',
  numbering: 'explicit' as const,
  firstOrdinal: 0,
  lines: 1,
}

function flagsOf(n: number) {
  const all = createEventFlags()
  for (let ordinal = 0; ordinal < n; ordinal++)
    all.add(`${captureId.slice(0, 24)}-dns-${ordinal}`, ordinal % 2 ? ANN : BAD)
  all.add(`${live.idPrefix}9007199254740991`, ANN)
  return all
}

describe('flags of events', () => {
  it('are those of the chunks that they are written for, when they are read again', async () => {
    const path = join(testLayout().dataDir, 'flags.ndjson')
    expect(await writeEventFlags(path, flagsOf(50_000), [dns(100, 30_000), live])).toBe(true)
    const read = await readEventFlags(path)
    expect(read.size).toBe(30_001)
    const own = read.of(dns(0, 0))
    expect([own?.get(99), own?.get(100), own?.get(30_099), own?.get(30_100)]).toEqual([undefined, BAD, ANN, undefined])
    expect(read.of(live)?.get(9007199254740991)).toEqual(ANN)
    expect(read.of({ ...live, idPrefix: 'zeek-raw.0a1b2c3d-5-' })).toBeUndefined()
  })

  it('leave no file where none of the chunks has any', async () => {
    const path = join(testLayout().dataDir, 'flags.ndjson')
    expect(await writeEventFlags(path, flagsOf(10), [dns(10, 5), { ...dns(0, 5), logType: 'conn' }])).toBe(false)
    await expect(readEventFlags(path)).rejects.toMatchObject({ code: 'artifact_missing' })
    writeFileSync(path, '{"flags":')
    await expect(readEventFlags(path)).rejects.toMatchObject({ code: 'artifact_damaged' })
  })
})
