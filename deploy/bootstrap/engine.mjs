/**
 * tshark, which makes the packet log, or Zeek, which replaces our own dissectors. Where there is neither, tshark is
 * installed on a system with apt, by root or through a sudo that asks for no password. Where that cannot be
 * done, the command to type is printed and the set-up goes on: all but the packet log works without.
 */

import { accessSync, constants, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { runTool } from './child.mjs'
import { say, secondsSince } from './say.mjs'

const ENGINES = { zeek: 'ZEEK_PATH', tshark: 'TSHARK_PATH' }
const USUAL_FOLDERS = ['/usr/bin', '/usr/local/bin', '/opt/zeek/bin', '/usr/local/zeek/bin']
const INSTALL = ['install', '-y', '--no-install-recommends', 'tshark']
/** No questions, no endless waits: another apt at work is waited for a minute, a dead mirror is not. */
const APT_OPTIONS = [
  '-q',
  '-o',
  'DPkg::Lock::Timeout=60',
  '-o',
  'Acquire::Retries=1',
  '-o',
  'Acquire::http::Timeout=20',
]
const APT_LIMIT_MS = 600_000
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
  const apt = ['/usr/bin/apt-get', '/bin/apt-get'].find((path) => existsSync(path))
  const prefix = apt && (await becomeRoot())
  if (!prefix) return false
  say('there is neither Zeek nor tshark: installing tshark (apt-get install tshark)')
  const started = Date.now()
  const run = (args) => runApt([...prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', apt, ...APT_OPTIONS, ...args])
  let result = await run(INSTALL)
  if (result.code !== 0) {
    await run(['update'])
    result = await run(INSTALL)
  }
  if (result.code !== 0) say(`tshark could not be installed: ${result.output.trim().split('\n').slice(-5).join('\n')}`)
  else say(`tshark installed in ${secondsSince(started)}`)
  return result.code === 0
}

function runApt([file, ...args]) {
  return runTool(file, args, { timeoutMs: APT_LIMIT_MS })
}

/** What to put before a command to run it as root; undefined where that takes a password. */
async function becomeRoot() {
  if (process.getuid() === 0) return []
  const { code } = await runTool('sudo', ['-n', 'true'])
  return code === 0 ? ['sudo', '-n'] : undefined
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
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
