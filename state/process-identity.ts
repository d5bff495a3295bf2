/**
 * Who holds a lease, written so that a later process can tell whether the holder is still alive.
 *
 * In: nothing. Out: `<boot id>/<pid namespace>/<pid>/<start time>`. A process id alone is not enough: it is
 * used again. The start time (clock ticks since boot, field 22 of proc_pid_stat(5)) makes it unique within a
 * boot, the boot id across boots, the namespace across containers.
 */

import { randomUUID } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { errnoOf } from './errors.ts'

export type ProcessState = 'alive' | 'dead' | 'unknown'

const self = describeSelf()

export function processIdentity(): string {
  return self
}

/** `unknown` where this process cannot see the other (another container, `hidepid`): only its lease tells then. */
export function stateOf(identity: string): ProcessState {
  const [boot, namespace, pid, started] = identity.split('/')
  const [ourBoot, ourNamespace] = self.split('/')
  if (!boot || !namespace || !pid || !started) return 'unknown'
  if (boot !== ourBoot) return 'dead'
  if (namespace !== ourNamespace) return 'unknown'
  const seen = startTime(pid)
  if (seen === undefined && isHidden(Number(pid))) return 'unknown'
  return seen === started ? 'alive' : 'dead'
}

/** /proc may be mounted so that processes of other users are not in it (`hidepid`); the kernel still tells of them. */
function isHidden(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return errnoOf(error) === 'EPERM'
  }
}

function describeSelf(): string {
  const boot = attempt(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()) ?? randomUUID()
  const namespace = attempt(() => readlinkSync('/proc/self/ns/pid').replace(/\D/g, '')) ?? randomUUID()
  return `${boot}/${namespace}/${process.pid}/${startTime(String(process.pid)) ?? '0'}`
}

/** Field 22; the second field is the command in parentheses and may hold spaces, so count from its end. */
function startTime(pid: string): string | undefined {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields?.[0] === 'Z') return undefined
  return fields?.[19]
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
