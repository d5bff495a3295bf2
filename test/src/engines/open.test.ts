import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openEngine } from '../../../src/engines/open.ts'
import { scratch } from '../capture/files.ts'

async function bin(programs: Record<string, string>): Promise<string> {
  const dir = join(await scratch(), 'bin')
  await mkdir(dir)
  for (const [name, says] of Object.entries(programs)) {
    await writeFile(join(dir, name), `#!/bin/sh\necho '${says}'\n`)
    await chmod(join(dir, name), 0o755)
  }
  return dir
}

const ZEEK = 'zeek version 8.2.2'
const TSHARK = 'TShark (Wireshark) 4.0.17 (Git v4.0.17).'

describe('the choice of an engine (programs that only say their version stand in)', () => {
  it('is Zeek where it is installed', async () => {
    const { name } = await openEngine('auto', { searchPath: await bin({ zeek: ZEEK, tshark: TSHARK }) })
    expect(name).toBe('zeek')
  })

  it('is our own where Zeek is not', async () => {
    expect((await openEngine('auto', { searchPath: await bin({ tshark: TSHARK }) })).name).toBe('tshark')
  })

  it('can be made by hand', async () => {
    const searchPath = await bin({ zeek: ZEEK, tshark: TSHARK })
    expect((await openEngine('tshark', { searchPath })).name).toBe('tshark')
  })

  it('is our own without any program at all; only the packet log needs tshark, and says how to get it', async () => {
    const searchPath = await bin({})
    expect((await openEngine('auto', { searchPath })).name).toBe('tshark')
    await expect(openEngine('auto', { searchPath, packetLog: true })).rejects.toMatchObject({
      code: 'engine_missing',
      message: expect.stringContaining('apt-get install tshark'),
    })
  })

  it('fails where the one that was named is not installed, though the other is', async () => {
    const searchPath = await bin({ tshark: TSHARK })
    await expect(openEngine('zeek', { searchPath })).rejects.toMatchObject({ code: 'engine_missing' })
  })

  it('fails where the program does not say which version it is', async () => {
    const opening = openEngine('tshark', { searchPath: await bin({ tshark: 'hello' }), packetLog: true })
    await expect(opening).rejects.toMatchObject({ code: 'engine_failed' })
  })
})
