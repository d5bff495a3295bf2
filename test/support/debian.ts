/**
 * A clean Debian 12 in a folder: made by debootstrap, used by chroot, each time with a /proc of its own. What debootstrap
 * made is kept in ~/.cache/pcap-pipeline for a month.
 */

import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Answer } from './cli.ts'

export interface Debian extends Disposable {
  root: string
  /** Runs a command in it, by root or by one of its users, with nobody to answer questions. */
  run(command: string[], options?: { user?: string }): Promise<Answer>
}

const KEPT = join(homedir(), '.cache/pcap-pipeline', `debian-12-${process.arch}.tar`)
const KEPT_MS = 30 * 86_400_000
const has = (command: string) => spawnSync('which', [command]).status === 0

/** Why there can be none here, in words for a title; empty where there can. */
export async function whyNoDebian(): Promise<string> {
  if (process.getuid?.() !== 0) return ' (skipped: only root can make a Debian)'
  if (!has('debootstrap') || !has('dpkg-deb')) return ' (skipped: no debootstrap here)'
  const from = mirror()
  if (from === undefined) return ' (skipped: apt names no place of Debian’s packages here)'
  const answer = await fetch(`${from}/dists/bookworm/InRelease`, { signal: AbortSignal.timeout(10_000) }).catch(
    () => {},
  )
  await answer?.body?.cancel()
  return answer?.ok ? '' : ' (skipped: Debian’s packages are out of reach)'
}

/** The one that this host uses, where it is a Debian. */
function mirror(): string | undefined {
  const folder = '/etc/apt/sources.list.d'
  const files = ['/etc/apt/sources.list', ...names(folder).map((name) => join(folder, name))]
  const texts = files.map((file) => read(file))
  return texts.map((text) => /\b(https?:\/\/\S+\/debian)\/?\s/.exec(text)?.[1]).find(Boolean)
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

export async function makeDebian(): Promise<Debian> {
  const root = mkdtempSync(join(tmpdir(), 'debian-'))
  // It becomes the / of users who are not root.
  chmodSync(root, 0o755)
  try {
    if (isKept()) await must('tar', ['-C', root, '-xpf', KEPT])
    else await makeAndKeep(root)
  } catch (error) {
    rmSync(root, { recursive: true, force: true })
    throw error
  }
  const IN = 'mount -t proc proc "$1/proc" && cp /etc/resolv.conf "$1/etc/resolv.conf" && exec chroot "$@"'
  return {
    root,
    async run(command, { user } = {}) {
      const as = user ? ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--init-groups', '--'] : []
      const env = ['env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', `HOME=${user ? `/home/${user}` : '/root'}`]
      const args = ['--mount', '--propagation=private', '--', 'sh', '-c', IN, 'sh', root]
      return await finished('unshare', [
        ...args,
        ...as,
        ...env,
        'DEBIAN_FRONTEND=noninteractive',
        'LC_ALL=C.UTF-8',
        ...command,
      ])
    },
    [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }),
  }
}

function isKept(): boolean {
  return existsSync(KEPT) && Date.now() - statSync(KEPT).mtimeMs < KEPT_MS
}

async function makeAndKeep(root: string): Promise<void> {
  await must('debootstrap', ['--variant=minbase', 'bookworm', root, mirror() as string])
  mkdirSync(dirname(KEPT), { recursive: true })
  const part = `${KEPT}.${process.pid}.part`
  try {
    await must('tar', ['-C', root, '--numeric-owner', '--exclude=./var/cache/apt/archives/*.deb', '-cf', part, '.'])
    renameSync(part, KEPT)
  } finally {
    rmSync(part, { force: true })
  }
}

/** Throws with its last words when it fails. */
export async function must(command: string, args: string[]): Promise<void> {
  const { code, stdout, stderr } = await finished(command, args)
  if (code !== 0) throw new Error(`${command} failed:\n${stdout.slice(-2000)}${stderr.slice(-2000)}`)
}

export function finished(command: string, args: string[], cwd?: string): Promise<Answer> {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout.on('data', (data) => stdout.push(data))
  child.stderr.on('data', (data) => stderr.push(data))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) =>
      resolve({ code, signal, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }),
    )
  })
}
