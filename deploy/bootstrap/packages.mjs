/**
 * node_modules: in, package-lock.json; out, exactly those packages for this platform, and with them the
 * Node that the project runs on. A stamp tells which lock file they were installed for; it is removed
 * before npm starts and written after it ends, so what an interrupted run left is never taken for whole.
 */

import { createHash } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { runTool } from './child.mjs'
import { SetupError, say, secondsSince } from './say.mjs'

const NO_NETWORK = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED/
const NPM_FLAGS = ['--ignore-scripts', '--include=dev', '--include=optional', '--prefer-offline']
/** Three attempts within half a minute: npm's own choice waits more than a minute for a network that is not there. */
const NPM_PATIENCE = ['--fetch-retries=2', '--fetch-retry-mintimeout=2000', '--fetch-retry-maxtimeout=10000']
const NPM_QUIET = ['--loglevel=error', '--no-progress', '--no-audit', '--no-fund']

const stampPath = (root) => join(root, 'node_modules', '.pcap-pipeline-packages')

/** The Node binary that the project brings along. */
export function findRuntime(root) {
  return join(root, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node')
}

/** What the packages follow from; it changes when they have to. */
function packagesKey(root) {
  const lock = readFileSync(join(root, 'package-lock.json'))
  const digest = createHash('sha256').update(lock).digest('hex')
  return `${digest} ${process.platform} ${process.arch}\n`
}

export function arePackagesInstalled(root) {
  if (!existsSync(findRuntime(root))) return false
  return readOr(stampPath(root), '') === packagesKey(root) || adopt(root)
}

/** Packages that a person installed with npm are as good as ours when npm's own record says so. */
function adopt(root) {
  const installed = JSON.parse(readOr(join(root, 'node_modules', '.package-lock.json'), '{}')).packages ?? {}
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  const same = (path) => installed[path]?.version === wanted[path]?.version
  const whole = Object.keys(wanted).every((path) => path === '' || same(path) || wanted[path].optional)
  if (!whole || !Object.keys(installed).every(same)) return false
  try {
    writeFileSync(stampPath(root), packagesKey(root))
  } catch {
    // a tree that belongs to someone else serves without the stamp
  }
  return true
}

export async function installPackages(root) {
  requirePlatform()
  say('installing packages (npm ci)')
  const started = Date.now()
  const key = packagesKey(root)
  removeStamp(root)
  const [npm, ...first] = npmCommand()
  const flags = [...NPM_FLAGS, ...NPM_PATIENCE, ...NPM_QUIET]
  const { code, output } = await runTool(npm, [...first, 'ci', ...flags], { cwd: root })
  if (code !== 0) throw new SetupError(explain(output, code))
  await requireRuntime(root)
  writeFileSync(stampPath(root), key)
  say(`packages installed in ${secondsSince(started)}`)
}

function removeStamp(root) {
  try {
    rmSync(stampPath(root), { force: true })
  } catch (error) {
    throw new SetupError(`packages have to be installed, but ${root} cannot be written (${error.code})`)
  }
}

function requirePlatform() {
  if (process.platform === 'linux' && ['x64', 'arm64'].includes(process.arch)) return
  throw new SetupError(`runs on Linux, x64 or arm64; this is ${process.platform} ${process.arch}`)
}

async function requireRuntime(root) {
  const { code, output } = await runTool(findRuntime(root), ['--version'])
  if (code === 0) return
  throw new SetupError(`the Node that was installed does not run here (${findRuntime(root)}): ${output.trim()}`)
}

/** The npm that started this, else the one on the PATH. */
export function npmCommand() {
  const path = process.env.npm_execpath ?? ''
  return basename(path) === 'npm-cli.js' ? [process.execPath, path] : ['npm']
}

function explain(output, code) {
  if (NO_NETWORK.test(output)) {
    return `${output.trim()}
npm cannot reach its package registry. Connect this machine, or name a registry that it reaches
(npm config set registry <url>), or copy the whole folder, node_modules included, from a machine of
the same kind on which this command has run.`
  }
  return `${output.trim()}\nnpm ci failed (exit code ${code}); its own words are above`
}

function readOr(path, fallback) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return fallback
  }
}
