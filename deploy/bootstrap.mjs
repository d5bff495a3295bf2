/**
 * Sets a fresh machine up, then hands over: `node deploy/bootstrap.mjs start|test|bench|build|package …`.
 *
 * Needs Node 20.11 or newer and npm, nothing else. What is in place already is left alone, so that a
 * second run goes straight to the command. All messages of the set-up go to stderr: stdout belongs to the
 * command. It is plain JavaScript without dependencies because it runs before either exists.
 *
 *   start   the pipeline's command line, compiled, under the project's own Node
 *   test    every test, ended by the line `N passed, N failed, N skipped`
 *   bench   one benchmark of test/bench by its name; without a name their list
 *   build   the set-up alone, for a machine that will have no network later
 *   package packages for machines without npm: package/main.mjs
 */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exitCodeOf, forwardSignals, handOver, Stopped } from './bootstrap/child.mjs'
import { compile, isCompiled } from './bootstrap/compile.mjs'
import { ensureEngine } from './bootstrap/engine.mjs'
import { withLock } from './bootstrap/lock.mjs'
import { nodeOptions } from './bootstrap/node-options.mjs'
import { arePackagesInstalled, findRuntime, installPackages } from './bootstrap/packages.mjs'
import { buildPage, isPageBuilt } from './bootstrap/page.mjs'
import { SetupError, say } from './bootstrap/say.mjs'
import { ensureTestTools } from './bootstrap/test-tools.mjs'
import { runTests } from './bootstrap/tests.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const commands = { start, test, bench, build, package: makePackages }
const OLDEST_NODE = 20
const needsNoEngine = new Set(['--help', '-h', 'help', '--version', '-V'])

async function setUp() {
  if (isReady()) return
  await withLock(root, async () => {
    if (!arePackagesInstalled(root)) await installPackages(root)
    if (!isCompiled(root)) await compile(root)
    if (!isPageBuilt(root)) await buildPage(root)
  })
}

function isReady() {
  return arePackagesInstalled(root) && isCompiled(root) && isPageBuilt(root)
}

async function start(args) {
  await setUp()
  if (!needsNoEngine.has(args[0])) await ensureEngine(root)
  const cache = process.env.NODE_COMPILE_CACHE ?? join(root, 'dist', '.compile-cache')
  const { flags, env } = nodeOptions(args)
  env.NODE_COMPILE_CACHE = cache
  return handOver(findRuntime(root), [...flags, join(root, 'dist', 'src', 'main.js'), ...args], { env })
}

/** Tests run on the sources: one that does not compile is one failure, not the end of all others. */
async function test(args) {
  let broken
  try {
    await setUp()
  } catch (error) {
    if (!(error instanceof SetupError) || !arePackagesInstalled(root)) throw error
    say(error.message)
    broken = 'the sources do not compile'
  }
  await ensureEngine(root)
  await ensureTestTools()
  return runTests(root, args, broken)
}

async function bench([name, ...args]) {
  const folder = join(root, 'test', 'bench')
  const names = listBenchmarks(folder)
  if (!names.includes(name)) {
    throw new SetupError(`bench needs the name of a benchmark: ${names.join(', ') || '(there is none yet)'}`)
  }
  await setUp()
  await ensureEngine(root)
  return handOver(findRuntime(root), ['--enable-source-maps', join(folder, `${name}.ts`), ...args])
}

async function makePackages(args) {
  await setUp()
  return handOver(findRuntime(root), [join(root, 'deploy', 'package', 'main.mjs'), ...args])
}

async function build() {
  await setUp()
  await ensureEngine(root)
  return 0
}

function listBenchmarks(folder) {
  try {
    return readdirSync(folder)
      .filter((file) => file.endsWith('.ts'))
      .map((file) => file.slice(0, -'.ts'.length))
  } catch {
    return []
  }
}

async function main([name, ...args]) {
  if (!Object.hasOwn(commands, name ?? '')) {
    throw new SetupError(`usage: node deploy/bootstrap.mjs ${Object.keys(commands).join('|')} [arguments]`)
  }
  if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
    throw new SetupError(`needs Node ${OLDEST_NODE}.11 or newer to set itself up; this is ${process.version}`)
  }
  forwardSignals()
  return commands[name](args)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (error instanceof Stopped) process.exitCode = exitCodeOf(error)
  else {
    say(error instanceof SetupError ? error.message : error.stack)
    process.exitCode = 1
  }
}
