/** Debian's packages: installed by root, or through a sudo that asks for no password. */

import { accessSync, constants, existsSync, statSync } from 'node:fs'
import { runTool } from './child.mjs'
import { say, secondsSince } from './say.mjs'

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

export async function canInstall() {
  return findApt() !== undefined && (await becomeRoot()) !== undefined
}

/** Whether they are installed now; why not is said. */
export async function installPackages(...names) {
  const prefix = await becomeRoot()
  const started = Date.now()
  const run = (args) => {
    const [file, ...rest] = [...prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', findApt(), ...APT_OPTIONS, ...args]
    return runTool(file, rest, { timeoutMs: APT_LIMIT_MS })
  }
  const install = ['install', '-y', '--no-install-recommends', ...names]
  let result = await run(install)
  if (result.code !== 0) {
    await run(['update'])
    result = await run(install)
  }
  const what = names.join(', ')
  if (result.code !== 0) say(`${what} could not be installed: ${result.output.trim().split('\n').slice(-5).join('\n')}`)
  else say(`${what} installed in ${secondsSince(started)}`)
  return result.code === 0
}

/** Puts a package's file into a folder, and installs nothing; for that nobody has to be root. */
export async function downloadPackage(name, cwd) {
  const apt = findApt()
  if (apt === undefined) return
  const download = () => runTool(apt, [...APT_OPTIONS, 'download', name], { cwd, timeoutMs: APT_LIMIT_MS })
  const { code } = await download()
  if (code === 0) return
  const prefix = await becomeRoot()
  if (prefix === undefined) return
  const [file, ...rest] = [...prefix, apt, ...APT_OPTIONS, 'update']
  await runTool(file, rest, { timeoutMs: APT_LIMIT_MS })
  await download()
}

export function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

function findApt() {
  return ['/usr/bin/apt-get', '/bin/apt-get'].find((path) => existsSync(path))
}

/** What to put before a command to run it as root; undefined where that takes a password. */
async function becomeRoot() {
  if (process.getuid() === 0) return []
  const { code } = await runTool('sudo', ['-n', 'true'])
  return code === 0 ? ['sudo', '-n'] : undefined
}
