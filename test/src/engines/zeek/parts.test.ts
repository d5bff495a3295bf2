import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { chmod, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { openZeekEngine } from '../../../../src/engines/zeek/engine.ts'
import { partsOf } from '../../../../src/engines/zeek/parts.ts'
import type { Engine } from '../../../../stages/ports.ts'
import { accountBalances } from '../../../../state/capture.ts'
import { scratch } from '../../capture/files.ts'
import { request } from '../capture-of.ts'

const CORPUS = new URL('../../../../../shared/corpus/', import.meta.url).pathname
const STAND_IN = new URL('../../../support/zeek-stand-in.ts', import.meta.url).pathname
const here = existsSync(CORPUS)
const where = here ? '' : ' (skipped: no ../shared/corpus here)'
/** Each of them is a process for each part: some of the corpus, of all kinds. */
const EVERY = 30

/** What a run of Zeek, and so each part, tells once for itself: merging them is not what is tested here. */
const ONCE_A_RUN = new Set(['weird', 'x509'])

async function standIn(dir: string): Promise<string> {
  const path = join(dir, 'zeek')
  const runs = `exec ${process.execPath} --disable-warning=ExperimentalWarning ${STAND_IN} "$@"`
  await writeFile(path, `#!/bin/sh\nif [ "$1" = --version ]; then echo "zeek version 8.2.2"; exit 0; fi\n${runs}\n`)
  await chmod(path, 0o755)
  return path
}

async function convert(engine: Engine, capturePath: string) {
  const ask = await request(capturePath)
  const { packets, warnings } = await engine.convert(ask)
  expect(accountBalances(packets)).toBe(true)
  const records: Record<string, string[]> = {}
  for (const name of (await readdir(ask.outDir)).sort()) {
    const lines = (await readFile(join(ask.outDir, name), 'utf8')).trimEnd().split('\n')
    records[name.replace('.ndjson', '')] = lines.sort()
  }
  return { records, packets, warnings }
}

describe('Zeek on a capture in parts', () => {
  it('runs once on a small capture, and on so many parts of a large one', () => {
    expect([partsOf(0), partsOf(128 << 20), partsOf((128 << 20) + 1), partsOf(1e15)]).toEqual([1, 1, 2, 64])
    expect(partsOf(1000, 300)).toBe(4)
  })

  it.skipIf(!here)(
    `sees the same flows as on the whole, each once, by a stand-in for it${where}`,
    { timeout: 300_000 },
    async () => {
      const dir = await scratch()
      const zeekPath = await standIn(dir)
      const whole = await openZeekEngine({ zeekPath, parallel: 2 })
      const plain = join(dir, 'plain')
      let divided = 0
      for (const name of readdirSync(join(CORPUS, 'pcaps')).filter((_, n) => n % EVERY === 7)) {
        const bytes = readFileSync(join(CORPUS, 'pcaps', name))
        const data = name.endsWith('.gz') ? gunzipSync(bytes) : bytes
        writeFileSync(plain, data)
        const parts = await openZeekEngine({ zeekPath, parallel: 2, partBytes: Math.ceil(data.length / 4) })
        const [a, b] = [await convert(whole, plain), await convert(parts, plain)]
        expect(b.packets, name).toEqual(a.packets)
        expect(Object.keys(b.records), name).toEqual(Object.keys(a.records))
        for (const [log, lines] of Object.entries(a.records))
          if (!ONCE_A_RUN.has(log)) expect(b.records[log], `${name}, ${log}`).toEqual(lines)
        if (a.packets.inFile > 1) divided++
      }
      expect(divided).toBeGreaterThan(8)
    },
  )
})
