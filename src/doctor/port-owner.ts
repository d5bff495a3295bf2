/** Which process listens on a port, as far as /proc tells this user. Source: proc_net_tcp(5), proc_pid_fd(5). */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

const LISTENING = '0A'

export function ownerOfPort(port: number): number | undefined {
  const sockets = new Set(['tcp', 'tcp6'].flatMap((table) => socketsOn(table, port)))
  if (sockets.size === 0) return undefined
  for (const pid of list('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    for (const fd of list(`/proc/${pid}/fd`)) if (sockets.has(target(`/proc/${pid}/fd/${fd}`))) return Number(pid)
  }
  return undefined
}

/** As the descriptors of processes name them. */
function socketsOn(table: string, port: number): string[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return attempt(() => readFileSync(`/proc/net/${table}`, 'utf8'), '')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = '', , state]) => local.endsWith(wanted) && state === LISTENING)
    .map((fields) => `socket:[${fields[9]}]`)
}

function list(dir: string): string[] {
  return attempt(() => readdirSync(dir), [])
}

function target(path: string): string {
  return attempt(() => readlinkSync(path), '')
}

function attempt<T>(read: () => T, otherwise: T): T {
  try {
    return read()
  } catch {
    return otherwise
  }
}
