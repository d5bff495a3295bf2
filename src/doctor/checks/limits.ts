/** The kernel's limits on open files and on watched folders. */

import { readdir, readFile } from 'node:fs/promises'
import { type Check, type Finding, ok, warning } from '../check.ts'
import type { Host } from '../host.ts'

const ENOUGH_FILES = 4096
const ENOUGH_INSTANCES = 128

export const limits: Check<Host> = {
  name: 'limits',
  async look({ config, layout }) {
    const files = await openFiles()
    const findings: Finding[] = []
    if (files !== undefined && files < ENOUGH_FILES)
      findings.push(
        warning(
          `a process may have ${files} files open; queries over many files of the dataset need more`,
          'ulimit -n 65536, or LimitNOFILE=65536 in the unit of systemd',
        ),
      )
    if (!config.inbox.polling) findings.push(...(await watches(layout.inbox)))
    return findings.length > 0 ? findings : [ok(`${files ?? 'unknown'} open files; enough watches for the inbox`)]
  },
}

/** Source: proc_pid_limits(5). */
async function openFiles(): Promise<number | undefined> {
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '')
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(text)?.[1]
  if (soft === undefined) return undefined
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft)
}

/** Source: inotify(7). */
async function watches(inbox: string): Promise<Finding[]> {
  const [most, instances] = await Promise.all(['max_user_watches', 'max_user_instances'].map(inotify))
  const folders = await foldersIn(inbox)
  const findings: Finding[] = []
  if (most !== undefined && folders > most / 2)
    findings.push(
      warning(
        `the inbox has ${folders} folders, and this user may watch ${most}`,
        `sysctl fs.inotify.max_user_watches=${Math.max(524_288, 4 * folders)}, or INBOX_POLLING=true`,
      ),
    )
  if (instances !== undefined && instances < ENOUGH_INSTANCES)
    findings.push(
      warning(`this user may have ${instances} watchers`, `sysctl fs.inotify.max_user_instances=${ENOUGH_INSTANCES}`),
    )
  return findings
}

async function inotify(name: string): Promise<number | undefined> {
  const text = await readFile(`/proc/sys/fs/inotify/${name}`, 'utf8').catch(() => undefined)
  return text === undefined ? undefined : Number(text)
}

async function foldersIn(inbox: string): Promise<number> {
  const entries = await readdir(inbox, { recursive: true, withFileTypes: true }).catch(() => [])
  return 1 + entries.filter((entry) => entry.isDirectory()).length
}
