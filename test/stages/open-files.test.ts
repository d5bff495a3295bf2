import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { heldForWriting, holdersOf } from '../../stages/open-files.ts'

it('a file that some process holds open for writing is told; one that is only read is not', () => {
  const dir = mkdtempSync(join(tmpdir(), 'settle-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const [written, read] = [join(dir, 'written'), join(dir, 'read')]
  for (const path of [written, read]) writeFileSync(path, 'x')
  const open = [openSync(written, 'a'), openSync(read, 'r')]
  const paths = new Set([written, read])
  expect(heldForWriting(paths)).toEqual(new Set([written]))
  for (const fd of open) closeSync(fd)
  expect(heldForWriting(paths)).toEqual(new Set())
})

it('another process that has a file open is named, and this one is not', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'holders-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'held')
  writeFileSync(path, 'x')
  const own = openSync(path, 'r')
  expect(holdersOf(new Set([path]))).toEqual([])
  const other = spawn(process.execPath, [
    '-e',
    `require('fs').openSync('${path}'); console.log('open'); setInterval(() => {}, 1e6)`,
  ])
  onTestFinished(() => void other.kill('SIGKILL'))
  await once(other.stdout, 'data')
  expect(holdersOf(new Set([path]))).toEqual([other.pid])
  closeSync(own)
})
