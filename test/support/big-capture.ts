/** Large captures for benchmarks, put together from many small ones. */

import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const SHARED = join(import.meta.dirname, '../../../shared')
const GENERATOR = join(SHARED, 'tools/make_big.py')

/** @throws when there is no generator here: a capture can be named instead. */
export function makeBigCapture(path: string, size: string): string {
  if (!existsSync(GENERATOR))
    throw new Error(`there is no ${GENERATOR} to make a capture with; name one with --capture`)
  execFileSync('python3', [GENERATOR, '--corpus', join(SHARED, 'corpus'), '--size', size, '--out', path], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return path
}
