import { tmpdir } from 'node:os'
import { expect, it } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { sinkOptions } from '../../src/parts.ts'

it('the Parquet writer has as many threads as are asked for and its memory has room for', () => {
  const threads = (UPLOAD_THREADS: string, UPLOAD_MEMORY_MB?: string) =>
    sinkOptions(loadConfig({ env: { UPLOAD_THREADS, ...(UPLOAD_MEMORY_MB && { UPLOAD_MEMORY_MB }) }, cwd: tmpdir() }))
      .threads
  expect(threads('3')).toBe(1)
  expect(threads('3', '192')).toBe(1)
  expect(threads('3', '384')).toBe(2)
  expect(threads('1', '1024')).toBe(1)
})
