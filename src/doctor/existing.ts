/** The nearest folder that is there, for what is asked of a folder before it is made. */

import { statSync } from 'node:fs'
import { dirname } from 'node:path'

export function existing(dir: string): string {
  const found = statSync(dir, { throwIfNoEntry: false })
  return found !== undefined || dir === dirname(dir) ? dir : existing(dirname(dir))
}
