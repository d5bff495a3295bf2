/** Is a process there? A zombie that nobody has collected yet does not count. Linux. */

import { existsSync, readFileSync } from 'node:fs'

export const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
