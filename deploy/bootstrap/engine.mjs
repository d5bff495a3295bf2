/**
 * tshark, which makes the packet log, or Zeek, which replaces our own dissectors. Where there is neither, tshark is
 * installed on a system with apt, by root or through a sudo that asks for no password. Where that cannot be
 * done, the command to type is printed and the set-up goes on: all but the packet log works without.
 */

import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { canInstall, installPackages, isExecutable } from './apt.mjs'
import { say } from './say.mjs'

const ENGINES = { zeek: 'ZEEK_PATH', tshark: 'TSHARK_PATH' }
const USUAL_FOLDERS = ['/usr/bin', '/usr/local/bin', '/opt/zeek/bin', '/usr/local/zeek/bin']
/** A machine without network should not pay for the attempt at every start. */
const RETRY_AFTER_MS = 600_000

export async function ensureEngine(root) {
  if (findEngine(root)) return
  const attempt = join(root, 'dist', `.engine-attempt-${process.getuid()}`)
  if (!isRecent(attempt)) {
    remember(attempt)
    if ((await tryInstall()) && findEngine(root)) return rmSync(attempt, { force: true })
  }
  say('there is neither Zeek nor tshark. Captures are read all the same; only the packet log (PACKET_LOG=true)')
  say('needs tshark. On Debian or Ubuntu type')
  say(`  ${process.getuid() === 0 ? '' : 'sudo '}apt-get install -y --no-install-recommends tshark`)
}

/**
 * The path of an engine: as the settings name it, on the PATH, or where packages usually put it.
 * @public
 */
export function findEngine(root, env = process.env, usual = USUAL_FOLDERS) {
  const folders = [...(env.PATH ?? '').split(delimiter).filter(Boolean), ...usual]
  for (const [name, setting] of Object.entries(ENGINES)) {
    const named = env[setting] || settingInFile(root, setting)
    const found = [named, ...folders.map((folder) => join(folder, name))].find((path) => path && isExecutable(path))
    if (found) return found
  }
  return undefined
}

/** The settings file is read for this one question only; src/config.ts reads it for all others. */
function settingInFile(root, name) {
  for (const folder of new Set([process.cwd(), root])) {
    try {
      const text = readFileSync(join(folder, '.env'), 'utf8')
      const line = new RegExp(`^\\s*(?:export\\s+)?${name}\\s*=\\s*["']?([^"'\\s#]+)`, 'm').exec(text)
      if (line) return line[1]
    } catch {
      // no settings file here
    }
  }
  return undefined
}

async function tryInstall() {
  if (!(await canInstall())) return false
  say('there is neither Zeek nor tshark: installing tshark (apt-get install tshark)')
  return await installPackages('tshark')
}

function isRecent(path) {
  try {
    return Date.now() - statSync(path).mtimeMs < RETRY_AFTER_MS
  } catch {
    return false
  }
}

function remember(path) {
  try {
    writeFileSync(path, '')
  } catch {
    // a tree that belongs to someone else: the next start tries again
  }
}
