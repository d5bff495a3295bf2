/** The child processes of this process, by what they are for: how many there are, and what they take of memory. */

import type { ChildProcess } from 'node:child_process'
import { rssOf } from './engines/rss.ts'

/** `worker`: our dissectors; `tool`: Zeek and tshark; `query`: an SQL question; `search`: the one that searches. */
export const CHILD_KINDS = ['worker', 'tool', 'query', 'search'] as const
export type ChildKind = (typeof CHILD_KINDS)[number]

const children = new Map<ChildProcess, ChildKind>()

/** Until it has ended. */
export function noteChild(kind: ChildKind, child: ChildProcess): void {
  if (child.pid === undefined) return
  children.set(child, kind)
  child.once('exit', () => children.delete(child))
}

export function childMemory(): { kind: ChildKind; processes: number; rssBytes: number }[] {
  return CHILD_KINDS.map((kind) => {
    const own = [...children].filter(([, of]) => of === kind)
    return { kind, processes: own.length, rssBytes: own.reduce((sum, [{ pid }]) => sum + rssOf(pid), 0) }
  })
}
