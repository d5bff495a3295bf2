/** Runs a command and measures it: wall time, CPU time of it and all below it, and the memory of all of them together. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'

export interface Measured {
  code: number | null
  seconds: number
  /** User and system, of the process and all below it, those that outlive it by a moment included. */
  cpuSeconds: number
  /** The highest sum that was seen, looked at every 50 ms (Linux; else 0). */
  peakRssMb: number
}

const POLL_MS = 50
/** Of Linux's clock for processes, a second. */
const TICKS = 100

/** What it says on stdout goes nowhere. */
export async function measure(command: string, args: readonly string[]): Promise<Measured> {
  const nowhere = openSync('/dev/null', 'w')
  const before = childTicks()
  const start = performance.now()
  const child = spawn(command, args, { stdio: ['ignore', nowhere, 'ignore'] })
  let peak = 0
  const ticks = new Map<number, number>()
  const timer = setInterval(() => {
    peak = Math.max(peak, lookAtTree(child.pid ?? 0, ticks))
  }, POLL_MS)
  try {
    const [code] = await once(child, 'exit')
    const seconds = (performance.now() - start) / 1000
    // The kernel adds up those that were waited for; those that nobody waits for were looked at.
    const seen = [...ticks.values()].reduce((sum, n) => sum + n, 0)
    const cpuSeconds = Math.max(childTicks() - before, seen) / TICKS
    return { code, seconds, cpuSeconds, peakRssMb: Math.round(peak / 1024) }
  } finally {
    clearInterval(timer)
    closeSync(nowhere)
  }
}

/** Of all children of this process that have ended, and of theirs. */
function childTicks(): number {
  const fields = statOf('self')
  return Number(fields[13]) + Number(fields[14])
}

/** The fields of /proc/PID/stat from the third on: the second may hold anything. */
function statOf(pid: string): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return []
  }
}

/** @returns the memory of all of them in KiB; their CPU time so far goes into `ticks`. */
function lookAtTree(root: number, ticks: Map<number, number>): number {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const parent = Number(statOf(name)[1])
    children.set(parent, [...(children.get(parent) ?? []), Number(name)])
  }
  let sum = 0
  for (const open = [root]; open.length > 0; ) {
    const pid = open.pop() as number
    sum += rssOf(pid)
    const fields = statOf(String(pid))
    if (fields.length > 0) ticks.set(pid, Number(fields[11]) + Number(fields[12]))
    open.push(...(children.get(pid) ?? []))
  }
  return sum
}

/** Resident memory in MB of a process and all below it, now. */
export function rssOfTree(pid: number): number {
  return lookAtTree(pid, new Map()) / 1024
}

function rssOf(pid: number): number {
  try {
    return Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
