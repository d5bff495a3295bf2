/**
 * What stands in front of a child's command, so that the child has no network and ends with this process.
 *
 * Zeek, tshark and our own workers read hostile bytes; none of them has any business with a network. On Linux they
 * get a network namespace of their own, an empty one, where this user may make one: root, or anybody in a user
 * namespace. Both are util-linux programs that set something up and then become the command: process id, exit code
 * and signals stay the child's own. What may be done here is tried out once.
 */

import { execFile } from 'node:child_process'
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
  const endsWithParent = await works(WITH_PARENT, path)
  const before = endsWithParent ? WITH_PARENT : []
  for (const way of OFFLINE)
    if (await works([...before, ...way], path)) return { prefix: [...before, ...way], isOffline: true, endsWithParent }
  return { prefix: before, isOffline: false, endsWithParent }
}

async function works([command = '', ...args]: readonly string[], path: string): Promise<boolean> {
  try {
    await promisify(execFile)(command, [...args, 'true'], { env: { PATH: path }, timeout: TRY_MS })
    return true
  } catch {
    return false
  }
}
