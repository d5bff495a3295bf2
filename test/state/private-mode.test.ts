import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { privateFileMode, privateFolderMode } from '../../state/private-mode.ts'

let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'modes-'))
})
afterAll(() => rmSync(dir, { recursive: true }))

it.each([
  [0o2770, 0o770, 0o660],
  [0o2750, 0o700, 0o600],
  [0o775, 0o700, 0o600],
  [0o700, 0o700, 0o600],
])('in a folder of mode %o, what is private has the modes %o and %o', (mode, folder, file) => {
  const parent = join(dir, mode.toString(8))
  mkdirSync(parent)
  chmodSync(parent, mode)
  expect([privateFolderMode(parent), privateFileMode(parent)]).toEqual([folder, file])
})

it('a folder that is not there shares nothing', () => {
  expect(privateFolderMode(join(dir, 'none'))).toBe(0o700)
})
