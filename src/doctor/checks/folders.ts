/** Whether this user can do in every folder what is done there: each gets a probe file, which goes again. */

import { access, constants, readFile, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { probeFolder } from '../../../stages/durable.ts'
import { errnoOf, messageOf } from '../../../state/errors.ts'
import { type Check, error, type Finding, ok, warning } from '../check.ts'
import type { Host } from '../host.ts'

export const folders: Check<Host> = {
  name: 'folders',
  async look({ config, layout }) {
    const { dataDir, stateDir, inbox, captures, spool, parquet, quarantine } = layout
    const log = config.log.file === undefined ? [] : [dirname(config.log.file)]
    const all = new Set([dataDir, stateDir, inbox, captures, spool, parquet, quarantine, ...log])
    const users = await usersByNumber()
    const findings: Finding[] = []
    for (const dir of all) findings.push(...(await lookAt(dir, users)))
    const bad = findings.filter(({ verdict }) => verdict !== 'ok')
    return bad.length > 0 ? bad : [ok(summary(findings, all.size))]
  },
}

function summary(findings: readonly Finding[], all: number): string {
  const absent = findings.filter(({ text }) => text.endsWith(ABSENT)).length
  const there = `in ${all - absent} of ${all} folders files can be read, written, renamed and deleted`
  return absent === 0 ? there : `${there}; the first start makes the others`
}

const ABSENT = 'is not there yet'

async function lookAt(dir: string, users: ReadonlyMap<number, string>): Promise<Finding[]> {
  const found = await stat(dir).catch((thrown) => errnoOf(thrown) ?? 'unknown')
  if (found === 'ENOENT') return [await absent(dir)]
  if (typeof found === 'string')
    return [error(`${dir} cannot be looked at (${found})`, `give this user the right to enter ${dirname(dir)}`)]
  if (!found.isDirectory()) return [error(`${dir} is no folder`, 'move it away; the start makes the folder')]
  const owner = ownerOf(dir, found.uid, users)
  try {
    await probeFolder(dir)
    return [...owner, ok(`${dir} is well`)]
  } catch (thrown) {
    return [cannot(dir, thrown, found.uid, users)]
  }
}

/** The start makes it, where the nearest folder that is there lets it. */
async function absent(dir: string): Promise<Finding> {
  for (let above = dirname(dir); ; above = dirname(above)) {
    const errno = await access(above, constants.W_OK | constants.X_OK).then(
      () => undefined,
      (thrown) => errnoOf(thrown) ?? 'unknown',
    )
    if (errno === undefined) return ok(`${dir} ${ABSENT}`)
    if (errno !== 'ENOENT')
      return error(
        `${dir} is not there, and cannot be made in ${above} (${errno})`,
        `make it, and give it to this user: sudo install -d -o ${process.getuid?.()} ${dir}`,
      )
    if (above === dirname(above)) return error(`${dir} is not there`, 'make it')
  }
}

const REMEDIES: Record<string, (dir: string) => string> = {
  EROFS: (dir) =>
    `the file system is mounted read-only: mount it for writing (mount -o remount,rw …), or set another folder than ${dir}`,
  EPERM: (dir) => `it may be marked as not to be changed: chattr -i ${dir}; or it belongs to somebody else`,
  ENOSPC: () => 'the disk is full, or has no inodes left: free some',
  EDQUOT: () => "this user's quota is used up: raise it, or free some",
}

function cannot(dir: string, thrown: unknown, uid: number, users: ReadonlyMap<number, string>): Finding {
  const errno = errnoOf(thrown) ?? ''
  const own = process.getuid?.() ?? 0
  const rights = `give this user the right to: sudo chown -R ${nameOf(own, users)} ${dir}, or run as ${nameOf(uid, users)}`
  return error(
    `in ${dir}, files cannot be read, written, renamed and deleted: ${messageOf(thrown).replaceAll(/\.probe-[\w.-]+/g, '…')}`,
    REMEDIES[errno]?.(dir) ?? rights,
  )
}

/** Root may write everywhere, but what it writes is then root's. */
function ownerOf(dir: string, uid: number, users: ReadonlyMap<number, string>): Finding[] {
  const own = process.getuid?.()
  if (own === undefined || uid === own || own !== 0) return []
  return [
    warning(
      `${dir} belongs to ${nameOf(uid, users)}, and this is root: what root makes there, ${nameOf(uid, users)} cannot change`,
      `run every command as ${nameOf(uid, users)}: sudo -u ${nameOf(uid, users)} …`,
    ),
  ]
}

function nameOf(uid: number, users: ReadonlyMap<number, string>): string {
  return users.get(uid) ?? `user ${uid}`
}

async function usersByNumber(): Promise<Map<number, string>> {
  const text = await readFile('/etc/passwd', 'utf8').catch(() => '')
  const entries = text.split('\n').map((line) => line.split(':'))
  return new Map(entries.filter(({ length }) => length > 2).map(([name, , uid]) => [Number(uid), basename(name ?? '')]))
}
