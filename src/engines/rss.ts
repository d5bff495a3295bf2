/** Resident bytes of a process, 0 where /proc does not tell (other systems, or it has just ended). */

import { readFileSync } from 'node:fs'

export function rssOf(pid: number | undefined): number {
  try {
    const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))
    return match?.[1] === undefined ? 0 : Number(match[1]) * 1024
  } catch {
    return 0
  }
}
