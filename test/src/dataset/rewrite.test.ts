import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { withoutCapture } from '../../../src/dataset/rewrite.ts'
import { query } from '../sinks/parquet/harness.ts'

it('rows of other captures, and of none, stay when those of one capture go', async () => {
  const [gone, other] = ['ab'.repeat(32), 'cd'.repeat(32)]
  const path = join(await mkdtemp(join(tmpdir(), 'rewrite-')), 'rows.parquet')
  await query(`COPY (SELECT * FROM (VALUES (1, '${gone}'), (2, '${other}'), (3, NULL)) t (n, capture_id)) TO '${path}'`)
  expect(await withoutCapture(path, gone, 'rows')).toMatchObject({ rows: 2 })
  expect(await query(`SELECT * FROM '${path}' ORDER BY n`)).toEqual([{ n: 2, capture_id: other }, { n: 3 }])
})
