/**
 * What stands in front of a child's command, so that the child has no network and ends with this process.
 *
 * Zeek, tshark and our own workers read hostile bytes; none of them has any business with a network. On Linux they
 * get a network namespace of their own, an empty one, where this user may make one: root, or anybody in a user
 * namespace. Both are util-linux programs that set something up and then become the command: process id, exit code
 * and signals stay the child's own. What may be done here is tried out once.
 */

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

interface CutOff {
  /** To be put in front of the command; may be empty. */
  prefix: readonly string[]
  /** The child has no network. */
  isOffline: boolean
  /** The child gets SIGKILL when the thread that started it ends. */
  endsWithParent: boolean
}

const TRY_MS = 5000
const OFFLINE = [
  ['unshare', '--net', '--'],
  ['unshare', '--user', '--map-current-user', '--net', '--'],
  ['unshare', '--user', '--map-root-user', '--net', '--'],
]
const WITH_PARENT = ['setpriv', '--pdeathsig', 'KILL', '--']
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

let found: Promise<CutOff> | undefined

/** Never fails: where nothing can be had, nothing stands in front. */
export function cutOff(): Promise<CutOff> {
  found ??= findCutOff()
  return found
}

export async function findCutOff(path = PATH): Promise<CutOff> {
  if (process.platform !== 'linux') return { prefix: [], isOffline: false, endsWithParent: false }
  const withParent = located(WITH_PARENT, path)
  const endsWithParent = await works(withParent, path)
  const before = endsWithParent ? withParent : []
  for (const way of OFFLINE.map((each) => located(each, path)))
    if (await works([...before, ...way], path)) return { prefix: [...before, ...way], isOffline: true, endsWithParent }
  return { prefix: before, isOffline: false, endsWithParent }
}

/** By its full name: the child's own search path need not lead to it. */
function located([command = '', ...args]: readonly string[], path: string): string[] {
  const file = path
    .split(':')
    .map((dir) => join(dir, command))
    .find((each) => existsSync(each))
  return [file ?? command, ...args]
}

async function works([command = '', ...args]: readonly string[], path: string): Promise<boolean> {
  try {
    await promisify(execFile)(command, [...args, 'true'], { env: { PATH: path }, timeout: TRY_MS })
    return true
  } catch {
    return false
  }
}
