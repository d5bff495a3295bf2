/**
 * Which files which processes have open, as far as /proc tells this user. In: paths without symbolic links.
 * Source: proc_pid_fd(5), and the access mode in the `flags` of proc_pid_fdinfo(5) (octal, low two bits).
 */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** Which of these paths some process has open for writing. */
export function heldForWriting(paths: ReadonlySet<string>): Set<string> {
  const held = new Set<string>()
  for (const { path, pid, fd } of openFiles(paths)) {
    if (held.has(path)) continue
    const flags = attempt(() => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8').match(/^flags:\s*([0-7]+)/m)?.[1])
    if (flags !== undefined && (Number.parseInt(flags, 8) & 0o3) !== 0) held.add(path)
  }
  return held
}

/** The processes, other than this one, that have one of these paths open. */
export function holdersOf(paths: ReadonlySet<string>): number[] {
  const pids = [...openFiles(paths)].map(({ pid }) => Number(pid))
  return [...new Set(pids)].filter((pid) => pid !== process.pid)
}

function* openFiles(paths: ReadonlySet<string>): Generator<{ path: string; pid: string; fd: string }> {
  for (const pid of list('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    for (const fd of list(`/proc/${pid}/fd`)) {
      const path = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`))
      if (path !== undefined && paths.has(path)) yield { path, pid, fd }
    }
  }
}

function list(dir: string): string[] {
  return attempt(() => readdirSync(dir)) ?? []
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
